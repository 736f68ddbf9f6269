//! Reading an archive from any program: no configuration, no server, no runtime of its own.

mod archive_reader;
mod rows;
mod selection;

pub use archive_reader::ArchiveReader;
pub use rows::Rows;
pub use selection::Selection;

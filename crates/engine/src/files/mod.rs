//! `file()`, confined to the engine's own folder and the folders that the operator names.

mod pattern;
pub(crate) mod roots;
pub(crate) mod sandbox_dir;

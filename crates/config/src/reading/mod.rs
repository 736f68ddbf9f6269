//! From text to typed values: the sources in order of precedence, every key with its origin, every mistake at once.
//!
//! ```text
//! file → yaml ─┐
//! environment ─┼→ aliases → overlay → RawConfig → reader, section, key → sections, Settings, Problems
//! flags ───────┘
//! ```

pub(crate) mod aliases;
pub(crate) mod bytes;
pub(crate) mod key;
pub(crate) mod origin;
pub(crate) mod overlay;
pub(crate) mod problems;
pub(crate) mod raw;
pub(crate) mod reader;
pub(crate) mod section;
pub(crate) mod settings;
pub(crate) mod value;
pub(crate) mod yaml;

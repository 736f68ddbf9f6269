//! Values as they were written, by dotted key. Pure.

use std::collections::BTreeMap;

use super::origin::Origin;

/// A value as it was written: whether `0123` is a number or a password is not decided yet.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum RawNode {
    /// Nothing after the colon, `~` or `null`: the same as an absent key.
    Null,
    /// Text, a number, a truth value.
    Scalar(String),
    /// A list, each item with its origin.
    List(Vec<RawValue>),
    /// `{}`, or a section within a list.
    Section,
}

/// A value with its origin.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct RawValue {
    pub(crate) value: RawNode,
    pub(crate) origin: Origin,
}

/// All values, by dotted key. Secrets are among them, therefore the type has no `Debug`.
#[derive(Clone, Default)]
pub(crate) struct RawConfig {
    /// Values by key: `hot_storage.batch_size`.
    pub(crate) values: BTreeMap<String, RawValue>,
    /// The positions of the names of keys and sections in the file, for problems with a whole section.
    pub(crate) sections: BTreeMap<String, Origin>,
}

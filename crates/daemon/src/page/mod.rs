//! The page for the operator: files in the binary, nothing from elsewhere.

pub(crate) mod assets;
pub(crate) mod routes;

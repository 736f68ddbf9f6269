//! Where the archive lies: objects, and one file for each kind of place.

mod any_store;
pub(crate) mod archive;
pub(crate) mod backend;
pub(crate) mod beneath;
mod blocking;
pub(crate) mod config;
mod create_exclusive;
pub(crate) mod error_hints;
mod folder;
pub(crate) mod folder_probe;
mod folder_store;
mod multipart_cleanup;
mod open;
mod rate_limit;
mod rate_limiter;
mod s3;
mod s3_http_client;
mod s3_probe;
pub(crate) mod upload;

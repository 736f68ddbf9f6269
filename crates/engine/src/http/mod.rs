//! ClickHouse's HTTP interface.
//!
//! [`serve`] accepts connections and routes requests; [`auth`] admits them; [`request`] reads their
//! fields and [`body`] their data; [`answer`] writes ClickHouse's headers and exceptions.
//! [`file_route`] serves files to the engine's own queries.

pub(crate) mod answer;
pub(crate) mod auth;
pub(crate) mod body;
pub(crate) mod compression;
mod file_route;
mod flush;
pub(crate) mod request;
mod serve;

pub use auth::Auth;
pub use serve::serve;

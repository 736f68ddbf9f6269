//! What every server and client of mpsync needs of a network: secrets, TLS, who may ask, and how connections are taken.

pub mod access;
pub mod connections;
mod secret;
mod tls;

pub use secret::{Secret, without_logins};
pub use tls::{Certificate, Tls};

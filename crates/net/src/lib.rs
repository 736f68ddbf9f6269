//! Networking shared by the servers and clients of mpsync: secrets, TLS, request checks, and an accept loop with limits.
//!
//! ```
//! use mpsync_net::{Secret, without_logins};
//!
//! let token = Secret::new("0123456789abcdef");
//! assert_eq!(format!("{token:?}"), "***");
//! assert_eq!(without_logins("nats://user:password@host:4222"), "nats://***@host:4222");
//! ```

pub mod access;
pub mod connections;
mod host;
mod secret;
mod tls;

pub use host::is_loopback;
pub use secret::{Secret, without_logins};
pub use tls::{Certificate, Tls};

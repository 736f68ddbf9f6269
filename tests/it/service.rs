//! The daemon as a service: who is let in, over what, and what its service manager and its health check are told.

mod client;
mod health;
mod manager;
mod reads;
mod tls;

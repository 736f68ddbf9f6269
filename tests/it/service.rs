//! The daemon as a service: who is let in, over what, and what its service manager, its health check and
//! its collector of traces are told.

mod client;
mod health;
mod manager;
mod reads;
mod tls;
mod traces;

//! The daemon as a service: authentication, transports, and what it reports to its service manager, its health check and its
//! trace collector.

mod client;
mod health;
mod manager;
mod reads;
mod tls;
mod traces;

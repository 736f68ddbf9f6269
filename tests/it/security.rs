//! Security of an installation: names from messages, NATS permissions, files on disk, secrets in transit.

mod names;
mod permissions;
mod secrets;

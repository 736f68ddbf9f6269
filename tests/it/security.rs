//! What an installation trusts: names that come in messages, rights in NATS, files on the disk, secrets on the way.

mod names;
mod permissions;
mod secrets;

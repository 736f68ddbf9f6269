//! `mpsync gc`: takes away what runs left that did not come to their end, once it is so old that no writer can own it.
//!
//! Found first, printed, carried out afterwards. What an attempt at a window may own (chunks, tables) is taken away under that
//! window's lease, so never beside a living worker; whatever else is swept is superseded by what stays. A window's highest
//! lease stays for ever: a sleeper that wakes up finds it before it moves anything, and its number is in no other name.
//!
//! An attempt that sleeps for longer than the age that is given, and whose chunks are gone when it wakes, could still name them
//! in a manifest: so the default age is a day. `verify` sees such a thing and `verify --repair` mends it:
//! nothing is cleaned out of hot before cold was loaded from the chunks themselves.

mod find;
mod journal;
pub(crate) mod plan;
pub(crate) mod run;

//! Generations: which exist, how one comes to exist, is revised by a repair, and leaves the archive.

pub(crate) mod commit;
mod held_positions;
pub(crate) mod read;
mod remove_window;
mod revise;

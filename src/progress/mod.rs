//! Shows the progress of a long command: bars on a terminal, text, JSON or log lines elsewhere. All read the same snapshot.

mod display;
mod estimate;
mod mode;
mod render;
mod report;
mod screen;

pub(crate) use display::{Shown, during};
pub use mode::{Display, shows_bars};
pub(crate) use screen::LogWriter;

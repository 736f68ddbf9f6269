//! Decimals from text and to text, never through floating point.
//!
//! Two ways lead from a text to a value: [`Plain`] reads what nearly all numbers are, up to 19 digits, eight digits at a time;
//! [`NumberParts`] reads every other form. The writers produce JSON; [`Decimal`] writes a value in the forms that exchanges
//! use, which the generator needs.

mod fault;
mod forms;
mod parse;
mod parts;
mod plain;
mod powers;
mod unscaled;
mod write;

pub use fault::{NumberFault, Scaled};
pub use forms::Decimal;
pub use parse::{decimal, float32, float64, integer};
pub use parts::NumberParts;
pub use plain::Plain;
pub use unscaled::Unscaled;
pub use write::{push_decimal_text, push_decimal128, push_i64, push_u64};

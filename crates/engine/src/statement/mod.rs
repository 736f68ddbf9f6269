//! Statements as text: their tokens, their kind, and the policy that they must obey. Pure.

pub(crate) mod kind;
pub(crate) mod lexer;
pub(crate) mod policy;

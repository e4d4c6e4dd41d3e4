//! The conversation with a walsender, as state machines without I/O.
mod assembler;

pub use assembler::{Assembler, HandedOut};

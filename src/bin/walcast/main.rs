//! The `walcast` program.

fn main() {}

//! What the suites stand on: throwaway primaries, a proxy that breaks connections, load, a small
//! disk, and the program under test as a child process.
//!
//! Everything here is a value whose `Drop` takes away what it made, and whose processes die with
//! the test even when the test is killed with SIGKILL. Waiting is always for a condition, with a
//! deadline: see [`eventually`].

#![allow(dead_code, unused_imports, reason = "each suite uses its own part of the harness")]

mod primary;
mod server;
mod supervisor;
mod template;
mod wait;

pub(crate) use primary::{Primary, PrimaryBuilder};
pub(crate) use server::{MissingServer, Server};
pub(crate) use wait::{eventually, eventually_async};

/// Whether the suites run at the counts the issues name (`scripts/test --full`).
pub(crate) fn full() -> bool {
    std::env::var_os("WALCAST_TEST_FULL").is_some_and(|value| value == "1")
}

/// `full_count` in a full run, otherwise a tenth of it, at least one.
pub(crate) fn count(full_count: usize) -> usize {
    if full() { full_count } else { full_count.div_ceil(10).max(1) }
}

/// The seed of this run, `WALCAST_TEST_SEED` or a fresh one; printed, so that a failure's output
/// says how to see it again.
pub(crate) fn seed() -> u64 {
    let seed = match std::env::var("WALCAST_TEST_SEED") {
        Ok(given) => given.parse().expect("WALCAST_TEST_SEED is an unsigned number"),
        Err(_) => rand::random(),
    };
    println!("WALCAST_TEST_SEED={seed}");
    seed
}

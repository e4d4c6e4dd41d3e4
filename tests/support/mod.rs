//! What the suites stand on: throwaway primaries, a proxy that breaks connections, load, a small
//! disk, and the program under test as a child process.
//!
//! Everything here is a value whose `Drop` takes away what it made, and whose processes die with
//! the test even when the test is killed with SIGKILL. Waiting is always for a condition, with a
//! deadline: see [`eventually`].

#![allow(dead_code, unused_imports, reason = "each suite uses its own part of the harness")]

mod authority;
mod desk;
mod gate;
mod impostor;
mod load;
pub(crate) mod oracle;
pub(crate) mod pipeline;
mod primary;
mod process;
mod proxy;
pub(crate) mod reading;
mod server;
mod story;
mod supervisor;
mod template;
mod tether;
mod tmpfs;
pub(crate) mod twins;
mod wait;
pub(crate) mod workload;

pub(crate) use authority::{Authority, Issued, Signature, self_signed, version_1, write_private};
pub(crate) use desk::{Desk, drained, streams};
pub(crate) use gate::{Gate, Gated};
pub(crate) use impostor::{Impostor, Trick};
pub(crate) use load::{Load, LoadBuilder, pgbench_tables};
pub(crate) use oracle::History;
pub(crate) use primary::{Primary, PrimaryBuilder};
pub(crate) use process::{Ended, Program, Running};
pub(crate) use proxy::Proxy;
pub(crate) use server::{MissingServer, Server};
pub(crate) use story::{Story, after, assert_same, overwrite};
pub(crate) use tether::Tether;
pub(crate) use tmpfs::Tmpfs;
pub(crate) use twins::Twins;
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

/// Says that the calling test shows nothing here, and why; `scripts/test` prints it at its end.
/// The test returns after it.
pub(crate) fn skip(why: &str) {
    use std::io::Write;
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    println!("SKIPPED {test}: {why}");
    if let Some(list) = std::env::var_os("WALCAST_TEST_SKIPS") {
        let mut list = std::fs::File::options().append(true).create(true).open(list).unwrap();
        // One write per line, so that tests side by side do not mix theirs.
        list.write_all(format!("{test}: {why}\n").as_bytes()).unwrap();
    }
}

/// The dockerized server, for a test that shows something there as well; without an engine the
/// test is skipped, or fails where `scripts/test --docker` promised one.
pub(crate) fn docker_or_skip() -> Option<Server> {
    match Server::docker(None) {
        Ok(server) => Some(server),
        Err(missing) if std::env::var_os("WALCAST_TEST_DOCKER").is_some() => panic!("{missing}"),
        Err(missing) => {
            skip(&missing.to_string());
            None
        }
    }
}

/// A server of each major version that walcast supports; says which ones are not here.
pub(crate) fn every_major() -> Vec<Server> {
    let found = (14..=18).map(|major| Server::local(Some(major)));
    found.filter_map(|server| server.map_err(|missing| skip(&missing.to_string())).ok()).collect()
}

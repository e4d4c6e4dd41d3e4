//! `walcast demo`: everything at once, on a throwaway primary.
//!
//! [`story`] tells it from beginning to end. [`server`] and [`tether`] make servers that go with
//! us, [`shop`] works on one of them, [`worker`] runs the pipeline of [`pipeline`] as a process
//! that can be killed, and [`verdict`] says whether anything was lost.

mod error;
mod live;
mod owner;
pub(crate) mod pipeline;
mod programs;
mod result;
mod screen;
mod server;
mod shop;
mod story;
mod terminal;
mod tether;
mod verdict;
mod worker;

use std::path::PathBuf;

use crate::exit::Exit;
use crate::runtime::{Stop, block_on};

/// Watch changes flow from a throwaway primary to three sinks
///
/// A shop works on a PostgreSQL that lives only for the demo. A pipeline carries its changes to the
/// terminal, to a file of JSON lines and to a second PostgreSQL; it is killed and resumed midway.
/// At the end source and targets are compared, and everything is cleaned up. Needs PostgreSQL's
/// server programs (14 or newer): those in WALCAST_PG_BIN, on PATH or under /usr/lib/postgresql.
///
/// Example:
///   walcast demo --seconds 20
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// How long the shop is open
    #[arg(long, default_value_t = 20, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u64).range(5..=3600))]
    seconds: u64,
    /// The primary's TCP port on loopback; a free one when absent
    #[arg(long, value_name = "P")]
    port: Option<u16>,
    /// Keep the file of JSON lines, as FILE
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "walcast-demo.jsonl")]
    keep: Option<PathBuf>,
}

pub(crate) fn run(args: Args) -> crate::Outcome {
    block_on(async move {
        let mut stop = Stop::listen()?;
        match stop.before(story::tell(&args)).await {
            Some(Ok(true)) => Ok(Exit::Done),
            Some(Ok(false)) => Ok(Exit::Unexpected),
            Some(Err(error)) => Err(error),
            None => {
                eprintln!("\ninterrupted; the servers and files of the demo are gone");
                Ok(Exit::Unexpected)
            }
        }
    })
}

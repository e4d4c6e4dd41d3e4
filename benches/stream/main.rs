//! What reading a slot costs, on a real server, beside `pg_recvlogical` in the same run.
//!
//! `scripts/bench drain` empties the same backlog with each consumer in turn, `scripts/bench
//! latency` times single commits on their way to the sink, `scripts/bench memory` looks at how much
//! a consumer holds, `scripts/bench apply` has it applied to a second server, beside PostgreSQL's
//! own subscription. Every consumer is a process of its own, so that its CPU time and memory are
//! its own; this program starts them, and is one of them (`consume`). See `benches/README.md`.

#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on fails where it stands")]

#[path = "../../tests/support/mod.rs"]
mod support;

mod apply;
mod consumer;
mod distance;
mod drain;
mod figures;
mod latency;
mod measured;
mod memory;
mod workload;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(bin_name = "scripts/bench", about = "Measure walcast beside pg_recvlogical")]
struct Arguments {
    #[command(subcommand)]
    what: What,
    /// Cargo says so.
    #[arg(long, global = true, hide = true)]
    bench: bool,
}

#[derive(Subcommand)]
enum What {
    /// Empty a backlog with each consumer in turn.
    Drain(drain::Options),
    /// Time single commits on their way to the sink.
    Latency(latency::Options),
    /// Apply a backlog to a second server, with walcast and with PostgreSQL's own subscription.
    Apply(apply::Options),
    /// See how much memory a consumer takes, also while its sink blocks.
    Memory(memory::Options),
    /// Be a consumer.
    #[command(hide = true)]
    Consume(consumer::Options),
}

fn main() {
    match Arguments::parse().what {
        What::Drain(options) => drain::run(&options),
        What::Latency(options) => latency::run(&options),
        What::Apply(options) => apply::run(&options),
        What::Memory(options) => memory::run(&options),
        What::Consume(options) => consumer::run(options),
    }
}

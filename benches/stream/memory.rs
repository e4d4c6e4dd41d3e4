//! Resident memory at its most, with a backlog behind the slot and a sink that may block.
//!
//! What a pipeline is told to hold (`memory`) is what its batches weigh; the rest is the program,
//! its threads and what the allocator keeps. The sum has a limit.

use super::consumer::{self, MEMORY_BYTES, Through};
use super::figures::print_table;
use super::measured;
use super::workload::{Backlog, Link, Workload, drop_slot};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The size of the loads; 1 is what the figures in benches/README.md are given for.
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// How long a sink blocks, in seconds.
    #[arg(long, default_value_t = 60)]
    block: u64,
}

/// What may come on top of `memory`.
const ALLOWANCE_BYTES: usize = 32 * 1024 * 1024;

const CONSUMERS: &[(&str, Through, bool)] = &[
    ("null", Through::Null, false),
    ("null, blocked", Through::Null, true),
    ("file", Through::File, false),
    ("file, blocked", Through::File, true),
    ("file and 3 null", Through::Fan, false),
    ("file and 3 null, one blocked", Through::Fan, true),
];

pub(crate) fn run(options: &Options) {
    const SLOT: &str = "held";
    let mut rows = Vec::new();
    for workload in [Workload::W1, Workload::W3] {
        eprintln!("{workload:?}: loading");
        let backlog = Backlog::make(workload, options.scale, Link::Tcp);
        for (name, through, blocks) in CONSUMERS {
            for text in [true, false] {
                backlog.copy_slot(SLOT);
                let directory = tempfile::tempdir().unwrap();
                let job = consumer::Options {
                    url: backlog.primary.url(),
                    slot: SLOT.into(),
                    through: *through,
                    until: Some(backlog.until.parse().unwrap()),
                    text,
                    eager: false,
                    streaming: false,
                    block: blocks.then_some(options.block),
                    target: None,
                    linger_ms: 5,
                    directory: directory.path().to_owned(),
                };
                let cost = measured::run(job.command(), || None);
                drop_slot(&backlog.primary, SLOT);
                let limit = (MEMORY_BYTES + ALLOWANCE_BYTES) as f64;
                let format = if text { "text" } else { "binary" };
                let row = vec![
                    format!("{workload:?} {name}, {format}"),
                    format!("{:.1}", cost.seconds),
                    format!("{:.1}", cost.peak_bytes as f64 / 1e6),
                    format!("{:.2}", cost.peak_bytes as f64 / limit),
                ];
                eprintln!("{}: peak {} MB", row[0], row[2]);
                rows.push(row);
            }
        }
    }
    println!("\nmemory = {} MiB\n", MEMORY_BYTES >> 20);
    print_table(&["consumer", "s", "peak MB", "of memory + 32 MiB"], &rows);
}

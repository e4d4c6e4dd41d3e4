//! One backlog, drained by each consumer in turn, round after round.

use std::path::Path;

use super::consumer::{self, Into, Seen};
use super::figures::{median, print_table};
use super::measured::{self, Cost};
use super::workload::{
    Backlog, Link, PUBLICATION, Workload, drop_slot, pg_recvlogical, walsender_of,
};
use crate::support::Primary;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How often each consumer drains the backlog; the table shows medians.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// The size of the loads; 1 is what the figures in benches/README.md are given for.
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Which loads; all by default.
    #[arg(long, value_enum, value_delimiter = ',')]
    workloads: Vec<Workload>,
    /// Only consumers whose name contains one of these, and those they are compared with.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
}

/// One way to drain a slot.
struct Consumer {
    name: &'static str,
    /// Whom its rate is set against.
    against: &'static str,
    how: How,
}

#[derive(Clone, Copy)]
enum How {
    Recvlogical { link: Link, binary: bool },
    Walcast { link: Link, binary: bool, into: Into, eager: bool },
}

const fn recv(name: &'static str, link: Link, binary: bool) -> Consumer {
    let against = match link {
        Link::Tcp => "pg_recvlogical text",
        Link::Unix => "pg_recvlogical text, unix",
    };
    Consumer { name, against, how: How::Recvlogical { link, binary } }
}

const fn walcast(name: &'static str, against: &'static str, binary: bool, into: Into) -> Consumer {
    Consumer { name, against, how: How::Walcast { link: Link::Tcp, binary, into, eager: false } }
}

const fn eager(name: &'static str, against: &'static str, link: Link, binary: bool) -> Consumer {
    let eager = matches!(link, Link::Tcp);
    Consumer { name, against, how: How::Walcast { link, binary, into: Into::Null, eager } }
}

/// Binary is set against `pg_recvlogical` in text, which is what it does by default.
const CONSUMERS: &[Consumer] = &[
    recv("pg_recvlogical text", Link::Tcp, false),
    walcast("null text", "pg_recvlogical text", false, Into::Null),
    walcast("null binary", "pg_recvlogical text", true, Into::Null),
    walcast("JSON file, binary", "null binary", true, Into::Lines),
    walcast("JSON file, text", "null text", false, Into::Lines),
    recv("pg_recvlogical binary", Link::Tcp, true),
    eager("null text, eager", "pg_recvlogical text", Link::Tcp, false),
    recv("pg_recvlogical text, unix", Link::Unix, false),
    eager("null text, unix", "pg_recvlogical text, unix", Link::Unix, false),
    eager("null binary, unix", "pg_recvlogical text, unix", Link::Unix, true),
];

pub(crate) fn run(options: &Options) {
    let all = [Workload::W1, Workload::W2, Workload::W3];
    let workloads = if options.workloads.is_empty() { &all[..] } else { &options.workloads };
    for &workload in workloads {
        eprintln!("{workload:?}: loading");
        let backlog = Backlog::make(workload, options.scale);
        let consumers = chosen(options, workload);
        let mut costs: Vec<Vec<Cost>> = consumers.iter().map(|_| Vec::new()).collect();
        for round in 0..options.rounds {
            for turn in 0..consumers.len() {
                // Each round begins with another one.
                let at = (turn + round) % consumers.len();
                let cost = drain(&backlog, consumers[at]);
                eprintln!(
                    "{workload:?} {}/{} {}: {:.2} s, CPU {:.2} s, walsender {:.2} s",
                    round + 1,
                    options.rounds,
                    consumers[at].name,
                    cost.seconds,
                    cost.cpu_seconds,
                    cost.walsender_cpu_seconds
                );
                costs[at].push(cost);
            }
        }
        report(workload, &backlog, &consumers, &costs);
    }
}

fn chosen(options: &Options, workload: Workload) -> Vec<&'static Consumer> {
    let wanted = |name: &str| {
        options.only.is_empty() || options.only.iter().any(|part| name.contains(part.as_str()))
    };
    let by_name: Vec<&Consumer> =
        CONSUMERS.iter().filter(|consumer| wanted(consumer.name)).collect();
    let needed = |consumer: &&Consumer| {
        by_name.iter().any(|chosen| chosen.name == consumer.name || chosen.against == consumer.name)
    };
    // What a link adds, one load shows.
    let whole = |consumer: &&Consumer| {
        workload == Workload::W1 || !options.only.is_empty() || !consumer.name.contains("unix")
    };
    CONSUMERS.iter().filter(needed).filter(whole).collect()
}

fn drain(backlog: &Backlog, consumer: &Consumer) -> Cost {
    const SLOT: &str = "drained";
    let primary = &backlog.primary;
    backlog.copy_slot(SLOT);
    let lines = std::env::temp_dir().join(format!("walcast-bench-{}.jsonl", std::process::id()));
    let command = match consumer.how {
        How::Recvlogical { link, binary } => {
            let null = Path::new("/dev/null");
            let mut command = pg_recvlogical(primary, SLOT, link, null, Some(&backlog.until));
            command.args(binary.then_some(["-o", "binary=true"]).into_iter().flatten());
            command
        }
        How::Walcast { link, binary, into, eager } => consumer::Options {
            url: url(primary, link),
            slot: SLOT.into(),
            into,
            until: Some(backlog.until.parse().unwrap()),
            text: !binary,
            eager,
            file: (into == Into::Lines).then(|| lines.clone()),
        }
        .command(),
    };
    let cost = measured::run(command, || walsender_of(primary, SLOT));
    drop_slot(primary, SLOT);
    if let How::Walcast { .. } = consumer.how {
        // The marker is one more.
        let seen: Seen = serde_json::from_str(&cost.said).unwrap();
        assert_eq!(seen.rows, backlog.rows + 1, "{}: rows of {PUBLICATION}", consumer.name);
    }
    // Absent where nothing was written.
    let _ = std::fs::remove_file(lines);
    cost
}

fn url(primary: &Primary, link: Link) -> String {
    match link {
        Link::Tcp => primary.url(),
        Link::Unix => primary.socket_url(),
    }
}

fn report(workload: Workload, backlog: &Backlog, consumers: &[&Consumer], costs: &[Vec<Cost>]) {
    let of =
        |at: usize, what: fn(&Cost) -> f64| median(&costs[at].iter().map(what).collect::<Vec<_>>());
    let row = |at: usize| {
        let consumer = consumers[at];
        let seconds = of(at, |cost| cost.seconds);
        let bytes = costs[at].iter().find_map(|cost| {
            serde_json::from_str::<Seen>(&cost.said).ok().map(|seen| seen.bytes as f64 / 1e6)
        });
        let other = consumers.iter().position(|other| other.name == consumer.against);
        let ratio = other.map(|other| {
            let pairs = costs[other].iter().zip(&costs[at]);
            median(&pairs.map(|(other, own)| other.seconds / own.seconds).collect::<Vec<_>>())
        });
        vec![
            consumer.name.to_owned(),
            format!("{seconds:.2}"),
            format!("{:.0}k", backlog.rows as f64 / seconds / 1e3),
            bytes.map_or("-".into(), |bytes| format!("{:.0}", bytes / seconds)),
            format!("{:.2}", of(at, |cost| cost.cpu_seconds)),
            format!("{:.2}", of(at, |cost| cost.walsender_cpu_seconds)),
            format!("{:.0}", of(at, |cost| cost.peak_bytes as f64 / 1e6)),
            ratio.map_or("-".into(), |ratio| format!("{ratio:.2}")),
            consumer.against.to_owned(),
        ]
    };
    println!("\n{workload:?}: {} rows, medians of {} rounds\n", backlog.rows, costs[0].len());
    let heads =
        ["consumer", "s", "rows/s", "MB/s", "CPU s", "walsender s", "peak MB", "rate", "against"];
    print_table(&heads, &(0..consumers.len()).map(row).collect::<Vec<_>>());
    println!();
}

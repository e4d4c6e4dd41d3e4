//! One backlog, drained by each consumer in turn, round after round.

use std::path::Path;

use super::consumer::{self, Seen, Through};
use super::figures::{median, print_table};
use super::measured::{self, Cost};
use super::workload::{Backlog, Link, Workload, drop_slot, pg_recvlogical, walsender_of};
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
    /// Ask the scheduler to prefer what is measured over everything else (needs root): for a
    /// machine that is not idle.
    #[arg(long)]
    favor: bool,
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
    Walcast { link: Link, binary: bool, through: Through, eager: bool },
}

impl How {
    const fn recv(link: Link) -> How {
        How::Recvlogical { link, binary: false }
    }

    const fn walcast(through: Through) -> How {
        How::Walcast { link: Link::Tcp, binary: false, through, eager: false }
    }

    const fn binary(self) -> How {
        match self {
            How::Recvlogical { link, .. } => How::Recvlogical { link, binary: true },
            How::Walcast { link, through, eager, .. } => {
                How::Walcast { link, binary: true, through, eager }
            }
        }
    }
}

const fn consumer(name: &'static str, against: &'static str, how: How) -> Consumer {
    Consumer { name, against, how }
}

const RECV: &str = "pg_recvlogical text";
const RECV_UNIX: &str = "pg_recvlogical text, unix";
const EAGER: How =
    How::Walcast { link: Link::Tcp, binary: false, through: Through::Null, eager: true };
const UNIX: How =
    How::Walcast { link: Link::Unix, binary: false, through: Through::Null, eager: false };

/// Binary is set against `pg_recvlogical` in text, which is what that does by default.
const CONSUMERS: &[Consumer] = &[
    consumer(RECV, RECV, How::recv(Link::Tcp)),
    consumer("null text", RECV, How::walcast(Through::Null)),
    consumer("null binary", RECV, How::walcast(Through::Null).binary()),
    consumer("stream text", RECV, How::walcast(Through::Stream)),
    consumer("stream binary", RECV, How::walcast(Through::Stream).binary()),
    consumer("file binary", "null binary", How::walcast(Through::File).binary()),
    consumer("file text", "null text", How::walcast(Through::File)),
    consumer("file and 3 null binary", "file binary", How::walcast(Through::Fan).binary()),
    consumer("pg_recvlogical binary", RECV, How::recv(Link::Tcp).binary()),
    consumer("null text, eager", RECV, EAGER),
    consumer(RECV_UNIX, RECV_UNIX, How::recv(Link::Unix)),
    consumer("null text, unix", RECV_UNIX, UNIX),
    consumer("null binary, unix", RECV_UNIX, UNIX.binary()),
];

pub(crate) fn run(options: &Options) {
    if options.favor {
        measured::favor(std::process::id());
    }
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
                let cost = drain(&backlog, consumers[at], options.favor);
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

fn drain(backlog: &Backlog, consumer: &Consumer, favor: bool) -> Cost {
    const SLOT: &str = "drained";
    let primary = &backlog.primary;
    backlog.copy_slot(SLOT);
    let directory = tempfile::tempdir().unwrap();
    let command = match consumer.how {
        How::Recvlogical { link, binary } => {
            let null = Path::new("/dev/null");
            let mut command = pg_recvlogical(primary, SLOT, link, null, Some(&backlog.until));
            command.args(binary.then_some(["-o", "binary=true"]).into_iter().flatten());
            command
        }
        How::Walcast { link, binary, through, eager } => consumer::Options {
            url: url(primary, link),
            slot: SLOT.into(),
            through,
            until: Some(backlog.until.parse().unwrap()),
            text: !binary,
            eager,
            directory: directory.path().to_owned(),
        }
        .command(),
    };
    let cost = measured::run(command, || {
        let pid = walsender_of(primary, SLOT);
        pid.filter(|_| favor).into_iter().for_each(measured::favor);
        pid
    });
    drop_slot(primary, SLOT);
    if let Some(seen) = seen(&cost) {
        // The marker is one more.
        assert_eq!(seen.rows, backlog.rows + 1, "{}", consumer.name);
    }
    cost
}

/// What the consumer says that it saw; `pg_recvlogical` says nothing.
fn seen(cost: &Cost) -> Option<Seen> {
    serde_json::from_str(&cost.said).ok()
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
        let bytes =
            costs[at].iter().find_map(|cost| seen(cost).map(|seen| seen.bytes as f64 / 1e6));
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

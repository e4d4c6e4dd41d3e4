//! One backlog, drained by each consumer in turn, round after round.

use std::path::Path;
use std::time::Duration;

use super::consumer::{self, Seen, Through};
use super::distance;
use super::figures::{median, print_table};
use super::measured::{self, Cost};
use super::workload::{Backlog, Link, Workload, drop_slot, pg_recvlogical, walsender_of};

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
    /// Reach the server over a link with this round-trip time, in milliseconds (needs root).
    #[arg(long)]
    round_trip: Option<u32>,
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
struct How {
    link: Link,
    binary: bool,
    /// `None` for `pg_recvlogical`.
    through: Option<Through>,
    eager: bool,
    /// Large transactions come while they are open, by protocol 2.
    streaming: bool,
}

impl How {
    const RECV: How =
        How { link: Link::Tcp, binary: false, through: None, eager: false, streaming: false };

    const fn walcast(through: Through) -> How {
        How { through: Some(through), ..How::RECV }
    }

    const fn binary(self) -> How {
        How { binary: true, ..self }
    }

    const fn eager(self) -> How {
        How { eager: true, ..self }
    }

    const fn streaming(self) -> How {
        How { streaming: true, ..self }
    }

    const fn over(self, link: Link) -> How {
        How { link, ..self }
    }
}

const fn consumer(name: &'static str, against: &'static str, how: How) -> Consumer {
    Consumer { name, against, how }
}

const RECV: &str = "pg_recvlogical text";
const RECV_STREAMING: &str = "pg_recvlogical text, streaming";
const RECV_UNIX: &str = "pg_recvlogical text, unix";
const RECV_FAR: &str = "pg_recvlogical text, far";
const NULL: How = How::walcast(Through::Null);
const FILE: How = How::walcast(Through::File);
const FAN: How = How::walcast(Through::Fan);
const STREAM: How = How::walcast(Through::Stream);
const FAR_BINARY: How = NULL.over(Link::Far).binary();

/// Binary is set against `pg_recvlogical` in text, which is what that does by default.
const CONSUMERS: &[Consumer] = &[
    consumer(RECV, RECV, How::RECV),
    consumer("null text", RECV, NULL),
    consumer("null binary", RECV, NULL.binary()),
    consumer("stream text", RECV, STREAM),
    consumer("stream binary", RECV, STREAM.binary()),
    consumer("file text", "null text", FILE),
    consumer("file binary", "null binary", FILE.binary()),
    consumer("file and 3 null text", "file text", FAN),
    consumer("file and 3 null binary", "file binary", FAN.binary()),
    consumer("pg_recvlogical binary", RECV, How::RECV.binary()),
    consumer("null text, eager", RECV, NULL.eager()),
    consumer(RECV_STREAMING, RECV_STREAMING, How::RECV.streaming()),
    consumer("null text, streaming", RECV_STREAMING, NULL.streaming()),
    consumer("null binary, streaming", RECV_STREAMING, NULL.binary().streaming()),
    consumer(RECV_UNIX, RECV_UNIX, How::RECV.over(Link::Unix)),
    consumer("null text, unix", RECV_UNIX, NULL.over(Link::Unix)),
    consumer("null binary, unix", RECV_UNIX, NULL.over(Link::Unix).binary()),
    consumer("file text, unix", "null text, unix", FILE.over(Link::Unix)),
    consumer("file binary, unix", "null binary, unix", FILE.over(Link::Unix).binary()),
    consumer("file and 3 null binary, unix", "file binary, unix", FAN.over(Link::Unix).binary()),
    consumer("pg_recvlogical binary, unix", RECV_UNIX, How::RECV.over(Link::Unix).binary()),
    consumer(RECV_FAR, "null text, eager, far", How::RECV.over(Link::Far)),
    consumer("null text, eager, far", "null text, eager, far", NULL.over(Link::Far).eager()),
    consumer("null text, far", "null text, eager, far", NULL.over(Link::Far)),
    consumer("null binary, eager, far", "null text, eager, far", FAR_BINARY.eager()),
    consumer("null binary, far", "null binary, eager, far", FAR_BINARY),
];

pub(crate) fn run(options: &Options) {
    if options.favor {
        measured::favor(std::process::id());
    }
    let link = match options.round_trip {
        Some(millis) if !distance::enter(Duration::from_millis(millis.into())) => return,
        Some(_) => Link::Far,
        None => Link::Tcp,
    };
    let all = [Workload::W1, Workload::W2, Workload::W3];
    let workloads = if options.workloads.is_empty() { &all[..] } else { &options.workloads };
    for &workload in workloads {
        eprintln!("{workload:?}: loading");
        let backlog = Backlog::make(workload, options.scale, link);
        let consumers = chosen(options, workload, link);
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

fn chosen(options: &Options, workload: Workload, link: Link) -> Vec<&'static Consumer> {
    let wanted = |name: &str| {
        options.only.is_empty() || options.only.iter().any(|part| name.contains(part.as_str()))
    };
    let by_name: Vec<&Consumer> =
        CONSUMERS.iter().filter(|consumer| wanted(consumer.name)).collect();
    let needed = |consumer: &&Consumer| {
        by_name.iter().any(|chosen| chosen.name == consumer.name || chosen.against == consumer.name)
    };
    // What a Unix socket adds, one load shows; and only one has a transaction to be streamed.
    let all_near = workload == Workload::W1 || !options.only.is_empty();
    let reached = |consumer: &&Consumer| match consumer.how.link {
        _ if consumer.how.streaming && workload != Workload::W3 => false,
        Link::Far => link == Link::Far,
        Link::Unix => link != Link::Far && all_near,
        Link::Tcp => link != Link::Far,
    };
    CONSUMERS.iter().filter(needed).filter(reached).collect()
}

fn drain(backlog: &Backlog, consumer: &Consumer, favor: bool) -> Cost {
    const SLOT: &str = "drained";
    let primary = &backlog.primary;
    backlog.copy_slot(SLOT);
    let directory = tempfile::tempdir().unwrap();
    let How { link, binary, through, eager, streaming } = consumer.how;
    let command = match through {
        None => {
            let null = Path::new("/dev/null");
            let until = Some(backlog.until.as_str());
            let mut command = pg_recvlogical(primary, SLOT, link, null, until, streaming);
            command.args(binary.then_some(["-o", "binary=true"]).into_iter().flatten());
            command
        }
        Some(through) => consumer::Options {
            url: link.url(primary),
            slot: SLOT.into(),
            through,
            until: Some(backlog.until.parse().unwrap()),
            text: !binary,
            eager,
            streaming,
            block: None,
            target: None,
            linger_ms: 5,
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

fn report(workload: Workload, backlog: &Backlog, consumers: &[&Consumer], costs: &[Vec<Cost>]) {
    let of =
        |at: usize, what: fn(&Cost) -> f64| median(&costs[at].iter().map(what).collect::<Vec<_>>());
    let row = |at: usize| {
        let consumer = consumers[at];
        let seconds = of(at, |cost| cost.seconds);
        let other = consumers.iter().position(|other| other.name == consumer.against);
        let ratio = other.map(|other| {
            let pairs = costs[other].iter().zip(&costs[at]);
            median(&pairs.map(|(other, own)| other.seconds / own.seconds).collect::<Vec<_>>())
        });
        vec![
            consumer.name.to_owned(),
            format!("{seconds:.2}"),
            format!("{:.0}k", backlog.rows as f64 / seconds / 1e3),
            format!("{:.0}", backlog.log_bytes as f64 / seconds / 1e6),
            format!("{:.2}", of(at, |cost| cost.cpu_seconds)),
            format!("{:.2}", of(at, |cost| cost.walsender_cpu_seconds)),
            format!("{:.0}", of(at, |cost| cost.peak_bytes as f64 / 1e6)),
            ratio.map_or("-".into(), |ratio| format!("{ratio:.2}")),
            consumer.against.to_owned(),
        ]
    };
    println!(
        "\n{workload:?}: {} rows, {:.0} MB of log, medians of {} rounds\n",
        backlog.rows,
        backlog.log_bytes as f64 / 1e6,
        costs[0].len()
    );
    let heads = [
        "consumer",
        "s",
        "rows/s",
        "log MB/s",
        "CPU s",
        "walsender s",
        "peak MB",
        "rate",
        "against",
    ];
    print_table(&heads, &(0..consumers.len()).map(row).collect::<Vec<_>>());
    println!();
}

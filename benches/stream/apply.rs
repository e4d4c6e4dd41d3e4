//! One backlog, applied to a second server by PostgreSQL's own subscription and by walcast in turn,
//! into databases that are copies of one.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio_postgres::Client;

use super::consumer::{self, Through};
use super::figures::{median, print_table};
use super::measured::{self, Stat};
use super::workload::{Backlog, Link, PUBLICATION, W1, Workload, drop_slot, primary, walsender_of};
use crate::support::{Primary, Tether, pgbench_tables};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How often each applier applies the backlog; the table shows medians.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// The size of the loads; 1 is what the figures in benches/README.md are given for.
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Which loads; W1 and W2 by default.
    #[arg(long, value_enum, value_delimiter = ',')]
    workloads: Vec<Workload>,
    /// How long walcast's lane delays a flush, in milliseconds.
    #[arg(long, default_value_t = 50)]
    linger_ms: u64,
    /// Ask the scheduler to prefer what is measured over everything else (needs root).
    #[arg(long)]
    favor: bool,
}

const SLOT: &str = "applied";
const DATABASE: &str = "applied";
/// How often to look whether the end is there.
const LOOK: Duration = Duration::from_millis(5);

#[derive(Debug, Clone, Copy)]
struct Applier {
    name: &'static str,
    by: By,
    binary: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Subscription,
    Walcast,
}

const APPLIERS: &[Applier] = &[
    Applier { name: "subscription text", by: By::Subscription, binary: false },
    Applier { name: "subscription binary", by: By::Subscription, binary: true },
    Applier { name: "walcast text", by: By::Walcast, binary: false },
    Applier { name: "walcast binary", by: By::Walcast, binary: true },
];

/// What one application took: seconds, and CPU seconds by who used them.
#[derive(Debug, Clone, Default)]
struct Cost {
    seconds: f64,
    cpu: BTreeMap<&'static str, f64>,
}

pub(crate) fn run(options: &Options) {
    if options.favor {
        measured::favor(std::process::id());
    }
    let workloads = match options.workloads.as_slice() {
        [] => &[Workload::W1, Workload::W2][..],
        given => given,
    };
    for &workload in workloads {
        eprintln!("{workload:?}: loading");
        let target = target(workload);
        let backlog = Backlog::make(workload, options.scale, Link::Tcp);
        let mut costs = vec![Vec::new(); APPLIERS.len()];
        for round in 0..options.rounds {
            for turn in 0..APPLIERS.len() {
                // Each round begins with another one.
                let at = (turn + round) % APPLIERS.len();
                let cost = apply(&backlog, &target, APPLIERS[at], options);
                let Cost { seconds, cpu } = &cost;
                let name = APPLIERS[at].name;
                eprintln!(
                    "{workload:?} {}/{} {name}: {seconds:.2} s, CPU {cpu:.2?}",
                    round + 1,
                    options.rounds
                );
                costs[at].push(cost);
            }
        }
        report(workload, &backlog, &costs);
    }
}

/// A server with the tables as they are before the load.
fn target(workload: Workload) -> Primary {
    let target = primary(Link::Tcp);
    match workload {
        Workload::W1 | Workload::W3 => target.sql(W1),
        Workload::W2 => pgbench_tables(&target, 10),
    }
    target.sql("vacuum analyze");
    target
}

fn apply(backlog: &Backlog, target: &Primary, applier: Applier, options: &Options) -> Cost {
    let source = &backlog.primary;
    backlog.copy_slot(SLOT);
    target.sql(&format!("create database {DATABASE} template postgres"));
    target.sql("checkpoint");
    let runtime = Runtime::new().unwrap();
    let client = runtime.block_on(target.client_for(DATABASE));
    let directory = tempfile::tempdir().unwrap();
    let start = Instant::now();
    let to = To {
        url: target.url_for("postgres", "", DATABASE),
        runtime: &runtime,
        client: &client,
        linger_ms: options.linger_ms,
        directory: directory.path(),
    };
    let child = begin(source, &backlog.until, applier, &to);
    let mut cost = Cost::default();
    let pid = child.as_ref().map(|(child, _)| child.id());
    let servers = runtime.block_on(pids(&client));
    let mut watched = Watched { walcast: pid, target: servers, source: None };
    while !runtime.block_on(is_complete(&client)) {
        if watched.target.is_empty() {
            watched.target = runtime.block_on(pids(&client));
        }
        watched.source = watched.source.or_else(|| walsender_of(source, SLOT));
        watched.look(&mut cost);
        std::thread::sleep(LOOK);
    }
    watched.look(&mut cost);
    cost.seconds = start.elapsed().as_secs_f64();
    match child {
        Some((mut child, tether)) => {
            tether.release();
            assert!(child.wait().unwrap().success());
        }
        None => {
            let end =
                "alter subscription bench disable; alter subscription bench set (slot_name = none);
                drop subscription bench";
            // Each statement by itself: the last one cannot be in a transaction with others.
            for statement in end.split(';') {
                runtime.block_on(client.batch_execute(statement)).unwrap();
            }
        }
    }
    runtime.block_on(assert_same(source, &client));
    drop(client);
    drop(runtime);
    drop_slot(source, SLOT);
    target.sql(&format!("drop database {DATABASE} with (force)"));
    cost
}

/// Where changes go, and with what.
struct To<'a> {
    url: String,
    runtime: &'a Runtime,
    client: &'a Client,
    linger_ms: u64,
    directory: &'a Path,
}

/// Has the applier begin; walcast's process, if it is that.
fn begin(source: &Primary, until: &str, applier: Applier, to: &To<'_>) -> Option<(Child, Tether)> {
    match applier.by {
        By::Subscription => {
            let create = format!(
                "create subscription bench connection 'host=127.0.0.1 port={} user=postgres
                    dbname=postgres' publication {PUBLICATION} with (create_slot = false,
                    slot_name = '{SLOT}', copy_data = false, binary = {})",
                source.port(),
                applier.binary
            );
            to.runtime.block_on(to.client.batch_execute(&create)).unwrap();
            None
        }
        By::Walcast => {
            let command = consumer::Options {
                url: source.url(),
                slot: SLOT.into(),
                through: Through::Postgres,
                until: Some(until.parse().unwrap()),
                text: !applier.binary,
                eager: false,
                streaming: false,
                block: None,
                target: Some(to.url.clone()),
                linger_ms: to.linger_ms,
                directory: to.directory.to_owned(),
            };
            let child = command.command().stdout(Stdio::null()).spawn().unwrap();
            let pid = OsString::from(child.id().to_string());
            let tether = Tether::new("kill -KILL \"$1\"", &[&pid]);
            Some((child, tether))
        }
    }
}

/// Processes whose CPU time is looked at.
struct Watched {
    walcast: Option<u32>,
    target: Vec<u32>,
    source: Option<u32>,
}

impl Watched {
    fn look(&self, cost: &mut Cost) {
        let seconds = |pids: &[u32]| -> f64 {
            pids.iter().filter_map(|pid| Stat::of(*pid)).map(|stat| stat.cpu_seconds).sum()
        };
        let (walcast, source) = (self.walcast.as_slice(), self.source.as_slice());
        for (who, pids) in [("walcast", walcast), ("target", &self.target), ("walsender", source)] {
            let now = cost.cpu.entry(who).or_default();
            *now = now.max(seconds(pids));
        }
    }
}

/// The processes of the target that apply.
async fn pids(client: &Client) -> Vec<u32> {
    let query = "select pid from pg_stat_activity where datname = current_database()
        and (application_name = 'walcast' or backend_type like 'logical replication %worker')";
    let rows = client.query(query, &[]).await.unwrap();
    rows.iter().map(|row| row.get::<_, i32>(0).cast_unsigned()).collect()
}

async fn is_complete(client: &Client) -> bool {
    let query = "select exists (select from bench_marker)";
    client.query_one(query, &[]).await.unwrap().get(0)
}

/// Every table has the same rows.
async fn assert_same(source: &Primary, target: &Client) {
    let tables =
        "select string_agg(format('%I.%I', schemaname, relname), ' ') from pg_stat_user_tables
        where schemaname = 'public'";
    for table in source.query_one_text(tables).unwrap().split(' ') {
        let sum =
            format!("select count(*) || ' ' || coalesce(sum(hashtext(t::text)), 0) from {table} t");
        let there: String = target.query_one(&sum, &[]).await.unwrap().get(0);
        assert_eq!(source.query_one_text(&sum).unwrap(), there, "{table}");
    }
}

fn report(workload: Workload, backlog: &Backlog, costs: &[Vec<Cost>]) {
    let of = |at: usize, what: &dyn Fn(&Cost) -> f64| {
        median(&costs[at].iter().map(what).collect::<Vec<_>>())
    };
    let cpu = |who: &'static str| move |cost: &Cost| cost.cpu.get(who).copied().unwrap_or_default();
    let row = |at: usize| {
        let applier = APPLIERS[at];
        let own = of(at, &|cost| cost.seconds);
        let against = APPLIERS
            .iter()
            .position(|it| it.by == By::Subscription && it.binary == applier.binary)
            .unwrap_or(at);
        let pairs = costs[against].iter().zip(&costs[at]);
        let ratio =
            median(&pairs.map(|(other, own)| other.seconds / own.seconds).collect::<Vec<_>>());
        vec![
            applier.name.to_owned(),
            format!("{own:.2}"),
            format!("{:.0}k", backlog.rows as f64 / own / 1e3),
            format!("{:.2}", of(at, &cpu("walsender"))),
            format!("{:.2}", of(at, &cpu("walcast"))),
            format!("{:.2}", of(at, &cpu("target"))),
            format!("{ratio:.2}"),
        ]
    };
    println!("\n{workload:?}: {} rows, medians of {} rounds\n", backlog.rows, costs[0].len());
    let heads =
        ["applier", "s", "rows/s", "walsender CPU s", "walcast CPU s", "target CPU s", "rate"];
    print_table(&heads, &(0..APPLIERS.len()).map(row).collect::<Vec<_>>());
    println!();
}

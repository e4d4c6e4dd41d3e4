//! From the commit to the sink: single rows that carry the clock of whoever inserts them.
//!
//! The inserting client puts its clock into a row just before it sends the INSERT; the consumer
//! looks at its own when the row arrives. `pg_recvlogical` writes to a pipe, and the clock is read
//! at the pipe's other end.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::consumer::{self, Seen, Through, clock_text, clocks_in, micros_now};
use super::figures::{print_table, quantile};
use super::workload::{self, Link, PUBLICATION, drop_slot, end_with_marker, pg_recvlogical};
use crate::support::Primary;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How often each consumer is timed; the figures are of all its rounds together.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long each time.
    #[arg(long, default_value_t = 20.0)]
    seconds: f64,
    /// Single-row commits per second.
    #[arg(long, default_value_t = 200.0)]
    rate: f64,
    /// Rows of backlog in the runs that drain one first.
    #[arg(long, default_value_t = 200_000)]
    backlog: u64,
}

const TABLES: &str = "create table tick(id bigserial primary key, sent text not null);
    create table load(id bigint primary key, pad text not null)";

struct Consumer {
    name: &'static str,
    /// Whom it is set against.
    against: usize,
    /// `None` for `pg_recvlogical`.
    through: Option<Through>,
    /// Whether a backlog is drained first.
    after_backlog: bool,
}

const fn consumer(
    name: &'static str,
    against: usize,
    through: Option<Through>,
    after_backlog: bool,
) -> Consumer {
    Consumer { name, against, through, after_backlog }
}

const CONSUMERS: &[Consumer] = &[
    consumer("pg_recvlogical", 0, None, false),
    consumer("stream", 0, Some(Through::Stream), false),
    consumer("pipeline, null", 0, Some(Through::Null), false),
    consumer("pg_recvlogical, after a backlog", 3, None, true),
    consumer("stream, after a backlog", 3, Some(Through::Stream), true),
    consumer("pipeline, null, after a backlog", 3, Some(Through::Null), true),
];

pub(crate) fn run(options: &Options) {
    let primary = workload::primary(Link::Tcp);
    primary.sql(TABLES);
    primary.sql(&format!("create publication {PUBLICATION} for all tables"));
    let mut micros: Vec<Vec<f64>> = CONSUMERS.iter().map(|_| Vec::new()).collect();
    for round in 0..options.rounds {
        for turn in 0..CONSUMERS.len() {
            let at = (turn + round) % CONSUMERS.len();
            let times = time(&primary, &CONSUMERS[at], options);
            eprintln!(
                "{}/{} {}: p50 {:.0} µs, p99 {:.0} µs of {}",
                round + 1,
                options.rounds,
                CONSUMERS[at].name,
                quantile(&times, 0.5),
                quantile(&times, 0.99),
                times.len()
            );
            micros[at].extend(times);
        }
    }
    let row = |at: usize| {
        let (own, other) = (&micros[at], &micros[CONSUMERS[at].against]);
        let of = |times: &[f64], share| quantile(times, share) / 1e3;
        vec![
            CONSUMERS[at].name.to_owned(),
            own.len().to_string(),
            format!("{:.3}", of(own, 0.5)),
            format!("{:.3}", of(own, 0.99)),
            format!("{:.2}", of(own, 0.5) / of(other, 0.5)),
            format!("{:.2}", of(own, 0.99) / of(other, 0.99)),
            CONSUMERS[CONSUMERS[at].against].name.to_owned(),
        ]
    };
    println!(
        "\n{:.0} commits/s, {} rounds of {} s\n",
        options.rate, options.rounds, options.seconds
    );
    let heads = ["consumer", "commits", "p50 ms", "p99 ms", "p50 ratio", "p99 ratio", "against"];
    print_table(&heads, &(0..CONSUMERS.len()).map(row).collect::<Vec<_>>());
}

fn time(primary: &Primary, consumer: &Consumer, options: &Options) -> Vec<f64> {
    const SLOT: &str = "timed";
    primary.sql(&format!("select pg_create_logical_replication_slot('{SLOT}', 'pgoutput')"));
    if consumer.after_backlog {
        let rows = options.backlog;
        primary.sql(&format!(
            "truncate load; insert into load
             select g, repeat(md5(g::text), 6) from generate_series(1, {rows}) g"
        ));
    }
    let until = end_with_marker(primary);
    let directory = tempfile::tempdir().unwrap();
    let times = if let Some(through) = consumer.through {
        let job = consumer::Options {
            url: primary.url(),
            slot: SLOT.into(),
            through,
            until: None,
            text: true,
            eager: false,
            streaming: false,
            block: None,
            target: None,
            linger_ms: 5,
            directory: directory.path().to_owned(),
        };
        let mut child = Killed(job.command().stdout(Stdio::piped()).spawn().unwrap());
        commit_clocks(primary, SLOT, &until, options);
        let mut said = String::new();
        child.0.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(child.0.wait().unwrap().success(), "the consumer failed");
        serde_json::from_str::<Seen>(&said).unwrap().micros
    } else {
        let pipe = Path::new("-");
        let mut command = pg_recvlogical(primary, SLOT, Link::Tcp, pipe, None, false);
        let mut child = Killed(command.stdout(Stdio::piped()).spawn().unwrap());
        let stdout = child.0.stdout.take().unwrap();
        let reader = std::thread::spawn(move || read_pipe(stdout));
        commit_clocks(primary, SLOT, &until, options);
        reader.join().unwrap()
    };
    drop_slot(primary, SLOT);
    times.into_iter().map(|micros| micros as f64).collect()
}

/// A child that does not outlive its use.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // An error means that it ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The age of each clock that comes out of `pipe`, until one says that it is the last.
fn read_pipe(mut pipe: impl Read) -> Vec<u64> {
    let mut micros = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let length = pipe.read(&mut buffer).unwrap();
        assert!(length > 0, "pg_recvlogical ended");
        let now = micros_now();
        // A row is written whole and rows with a clock are few: none lies across two reads.
        for sent in clocks_in(&buffer[..length]) {
            if sent == 0 {
                return micros;
            }
            micros.push(now.saturating_sub(sent));
        }
    }
}

/// Waits until the backlog is sent, then commits clocks at the given rate, and a last one.
fn commit_clocks(primary: &Primary, slot: &str, until: &str, options: &Options) {
    let sent = format!(
        "select exists(select from pg_stat_replication join pg_replication_slots on pid = active_pid
         where slot_name = '{slot}' and sent_lsn >= '{until}')"
    );
    primary.wait_for_sql_blocking(&sent, Duration::from_secs(120));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = runtime.block_on(primary.client());
    runtime.block_on(client.batch_execute("set synchronous_commit = on")).unwrap();
    let statement = runtime.block_on(client.prepare("insert into tick(sent) values ($1)")).unwrap();
    let start = Instant::now();
    let count = (options.seconds * options.rate) as u32;
    for number in 0..count {
        let at = start + Duration::from_secs_f64(f64::from(number) / options.rate);
        std::thread::sleep(at.saturating_duration_since(Instant::now()));
        let clock = clock_text(micros_now());
        runtime.block_on(client.execute(&statement, &[&clock])).unwrap();
    }
    runtime.block_on(client.execute(&statement, &[&clock_text(0)])).unwrap();
}

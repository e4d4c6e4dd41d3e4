//! The loads that are drained: a primary set up for speed, a slot, changes behind it.
//!
//! - **W1**: 1.4 M rows of eight columns in 5,000 transactions: a million inserts by 1,000,
//!   300,000 updates and 100,000 deletes by 100.
//! - **W2**: pgbench: 100,000 transactions of four rows.
//! - **W3**: a million inserts in one transaction.
//!
//! A slot is taken before the load; each run drains a copy of it. A marker transaction after the
//! load keeps the last row from waiting for a keepalive.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::distance::FAR;
use crate::support::{Load, Primary, pgbench_tables};

pub(crate) const W1: &str = include_str!("../workloads/w1.sql");

/// The publication of all tables.
pub(crate) const PUBLICATION: &str = "bench";

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Workload {
    W1,
    W2,
    W3,
}

/// A primary with a load behind a slot.
pub(crate) struct Backlog {
    pub(crate) primary: Primary,
    /// Everything of the load lies before this, the marker after it.
    pub(crate) until: String,
    pub(crate) rows: u64,
    /// Of log, from the slot to `until`.
    pub(crate) log_bytes: u64,
}

/// The server that every figure is taken on. Nothing waits for a disk.
pub(crate) fn primary(link: Link) -> Primary {
    let settings = [
        ("shared_buffers", "2GB"),
        ("logical_decoding_work_mem", "64MB"),
        ("max_wal_size", "64GB"),
        ("checkpoint_timeout", "1h"),
        ("timezone", "UTC"),
        ("log_replication_commands", "off"),
        ("wal_sender_timeout", "60s"),
    ];
    let builder = match link {
        Link::Tcp | Link::Unix => Primary::builder(),
        Link::Far => Primary::builder()
            .setting("listen_addresses", "*")
            .hba("local all,replication all trust")
            .hba(&format!("host all,replication all {FAR}/32 trust")),
    };
    let built =
        settings.iter().fold(builder, |builder, (name, value)| builder.setting(name, value));
    let primary = built.start();
    primary.sql("create table bench_marker(id bigserial primary key, note text)");
    primary
}

impl Backlog {
    /// Makes `scale` times the load, on a server that is reached over `link`; 1 is what the figures
    /// are given for.
    pub(crate) fn make(workload: Workload, scale: f64, link: Link) -> Backlog {
        let primary = primary(link);
        let times = |count: u64| ((count as f64 * scale) as u64).max(1);
        match workload {
            Workload::W1 | Workload::W3 => primary.sql(W1),
            Workload::W2 => pgbench_tables(&primary, 10),
        }
        primary.sql(&format!("create publication {PUBLICATION} for all tables"));
        primary.sql("select pg_create_logical_replication_slot('base', 'pgoutput')");
        let rows = match workload {
            Workload::W1 => {
                let (inserts, updates, deletes) =
                    (times(1_000_000), times(300_000), times(100_000));
                call(&primary, &format!("gen_ins({inserts}, 1000)"));
                call(&primary, &format!("gen_upd({updates}, 100)"));
                call(&primary, &format!("gen_del({deletes}, 100, {})", times(500_000)));
                inserts + updates + deletes
            }
            Workload::W2 => {
                let each = u32::try_from(times(25_000)).unwrap();
                let load = Load::on(&primary).clients(4).transactions(each).start();
                load.wait(Duration::from_secs(1800)) * 4
            }
            Workload::W3 => {
                let inserts = times(1_000_000);
                call(&primary, &format!("gen_ins({inserts}, {inserts})"));
                inserts
            }
        };
        let until = end_with_marker(&primary);
        let log = format!(
            "select '{until}' - confirmed_flush_lsn from pg_replication_slots
             where slot_name = 'base'"
        );
        let log_bytes = primary.query_one_text(&log).unwrap().parse().unwrap();
        Backlog { primary, until, rows, log_bytes }
    }

    /// A copy of the slot from before the load.
    pub(crate) fn copy_slot(&self, name: &str) {
        self.primary.sql(&format!("select pg_copy_logical_replication_slot('base', '{name}')"));
    }
}

fn call(primary: &Primary, procedure: &str) {
    primary.sql("alter role postgres set synchronous_commit = off");
    primary.sql(&format!("call {procedure}"));
    primary.sql("alter role postgres reset synchronous_commit");
}

/// Writes the marker, flushed; answers where the log ended before it.
pub(crate) fn end_with_marker(primary: &Primary) -> String {
    let until = primary.query_one_text("select pg_current_wal_insert_lsn()").unwrap();
    primary.sql("insert into bench_marker(note) values ('the end')");
    until
}

/// Which process serves a slot now.
pub(crate) fn walsender_of(primary: &Primary, slot: &str) -> Option<u32> {
    let query = format!(
        "select active_pid from pg_replication_slots where slot_name = '{slot}' and active"
    );
    primary.query_one_text(&query).and_then(|pid| pid.parse().ok())
}

/// Drops a slot as soon as its last user is gone.
pub(crate) fn drop_slot(primary: &Primary, slot: &str) {
    let idle = format!("select not active from pg_replication_slots where slot_name = '{slot}'");
    primary.wait_for_sql_blocking(&idle, Duration::from_secs(30));
    primary.sql(&format!("select pg_drop_replication_slot('{slot}')"));
}

/// How a consumer reaches the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    Tcp,
    Unix,
    /// TCP over a [`distance`](super::distance).
    Far,
}

impl Link {
    pub(crate) fn url(self, primary: &Primary) -> String {
        match self {
            Link::Tcp => primary.url(),
            Link::Unix => primary.socket_url(),
            Link::Far => format!("postgres://postgres@{FAR}:{}/postgres", primary.port()),
        }
    }
}

/// `pg_recvlogical` on `slot`, writing to `file`; `until` is where it ends. With `streaming` it
/// takes large transactions while they are open.
pub(crate) fn pg_recvlogical(
    primary: &Primary,
    slot: &str,
    link: Link,
    file: &Path,
    until: Option<&str>,
    streaming: bool,
) -> Command {
    let owner = primary.owner();
    let mut command = primary.server().command("pg_recvlogical", primary.root(), owner, "recv");
    let host = match link {
        Link::Tcp => "127.0.0.1".to_owned(),
        Link::Unix => primary.socket_dir().display().to_string(),
        Link::Far => FAR.to_string(),
    };
    command.args(["--host", &host, "--port", &primary.port().to_string()]);
    command.args(["--username", "postgres", "--dbname", "postgres", "--slot", slot]);
    command.args(["--start", "--no-loop", "--file"]).arg(file).current_dir("/");
    command.args(["-o", &format!("publication_names={PUBLICATION}")]);
    let version = if streaming { "proto_version=2" } else { "proto_version=1" };
    command.args(["-o", version]);
    command.args(streaming.then_some(["-o", "streaming=on"]).into_iter().flatten());
    if let Some(until) = until {
        command.args(["--endpos", until]);
    }
    command
}

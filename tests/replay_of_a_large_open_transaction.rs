//! A transaction far larger than the memory, streamed while it is open: others are delivered
//! meanwhile, memory stays bounded, and SIGKILL at any moment loses and doubles nothing.

use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::Duration;

use crate::support::{Desk, Primary, Running, count, eventually, full};

const SOON: Duration = Duration::from_secs(30);
/// Enough for the largest transaction at full counts.
const LONG: Duration = Duration::from_secs(900);
/// The most resident memory.
const MEMORY_MAX: u64 = 256 * 1024 * 1024;

/// A server that streams early, and walcast as a program beside it.
struct Stage {
    primary: Primary,
    desk: Desk,
}

impl Stage {
    fn new(pipeline: &str) -> Stage {
        let primary = Primary::builder().setting("logical_decoding_work_mem", "1MB").start();
        primary.sql(
            "create table t(id bigint primary key, note text);
             create publication p for table t",
        );
        let rest = format!("[pipeline]\nstatus_interval = \"1s\"\n{pipeline}");
        let desk = Desk::with_publication(&primary.url(), &rest);
        Stage { primary, desk }
    }

    fn start(&self) -> Running {
        self.desk.start(&self.primary)
    }

    /// The same without a wait: all of it may be there before anyone looks.
    fn start_again(&self) -> Running {
        self.desk.run().start()
    }

    fn size(&self) -> u64 {
        std::fs::metadata(self.desk.path("audit.jsonl")).map_or(0, |file| file.len())
    }

    /// The end of the file, a few lines of it.
    fn tail(&self) -> String {
        let Ok(mut file) = std::fs::File::open(self.desk.path("audit.jsonl")) else {
            return String::new();
        };
        let from = self.size().saturating_sub(2000);
        file.seek(SeekFrom::Start(from)).unwrap();
        let mut tail = Vec::new();
        file.read_to_end(&mut tail).unwrap();
        String::from_utf8(tail).unwrap()
    }

    fn spilled(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.desk.path("walcast-state/spill")).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    fn spilled_bytes(&self) -> u64 {
        let bytes = |path: &PathBuf| std::fs::metadata(path).map_or(0, |file| file.len());
        self.spilled().iter().map(bytes).sum()
    }

    fn wait_until_spilled(&self) {
        eventually("the open transaction is on disk", LONG, || !self.spilled().is_empty());
    }

    /// Bytes of open transactions on disk, as `walcast status` says.
    fn spill_bytes(&self) -> u64 {
        let ended = self.desk.walcast("status", &["--json"]).run(SOON);
        let status: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
        status["spill_bytes"].as_u64().unwrap()
    }

    /// The ids in the order they came; each change has to be the next of its transaction.
    fn ids(&self) -> Vec<u64> {
        let file = std::fs::File::open(self.desk.path("audit.jsonl")).unwrap();
        let (mut ids, mut seq, mut was_last) = (Vec::new(), 0, true);
        for line in BufReader::new(file).lines() {
            let line = line.unwrap();
            seq = if was_last { 1 } else { seq + 1 };
            assert_eq!(number(&line, "\"seq\":"), seq, "{line}");
            was_last = line.contains("\"last\":true");
            ids.push(number(&line, "\"new\":{\"id\":"));
        }
        assert!(was_last, "the file ends inside a transaction");
        ids
    }
}

/// The number after `key`.
#[track_caller]
fn number(line: &str, key: &str) -> u64 {
    let at = line.find(key).unwrap_or_else(|| panic!("no {key} in {line}")) + key.len();
    let digits = line[at..].split(|c: char| !c.is_ascii_digit()).next();
    digits.unwrap().parse().unwrap()
}

fn peak_memory(running: &Running) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", running.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    1024 * line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
}

fn ended(running: Running) {
    running.signal("TERM");
    let ended = running.wait(SOON);
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
}

#[tokio::test]
async fn takes_bounded_memory_and_holds_up_nobody() {
    let stage = Stage::new("");
    let rows = count(5_000_000) as u64;
    let running = stage.start();
    let large = stage.primary.client().await;
    large.batch_execute("begin").await.unwrap();
    let insert =
        format!("insert into t select g, 'row number ' || g from generate_series(1, {rows}) g");
    large.batch_execute(&insert).await.unwrap();
    stage.wait_until_spilled();
    eventually("status tells of it", SOON, || stage.spill_bytes() > 0);
    for small in 0..20 {
        let had = stage.size();
        stage.primary.sql(&format!("insert into t values ({}, 'small')", rows + 1 + small));
        // The first lies behind all of the large one's rows in the log, the others behind nothing.
        let limit = if small == 0 { LONG } else { SOON };
        eventually("the small one, while the large one is open", limit, || stage.size() > had);
    }
    large.batch_execute("commit").await.unwrap();
    stage.primary.sql(&format!("insert into t values ({}, 'end')", rows + 21));
    let now = stage.primary.query_one_text("select pg_current_wal_lsn()").unwrap();
    let confirmed =
        format!("exists (select from pg_replication_slots where confirmed_flush_lsn >= '{now}')");
    stage.primary.wait_for_sql(&confirmed, LONG).await;
    let peak = peak_memory(&running);
    assert!(peak < MEMORY_MAX, "{peak} bytes resident");
    assert_eq!(stage.spilled(), Vec::<PathBuf>::new());
    assert_eq!(stage.spill_bytes(), 0);
    ended(running);
    let expected: Vec<u64> = (rows + 1..=rows + 20).chain(1..=rows).chain([rows + 21]).collect();
    let ids = stage.ids();
    assert!(ids == expected, "{} rows, not {}", ids.len(), expected.len());
    println!("{rows} rows in one transaction, {} MiB resident", peak / 1024 / 1024);
}

#[tokio::test]
async fn survives_sigkill_while_it_is_open_and_while_it_is_delivered() {
    let stage = Stage::new("memory = \"2MiB\"\n");
    // What is read again after each SIGKILL takes minutes at the full count: fewer of them do.
    let gone_rows = 60_000;
    let (rows, cuts_max) = if full() { (5_000_000, 1) } else { (gone_rows, 3) };
    let mut running = stage.start();
    let large = stage.primary.client().await;
    large.batch_execute("begin; savepoint a").await.unwrap();
    let insert = |rows: u64| {
        format!("insert into t select g, repeat('x', 100) from generate_series(1, {rows}) g")
    };
    large.batch_execute(&insert(gone_rows)).await.unwrap();
    for _ in 0..2 {
        stage.wait_until_spilled();
        running.kill();
        assert!(!stage.spilled().is_empty(), "nothing was left to wipe");
        running = stage.start();
    }
    stage.wait_until_spilled();
    let gone = stage.spilled();
    large.batch_execute("rollback to a").await.unwrap();
    let had = stage.spilled_bytes();
    large.batch_execute(&insert(rows)).await.unwrap();
    let half = || stage.spilled_bytes() > had + rows * 70;
    eventually("half of it is on disk", LONG, half);
    running.kill();
    running = stage.start();
    large.batch_execute("commit").await.unwrap();
    // Cut off within the one transaction, while it lasts.
    let is_whole = || stage.tail().contains("\"last\":true");
    let mut cuts = 0;
    while cuts < cuts_max && !is_whole() {
        let had = stage.size() + rows;
        eventually("a part of it is delivered", LONG, || stage.size() > had || is_whole());
        running.kill();
        cuts += usize::from(!is_whole());
        running = stage.start_again();
    }
    assert!(cuts > 0, "it was never cut off");
    eventually("all of it", LONG, is_whole);
    ended(running);
    assert!(stage.ids() == (1..=rows).collect::<Vec<_>>());
    println!("{rows} rows in one transaction, killed {} times", cuts + 3);
    assert!(gone.iter().all(|file| !file.exists()) && stage.spilled().is_empty());
}

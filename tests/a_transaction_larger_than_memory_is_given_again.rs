//! A transaction that does not fit the memory, into several sinks that fail in the middle of it:
//! what was let go of is read again, and each sink has each row once, in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use walcast::event::{Batch, Event};
use walcast::fanout::LaneSettings;
use walcast::pipeline::Membership;
use walcast::sink::{OpenContext, Resume, Sink, SinkError};
use walcast::sinks::file::FileSink;

use crate::support::pipeline::{Place, SOON, caught_up, source, start};
use crate::support::{History, Primary, full};

/// A file that fails now and then.
struct Failing {
    file: FileSink,
    /// Fails as soon as it was given so many changes since the last failure, written or proven in
    /// turn; then forgets this one.
    after: Vec<u64>,
    given: u64,
    failures: Arc<AtomicU64>,
}

impl Failing {
    fn new(place: &Place, name: &str, after: &[u64]) -> (Failing, Arc<AtomicU64>) {
        let failures = Arc::default();
        let file = FileSink::new(place.file(name));
        let after = after.iter().rev().copied().collect();
        (Failing { file, after, given: 0, failures: Arc::clone(&failures) }, failures)
    }

    fn fails(&mut self) -> Result<(), SinkError> {
        if self.after.last().is_some_and(|after| self.given > *after) {
            self.after.pop();
            self.given = 0;
            self.failures.fetch_add(1, Ordering::Relaxed);
            return Err(SinkError::unavailable("it was told to fail"));
        }
        Ok(())
    }
}

impl Sink for Failing {
    async fn open(&mut self, context: &OpenContext) -> Result<Resume, SinkError> {
        self.file.open(context).await
    }

    async fn write(&mut self, batch: Batch) -> Result<(), SinkError> {
        let changes = batch.events().filter(|event| matches!(event, Event::Change(_)));
        self.given += changes.count() as u64;
        let even = self.after.len().is_multiple_of(2);
        if even {
            self.fails()?;
        }
        self.file.write(batch).await
    }

    async fn flush(&mut self) -> Result<(), SinkError> {
        self.fails()?;
        self.file.flush().await
    }

    fn settled(&mut self) -> Option<walcast::Lsn> {
        self.file.settled()
    }

    async fn close(&mut self) -> Result<(), SinkError> {
        self.file.close().await
    }
}

fn rows() -> u64 {
    if full() { 100_000 } else { 20_000 }
}

/// One large transaction between two small ones, into files `a` and `b` that fail after so many
/// changes.
async fn arrives(a: &[u64], b: &[u64]) {
    let (primary, place) = (Primary::start(), Place::new());
    primary.sql("create table t(id int primary key, note text); create publication p for table t");
    let mut settings = LaneSettings { batch_bytes: 256 * 1024, ..LaneSettings::default() };
    settings.retry.first = Duration::from_millis(10);
    let membership = Membership { settings, ..Membership::default() };
    let (sink_a, failures_a) = Failing::new(&place, "a.jsonl", a);
    let (sink_b, failures_b) = Failing::new(&place, "b.jsonl", b);
    let pipeline = place.pipeline(source(&primary.url())).memory(4 * 1024 * 1024);
    let pipeline = pipeline.member("a", sink_a, membership.clone()).unwrap();
    let running = start(pipeline.member("b", sink_b, membership).unwrap());
    running.streams().await;
    let rows = rows();
    primary.sql("insert into t values (0)");
    primary.sql(&format!(
        "insert into t select g, repeat('x', 500) from generate_series(1, {rows}) g"
    ));
    primary.sql(&format!("insert into t values ({rows} + 1)"));
    caught_up(&primary, 3 * SOON).await;
    let memory = running.status().await.memory;
    assert!(memory.inflight_bytes_peak <= memory.limit_bytes, "{memory:?}");
    running.drain().await.unwrap();
    let expected: Vec<i64> = (0..=rows as i64 + 1).collect();
    for (name, failures, wanted) in [("a.jsonl", failures_a, a), ("b.jsonl", failures_b, b)] {
        assert_eq!(failures.load(Ordering::Relaxed), wanted.len() as u64, "failures of {name}");
        let history = History::read(&place.file(name));
        let ids: Vec<i64> =
            history.events().filter_map(|event| event["new"]["id"].as_i64()).collect();
        assert!(ids == expected, "{name}: {} rows, not {}", ids.len(), expected.len());
        assert_eq!(history.transactions.len(), 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_nothing_fails() {
    arrives(&[], &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn to_the_one_that_failed() {
    arrives(&[], &[rows() / 2]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn again_and_again() {
    arrives(&[], &[rows() / 2, rows() / 3, 1, rows() / 2]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn to_all_when_each_fails_at_its_own_time() {
    let rows = rows();
    arrives(&[rows / 3, rows / 2, 10], &[rows / 2, 100, rows / 4]).await;
}

//! A sink that takes nothing for a long time: the server goes on hearing from us, memory stays
//! within the budget, and nothing is lost or doubled when the sink works again.

use std::time::{Duration, Instant};

use tokio::sync::watch;
use walcast::event::Batch;
use walcast::sink::{OpenContext, Resume, Sink, SinkError};
use walcast::sinks::file::FileSink;

use crate::support::pipeline::{Place, SOON, caught_up, source, start};
use crate::support::{History, Primary, eventually_async, full, workload};

/// How it blocks.
#[derive(Clone, Copy)]
enum Block {
    /// As a future that waits.
    Future,
    /// With the executor's thread.
    Thread,
}

/// A file behind a gate.
struct Gated {
    file: FileSink,
    /// Whether it is shut.
    gate: watch::Receiver<bool>,
    block: Block,
}

impl Sink for Gated {
    async fn open(&mut self, context: &OpenContext) -> Result<Resume, SinkError> {
        self.file.open(context).await
    }

    async fn write(&mut self, batch: Batch) -> Result<(), SinkError> {
        match self.block {
            Block::Future => drop(self.gate.wait_for(|shut| !shut).await),
            Block::Thread => {
                // A test that fails drops the gate: what blocks must not outlive it.
                while *self.gate.borrow() && self.gate.has_changed().is_ok() {
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        }
        self.file.write(batch).await
    }

    async fn flush(&mut self) -> Result<(), SinkError> {
        self.file.flush().await
    }

    fn settled(&mut self) -> Option<walcast::Lsn> {
        self.file.settled()
    }

    async fn close(&mut self) -> Result<(), SinkError> {
        self.file.close().await
    }
}

/// The server's patience, and how long the sink blocks.
fn times() -> (&'static str, Duration) {
    if full() { ("5s", Duration::from_secs(60)) } else { ("1s", Duration::from_secs(8)) }
}

const MEMORY: usize = 2 * 1024 * 1024;
const PID: &str = "select active_pid from pg_replication_slots where slot_name = 's'";

fn primary() -> Primary {
    let primary = Primary::builder().setting("wal_sender_timeout", times().0).start();
    workload::tables(&primary);
    primary.sql("create publication p for all tables");
    primary
}

async fn lives_through_a_blocked_sink(block: Block) {
    let (primary, place) = (primary(), Place::new());
    let (gate, gated) = watch::channel(false);
    let sink = Gated { file: FileSink::new(place.file("out.jsonl")), gate: gated, block };
    let pipeline = place.pipeline(source(&primary.url())).memory(MEMORY);
    let running = start(pipeline.sink("out", sink).unwrap());
    running.streams().await;
    let load = workload::start(&primary, 4, 400);
    primary.wait_for_sql("exists (select from txlog offset 20)", SOON).await;
    caught_up(&primary, SOON).await;
    gate.send_replace(true);
    let (pid, shut) = (primary.query_one_text(PID), Instant::now());
    assert!(pid.is_some());
    eventually_async("the sink was blocked long enough", Duration::from_secs(120), async || {
        assert_eq!(primary.query_one_text(PID), pid, "the walsender changed:\n{}", primary.log());
        assert!(running.is_running());
        shut.elapsed() > times().1
    })
    .await;
    load.stop();
    gate.send_replace(false);
    caught_up(&primary, SOON).await;
    assert_eq!(primary.query_one_text(PID), pid, "the walsender changed");
    let status = running.status().await;
    assert_eq!(status.reconnects, 0);
    let memory = status.memory;
    assert!(memory.inflight_bytes_peak > MEMORY / 2, "the sink held nothing up: {memory:?}");
    assert!(memory.inflight_bytes_peak <= MEMORY, "{memory:?}");
    running.drain().await.unwrap();
    let history = History::read(&place.file("out.jsonl"));
    history.assert_matches_log(&primary);
    history.assert_agrees(&primary, workload::NAMES);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_its_future_waits() {
    lives_through_a_blocked_sink(Block::Future).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_it_takes_a_thread() {
    lives_through_a_blocked_sink(Block::Thread).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn and_lets_the_server_stop() {
    let (primary, place) = (primary(), Place::new());
    let (gate, gated) = watch::channel(false);
    let file = FileSink::new(place.file("out.jsonl"));
    let sink = Gated { file, gate: gated, block: Block::Future };
    let running = start(place.pipeline(source(&primary.url())).sink("out", sink).unwrap());
    running.streams().await;
    gate.send_replace(true);
    let load = workload::start(&primary, 4, 400);
    primary.wait_for_sql("exists (select from txlog offset 100)", SOON).await;
    load.stop();
    let took = primary.stop_fast();
    assert!(took < Duration::from_secs(10), "{took:?}");
    primary.start_again();
    gate.send_replace(false);
    caught_up(&primary, SOON).await;
    running.drain().await.unwrap();
    let history = History::read(&place.file("out.jsonl"));
    history.assert_matches_log(&primary);
    history.assert_agrees(&primary, workload::NAMES);
}

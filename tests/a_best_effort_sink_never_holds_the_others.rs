//! A sink that is not required and takes nothing: the others, the slot and the memory do not
//! notice; it leaves out whole transactions, and says so.

use std::time::Duration;

use tokio::sync::watch;
use walcast::event::Batch;
use walcast::pipeline::Membership;
use walcast::sink::{OpenContext, Resume, Sink, SinkError};
use walcast::sinks::file::FileSink;

use crate::support::pipeline::{Place, SOON, caught_up, source, start};
use crate::support::{History, Primary, workload};

struct Gated {
    file: FileSink,
    gate: watch::Receiver<bool>,
}

impl Sink for Gated {
    async fn open(&mut self, context: &OpenContext) -> Result<Resume, SinkError> {
        self.file.open(context).await
    }

    async fn write(&mut self, batch: Batch) -> Result<(), SinkError> {
        drop(self.gate.wait_for(|shut| !shut).await);
        self.file.write(batch).await
    }

    async fn flush(&mut self) -> Result<(), SinkError> {
        self.file.flush().await
    }

    async fn close(&mut self) -> Result<(), SinkError> {
        self.file.close().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_it_blocks_or_afterwards() {
    let (primary, place) = (Primary::start(), Place::new());
    workload::tables(&primary);
    primary.sql("create publication p for all tables");
    let (gate, gated) = watch::channel(false);
    let sink = Gated { file: FileSink::new(place.file("loose.jsonl")), gate: gated };
    let pipeline = place.to_file(source(&primary.url())).memory(1024 * 1024);
    let loose = Membership { required: false, ..Membership::default() };
    let running = start(pipeline.member("loose", sink, loose).unwrap());
    running.streams().await;
    for _ in 0..3 {
        let load = workload::start(&primary, 4, 400);
        let noted = || primary.query_one_text("select count(*) from txlog").unwrap();
        let more = |than: String, by: u32| format!("(select count(*) from txlog) > {than} + {by}");
        primary.wait_for_sql(&more(noted(), 50), SOON).await;
        gate.send_replace(true);
        primary.wait_for_sql(&more(noted(), 500), SOON).await;
        load.stop();
        caught_up(&primary, Duration::from_secs(10)).await;
        gate.send_replace(false);
        let skipped = |at_least: u64| {
            move |status: &walcast::monitor::Status| {
                status
                    .replicas
                    .iter()
                    .any(|sink| sink.name.as_str() == "loose" && sink.skipped_bytes > at_least)
            }
        };
        // It comes back with the next transaction that finds it idle.
        let what = "what was left out is shown";
        let before = running.status().await;
        let before = before.replicas.iter().map(|sink| sink.skipped_bytes).max().unwrap();
        crate::support::eventually_async(what, SOON, async || {
            primary.sql("call work(9)");
            running.monitor.status().await.is_some_and(|status| skipped(before)(&status))
        })
        .await;
    }
    primary.sql("call work(9)");
    caught_up(&primary, SOON).await;
    running.drain().await.unwrap();
    let whole = History::read(&place.file("out.jsonl"));
    whole.assert_matches_log(&primary);
    whole.assert_agrees(&primary, workload::NAMES);
    let loose = History::read(&place.file("loose.jsonl"));
    assert!(loose.transactions.len() < whole.transactions.len(), "nothing was left out");
    let mut all = whole.transactions.iter();
    for transaction in &loose.transactions {
        let same = all.find(|other| other.commit_lsn == transaction.commit_lsn);
        let same = same.expect("every transaction of it is one of the source's, in order");
        assert_eq!(transaction.events, same.events, "whole or not at all");
    }
}

//! A sink that may be left behind and stops: it is, the others and the slot go on, it is said where
//! it stands, and nothing is taken for proven that is not.

use std::time::Duration;

use tokio::sync::watch;
use walcast::checkpoint::Release;
use walcast::monitor::{SinkStatus, Status};
use walcast::pipeline::{Membership, OnLag, PipelineError};
use walcast::{ErrorKind, Lsn, Pipeline};

use crate::support::pipeline::{Place, SOON, caught_up, slot_at, source, start};
use crate::support::{Gate, Gated, History, Primary, workload};

fn primary() -> Primary {
    let primary = Primary::start();
    workload::tables(&primary);
    primary.sql("create publication p for all tables");
    primary
}

/// A member that is left behind after two seconds.
fn may_leave() -> Membership {
    let on_lag = Some(OnLag::Detach { after: Duration::from_secs(2) });
    Membership { on_lag, ..Membership::default() }
}

/// A pipeline into `out`, which blocks, and `bad`, which may be left behind.
fn pipeline(primary: &Primary, place: &Place) -> (Pipeline, watch::Sender<Gate>) {
    let (bad, gate) = Gated::file(&place.file("bad.jsonl"));
    let pipeline = place.to_file(source(&primary.url())).memory(2 * 1024 * 1024);
    (pipeline.member("bad", bad, may_leave()).unwrap(), gate)
}

fn sink<'a>(status: &'a Status, name: &str) -> &'a SinkStatus {
    status.replicas.iter().find(|sink| sink.name.as_str() == name).unwrap()
}

fn is_detached(status: &Status) -> bool {
    sink(status, "bad").state == "detached"
}

#[tokio::test(flavor = "multi_thread")]
async fn while_it_blocks_or_fails_and_after_a_restart() {
    for how in [Gate::Shut, Gate::Failing] {
        let (primary, place) = (primary(), Place::new());
        let (first, gate) = pipeline(&primary, &place);
        let running = start(first);
        running.streams().await;
        let load = workload::start(&primary, 4, 400);
        primary.wait_for_sql("exists (select from txlog offset 50)", SOON).await;
        gate.send_replace(how);
        running.wait_for_status("it is left behind", SOON, is_detached).await;
        primary.wait_for_sql("exists (select from txlog offset 1500)", SOON).await;
        load.stop();
        caught_up(&primary, SOON).await;
        let status = running.status().await;
        let bad = sink(&status, "bad");
        let stands = bad.applied_lsn.unwrap();
        let error = bad.error.as_deref().unwrap();
        assert!(error.contains("proved nothing for"), "{error}");
        assert!(error.contains(&format!("left behind at {stands}")), "{error}");
        assert!(!status.is_healthy() && status.reconnects == 0, "{status:?}");
        assert!(status.troubles().iter().any(|it| it.contains("sink bad is detached")));
        assert!(slot_at(&primary).await.unwrap() > stands);
        running.drain().await.unwrap();

        // It is known to be behind although it works again, and nothing is passed over in silence.
        let (again, _gate) = pipeline(&primary, &place);
        let before = again.saved_status().await;
        assert_eq!(sink(&before, "bad").state, "detached");
        let running = start(again);
        running.wait_for_status("it stays behind", SOON, is_detached).await;
        let status = running.status().await;
        assert_eq!(sink(&status, "bad").applied_lsn, Some(stands));
        primary.sql("call work(9)");
        caught_up(&primary, SOON).await;
        running.drain().await.unwrap();
        let whole = History::read(&place.file("out.jsonl"));
        whole.assert_matches_log(&primary);
        whole.assert_agrees(&primary, workload::NAMES);
        // What it has is what the others have, up to where it was left.
        let left = History::read(&place.file("bad.jsonl"));
        let upto = whole.transactions.iter().filter(|it| it.end_lsn <= stands).count();
        assert_eq!(left.transactions.len(), upto);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unless_it_is_the_last_that_the_slot_waits_for() {
    let (primary, place) = (primary(), Place::new());
    let (bad, gate) = Gated::file(&place.file("bad.jsonl"));
    let pipeline = |bad| {
        let pipeline = place.pipeline(source(&primary.url()));
        pipeline.member("bad", bad, may_leave()).unwrap()
    };
    let running = start(pipeline(bad));
    running.streams().await;
    primary.sql("call work(1)");
    caught_up(&primary, SOON).await;
    gate.send_replace(Gate::Shut);
    primary.sql("call work(1)");
    let stood = slot_at(&primary).await.unwrap();
    let error = running.end(SOON).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Sink, "{error}");
    let last = error.downcast_ref::<PipelineError>();
    assert!(matches!(last, Some(PipelineError::LastSink { .. })), "{error}");
    assert_eq!(slot_at(&primary).await, Some(stood), "the slot stays where it was");
    // Nothing was given up, so it just goes on.
    let (bad, _gate) = Gated::file(&place.file("bad.jsonl"));
    let running = start(pipeline(bad));
    running.streams().await;
    caught_up(&primary, SOON).await;
    running.drain().await.unwrap();
    let history = History::read(&place.file("bad.jsonl"));
    history.assert_matches_log(&primary);
    history.assert_agrees(&primary, workload::NAMES);
}

/// The slot goes by the faster of two; the slower one is behind only if a crash makes it so.
#[tokio::test(flavor = "multi_thread")]
async fn or_a_quorum_releases_what_it_needs() {
    let (primary, place) = (primary(), Place::new());
    let pipeline = || {
        let pipeline = place.pipeline(source(&primary.url()));
        let pipeline = pipeline.quorum(1).release(Release::Quorum);
        let (one, gate) = Gated::file(&place.file("one.jsonl"));
        let (bad, bad_gate) = Gated::file(&place.file("bad.jsonl"));
        let patient = Membership {
            on_lag: Some(OnLag::Detach { after: Duration::from_secs(60) }),
            ..Membership::default()
        };
        let pipeline = pipeline.member("one", one, patient.clone()).unwrap();
        (pipeline.member("bad", bad, patient).unwrap(), [gate, bad_gate])
    };
    let (first, gates) = pipeline();
    let running = start(first);
    running.streams().await;
    gates[1].send_replace(Gate::Shut);
    let work = || (0..50).for_each(|_| primary.sql("call work(1)"));
    work();
    let logged = primary.query_one_text("select pg_current_wal_lsn()").unwrap();
    let passes = format!(
        "exists (select from pg_replication_slots where slot_name = 's' and \
         confirmed_flush_lsn >= '{logged}')"
    );
    primary.wait_for_sql(&passes, SOON).await;
    let slot: Lsn = slot_at(&primary).await.unwrap();
    let status = running.status().await;
    assert!(sink(&status, "bad").applied_lsn.unwrap() < slot, "the slot has passed it");
    // It catches up from memory.
    gates[1].send_replace(Gate::Open);
    let caught = |status: &Status| sink(status, "bad").applied_lsn.unwrap() >= slot;
    running.wait_for_status("it has caught up", SOON, caught).await;
    // A crash while it is behind leaves it there.
    gates[1].send_replace(Gate::Shut);
    work();
    let logged: Lsn =
        primary.query_one_text("select pg_current_wal_lsn()").unwrap().parse().unwrap();
    let ahead = |status: &Status| status.slot.confirmed_lsn.unwrap() >= logged;
    running.wait_for_status("the slot goes on", SOON, ahead).await;
    running.abort().await;
    let (second, _gates) = pipeline();
    let running = start(second);
    running.wait_for_status("it is left behind", SOON, is_detached).await;
    let error = running.status().await;
    let error = sink(&error, "bad").error.clone().unwrap();
    assert!(error.contains("bytes of log after"), "{error}");
    caught_up(&primary, SOON).await;
    running.drain().await.unwrap();
    let history = History::read(&place.file("one.jsonl"));
    history.assert_matches_log(&primary);
}

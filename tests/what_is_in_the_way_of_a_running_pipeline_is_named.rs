//! Slots, roles and clusters that change under a pipeline, while it runs or between two runs: each
//! has an error of its own with the way out, and nothing is tried for ever.

use std::time::{Duration, Instant};

use walcast::{Error, ErrorKind};

use crate::support::pipeline::{Place, SLOT, SOON, caught_up, slot_at, source, start};
use crate::support::{History, Primary};

const TERMINATE: &str = "select pg_terminate_backend(active_pid) from pg_replication_slots";

fn primary() -> Primary {
    let primary = Primary::start();
    primary.sql("create table t(id int primary key); create publication p for table t");
    primary
}

/// One run that takes over one row and ends in order.
async fn one_run(primary: &Primary, place: &Place, row: u32) {
    let running = start(place.to_file(source(&primary.url())));
    running.streams().await;
    primary.sql(&format!("insert into t values ({row})"));
    caught_up(primary, SOON).await;
    running.drain().await.unwrap();
}

#[track_caller]
fn is(error: &Error, kind: ErrorKind, said: &str, fix: &str) {
    assert_eq!(error.kind(), kind, "{error}");
    assert!(!error.is_transient(), "{error}");
    assert!(error.to_string().contains(said), "{error}");
    assert!(error.fix().is_some_and(|it| it.contains(fix)), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_dropped_while_running() {
    let (primary, place) = (primary(), Place::new());
    let running = start(place.to_file(source(&primary.url())));
    running.streams().await;
    primary.sql(TERMINATE);
    let client = primary.client().await;
    crate::support::eventually_async("the slot is dropped", SOON, async || {
        client.batch_execute(TERMINATE).await.unwrap();
        client.batch_execute("select pg_drop_replication_slot('s')").await.is_ok()
    })
    .await;
    let error = running.end(SOON).await.unwrap_err();
    is(&error, ErrorKind::SlotMissing, "\"s\" does not exist; we left it at", "state directory");
    // A slot of the same name made meanwhile is not the same slot.
    primary.sql("insert into t values (1)");
    primary.sql("select pg_create_logical_replication_slot('s', 'pgoutput')");
    let error = start(place.to_file(source(&primary.url()))).end(SOON).await.unwrap_err();
    is(&error, ErrorKind::Gap, "skipped by someone else", "who else uses the slot");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_dropped_between_two_runs_is_not_made_again() {
    let (primary, place) = (primary(), Place::new());
    one_run(&primary, &place, 1).await;
    primary.sql("select pg_drop_replication_slot('s')");
    let error = start(place.to_file(source(&primary.url()))).end(SOON).await.unwrap_err();
    is(&error, ErrorKind::SlotMissing, "we left it at", "new copy");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_advanced_between_two_runs() {
    let (primary, place) = (primary(), Place::new());
    one_run(&primary, &place, 1).await;
    primary.sql("insert into t values (2)");
    primary.sql("select pg_replication_slot_advance('s', pg_current_wal_lsn())");
    let at = slot_at(&primary).await;
    let error = start(place.to_file(source(&primary.url()))).end(SOON).await.unwrap_err();
    is(&error, ErrorKind::Gap, "bytes of log were skipped", "new copy");
    assert_eq!(slot_at(&primary).await, at);
    History::read(&place.file("out.jsonl"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_read_by_another_while_running() {
    let (primary, place) = (primary(), Place::new());
    let running = start(place.to_file(source(&primary.url())));
    running.streams().await;
    primary.sql("insert into t values (2)");
    let client = primary.client().await;
    // Whoever comes first after a broken connection has the slot; and it may have had everything.
    crate::support::eventually_async("another reads what was not confirmed", SOON, async || {
        client.batch_execute(TERMINATE).await.unwrap();
        primary.sql("insert into t select coalesce(max(id), 0) + 1 from t");
        let advance = "select pg_replication_slot_advance('s', pg_current_wal_lsn())";
        let _ = client.batch_execute(advance).await;
        !running.is_running()
    })
    .await;
    let error = running.end(SOON).await.unwrap_err();
    is(&error, ErrorKind::Gap, "bytes of log were skipped", "who else uses the slot");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_was_invalidated() {
    let primary = Primary::builder()
        .setting("max_slot_wal_keep_size", "1MB")
        .setting("min_wal_size", "32MB")
        .setting("max_wal_size", "32MB")
        .start();
    primary.sql("create table t(id int primary key); create publication p for table t");
    let place = Place::new();
    one_run(&primary, &place, 1).await;
    crate::support::eventually_async("the server drops the slot's WAL", SOON, async || {
        primary.sql("select pg_switch_wal() from (select txid_current()) x");
        primary.sql("checkpoint");
        let lost = "select wal_status = 'lost' from pg_replication_slots";
        primary.query_one_text(lost).as_deref() == Some("t")
    })
    .await;
    let error = start(place.to_file(source(&primary.url()))).end(SOON).await.unwrap_err();
    is(&error, ErrorKind::SlotLost, "is lost", "max_slot_wal_keep_size");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_another_holds() {
    let (primary, place, other) = (primary(), Place::new(), Place::new());
    let running = start(place.to_file(source(&primary.url())));
    running.streams().await;
    let begin = Instant::now();
    let second = source(&primary.url()).slot_wait(Duration::from_secs(2));
    let error = start(other.to_file(second)).end(SOON).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SlotInUse, "{error}");
    assert!(error.fix().is_some_and(|fix| fix.contains("pg_terminate_backend(")), "{error}");
    assert!(begin.elapsed() < Duration::from_secs(10));
    assert!(running.is_running());
    running.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_of_another_cluster() {
    let (primary, place) = (primary(), Place::new());
    one_run(&primary, &place, 1).await;
    let other = Primary::builder().fresh_system_id().start();
    other.sql("create table t(id int primary key); create publication p for table t");
    other.sql("select pg_create_logical_replication_slot('s', 'pgoutput')");
    let at = slot_at(&other).await;
    let error = start(place.to_file(source(&other.url()))).end(SOON).await.unwrap_err();
    is(&error, ErrorKind::Identity, "positions are of cluster", "state directory");
    assert_eq!(slot_at(&other).await, at, "the other's slot was not touched");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_of_another_slot() {
    let (primary, place) = (primary(), Place::new());
    one_run(&primary, &place, 1).await;
    let other = walcast::Source::new(&primary.url(), "other", ["p"]).unwrap().create_slot(true);
    let error = start(place.to_file(other)).end(SOON).await.unwrap_err();
    is(&error, ErrorKind::State, "of slot s, not of other", "state directory of its own");
    let made = primary.query_one_text("select count(*) from pg_replication_slots");
    assert_eq!(made.as_deref(), Some("1"), "no slot was made for nothing");
}

/// The role loses something it needs, and its connections: what is refused from then on is final.
async fn after(change: &str, kind: ErrorKind, said: &str) {
    let primary =
        Primary::builder().hba("host all,replication walcast 127.0.0.1/32 scram-sha-256").start();
    primary.sql("create table t(id int primary key); create publication p for table t");
    primary.sql("create role walcast login replication password 'right'");
    let place = Place::new();
    let url = primary.url_for("walcast", "right", "postgres");
    let running = start(place.to_file(source(&url)));
    running.streams().await;
    primary.sql(change);
    primary.sql("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'walcast'");
    let error = running.end(SOON).await.unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(said), "{error}");
    assert!(error.fix().is_some(), "{error}");
    assert!(!error.to_string().contains("right"), "{error}");
    assert!(slot_at(&primary).await.is_some(), "slot {SLOT} stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_changed() {
    after("alter role walcast password 'new'", ErrorKind::Auth, "password").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_no_longer_replicate() {
    after("alter role walcast noreplication", ErrorKind::Permission, "replication").await;
}

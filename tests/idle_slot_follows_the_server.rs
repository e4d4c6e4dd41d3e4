//! A slot whose publication has nothing to say, in a server that writes a lot: it follows, without
//! a write of ours to the source, but never past anything unproven, nor past the end of a
//! publication.

use std::time::{Duration, Instant};

use tokio::sync::watch;
use walcast::event::Batch;
use walcast::sink::{OpenContext, Resume, Sink, SinkError};
use walcast::{ErrorKind, Lsn, Source};

use crate::support::pipeline::{Place, SLOT, SOON, caught_up, slot_at, source, start};
use crate::support::{Load, Primary, Server, eventually_async, full, skip};

/// As [`source`] has it.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// Takes everything and proves nothing while its gate is shut.
struct Unproven {
    gate: watch::Receiver<bool>,
}

impl Sink for Unproven {
    async fn open(&mut self, _: &OpenContext) -> Result<Resume, SinkError> {
        Ok(Resume::Delegate)
    }

    async fn write(&mut self, _: Batch) -> Result<(), SinkError> {
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), SinkError> {
        drop(self.gate.wait_for(|shut| !shut).await);
        Ok(())
    }
}

fn lsn(primary: &Primary, query: &str) -> Lsn {
    primary.query_one_text(query).unwrap().parse().unwrap()
}

/// Watches for `time` that the slot is never more than two status intervals behind what the server
/// had written, with some time for a busy machine.
async fn follows(primary: &Primary, time: Duration) {
    let patience = 2 * STATUS_INTERVAL + Duration::from_secs(2);
    let begin = Instant::now();
    while begin.elapsed() < time {
        let now = lsn(primary, "select pg_current_wal_lsn()");
        eventually_async(&format!("the slot reaches {now}"), patience, async || {
            slot_at(primary).await.is_some_and(|at| at >= now)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_others_write() {
    let (primary, place) = (Primary::start(), Place::new());
    primary.sql("create table t(id int primary key); create publication p for table t");
    primary.sql("create table other(id bigserial, note text)");
    primary.sql("create database elsewhere");
    let elsewhere = primary.client_for("elsewhere").await;
    elsewhere.batch_execute("create table far(note text)").await.unwrap();
    let running = start(place.to_file(source(&primary.url())));
    running.streams().await;
    let script = "insert into other(note) select repeat('x', 100) from generate_series(1, 100);";
    let load = Load::on(&primary).clients(1).rate(50).seconds(600).script(script).start();
    let stop = watch::Sender::new(false);
    let stopped = stop.subscribe();
    let writing = tokio::spawn(async move {
        let write = "insert into far select repeat('y', 100) from generate_series(1, 500)";
        while !*stopped.borrow() {
            elsewhere.batch_execute(write).await.unwrap();
        }
    });
    follows(&primary, Duration::from_secs(if full() { 60 } else { 6 })).await;
    load.stop();
    stop.send_replace(true);
    writing.await.unwrap();
    running.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_writing_to_it() {
    // Nothing else in this server writes: no checkpoints, no statistics of running transactions.
    let settings = [("checkpoint_timeout", "1d"), ("bgwriter_lru_maxpages", "0")];
    let builder = settings.iter().fold(Primary::builder(), |it, (name, to)| it.setting(name, to));
    let (primary, place) = (builder.start(), Place::new());
    primary.sql("create table t(id int primary key); create publication p for table t");
    let running = start(place.to_file(source(&primary.url())));
    primary.sql("insert into t values (1)");
    caught_up(&primary, SOON).await;
    let xids = "select xmin_snapshot::text from (select txid_snapshot_xmax(txid_current_snapshot()) xmin_snapshot) s";
    let before = primary.query_one_text(xids);
    // The background writer logs the running transactions once when something was written; what
    // counts is that it comes to rest, whatever our status updates and checks do.
    let rest = Duration::from_secs(if full() { 40 } else { 20 });
    let mut since = Instant::now();
    let mut at = lsn(&primary, "select pg_current_wal_insert_lsn()");
    eventually_async("the log is at rest for five status intervals", rest, async || {
        let now = lsn(&primary, "select pg_current_wal_insert_lsn()");
        if now != at {
            (at, since) = (now, Instant::now());
        }
        since.elapsed() > 5 * STATUS_INTERVAL
    })
    .await;
    assert_eq!(primary.query_one_text(xids), before, "a transaction of ours took an id");
    assert!(running.is_running());
    running.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn but_not_past_what_is_unproven() {
    let (primary, place) = (Primary::start(), Place::new());
    primary.sql("create table t(id int primary key); create publication p for table t");
    primary.sql("create table other(note text)");
    let (gate, shut) = watch::channel(false);
    let pipeline = place.to_file(source(&primary.url()));
    let running = start(pipeline.sink("unproven", Unproven { gate: shut }).unwrap());
    running.streams().await;
    gate.send_replace(true);
    let before = lsn(&primary, "select pg_current_wal_insert_lsn()");
    primary.sql("insert into t values (1)");
    let commit_end = lsn(&primary, "select pg_current_wal_insert_lsn()");
    let begin = Instant::now();
    eventually_async("some status intervals pass", SOON, async || {
        primary.sql("insert into other select repeat('x', 100) from generate_series(1, 100)");
        let at = slot_at(&primary).await.unwrap();
        assert!(at < commit_end, "the slot is at {at}, past the commit that ends by {commit_end}");
        begin.elapsed() > 5 * STATUS_INTERVAL
    })
    .await;
    let status = running.status().await;
    let file = &status.replicas[0];
    assert!(file.applied_lsn > Some(before), "the other sink has it: {file:?}");
    gate.send_replace(false);
    caught_up(&primary, SOON).await;
    running.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_message_that_nothing_follows() {
    let (primary, place) = (Primary::start(), Place::new());
    primary.sql("create table t(id int primary key); create publication p for table t");
    primary.sql("create table other(note text)");
    let source = source(&primary.url()).messages(vec!["*".to_owned()]);
    let running = start(place.to_file(source));
    running.streams().await;
    primary.sql("insert into t values (1)");
    primary.sql("select pg_logical_emit_message(false, 'm', 'hello')");
    let written = || std::fs::read_to_string(place.file("out.jsonl")).unwrap_or_default();
    eventually_async("the message arrives", SOON, async || written().contains("hello")).await;
    primary.sql("insert into other values ('x')");
    caught_up(&primary, Duration::from_secs(10)).await;
    running.drain().await.unwrap();
}

/// With its publication gone a stream ends rather than follow.
async fn a_dropped_publication_ends_it(server: Server) {
    let (primary, place) = (Primary::builder().start_on(server), Place::new());
    primary.sql("create table t(id int primary key); create publication p for table t");
    let running = start(place.to_file(source(&primary.url())));
    primary.sql("insert into t values (1)");
    caught_up(&primary, SOON).await;
    let drop = lsn(&primary, "select pg_current_wal_insert_lsn()");
    primary.sql("drop publication p");
    let dropped = lsn(&primary, "select pg_current_wal_insert_lsn()");
    assert!(dropped > drop);
    primary.sql("insert into t values (2)");
    let error = running.end(SOON).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PublicationMissing, "{error}");
    assert!(error.fix().is_some_and(|fix| fix.contains("CREATE PUBLICATION")), "{error}");
    let at = slot_at(&primary).await.unwrap();
    assert!(at < dropped, "the slot went to {at}, past the drop at {dropped}");
    // Nor does it go on by itself.
    let again = start(place.to_file(source(&primary.url()))).end(SOON).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::PublicationMissing, "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn until_its_publication_is_dropped() {
    a_dropped_publication_ends_it(Server::wanted().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn until_its_publication_is_dropped_on_18() {
    match Server::wanted_major(18) {
        Ok(server) => a_dropped_publication_ends_it(server).await,
        Err(missing) => skip(&missing.to_string()),
    }
}

/// What the server passes over because the publication is gone may come in one read with what it
/// still sent: the slot must not follow that far before it was asked whether the publication
/// exists.
#[tokio::test(flavor = "multi_thread")]
async fn until_its_publication_is_dropped_behind_a_backlog_on_18() {
    let server = match Server::wanted_major(18) {
        Ok(server) => server,
        Err(missing) => return skip(&missing.to_string()),
    };
    let (primary, place) = (Primary::builder().start_on(server), Place::new());
    primary.sql("create table t(id int primary key, note text); create publication p for table t");
    let (gate, shut) = watch::channel(false);
    let memory = 1024 * 1024;
    let pipeline = place.pipeline(source(&primary.url())).memory(memory);
    let running = start(pipeline.sink("unproven", Unproven { gate: shut }).unwrap());
    running.streams().await;
    gate.send_replace(true);
    for id in 0..30 {
        let rows = "select g, repeat('x', 500) from generate_series";
        primary.sql(&format!("insert into t {rows}({0}, {0} + 99) g", id * 100));
    }
    primary.sql("insert into t values (-1)");
    primary.sql("drop publication p");
    let dropped = lsn(&primary, "select pg_current_wal_insert_lsn()");
    primary.sql("insert into t values (-2)");
    running
        .wait_for_status("the budget is full", SOON, |status| {
            status.memory.inflight_bytes > memory / 2
        })
        .await;
    gate.send_replace(false);
    let error = running.end(SOON).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PublicationMissing, "{error}");
    let at = slot_at(&primary).await.unwrap();
    assert!(at < dropped, "the slot went to {at}, past the drop at {dropped}");
}

/// The changes of one publication go on when another is dropped; the slot must not follow them past
/// what the server left out.
#[tokio::test(flavor = "multi_thread")]
async fn until_one_of_two_publications_is_dropped_on_18() {
    let server = match Server::wanted_major(18) {
        Ok(server) => server,
        Err(missing) => return skip(&missing.to_string()),
    };
    let (primary, place) = (Primary::builder().start_on(server), Place::new());
    primary.sql("create table t(id int primary key); create publication p for table t");
    primary.sql("create table u(id int primary key); create publication q for table u");
    let both = Source::new(&primary.url(), SLOT, ["p", "q"]).unwrap().create_slot(true);
    let running = start(place.to_file(both.status_interval(STATUS_INTERVAL)));
    primary.sql("insert into t values (1); insert into u values (1)");
    caught_up(&primary, SOON).await;
    primary.sql("begin; drop publication p; insert into t values (2); commit");
    let dropped = lsn(&primary, "select pg_current_wal_insert_lsn()");
    primary.sql("insert into u values (2)");
    let error = running.end(SOON).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PublicationMissing, "{error}");
    let at = slot_at(&primary).await.unwrap();
    assert!(at < dropped, "the slot went to {at}, past the drop at {dropped}");
}

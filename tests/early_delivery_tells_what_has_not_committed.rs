//! Early delivery: who takes what has not committed is told as it comes, and in the end has what
//! everyone else has, whatever is rolled back, broken or killed meanwhile.

mod model;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::task::JoinHandle;
use tokio_postgres::Client;
use walcast::codec::value::TypeRegistry;
use walcast::codec::{Encoder, EventFormat};
use walcast::pipeline::PipelineError;
use walcast::sinks::channel::{ChannelSink, Receiver};
use walcast::sinks::file::FileSink;
use walcast::stream::StreamError;
use walcast::{ErrorKind, ReplicationStream, Source, StreamedDelivery, Streaming};

use crate::streamed_transactions_arrive_as_any_other::story;
use crate::support::pipeline::{Place, Running, SOON, slot_at, source, start};
use crate::support::reading::read_until;
use crate::support::{Primary, Server, eventually_async, skip};
use model::Model;

/// The row that ends a test.
const LAST: i64 = 1_000_000;

fn servers() -> Vec<Server> {
    let found = [15, 17].map(|major| Server::local(Some(major)));
    found
        .into_iter()
        .filter_map(|it| it.map_err(|missing| skip(&missing.to_string())).ok())
        .collect()
}

fn primary_on(server: Server) -> Primary {
    let primary = Primary::builder().setting("logical_decoding_work_mem", "64kB").start_on(server);
    primary.sql("create table t(id int primary key, note text); create publication p for table t");
    primary
}

fn early(primary: &Primary) -> Source {
    source(&primary.url()).streamed_delivery(StreamedDelivery::Early)
}

/// Reads what a sink is given that takes what has not committed.
struct Listener {
    model: Arc<Mutex<Model>>,
    /// Whether it acknowledges.
    proves: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Listener {
    fn new(mut receiver: Receiver) -> Listener {
        let (model, proves) = (Arc::<Mutex<Model>>::default(), Arc::new(AtomicBool::new(true)));
        let (told, may_prove) = (Arc::clone(&model), Arc::clone(&proves));
        let task = tokio::spawn(async move {
            let mut encoder = Encoder::new(EventFormat::Json, Arc::new(TypeRegistry::builtin()));
            let mut unproven = Vec::new();
            while let Some(delivery) = receiver.recv().await {
                let mut lines = Vec::new();
                encoder.encode(&delivery.batch, &mut lines).unwrap();
                let lines = String::from_utf8(lines).unwrap();
                lines.lines().for_each(|line| told.lock().unwrap().line(line));
                match may_prove.load(Ordering::SeqCst) {
                    true => delivery.ack.done(),
                    false => unproven.push(delivery.ack),
                }
            }
        });
        Listener { model, proves, task }
    }

    /// Waits until `look` is content with what was told.
    async fn told(&self, what: &str, look: impl Fn(&Model) -> bool) {
        eventually_async(what, SOON, async || look(&self.model.lock().unwrap())).await;
    }

    fn look<T>(&self, look: impl FnOnce(&Model) -> T) -> T {
        look(&self.model.lock().unwrap())
    }
}

/// A pipeline into a sink that takes what has not committed and one that does not.
async fn run(primary: &Primary, place: &Place) -> (Running, Listener) {
    let (sink, receiver) = ChannelSink::new(16);
    let pipeline = place.to_file(early(primary));
    let pipeline = pipeline.sink("early", sink.take_uncommitted(true)).unwrap();
    let running = start(pipeline);
    running.streams().await;
    (running, Listener::new(receiver))
}

fn file(place: &Place) -> String {
    std::fs::read_to_string(place.file("out.jsonl")).unwrap_or_default()
}

/// The ids in the file, each of which has to be there once.
fn ids(place: &Place) -> Vec<i64> {
    let model = Model::of(&file(place));
    let rows = model.committed.iter().flat_map(|(_, rows)| rows);
    rows.map(|row| row["new"]["id"].as_i64().unwrap()).collect()
}

async fn insert(client: &Client, from: i64, count: i64) {
    let to = from + count - 1;
    let rows =
        format!("insert into t select g, repeat('x', 200) from generate_series({from}, {to}) g");
    client.batch_execute(&rows).await.unwrap();
}

/// All that a server is told in the other suites, read after it happened.
#[tokio::test(flavor = "multi_thread")]
async fn and_comes_to_the_same() {
    for server in servers() {
        let primary = story::primary_on(server);
        let what = format!("PostgreSQL {}", primary.major());
        let source = |slot: &str| {
            let source = Source::new(&primary.url(), slot, ["p"]).unwrap();
            source.messages(vec!["*".to_owned()]).create_slot(true)
        };
        for slot in ["held", "early"] {
            ReplicationStream::connect(source(slot)).await.unwrap().finish().await;
        }
        story::tell(&primary).await;
        let (lines, _) = read_until(source("held").streaming(Streaming::On), story::LAST).await;
        let held = Model::of(&lines);
        let source = source("early").streamed_delivery(StreamedDelivery::Early);
        let (lines, reconnects) = read_until(source, story::LAST).await;
        let early = Model::of(&lines);
        early.assert_same(&held, &what);
        assert_eq!(reconnects, 0, "{what}");
        assert!(held.told_early.is_empty() && early.open.is_empty(), "{what}");
        assert!(early.told_early.len() >= 7, "{what}: {:?}", early.told_early);
        assert!(early.most_open >= 3, "{what}: {} at once", early.most_open);
        let whole = early.aborts.iter().filter(|(xid, subxid)| xid == subxid).count();
        assert_eq!(whole, 1, "{what}");
        assert!(early.aborts.len() > 10, "{what}: {}", early.aborts.len());
        println!("{what}: {} told early, {} void", early.told_early.len(), early.aborts.len());
    }
}

/// As it comes, to the one that takes it, beside what commits meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn while_the_transaction_is_open() {
    for server in servers() {
        let (primary, place) = (primary_on(server), Place::new());
        let (running, listener) = run(&primary, &place).await;
        let large = primary.client().await;
        large.batch_execute("begin").await.unwrap();
        insert(&large, 1, 1000).await;
        large.batch_execute("savepoint a").await.unwrap();
        insert(&large, 1001, 1000).await;
        listener.told("what is open", |model| model.open_changes() > 1500).await;
        primary.sql("insert into t values (9000)");
        listener.told("a small one", |model| model.has(9000)).await;
        eventually_async("the small one alone", SOON, async || ids(&place) == [9000]).await;
        large.batch_execute("rollback to a").await.unwrap();
        insert(&large, 3001, 1000).await;
        listener
            .told("what was rolled back", |model| {
                model.aborts.iter().any(|(xid, subxid)| xid != subxid)
                    && model.open_changes() > 1500
            })
            .await;
        assert_eq!(ids(&place), [9000]);
        let before = slot_at(&primary).await.unwrap();
        large.batch_execute("commit").await.unwrap();
        primary.sql(&format!("insert into t values ({LAST})"));
        listener.told("the last", |model| model.has(LAST)).await;
        running.drain().await.unwrap();
        let expected: Vec<i64> = [9000].into_iter().chain(1..=1000).chain(3001..=4000).collect();
        assert_eq!(ids(&place)[..2001], expected);
        let model = listener.look(|model| {
            let commit = model.told_early[0].as_str().unwrap().parse::<walcast::Lsn>().unwrap();
            assert!(before < commit, "{before} was confirmed before {commit}");
            assert_eq!((model.told_early.len(), model.open.len()), (1, 0));
            Model { committed: model.committed.clone(), ..Model::default() }
        });
        model.assert_same(&Model::of(&file(&place)), "as in the file");
        assert_eq!(ids(&place)[2001..], [LAST]);
    }
}

/// What is open when walcast dies comes again from its first change, and so after a broken
/// connection, which says first that what was told is void.
#[tokio::test(flavor = "multi_thread")]
async fn again_after_a_crash_and_a_broken_connection() {
    for server in servers() {
        let (primary, place) = (primary_on(server), Place::new());
        let (running, listener) = run(&primary, &place).await;
        let large = primary.client().await;
        large.batch_execute("begin").await.unwrap();
        insert(&large, 1, 1500).await;
        listener.told("what is open", |model| model.open_changes() > 1000).await;
        let xid = listener.look(|model| *model.open.keys().next().unwrap());
        running.abort().await;

        let (running, listener) = run(&primary, &place).await;
        let from_its_first = |model: &Model| {
            let open = model.open.get(&xid);
            open.is_some_and(|open| open.len() > 1000 && open[0].1["ordinal"] == 1)
        };
        listener.told("it again", from_its_first).await;
        primary.sql("select pg_terminate_backend(active_pid) from pg_replication_slots");
        listener.told("that it is void", |model| model.aborts == [(xid, xid)]).await;
        listener.told("it a third time", from_its_first).await;

        // Its commit is given and not proven when walcast dies once more.
        listener.proves.store(false, Ordering::SeqCst);
        large.batch_execute("commit").await.unwrap();
        listener.told("its commit", |model| model.told_early.len() == 1).await;
        eventually_async("it in the file", SOON, async || ids(&place).len() == 1500).await;
        running.abort().await;
        let (running, listener) = run(&primary, &place).await;
        primary.sql(&format!("insert into t values ({LAST})"));
        listener.told("the last", |model| model.has(LAST)).await;
        running.drain().await.unwrap();
        let expected: Vec<i64> = (1..=1500).chain([LAST]).collect();
        assert_eq!(ids(&place), expected);
        listener.look(|model| {
            model.assert_same(&Model::of(&file(&place)), "as in the file");
            assert!(model.open.is_empty());
        });
    }
}

/// A sink that gives up half way has the transaction when it commits, as any other.
#[tokio::test(flavor = "multi_thread")]
async fn as_committed_after_its_sink_failed() {
    let (primary, place) = (primary_on(Server::wanted().unwrap()), Place::new());
    let (sink, mut receiver) = ChannelSink::new(1);
    let pipeline = place.to_file(early(&primary));
    let pipeline = pipeline.sink("early", sink.take_uncommitted(true)).unwrap();
    let running = start(pipeline);
    running.streams().await;
    let large = primary.client().await;
    large.batch_execute("begin").await.unwrap();
    insert(&large, 1, 1500).await;
    let first = tokio::time::timeout(SOON, receiver.recv()).await.unwrap().unwrap();
    assert!(first.batch.is_early());
    drop(first);
    let listener = Listener::new(receiver);
    insert(&large, 1501, 500).await;
    running
        .wait_for_status("it failed", SOON, |status| {
            status.replicas.iter().any(|sink| sink.retries > 0 && sink.state == "running")
        })
        .await;
    large.batch_execute("commit").await.unwrap();
    primary.sql(&format!("insert into t values ({LAST})"));
    listener.told("the last", |model| model.has(LAST)).await;
    running.drain().await.unwrap();
    listener.look(|model| {
        model.assert_same(&Model::of(&file(&place)), "as in the file");
        assert!(model.told_early.is_empty(), "it was not told all of it");
    });
    assert_eq!(ids(&place).len(), 2001);
}

#[tokio::test(flavor = "multi_thread")]
async fn to_nobody_who_has_not_asked() {
    let (primary, place) = (primary_on(Server::wanted().unwrap()), Place::new());
    let nobody = place.pipeline(early(&primary));
    let nobody = nobody.sink("out", FileSink::new(place.file("out.jsonl"))).unwrap();
    let refused = start(nobody).end(SOON).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Config, "{refused}");
    assert!(matches!(refused.downcast_ref(), Some(PipelineError::NoEarlySink)), "{refused}");
    let unstreamed = early(&primary).streaming(Streaming::Off);
    let refused = ReplicationStream::connect(unstreamed).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Config, "{refused}");
    assert!(matches!(refused.downcast_ref(), Some(StreamError::EarlyUnstreamed)), "{refused}");
}

//! A server that was promoted: positions go on, and each change names the timeline it lies on.

use std::os::unix::fs::{MetadataExt, chown};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use walcast::codec::value::TypeRegistry;
use walcast::codec::{Encoder, EventFormat};
use walcast::event::Event;
use walcast::{Lsn, ReplicationStream, Source};

use crate::support::pipeline::SOON;
use crate::support::{Primary, eventually_async, every_major};

/// Makes the server end its recovery at once, which begins a new timeline.
fn promote(primary: &Primary) {
    primary.stop_fast();
    let signal = primary.data_dir().join("recovery.signal");
    std::fs::write(&signal, "").unwrap();
    let conf = primary.data_dir().join("postgresql.auto.conf");
    let mut text = std::fs::read_to_string(&conf).unwrap();
    text.push_str("restore_command = 'false'\n");
    std::fs::write(&conf, text).unwrap();
    let owner = std::fs::metadata(primary.data_dir()).unwrap();
    chown(&signal, Some(owner.uid()), Some(owner.gid())).unwrap();
    primary.start_again();
    let promoted = "select not pg_is_in_recovery()";
    primary.wait_for_sql_blocking(promoted, Duration::from_secs(30));
}

/// The ids of the next `count` changes, and where they end.
async fn ids(stream: &mut ReplicationStream, count: usize) -> (Vec<String>, Lsn) {
    let mut encoder = Encoder::new(EventFormat::Json, Arc::new(TypeRegistry::builtin()));
    let (mut ids, mut end) = (Vec::new(), stream.handed_out());
    while ids.len() < count {
        let next = tokio::time::timeout(Duration::from_secs(30), stream.next()).await;
        let batch = next.expect("changes in time").expect("the stream goes on").unwrap();
        let mut lines = Vec::new();
        encoder.encode(&batch, &mut lines).unwrap();
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let event: serde_json::Value = serde_json::from_slice(line).unwrap();
            ids.push(event["id"].as_str().unwrap().to_owned());
        }
        for event in batch.events() {
            if let Event::Commit(commit) = event {
                end = commit.end_lsn().unwrap_or(end);
            }
        }
    }
    (ids, end)
}

fn timeline(id: &str) -> &str {
    id.split(':').nth(1).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn and_old_changes_keep_the_id_they_had() {
    let primary = Primary::start();
    primary.sql("create table t(id int primary key); create publication p for table t");
    let source = Source::new(&primary.url(), "s", ["p"]).unwrap().create_slot(true);
    let mut stream = ReplicationStream::connect(source.clone()).await.unwrap();
    primary.sql("insert into t values (1)");
    let (before, _) = ids(&mut stream, 1).await;
    assert_eq!(timeline(&before[0]), "1");
    // Nothing was confirmed: the same change comes again from the promoted server.
    stream.finish().await;

    promote(&primary);
    primary.sql("insert into t values (2)");
    let mut stream = ReplicationStream::connect(source).await.unwrap();
    let (after, _) = ids(&mut stream, 2).await;
    assert_eq!(after[0], before[0]);
    assert_eq!(timeline(&after[1]), "2");
    assert_eq!(stream.identity().timeline.as_u32(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn by_a_stream_that_is_running() {
    let primary = Primary::start();
    primary.sql("create table t(id int primary key); create publication p for table t");
    let source = Source::new(&primary.url(), "s", ["p"]).unwrap().create_slot(true);
    let mut stream = ReplicationStream::connect(source).await.unwrap();
    primary.sql("insert into t values (1)");
    let (_, end) = ids(&mut stream, 1).await;
    stream.confirmer().vouch_durable(end).unwrap();

    let reading = tokio::spawn(async move { ids(&mut stream, 1).await });
    tokio::task::block_in_place(|| {
        promote(&primary);
        primary.sql("insert into t values (2)");
    });
    let (after, _) = reading.await.unwrap();
    assert_eq!(timeline(&after[0]), "2");
}

/// A standby goes on sending through the same connection when it is promoted.
#[tokio::test(flavor = "multi_thread")]
async fn of_a_standby_while_it_streams() {
    for server in every_major().into_iter().filter(|server| server.major >= 16) {
        let primary = Primary::builder().start_on(server.clone());
        primary.sql("create table t(id int primary key); create publication p for table t");
        let from = format!("host=127.0.0.1 port={} user=postgres", primary.port());
        // As many connections as the server allowed that its first WAL comes from, initdb's.
        let standby = Primary::builder()
            .setting("primary_conninfo", &from)
            .setting("max_connections", "100")
            .file("standby.signal", "", 0o600)
            .start_on(server);
        standby.wait_for_sql("exists (select from pg_publication)", SOON).await;
        let source = Source::new(&standby.url(), "s", ["p"]).unwrap().create_slot(true);
        let connecting = tokio::spawn(ReplicationStream::connect(source));
        // The slot waits for what only the primary can log.
        eventually_async("there is a slot", SOON, async || {
            primary.sql("select pg_log_standby_snapshot()");
            connecting.is_finished()
        })
        .await;
        let mut stream = connecting.await.unwrap().unwrap();
        primary.sql("insert into t values (1)");
        let (before, end) = ids(&mut stream, 1).await;
        assert_eq!(timeline(&before[0]), "1");
        stream.confirmer().vouch_durable(end).unwrap();

        let reading = tokio::spawn(async move { (ids(&mut stream, 2).await, stream) });
        standby.sql("select pg_promote()");
        standby.sql("insert into t values (2)");
        standby.sql("insert into t values (3)");
        let ((after, _), stream) = reading.await.unwrap();
        assert_eq!(after.iter().map(|id| timeline(id)).collect::<Vec<_>>(), ["2", "2"]);
        assert_eq!(stream.identity().timeline.as_u32(), 2);
    }
}

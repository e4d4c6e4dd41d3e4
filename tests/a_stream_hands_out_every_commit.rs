//! The low-level stream: batches in commit order, confirmation, reconnects.

use std::time::Duration;

use futures::StreamExt;
use walcast::event::{Event, Value};
use walcast::{Lsn, ReplicationStream, Source};

use crate::support::Primary;

/// Reads until `count` ids have come; returns them and the last end.
async fn ids(stream: &mut ReplicationStream, count: usize) -> (Vec<String>, Lsn) {
    let mut ids = Vec::new();
    let mut end = stream.handed_out();
    while ids.len() < count {
        let next = tokio::time::timeout(Duration::from_secs(20), stream.next()).await;
        let batch = next.expect("changes in time").expect("the stream goes on").unwrap();
        end = batch.end();
        for event in batch.events() {
            if let Event::Change(change) = event {
                let value = change.new_row().and_then(|row| row.value_of("id"));
                ids.push(match value {
                    Some(Value::Binary(bytes)) => {
                        i32::from_be_bytes(bytes.try_into().unwrap()).to_string()
                    }
                    Some(Value::Text(text)) => String::from_utf8(text.to_vec()).unwrap(),
                    other => panic!("{other:?}"),
                });
            }
        }
    }
    (ids, end)
}

fn source(primary: &Primary) -> Source {
    Source::new(&primary.url(), "s", ["p"]).unwrap().create_slot(true)
}

#[tokio::test(flavor = "multi_thread")]
async fn and_goes_on_where_it_was_confirmed() {
    let primary = Primary::start();
    primary.sql("create table t(id int primary key); create publication p for table t");
    let mut stream = ReplicationStream::connect(source(&primary)).await.unwrap();
    primary.sql("insert into t select generate_series(1, 1000)");
    let (first, end) = ids(&mut stream, 1000).await;
    assert_eq!(first.len(), 1000);
    stream.confirmer().vouch_durable(end).unwrap();
    stream.finish().await;
    primary.sql("insert into t values (2000)");
    let mut stream = ReplicationStream::connect(source(&primary)).await.unwrap();
    let (second, _) = ids(&mut stream, 1).await;
    assert_eq!(second, ["2000"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn once_although_its_connections_are_ended() {
    let primary = Primary::start();
    primary.sql("create table t(id int primary key); create publication p for table t");
    let mut stream = ReplicationStream::connect(source(&primary)).await.unwrap();
    let mut seen = Vec::new();
    for round in 0..5 {
        primary.sql(&format!("insert into t select generate_series({0}, {0} + 499)", round * 500));
        primary.sql("select pg_terminate_backend(active_pid) from pg_replication_slots");
        seen.extend(ids(&mut stream, 500).await.0);
    }
    let expected: Vec<String> = (0..2500).map(|id: i32| id.to_string()).collect();
    assert_eq!(seen, expected);
    assert!(stream.confirmer().reconnects() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_batches_however_small() {
    let primary = Primary::start();
    primary.sql("create table t(id int primary key); create publication p for table t");
    let source = source(&primary).batch_bytes(1);
    let mut stream = ReplicationStream::connect(source).await.unwrap();
    primary.sql("insert into t select generate_series(1, 20000)");
    assert_eq!(ids(&mut stream, 20_000).await.0.len(), 20_000);
}

//! What `emit` writes: with its transaction or by itself, by prefix, not when it is rolled back.

use std::time::Duration;

use futures::StreamExt;
use walcast::event::Event;
use walcast::message::{Emit, emit};
use walcast::{Position, ReplicationStream, Source};

use crate::support::{Primary, every_major};

/// What a stream says of messages and rows up to the row with id 0.
async fn read(primary: &Primary, prefixes: &[&str]) -> Vec<String> {
    let source = Source::new(&primary.url(), "s", ["p"]).unwrap();
    let prefixes = prefixes.iter().map(|prefix| (*prefix).to_owned()).collect();
    let mut stream = ReplicationStream::connect(source.messages(prefixes)).await.unwrap();
    let mut lines = Vec::new();
    loop {
        let batch = tokio::time::timeout(Duration::from_secs(20), stream.next()).await;
        let batch = batch.expect("changes in time").expect("the stream goes on").unwrap();
        for event in batch.events() {
            let index = match event.position() {
                Some(Position::Logged { index, .. }) => index,
                _ => continue,
            };
            match event {
                Event::Message(message) => {
                    let content = String::from_utf8_lossy(message.content());
                    lines.push(format!("{index} {} {content}", message.prefix()));
                }
                _ if index > 3 => return lines,
                _ => lines.push(format!("{index} row")),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_every_major() {
    for server in every_major() {
        let primary = Primary::builder().start_on(server);
        primary.sql("create table t(id int); create publication p for table t");
        primary.sql("select pg_create_logical_replication_slot('s', 'pgoutput')");
        let mut client = primary.client().await;
        let gone = client.transaction().await.unwrap();
        emit(&gone, "outbox", b"rolled back", Emit::InTransaction).await.unwrap();
        let first = emit(&gone, "audit", b"at once", Emit::AtOnce).await.unwrap();
        gone.rollback().await.unwrap();
        let kept = client.transaction().await.unwrap();
        kept.batch_execute("insert into t values (1)").await.unwrap();
        let second = emit(&kept, "outbox", b"kept", Emit::InTransaction).await.unwrap();
        kept.batch_execute("insert into t values (2)").await.unwrap();
        kept.commit().await.unwrap();
        assert!(first < second);
        primary.sql("insert into t select generate_series(1, 4)");
        let what = format!("PostgreSQL {}", primary.major());
        let rows = ["1 row", "2 row", "3 row"];
        let all = ["0 audit at once", "1 row", "2 outbox kept", "3 row"];
        assert_eq!(read(&primary, &["*"]).await, [&all[..], &rows].concat(), "{what}");
        // An index counts what is left out here too.
        let outbox = read(&primary, &["outbox"]).await;
        assert_eq!(outbox, [&all[1..], &rows].concat(), "{what}");
    }
}

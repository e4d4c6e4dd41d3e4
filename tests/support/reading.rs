//! A stream read to a certain row, as lines of JSON.

use std::sync::Arc;

use futures::StreamExt;
use walcast::codec::value::TypeRegistry;
use walcast::codec::{Encoder, EventFormat};
use walcast::{ReplicationStream, Source};

use super::pipeline::SOON;

/// Everything up to the row that `last` stands in, and how often the stream connected again.
pub(crate) async fn read_until(source: Source, last: &str) -> (String, u64) {
    let mut stream = ReplicationStream::connect(source).await.unwrap();
    let mut encoder = Encoder::new(EventFormat::Json, Arc::new(TypeRegistry::builtin()));
    let mut lines = Vec::new();
    while !String::from_utf8_lossy(&lines[lines.len().saturating_sub(1000)..]).contains(last) {
        let batch = tokio::time::timeout(SOON, stream.next()).await;
        let batch = batch.expect("changes in time").expect("the stream goes on").unwrap();
        encoder.encode(&batch, &mut lines).unwrap();
    }
    let reconnects = stream.confirmer().reconnects();
    stream.finish().await;
    (String::from_utf8(lines).unwrap(), reconnects)
}

#[track_caller]
pub(crate) fn assert_same_lines(have: &str, want: &str, what: &str) {
    let first = have.lines().zip(want.lines()).find(|(have, want)| have != want);
    assert!(first.is_none(), "{what}: {first:#?}");
    assert_eq!(have.lines().count(), want.lines().count(), "{what}");
}

//! A sink that takes nothing lets the memory fill while a streamed transaction is open: what is
//! held of that goes to the disk, although it is less than its share, and all arrives in the end.

use std::time::Duration;

use walcast::event::{Event, Value};
use walcast::sinks::channel::{ChannelSink, Receiver};

use crate::support::pipeline::{Place, SOON, source, start};
use crate::support::{Primary, eventually_async};

const MEMORY: usize = 8 * 1024 * 1024;
/// Rows of about 300 bytes: far less than what may be held.
const OPEN_ROWS: i32 = 3000;
/// Of 40 kB each: more than the memory.
const OTHER_ROWS: i32 = 400;

/// The ids of the rows up to `last`, each taken care of.
async fn ids_up_to(receiver: &mut Receiver, last: i32) -> Vec<i32> {
    let mut ids = Vec::new();
    while ids.last() != Some(&last) {
        let delivery = tokio::time::timeout(SOON, receiver.recv()).await.unwrap().unwrap();
        for event in delivery.batch.events() {
            let Event::Change(change) = event else { continue };
            let Some(Value::Binary(id)) = change.new_row().unwrap().value_of("id") else {
                panic!("an id in binary, not {change:?}")
            };
            ids.push(i32::from_be_bytes(id.try_into().unwrap()));
        }
        delivery.ack.done();
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn before_they_reach_their_share_of_it() {
    let primary = Primary::builder().setting("logical_decoding_work_mem", "64kB").start();
    primary.sql("create table t(id int primary key, note text); create publication p for table t");
    let place = Place::new();
    let (sink, mut receiver) = ChannelSink::new(1);
    let pipeline = place.pipeline(source(&primary.url())).memory(MEMORY);
    let running = start(pipeline.sink("out", sink).unwrap());
    running.streams().await;
    let open = primary.client().await;
    let rows = format!(
        "begin; insert into t select g, repeat('x', 300) from generate_series(1, {OPEN_ROWS}) g"
    );
    open.batch_execute(&rows).await.unwrap();
    running
        .wait_for_status("it is held in memory", SOON, |status| {
            status.memory.inflight_bytes > OPEN_ROWS as usize * 200
        })
        .await;
    assert_eq!(running.status().await.spill_bytes, 0);
    assert!(running.status().await.memory.inflight_bytes < MEMORY / 4);

    let client = primary.client().await;
    let others = 10_000..10_000 + OTHER_ROWS;
    for id in others.clone() {
        let row = format!("insert into t values ({id}, repeat('y', 40000))");
        client.batch_execute(&row).await.unwrap();
    }
    running
        .wait_for_status("it is on disk", SOON, |status| {
            status.spill_bytes > OPEN_ROWS as u64 * 200
        })
        .await;
    let memory = running.status().await.memory;
    assert!(memory.inflight_bytes_peak <= MEMORY, "{memory:?}");

    open.batch_execute("commit; insert into t values (0)").await.unwrap();
    let ids = ids_up_to(&mut receiver, 0).await;
    let expected: Vec<i32> = others.chain(1..=OPEN_ROWS).chain([0]).collect();
    assert!(ids == expected, "{} rows, not {}", ids.len(), expected.len());
    eventually_async("nothing stays on disk", Duration::from_secs(10), async || {
        running.status().await.spill_bytes == 0
    })
    .await;
    running.drain().await.unwrap();
}

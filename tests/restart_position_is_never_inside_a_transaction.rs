//! Positions that tempt: rows of transactions that commit in another order than they wrote, rows
//! that share an LSN, transactions cut by a kill. Each row comes once, in commit order.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use tokio_postgres::Client;
use walcast::Source;

use crate::support::pipeline::{Place, SOON, caught_up, prepare, source, start};
use crate::support::{History, Primary, count, eventually_async, seed};

fn primary() -> Primary {
    let primary = Primary::start();
    primary.sql("create table t(id int primary key, note text); create publication p for table t");
    primary
}

/// Small batches, so that a transaction is in many pieces.
fn pieces(primary: &Primary) -> Source {
    source(&primary.url()).batch_bytes(1024)
}

fn ids(history: &History) -> Vec<i64> {
    history.events().filter_map(|event| event["new"]["id"].as_i64()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn when_transactions_interleave() {
    let (mut random, place, primary) = (StdRng::seed_from_u64(seed()), Place::new(), primary());
    prepare(place.to_file(pieces(&primary))).await;
    let mut sessions: Vec<Client> = Vec::new();
    for _ in 0..4 {
        sessions.push(primary.client().await);
    }
    let (mut next, mut committed) = (0, Vec::new());
    for _ in 0..count(100) {
        let running = start(place.to_file(pieces(&primary)));
        let mut open = vec![Vec::new(); sessions.len()];
        for session in &sessions {
            session.batch_execute("begin").await.unwrap();
        }
        for _ in 0..20 {
            let at = random.random_range(0..sessions.len());
            let insert = format!("insert into t values ({next}, repeat('x', 300))");
            sessions[at].batch_execute(&insert).await.unwrap();
            open[at].push(next);
            next += 1;
        }
        // In another order than they began, with the end of the consumer somewhere in between.
        let mut order: Vec<usize> = (0..sessions.len()).collect();
        for at in (1..order.len()).rev() {
            order.swap(at, random.random_range(0..=at));
        }
        let dies_after = random.random_range(0..sessions.len());
        let mut running = Some(running);
        for (nth, at) in order.into_iter().enumerate() {
            sessions[at].batch_execute("commit").await.unwrap();
            committed.append(&mut open[at]);
            if nth == dies_after
                && let Some(running) = running.take()
            {
                if random.random_bool(0.5) {
                    caught_up(&primary, SOON).await;
                }
                running.abort().await;
            }
        }
    }
    let running = start(place.to_file(pieces(&primary)));
    caught_up(&primary, SOON).await;
    running.drain().await.unwrap();
    assert_eq!(ids(&History::read(&place.file("out.jsonl"))), committed);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_rows_share_an_lsn() {
    let (mut random, place, primary) = (StdRng::seed_from_u64(seed()), Place::new(), primary());
    prepare(place.to_file(pieces(&primary))).await;
    let file = place.file("out.jsonl");
    let size = || std::fs::metadata(&file).map_or(0, |file| file.len());
    let rows = 20_000;
    for round in 0..count(50) {
        let first = round * rows;
        let select = format!(
            "select g, repeat('y', 50) from generate_series({first}, {first} + {rows} - 1) g"
        );
        let file = primary.root().join("rows");
        let file = file.display();
        primary.sql(&format!("copy ({select}) to '{file}'; copy t from '{file}'"));
        // Dies with part of it written, wherever that is.
        let had = size();
        let some = had + random.random_range(1..1_500_000);
        let running = start(place.to_file(pieces(&primary)).memory(1024 * 1024));
        eventually_async("part of it is written", SOON, async || size() > some).await;
        running.abort().await;
    }
    let running = start(place.to_file(pieces(&primary)));
    caught_up(&primary, SOON).await;
    running.drain().await.unwrap();
    let history = History::read(&file);
    let expected: Vec<i64> = (0..(count(50) * rows) as i64).collect();
    assert_eq!(ids(&history), expected);
    let lsns: std::collections::HashSet<&Value> =
        history.events().map(|event| &event["lsn"]).collect();
    assert!(lsns.len() < expected.len() / 2, "rows of a COPY share an LSN");
}

/// Within one run: the connection breaks while a transaction is under way.
#[tokio::test(flavor = "multi_thread")]
async fn when_the_connection_breaks_inside_a_transaction() {
    let (place, primary) = (Place::new(), primary());
    let running = start(place.to_file(pieces(&primary)).memory(1024 * 1024));
    running.streams().await;
    let file = place.file("out.jsonl");
    let size = || std::fs::metadata(&file).map_or(0, |file| file.len());
    let rows = 20_000;
    for round in 0..count(30) {
        let (first, had) = (round * rows, size());
        primary.sql(&format!(
            "insert into t select g, repeat('z', 50) from generate_series({first}, {first} + {rows} - 1) g"
        ));
        for part in 1..4 {
            let some = had + part * 500_000;
            eventually_async("part of it is written", SOON, async || size() > some).await;
            primary.sql("select pg_terminate_backend(active_pid) from pg_replication_slots");
        }
    }
    caught_up(&primary, Duration::from_secs(60)).await;
    assert!(running.status().await.reconnects > 0);
    running.drain().await.unwrap();
    let expected: Vec<i64> = (0..(count(30) * rows) as i64).collect();
    assert_eq!(ids(&History::read(&file)), expected);
}

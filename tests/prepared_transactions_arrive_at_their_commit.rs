//! Transactions that are sent when they are prepared arrive at their commit as if they had not
//! been, whatever happens between to walcast, and not at all when they are rolled back.

pub(crate) mod story;

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::StreamExt;
use serde_json::Value;
use walcast::{ErrorKind, ReplicationStream, Source, Streaming, WireFormat};

use crate::support::pipeline::{Place, SOON, caught_up, source, start};
use crate::support::reading::{assert_same_lines, read_until};
use crate::support::{
    History, Primary, Tmpfs, drained, eventually, eventually_async, every_major, skip,
};
use story::LAST;

/// The majors whose `pgoutput` sends transactions when they are prepared.
fn stages() -> impl Iterator<Item = Primary> {
    every_major().into_iter().filter(|server| server.major >= 15).map(story::primary_on)
}

fn make_slot(primary: &Primary, slot: &str) {
    primary.sql(&format!("select pg_create_logical_replication_slot('{slot}', 'pgoutput')"));
}

/// Everything up to the last row, as lines of JSON.
async fn read(source: Source) -> String {
    read_until(source, LAST).await.0
}

fn of(primary: &Primary, slot: &str, publication: &str) -> Source {
    let source = Source::new(&primary.url(), slot, [publication]).unwrap();
    source.messages(vec!["*".to_owned()]).status_interval(Duration::from_secs(1))
}

/// The transactions that are kept in a directory, or were.
fn segments(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    paths.filter(|path| path.extension().is_some_and(|it| it == "journal")).collect()
}

/// Read from one log in every mode, some of it prepared before two-phase decoding was asked for.
#[tokio::test(flavor = "multi_thread")]
async fn as_if_they_had_not_been_prepared_on_every_major() {
    use Streaming::{Off, On, Parallel};
    use WireFormat::{Binary, Text};
    let modes = [
        ("off", "p", Off, Text),
        ("on", "p", On, Text),
        ("parallel", "p", Parallel, Text),
        ("off_binary", "plain", Off, Binary),
        ("on_binary", "plain", On, Binary),
    ];
    for server in every_major() {
        let primary = story::primary_on(server);
        make_slot(&primary, "never");
        make_slot(&primary, "never_plain");
        modes.iter().for_each(|(slot, ..)| make_slot(&primary, slot));
        story::tell(&primary).await;
        let what = format!("PostgreSQL {}", primary.major());
        let expected = read(of(&primary, "never", "p").streaming(Off)).await;
        let history = History::parse(&expected).unwrap_or_else(|why| panic!("{what}: {why}"));
        assert!(history.events().all(|event| !event.to_string().contains("gone")), "{what}");
        let plain = read(of(&primary, "never_plain", "plain").streaming(Off)).await;
        for (slot, publication, streaming, format) in modes {
            let place = Place::new();
            let source = of(&primary, slot, publication).streaming(streaming).format(format);
            let source = source.two_phase(true).prepared(place.file("prepared"));
            let source = source.spill(place.file("spill"), u64::MAX);
            let what = format!("{what} {slot}");
            let lines = read(source).await;
            let expected = if publication == "p" { &expected } else { &plain };
            assert_same_lines(&lines, expected, &what);
            let condition =
                format!("select two_phase from pg_replication_slots where slot_name = '{slot}'");
            let asked = primary.query_one_text(&condition).unwrap() == "t";
            assert_eq!(asked, primary.major() >= 15, "{what}");
        }
        println!("{what}: {} events", expected.lines().count());
    }
}

/// The slot has passed the PREPARE when walcast dies: what was prepared is in its directory alone.
#[tokio::test(flavor = "multi_thread")]
async fn after_sigkill_between_prepare_and_commit() {
    for primary in stages() {
        let what = format!("PostgreSQL {}", primary.major());
        let desk = story::desk(&primary);
        let mut running = desk.start(&primary);
        let prepared = || segments(&desk.path("walcast-state/prepared")).len();
        let client = primary.client().await;
        story::prepare(&client, "stays", 1, 3).await;
        story::prepare(&client, "large", 1000, 2000).await;
        story::prepare(&client, "gone", 5, 3).await;
        eventually("they are kept", SOON, || prepared() == 3);
        caught_up(&primary, SOON).await;
        running.kill();
        running = desk.start(&primary);
        client.batch_execute("insert into t values (100, 'between')").await.unwrap();
        eventually("what comes between", SOON, || desk.lines().len() == 1);
        running.kill();
        for end in
            ["rollback prepared 'gone'", "commit prepared 'large'", "commit prepared 'stays'"]
        {
            client.batch_execute(end).await.unwrap();
        }
        running = desk.start(&primary);
        eventually("all of it", SOON, || desk.lines().len() == 1 + 2000 + 3);
        caught_up(&primary, SOON).await;
        drained(running);
        // What is confirmed is let go of at the next occasion.
        running = desk.start(&primary);
        assert_eq!(prepared(), 0, "{what}");
        drained(running);
        let history = History::read(&desk.path("audit.jsonl"));
        let ids: Vec<i64> = history.events().filter_map(|it| it["new"]["id"].as_i64()).collect();
        let expected: Vec<i64> = std::iter::once(100).chain(1000..3000).chain(1..4).collect();
        assert!(ids == expected, "{what}: {} rows", ids.len());
        history.assert_agrees(&primary, &["t"]);
    }
}

/// Killed at any moment, with more being prepared, committed and rolled back.
#[tokio::test(flavor = "multi_thread")]
async fn after_sigkill_at_any_moment() {
    let primary = story::primary();
    let desk = story::desk(&primary);
    let mut running = desk.start(&primary);
    let client = primary.client().await;
    let rounds = crate::support::count(200).max(20) as i32;
    for round in 0..rounds {
        let from = 1000 * (round + 1);
        let gid = round.to_string();
        story::prepare(&client, &gid, from, if round % 4 == 0 { 700 } else { 3 }).await;
        let small = format!("insert into t values ({}, 'small')", from + 900);
        client.batch_execute(&small).await.unwrap();
        if round > 0 {
            let end = if round % 3 == 0 { "rollback" } else { "commit" };
            client.batch_execute(&format!("{end} prepared '{}'", round - 1)).await.unwrap();
        }
        if round % 5 == 4 {
            running.kill();
            running = desk.run().start();
        }
    }
    client.batch_execute(&format!("commit prepared '{}'", rounds - 1)).await.unwrap();
    crate::support::streams(&primary, &mut running);
    caught_up(&primary, SOON).await;
    drained(running);
    let history = History::read(&desk.path("audit.jsonl"));
    history.assert_agrees(&primary, &["t"]);
}

/// Nothing is confirmed, so that the server sends it all again.
#[tokio::test(flavor = "multi_thread")]
async fn once_when_the_prepare_is_sent_again() {
    for primary in stages() {
        let place = Place::new();
        make_slot(&primary, "s");
        let source = || of(&primary, "s", "p").two_phase(true).prepared(place.file("prepared"));
        let client = primary.client().await;
        story::prepare(&client, "g", 1, 3).await;
        for _ in 0..3 {
            // It is kept by a task of its own, which does not wait to be polled.
            let before = segments(&place.file("prepared"));
            let mut stream = ReplicationStream::connect(source()).await.unwrap();
            eventually_async("it is kept anew", SOON, async || {
                let polled = tokio::time::timeout(Duration::from_millis(10), stream.next()).await;
                assert!(polled.is_err() || polled.unwrap().unwrap().unwrap().is_empty());
                let now = segments(&place.file("prepared"));
                now.len() == 1 && now != before
            })
            .await;
            drop(stream);
            let free = "not exists (select from pg_replication_slots where active)";
            primary.wait_for_sql(free, SOON).await;
        }
        client.batch_execute("commit prepared 'g'").await.unwrap();
        story::end(&client).await;
        let lines = read(source()).await;
        assert_eq!(lines.lines().count(), 4, "PostgreSQL {}: {lines}", primary.major());
    }
}

/// What the slot has passed and the directory does not hold any more cannot be had.
#[tokio::test(flavor = "multi_thread")]
async fn but_not_when_what_was_kept_is_gone() {
    type Harm = fn(&Path);
    let harms: [(&str, Harm); 3] = [
        ("the directory", |directory| std::fs::remove_dir_all(directory).unwrap()),
        ("the transaction", |directory| {
            segments(directory).iter().for_each(|path| std::fs::remove_file(path).unwrap());
        }),
        ("a byte of it", |directory| {
            let path = &segments(directory)[0];
            let mut bytes = std::fs::read(path).unwrap();
            let at = bytes.len() / 2;
            bytes[at] ^= 1;
            std::fs::write(path, bytes).unwrap();
        }),
    ];
    for (what, harm) in harms {
        let primary = story::primary();
        let desk = story::desk(&primary);
        let running = desk.start(&primary);
        let client = primary.client().await;
        story::prepare(&client, "it's", 1, 300).await;
        let directory = desk.path("walcast-state/prepared");
        eventually("it is kept", SOON, || segments(&directory).len() == 1);
        caught_up(&primary, SOON).await;
        drained(running);
        harm(&directory);
        client.batch_execute("commit prepared 'it''s'").await.unwrap();
        let ended = desk.run().run(SOON);
        assert_eq!(ended.code(), Some(5), "without {what}: {}", ended.stderr);
        let said = "prepared transaction \"it's\" committed";
        assert!(ended.stderr.contains(said), "without {what}: {}", ended.stderr);
    }
}

/// A slot stays what it was asked to be.
#[tokio::test(flavor = "multi_thread")]
async fn but_not_unasked() {
    let (primary, place) = (story::primary(), Place::new());
    let with = || source(&primary.url()).two_phase(true).prepared(place.file("prepared"));
    ReplicationStream::connect(with()).await.unwrap().finish().await;
    let refused = ReplicationStream::connect(source(&primary.url())).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Config, "{refused}");
    assert!(refused.to_string().contains("when they are prepared"), "{refused}");
    let placeless = source(&primary.url()).two_phase(true);
    let refused = ReplicationStream::connect(placeless).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Config, "{refused}");
    primary.sql("select pg_create_logical_replication_slot('other', 'pgoutput')");
    let other = of(&primary, "other", "p").two_phase(true).prepared(place.file("prepared"));
    let refused = ReplicationStream::connect(other).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Config, "{refused}");
}

/// The slot is held until there is room to keep what was prepared.
#[tokio::test(flavor = "multi_thread")]
async fn once_there_is_room_on_a_full_disk() {
    let disk = match Tmpfs::mount(64 * 4096) {
        Ok(disk) => disk,
        Err(why) => return skip(&why),
    };
    let (primary, place) = (story::primary(), Place::new());
    let source = source(&primary.url()).two_phase(true).prepared(disk.path().join("prepared"));
    let running = start(place.to_file(source));
    running.streams().await;
    let filler = disk.path().join("filler");
    // Writes what there is room for, and then fails.
    let _ = std::fs::write(&filler, vec![0; 128 * 4096]);
    let client = primary.client().await;
    story::prepare(&client, "large", 1, 500).await;
    client.batch_execute("insert into t values (1000, 'after it')").await.unwrap();
    running.wait_for_status("it tries again", SOON, |status| status.reconnects > 1).await;
    let written = std::fs::metadata(place.file("out.jsonl")).map_or(0, |file| file.len());
    assert_eq!(written, 0, "what follows it was not held");
    std::fs::remove_file(&filler).unwrap();
    caught_up(&primary, SOON).await;
    client.batch_execute("commit prepared 'large'").await.unwrap();
    caught_up(&primary, SOON).await;
    running.drain().await.unwrap();
    let history = History::read(&place.file("out.jsonl"));
    let ids = history.events().map(|event| event["new"]["id"].as_i64().unwrap());
    assert!(ids.eq(std::iter::once(1000).chain(1..=500)));
}

/// With as little memory as there may be, a large one goes through the disk alone.
#[tokio::test(flavor = "multi_thread")]
async fn in_little_memory() {
    for streaming in [Streaming::Off, Streaming::On] {
        let (primary, place) = (story::primary(), Place::new());
        let pipeline = place.to_file(source(&primary.url()).streaming(streaming).two_phase(true));
        let running = start(pipeline.memory(1));
        running.streams().await;
        let client = primary.client().await;
        let rows = crate::support::count(200_000) as i32;
        story::prepare(&client, "large", 1, rows).await;
        caught_up(&primary, SOON).await;
        client.batch_execute("commit prepared 'large'").await.unwrap();
        caught_up(&primary, SOON).await;
        // What is held is counted beside what is read, a quarter of it at most.
        let memory = running.status().await.memory;
        let bound = memory.limit_bytes + memory.limit_bytes / 4;
        assert!(memory.inflight_bytes_peak <= bound, "{streaming:?}: {memory:?}");
        running.drain().await.unwrap();
        let history = History::read(&place.file("out.jsonl"));
        let ids = history.events().map(|event: &Value| event["new"]["id"].as_i64().unwrap());
        assert!(ids.eq(1..=i64::from(rows)), "{streaming:?}");
    }
}

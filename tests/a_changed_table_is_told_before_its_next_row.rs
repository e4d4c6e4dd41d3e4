//! Tables that change while they are read: in transactions and between them, streamed or not, in
//! binary and in text, over restarts. Each change is told once, right before the first row of the
//! new shape, and each row has the shape it was sent with.

mod story;

use std::time::Duration;

use serde_json::Value;
use walcast::{Source, Streaming, WireFormat};

use crate::support::pipeline::{Place, SOON, caught_up, source, start};
use crate::support::reading::{assert_same_lines, read_until};
use crate::support::{History, Primary, eventually_async, every_major};
use story::{LAST, Reading, STEPS, change_of};

const MODES: [(&str, Streaming, WireFormat); 5] = [
    ("off", Streaming::Off, WireFormat::Text),
    ("on", Streaming::On, WireFormat::Text),
    ("off_binary", Streaming::Off, WireFormat::Binary),
    ("on_binary", Streaming::On, WireFormat::Binary),
    ("parallel_binary", Streaming::Parallel, WireFormat::Binary),
];

/// Everything up to the last row, as lines of JSON.
async fn read(source: Source) -> String {
    read_until(source, LAST).await.0
}

/// Each row is what the server said of it when it was written.
#[track_caller]
fn assert_rows_are_as_written<'a>(events: impl Iterator<Item = &'a Value>, what: &str) {
    let mut row = None;
    let mut count = 0;
    for event in events.filter(|event| event["op"] == "insert" && event["table"] != "filler") {
        if event["table"] == "written" {
            assert_eq!(row, Some(&event["new"]["row"]), "{what}: {event}");
            count += 1;
        }
        row = Some(&event["new"]);
    }
    assert!(count > STEPS.len(), "{what}: {count} rows");
}

#[track_caller]
fn assert_told(history: &History, expected: &[String], what: &str) {
    let told: Vec<String> = history.schema_changes.iter().map(change_of).collect();
    for (told, expected) in told.iter().zip(expected) {
        assert_eq!(told, expected, "{what}");
    }
    assert_eq!(told.len(), expected.len(), "{what}: {told:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_every_mode_on_every_major() {
    for server in every_major() {
        let primary = Primary::builder().setting("logical_decoding_work_mem", "64kB");
        let primary = primary.start_on(server);
        let what = format!("PostgreSQL {}", primary.major());
        story::tables(&primary);
        for (slot, ..) in MODES {
            let call = "pg_create_logical_replication_slot";
            primary.sql(&format!("select {call}('{slot}', 'pgoutput')"));
        }
        let mut expected = story::between_transactions(&primary);
        expected.extend(story::in_one_transaction(&primary));
        story::rolled_back(&primary);
        primary.sql(&format!("insert into filler values (0, '{LAST}')"));
        let mut first = None;
        for (slot, streaming, format) in MODES {
            let source = Source::new(&primary.url(), slot, ["p"]).unwrap();
            let lines = read(source.streaming(streaming).format(format)).await;
            let what = format!("{what} {slot}");
            let history = History::parse(&lines).unwrap_or_else(|why| panic!("{what}: {why}"));
            assert_rows_are_as_written(history.events(), &what);
            assert_told(&history, &expected, &what);
            let first = first.get_or_insert_with(|| lines.clone());
            for (line, of_first) in lines.lines().zip(first.lines()) {
                assert_eq!(line, of_first, "{what}");
            }
            assert_eq!(lines.lines().count(), first.lines().count(), "{what}");
        }
        let streamed = "exists (select from pg_stat_replication_slots where slot_name = 'on'
            and stream_txns > 0)";
        primary.wait_for_sql(streamed, SOON).await;
    }
}

/// Between any two steps the pipeline ends, in order or as in a crash, before or after the table
/// has changed, or runs on.
#[tokio::test(flavor = "multi_thread")]
async fn over_restarts_on_every_major() {
    for server in every_major() {
        let primary = Primary::builder().start_on(server);
        let what = format!("PostgreSQL {}", primary.major());
        story::tables(&primary);
        let place = Place::new();
        let source = source(&primary.url()).status_interval(Duration::from_millis(100));
        let begin = || start(place.to_file(source.clone()));
        let mut running = begin();
        running.streams().await;
        let mut story = story::Story::new("public");
        primary.sql(&story.first_row());
        caught_up(&primary, SOON).await;
        let mut expected = Vec::new();
        for (at, step) in STEPS.iter().enumerate() {
            let (change, row) = story.step(step);
            expected.extend(story.told(step, Reading::InTime));
            match at % 4 {
                0 => {
                    running.drain().await.unwrap();
                    primary.sql(&change);
                    running = begin();
                    running.streams().await;
                }
                1 => {
                    primary.sql(&change);
                    caught_up(&primary, SOON).await;
                    running.drain().await.unwrap();
                    running = begin();
                    running.streams().await;
                }
                2 => {
                    primary.sql(&change);
                    running.abort().await;
                    running = begin();
                    running.streams().await;
                }
                _ => primary.sql(&change),
            }
            primary.sql(&row);
            caught_up(&primary, SOON).await;
        }
        running.drain().await.unwrap();
        let history = History::read(&place.file("out.jsonl"));
        assert_rows_are_as_written(history.events(), &what);
        assert_told(&history, &expected, &what);
        let relations = std::fs::read_dir(place.state()).unwrap();
        let names = relations.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let kept = names.filter(|name| name.starts_with("checkpoint.relations-")).count();
        assert_eq!(kept, 1, "{what}");
    }
}

/// In the middle of the transaction that changes the table, too: what comes after the break goes on
/// where what came before it ended.
#[tokio::test(flavor = "multi_thread")]
async fn over_broken_connections() {
    const CUTS: usize = 8;
    let primary = Primary::builder().setting("logical_decoding_work_mem", "64kB").start();
    story::tables(&primary);
    for slot in ["whole", "off", "on"] {
        primary.sql(&format!("select pg_create_logical_replication_slot('{slot}', 'pgoutput')"));
    }
    story::between_transactions(&primary);
    story::in_one_transaction(&primary);
    primary.sql(&format!("insert into filler values (0, '{LAST}')"));
    let of = |slot: &str| Source::new(&primary.url(), slot, ["p"]).unwrap();
    let whole = read(of("whole")).await;
    for (slot, streaming) in [("off", Streaming::Off), ("on", Streaming::On)] {
        let place = Place::new();
        let source = of(slot).streaming(streaming).batch_bytes(2000);
        let running = start(place.to_file(source).memory(1024 * 1024));
        let (mut cuts, mut written) = (0, 0);
        let file = place.file("out.jsonl");
        eventually_async("all of it", SOON, async || {
            let lines = std::fs::read_to_string(&file).unwrap_or_default();
            // Each time it has come further than before.
            if cuts < CUTS && lines.len() > written {
                written = lines.len();
                cuts += 1;
                primary.sql(&format!(
                    "select pg_terminate_backend(active_pid) from pg_replication_slots
                     where slot_name = '{slot}' and active"
                ));
            }
            lines.contains(LAST)
        })
        .await;
        assert!(running.status().await.reconnects > 1, "{slot}: {cuts} cuts");
        running.drain().await.unwrap();
        let lines = std::fs::read_to_string(&file).unwrap();
        assert_same_lines(&lines, &whole, slot);
    }
}

/// A sink that falls behind is told of a change with the row that it gets later, and a pipeline
/// that reads again from what is confirmed goes by what was in force there.
#[tokio::test(flavor = "multi_thread")]
async fn to_each_sink_where_it_stands() {
    use walcast::sinks::file::FileSink;
    let (primary, place) = (Primary::start(), Place::new());
    story::tables(&primary);
    let pipeline = |names: &[&str]| {
        let pipeline = place.pipeline(source(&primary.url()));
        names.iter().fold(pipeline, |pipeline, name| {
            let file = FileSink::new(place.file(&format!("{name}.jsonl")));
            pipeline.sink(name, file).unwrap()
        })
    };
    let running = start(pipeline(&["a"]));
    running.streams().await;
    primary.sql("insert into t values (1, 'as it was')");
    caught_up(&primary, SOON).await;
    running.drain().await.unwrap();
    primary.sql("alter table t add column more int");
    primary.sql("insert into t values (2, 'as it is')");
    // The first sink has what the second gets from now on.
    let running = start(pipeline(&["a"]));
    running.streams().await;
    eventually_has(&place, "a", 2).await;
    running.abort().await;
    let running = start(pipeline(&["a", "b"]));
    running.streams().await;
    primary.sql("alter table t drop column note; insert into t values (3)");
    caught_up(&primary, SOON).await;
    running.drain().await.unwrap();
    let told = |name: &str| -> Vec<String> {
        let history = History::read(&place.file(&format!("{name}.jsonl")));
        history.schema_changes.iter().map(change_of).collect()
    };
    let grows = "public.t->public.t +more - ~".to_owned();
    let shrinks = "public.t->public.t + -note ~".to_owned();
    assert_eq!(told("a"), [grows, shrinks.clone()]);
    assert_eq!(told("b").last(), Some(&shrinks));
}

/// Waits until the file of sink `name` has the row `id`.
async fn eventually_has(place: &Place, name: &str, id: i32) {
    let file = place.file(&format!("{name}.jsonl"));
    let row = format!("\"new\":{{\"id\":{id},");
    eventually_async("the row", Duration::from_secs(30), async || {
        std::fs::read_to_string(&file).unwrap_or_default().contains(&row)
    })
    .await;
}

//! The same log read in every mode: streaming off, on and parallel, binary and text, protocol 1 to
//! 4, held in memory or on disk, gives the same events with the same ids on every major version.

pub(crate) mod story;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use walcast::sinks::file::FileSink;
use walcast::{Source, Streaming, WireFormat};

use crate::support::pipeline::{Place, SOON, start};
use crate::support::reading::{assert_same_lines, read_until};
use crate::support::{History, Primary, Tmpfs, eventually_async, every_major, skip};
use story::LAST;

/// How one reading asks for the log.
#[derive(Debug, Clone, Copy)]
struct Mode {
    slot: &'static str,
    publication: &'static str,
    streaming: Streaming,
    format: WireFormat,
}

impl Mode {
    /// All tables, in text.
    const fn all(slot: &'static str, streaming: Streaming) -> Mode {
        Mode { slot, publication: "p", streaming, format: WireFormat::Text }
    }

    /// The tables whose types have binary decoders.
    const fn plain(slot: &'static str, streaming: Streaming, format: WireFormat) -> Mode {
        Mode { slot, publication: "plain", streaming, format }
    }
}

const MODES: [Mode; 7] = [
    Mode::all("off", Streaming::Off),
    Mode::all("on", Streaming::On),
    Mode::all("parallel", Streaming::Parallel),
    Mode::plain("off_binary", Streaming::Off, WireFormat::Binary),
    Mode::plain("on_binary", Streaming::On, WireFormat::Binary),
    Mode::plain("on_text", Streaming::On, WireFormat::Text),
    Mode::plain("parallel_binary", Streaming::Parallel, WireFormat::Binary),
];

fn make_slot(primary: &Primary, slot: &str) {
    primary.sql(&format!("select pg_create_logical_replication_slot('{slot}', 'pgoutput')"));
}

fn source(primary: &Primary, slot: &str) -> Source {
    of(primary, slot, "p")
}

fn of(primary: &Primary, slot: &str, publication: &str) -> Source {
    let source = Source::new(&primary.url(), slot, [publication]).unwrap();
    source.messages(vec!["*".to_owned()]).status_interval(Duration::from_secs(1))
}

/// Everything up to the last row, as lines of JSON, and how often it connected again.
async fn read(source: Source) -> (String, u64) {
    read_until(source, LAST).await
}

/// Whether the server has streamed anything through `slot`; it counts with a delay.
async fn was_streamed(primary: &Primary, slot: &str) {
    let condition = format!(
        "exists (select from pg_stat_replication_slots where slot_name = '{slot}'
            and stream_txns > 0)"
    );
    primary.wait_for_sql(&condition, SOON).await;
}

fn ids_of(lines: &str, table: &str) -> Vec<i64> {
    let events = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let of_table = events.filter(|event| event["table"] == table);
    of_table.filter_map(|event| event["new"]["id"].as_i64()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn in_every_mode_on_every_major() {
    for server in every_major() {
        let primary = story::primary_on(server);
        let what = format!("PostgreSQL {}", primary.major());
        for mode in MODES {
            make_slot(&primary, mode.slot);
        }
        story::tell(&primary).await;
        let mut readings = BTreeMap::new();
        for mode in MODES {
            let source = of(&primary, mode.slot, mode.publication);
            let source = source.streaming(mode.streaming).format(mode.format);
            let (lines, reconnects) = read(source).await;
            let expected = readings.entry(mode.publication).or_insert_with(|| lines.clone());
            assert_same_lines(&lines, expected, &format!("{what} {mode:?}"));
            assert_eq!(reconnects, 0, "{what} {mode:?}");
            if mode.streaming != Streaming::Off {
                was_streamed(&primary, mode.slot).await;
            }
        }
        let lines = &readings["p"];
        History::parse(lines).unwrap_or_else(|why| panic!("{what}: {why}"));
        assert_eq!(ids_of(lines, "big")[..505], (1..=505).collect::<Vec<_>>(), "{what}");
        assert_eq!(ids_of(lines, "touched"), [1, 2, 3, 4, 5, 6], "{what}");
        println!("{what}: {} events", lines.lines().count());
    }
}

/// Each block is a subtransaction of the one around it.
#[tokio::test(flavor = "multi_thread")]
async fn out_of_a_thousand_blocks_inside_each_other() {
    for server in every_major() {
        let primary = story::deep_primary_on(server);
        let what = format!("PostgreSQL {}", primary.major());
        let modes = [("off", Streaming::Off), ("on", Streaming::On), ("all", Streaming::Parallel)];
        modes.iter().for_each(|(slot, _)| make_slot(&primary, slot));
        let expected = story::nested_deeply(&primary.client().await).await;
        let mut first = None;
        for (slot, streaming) in modes {
            let (lines, reconnects) = read(source(&primary, slot).streaming(streaming)).await;
            assert_eq!(ids_of(&lines, "deep"), expected, "{what} {slot}");
            assert_same_lines(&lines, first.get_or_insert_with(|| lines.clone()), &what);
            assert_eq!(reconnects, 0, "{what} {slot}");
            if streaming != Streaming::Off {
                was_streamed(&primary, slot).await;
            }
        }
        println!("{what}: {} blocks deep", story::DEPTH);
    }
}

/// What came from elsewhere is left out by the server, or by walcast on 14 and 15.
#[tokio::test(flavor = "multi_thread")]
async fn without_what_came_from_elsewhere() {
    for server in every_major() {
        let primary = story::primary_on(server);
        let modes = [Streaming::Off, Streaming::On].map(|streaming| (streaming, streaming as u8));
        for (_, slot) in modes {
            make_slot(&primary, &format!("s{slot}"));
        }
        story::tell(&primary).await;
        let mut all = Vec::new();
        for (streaming, slot) in modes {
            let source = source(&primary, &format!("s{slot}")).streaming(streaming);
            all.push(read(source.local_only(true)).await.0);
        }
        assert_same_lines(&all[1], &all[0], &format!("PostgreSQL {}", primary.major()));
        assert!(all[0].lines().all(|line| line.contains("\"origin\":null")));
        assert!(ids_of(&all[0], "late").iter().all(|id| !(100_000..130_000).contains(id)));
    }
}

fn files(directory: &Path) -> usize {
    std::fs::read_dir(directory).map_or(0, Iterator::count)
}

/// A pipeline with as little memory as there may be puts almost everything on disk, and nothing of
/// it stays there.
#[tokio::test(flavor = "multi_thread")]
async fn through_the_disk() {
    let (primary, place) = (story::primary(), Place::new());
    make_slot(&primary, "off");
    make_slot(&primary, "s");
    story::tell(&primary).await;
    let (expected, _) = read(source(&primary, "off").streaming(Streaming::Off)).await;
    let pipeline = place.pipeline(source(&primary, "s")).memory(1);
    let pipeline = pipeline.sink("out", FileSink::new(place.file("out.jsonl"))).unwrap();
    let running = start(pipeline);
    let lines = || std::fs::read_to_string(place.file("out.jsonl")).unwrap_or_default();
    eventually_async("the last row", SOON, async || lines().contains(LAST)).await;
    running.drain().await.unwrap();
    assert_same_lines(&lines(), &expected, "through the disk");
    was_streamed(&primary, "s").await;
    assert_eq!(files(&place.state().join("spill")), 0);
}

/// Where there is no room for what is open, the server keeps it, and nothing is lost or doubled.
#[tokio::test(flavor = "multi_thread")]
async fn without_room_on_disk() {
    let (primary, place) = (story::primary(), Place::new());
    make_slot(&primary, "off");
    make_slot(&primary, "s");
    story::tell(&primary).await;
    let (expected, _) = read(source(&primary, "off").streaming(Streaming::Off)).await;
    let pipeline = place.pipeline(source(&primary, "s")).memory(1).spill(300_000);
    let pipeline = pipeline.sink("out", FileSink::new(place.file("out.jsonl"))).unwrap();
    let running = start(pipeline);
    let lines = || std::fs::read_to_string(place.file("out.jsonl")).unwrap_or_default();
    eventually_async("the last row", SOON, async || lines().contains(LAST)).await;
    assert_eq!(running.status().await.reconnects, 1);
    running.drain().await.unwrap();
    assert_same_lines(&lines(), &expected, "without room");
    assert_eq!(files(&place.state().join("spill")), 0);
}

/// The same where it is the disk that has no room left.
#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk() {
    let disk = match Tmpfs::mount(64 * 4096) {
        Ok(disk) => disk,
        Err(why) => return skip(&why),
    };
    let (primary, place) = (story::primary(), Place::new());
    make_slot(&primary, "off");
    make_slot(&primary, "s");
    story::tell(&primary).await;
    let (expected, _) = read(source(&primary, "off").streaming(Streaming::Off)).await;
    let source = source(&primary, "s").spill(disk.path().join("spill"), u64::MAX);
    let pipeline = place.pipeline(source).memory(1);
    let pipeline = pipeline.sink("out", FileSink::new(place.file("out.jsonl"))).unwrap();
    let running = start(pipeline);
    let lines = || std::fs::read_to_string(place.file("out.jsonl")).unwrap_or_default();
    eventually_async("the last row", SOON, async || lines().contains(LAST)).await;
    assert_eq!(running.status().await.reconnects, 1);
    running.drain().await.unwrap();
    assert_same_lines(&lines(), &expected, "on a full disk");
    assert_eq!(files(&disk.path().join("spill")), 0);
}

/// A message of a subtransaction that was rolled back looks like one of its transaction: the server
/// is let decide.
#[tokio::test(flavor = "multi_thread")]
async fn with_messages_in_what_is_rolled_back() {
    for server in every_major() {
        let primary = story::primary_on(server);
        for slot in ["off", "on"] {
            make_slot(&primary, slot);
        }
        let client = primary.client().await;
        story::messages_rolled_back(&client).await;
        story::end(&client).await;
        let what = format!("PostgreSQL {}", primary.major());
        let (expected, _) = read(source(&primary, "off").streaming(Streaming::Off)).await;
        let (lines, reconnects) = read(source(&primary, "on").streaming(Streaming::On)).await;
        assert_same_lines(&lines, &expected, &what);
        assert!(!lines.contains("gone") && lines.contains("stays"), "{what}");
        assert_eq!(reconnects, 1, "{what}");
    }
}

/// PostgreSQL 18 passes over what it finds rolled back, older ones read it all.
#[tokio::test(flavor = "multi_thread")]
async fn without_what_was_rolled_back_before_anyone_read_it() {
    for server in every_major() {
        let primary = story::primary_on(server);
        let modes = [Streaming::Off, Streaming::On, Streaming::Parallel];
        for mode in modes {
            make_slot(&primary, &format!("s{}", mode as u8));
        }
        let client = primary.client().await;
        story::rolled_back(&client).await;
        story::end(&client).await;
        for mode in modes {
            let what = format!("PostgreSQL {} {mode:?}", primary.major());
            let source = source(&primary, &format!("s{}", mode as u8)).streaming(mode);
            let (lines, reconnects) = read(source).await;
            assert_eq!((lines.lines().count(), reconnects), (6, 0), "{what}");
            assert_eq!(ids_of(&lines, "big"), [1, 2, 3, 4, 5], "{what}");
        }
    }
}

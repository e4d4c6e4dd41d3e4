//! Frames that servers of every major version sent, kept in `tests/golden`, are read to the events
//! committed beside them: whole and cut anywhere, held in memory or not. The servers at hand still
//! send what is read to the same events; `scripts/capture-frames` writes the files anew.

mod capture;
mod listing;
mod story;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use walcast::testing::Reading;

use crate::support::{Primary, count, every_major, seed};
use story::NOT_PLAIN;

const NO_BOUND: usize = usize::MAX;

/// A story, and who reads it: a slot, and plugin options.
#[derive(Debug, Clone, Copy)]
struct Recording {
    name: &'static str,
    story: &'static str,
    /// The first major version that has what it is about.
    since: u32,
    publication: &'static str,
    options: fn(major: u32) -> &'static str,
}

const TEXT: &str = "proto_version '1', messages 'true'";
const BINARY: &str = "proto_version '1', messages 'true', binary 'true'";
const STREAMED: &str = "proto_version '2', messages 'true', streaming 'on'";
const PREPARED: &str = "proto_version '3', messages 'true', streaming 'on', two_phase 'true'";

const RECORDINGS: [Recording; 9] = [
    Recording::new("changes_text", "changes", 14, "everything", |_| TEXT),
    Recording::new("changes_binary", "changes", 14, "plain", |_| BINARY),
    Recording::new("streamed_text", "streamed", 14, "everything", |_| STREAMED),
    Recording::new("streamed_binary", "streamed", 14, "plain", |major| match major {
        14 => "proto_version '2', messages 'true', binary 'true', streaming 'on'",
        15 => "proto_version '3', messages 'true', binary 'true', streaming 'on'",
        _ => "proto_version '4', messages 'true', binary 'true', streaming 'parallel'",
    }),
    Recording::new("prepared", "prepared", 15, "everything", |_| PREPARED),
    Recording::new("filtered", "filtered", 15, "filtered", |_| TEXT),
    Recording::new("generated", "generated", 18, "generated", |_| TEXT),
    Recording::new("w1_text", "w1", 18, "bench", |_| TEXT),
    Recording::new("w1_binary", "w1", 18, "bench", |_| BINARY),
];

impl Recording {
    const fn new(
        name: &'static str,
        story: &'static str,
        since: u32,
        publication: &'static str,
        options: fn(u32) -> &'static str,
    ) -> Recording {
        Recording { name, story, since, publication, options }
    }

    fn path(&self, major: u32) -> PathBuf {
        directory().join(major.to_string()).join(format!("{}.frames", self.name))
    }

    /// Prepared transactions are listed message by message, everything else is assembled.
    fn is_assembled(&self) -> bool {
        self.story != "prepared"
    }

    /// What `frames` come to, in the form of the committed files.
    fn read(&self, frames: &[u8]) -> String {
        if self.is_assembled() { events(frames) } else { listed(frames) }
    }

    fn expected_path(&self) -> PathBuf {
        let ending = if self.is_assembled() { "jsonl" } else { "messages" };
        directory().join(format!("{}.{ending}", self.story))
    }

    /// The committed events of its story, without the tables that its publication leaves out.
    fn expected(&self) -> String {
        let path = self.expected_path();
        let all = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let left_out = |line: &&str| {
            self.publication == "plain"
                && NOT_PLAIN.iter().any(|table| line.contains(&format!("\"table\":\"{table}\"")))
        };
        all.lines().filter(|line| !left_out(line)).map(|line| format!("{line}\n")).collect()
    }
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Every committed file: its recording, its major version, its frames.
fn committed() -> Vec<(Recording, u32, Vec<u8>)> {
    let mut found = Vec::new();
    for major in 14..=18 {
        for recording in RECORDINGS.into_iter().filter(|recording| recording.since <= major) {
            let path = recording.path(major);
            let frames =
                std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            found.push((recording, major, frames));
        }
    }
    found
}

/// The events of `frames` without what differs from run to run. That is checked instead: positions
/// rise, and the id of an event is its position.
fn normal(lines: &[u8]) -> String {
    let (mut normal, mut before) = (String::new(), (walcast::Lsn::new(0), 0));
    for line in std::str::from_utf8(lines).unwrap().lines() {
        let mut event: Value = serde_json::from_str(line).unwrap();
        let event_of = event.clone();
        let text = |key: &str| event_of[key].as_str().unwrap_or_default();
        let seq = event_of["seq"].as_u64().unwrap();
        let commit: walcast::Lsn = text("commit_lsn").parse().unwrap();
        assert!((commit, seq) > before, "{line} comes after {before:?}");
        let object = event.as_object_mut().unwrap();
        if text("op") == "schema" {
            assert_eq!(text("id"), format!("7:1:{commit}:{seq}:s"));
            // Shapes are told with numbers that every cluster gives anew.
            object.retain(|key, _| key != "old" && key != "new");
        } else {
            before = (commit, seq);
            assert_eq!(text("id"), format!("7:1:{commit}:{seq}"));
        }
        for key in ["id", "lsn", "commit_lsn", "end_lsn", "xid", "commit_time"] {
            object.remove(key);
        }
        normal.push_str(&format!("{event}\n"));
    }
    normal
}

fn events(frames: &[u8]) -> String {
    let mut reading = Reading::new(NO_BOUND);
    reading.read(frames).unwrap();
    reading.hand_out().unwrap();
    assert_eq!(reading.unread_bytes(), 0);
    normal(reading.lines())
}

/// The messages of `frames`, one a line. Where blocks of a stream begin and end is the server's
/// choice.
fn listed(frames: &[u8]) -> String {
    let messages = listing::messages(frames).into_iter().map(|message| message.text + "\n");
    messages.filter(|text| !matches!(&text[..1], "S" | "E")).collect()
}

#[track_caller]
fn assert_same(have: &str, want: &str, what: &str) {
    for (at, (have, want)) in have.lines().zip(want.lines()).enumerate() {
        assert_eq!(have, want, "{what}, line {}", at + 1);
    }
    assert_eq!(have.lines().count(), want.lines().count(), "{what}: as many lines");
}

#[test]
fn whole() {
    for (recording, major, frames) in committed() {
        let what = format!("{} of PostgreSQL {major}", recording.name);
        assert_same(&recording.read(&frames), &recording.expected(), &what);
    }
}

#[test]
fn cut_anywhere() {
    let seed = seed();
    for (recording, major, frames) in committed() {
        if !recording.is_assembled() {
            continue;
        }
        let expected = recording.expected();
        for round in 0..count(100) as u64 {
            let mut random = StdRng::seed_from_u64(seed.wrapping_add(round));
            let lines = read_in_pieces(&frames, &mut random);
            let what = format!("{} of PostgreSQL {major}, round {round}", recording.name);
            assert_same(&normal(&lines), &expected, &what);
        }
    }
}

/// Pieces of random lengths, batches closed at random, random room for what is streamed.
fn read_in_pieces(frames: &[u8], random: &mut StdRng) -> Vec<u8> {
    let room = *[1000, 70_000, 200_000, NO_BOUND].get(random.random_range(0..4)).unwrap();
    let longest = random.random_range(1..5000);
    let mut reading = Reading::new(room);
    let mut rest = frames;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(random.random_range(1..=longest).min(rest.len()));
        rest = after;
        reading.read(piece).unwrap();
        if random.random_bool(0.3) {
            reading.hand_out().unwrap();
        }
    }
    reading.hand_out().unwrap();
    reading.lines().to_vec()
}

/// A kind of message that no file holds is not shown to be read.
#[test]
fn with_every_kind_of_message() {
    for major in 14..=18 {
        let (mut kinds, mut columns) = (BTreeSet::new(), BTreeSet::new());
        let of_major = committed().into_iter().filter(|(_, of, _)| *of == major);
        for (_, _, frames) in of_major {
            for message in listing::messages(&frames) {
                kinds.insert(message.kind);
                columns.extend(message.columns.chars());
            }
        }
        assert_eq!(columns.into_iter().collect::<String>(), "bntu");
        let mut wanted = "B C O R Y IN UN UK UO DK DO T Mt Mf S E c A".to_owned();
        if major >= 15 {
            wanted.push_str(" b P K r p");
        }
        if major >= 16 {
            wanted.push_str(" A+");
        }
        let missing: Vec<_> = wanted.split(' ').filter(|kind| !kinds.contains(*kind)).collect();
        assert!(missing.is_empty(), "PostgreSQL {major}: {missing:?} not in {kinds:?}");
    }
}

/// Reads each story from each server at hand; with `WALCAST_GOLDEN=write` its frames are kept, and
/// with `WALCAST_GOLDEN=snapshots` only what the kept ones are read to.
#[tokio::test(flavor = "multi_thread")]
async fn as_servers_still_send_them() {
    let golden = std::env::var("WALCAST_GOLDEN").unwrap_or_default();
    if golden == "snapshots" {
        committed().iter().for_each(|(recording, _, frames)| keep_events(recording, frames));
        return;
    }
    for server in every_major() {
        let primary = story::primary_on(server);
        for (recording, frames) in told(&primary).await {
            let (major, name) = (primary.major(), recording.name);
            if golden == "write" {
                let path = recording.path(major);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, &frames).unwrap();
                keep_events(&recording, &frames);
            }
            let what = format!("{name} as PostgreSQL {major} sends it now");
            assert_same(&recording.read(&frames), &recording.expected(), &what);
        }
    }
}

/// Each story told to `primary`, and what its readers got.
async fn told(primary: &Primary) -> Vec<(Recording, Vec<u8>)> {
    let known = RECORDINGS.into_iter().filter(|recording| recording.since <= primary.major());
    let mut got = Vec::new();
    for recordings in known.collect::<Vec<_>>().chunk_by(|a, b| a.story == b.story) {
        for Recording { name, story, .. } in recordings {
            let two_phase = *story == "prepared";
            primary.sql(&format!(
                "select pg_create_logical_replication_slot('{name}', 'pgoutput', false, {two_phase})"
            ));
        }
        match recordings[0].story {
            "changes" => story::changes(primary).await,
            "streamed" => story::streamed(primary).await,
            "prepared" => story::prepared(primary).await,
            "filtered" => story::filtered(primary).await,
            "w1" => story::w1(primary).await,
            _ => story::generated(primary).await,
        }
        for recording in recordings {
            let options = (recording.options)(primary.major());
            let options = format!("{options}, publication_names '{}'", recording.publication);
            got.push((*recording, capture::capture(primary, recording.name, &options)));
        }
    }
    got
}

/// The first reader of a story says what is expected of all.
fn keep_events(recording: &Recording, frames: &[u8]) {
    if recording.publication != "plain" {
        std::fs::write(recording.expected_path(), recording.read(frames)).unwrap();
    }
}

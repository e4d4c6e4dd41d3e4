//! A process that writes a file is killed at any moment, again and again; what the file holds in
//! the end is what was told, each line once.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use walcast::event::Batch;
use walcast::sink::{Resume, Sink};
use walcast::sinks::FileSink;
use walcast::sinks::file::Rotation;
use walcast::testing::Feed;
use walcast::{Lsn, SinkName, SlotName};

use crate::support::{Program, count, eventually, seed};

/// Set in the process that is to be killed: the file it writes, and where it says what is proven.
const FILE: &str = "WALCAST_TEST_FILE_SINK";
const PROVEN: &str = "WALCAST_TEST_FILE_SINK_PROVEN";
const CHILD: &str = "the_file_sink_survives_being_killed::writes_until_it_is_killed";
const STEP: u64 = 100;

fn sink(path: &Path) -> FileSink {
    let rotation = Rotation { bytes: Some(200_000), ..Rotation::default() };
    FileSink::new(path).with_rotation(rotation)
}

/// The transaction that commits at `nth` steps: a row or two.
fn transaction(feed: &mut Feed, nth: u64) -> Batch {
    let note = format!("note {nth}");
    let notes = [note.as_str(), "second"];
    feed.transaction(nth * STEP, &notes[..1 + (nth % 2) as usize]).batch()
}

/// Open `sink`; the number of the next transaction it needs.
async fn opened(sink: &mut FileSink, feed: &Feed) -> u64 {
    let (name, slot) = (SinkName::new("audit").unwrap(), SlotName::new("s").unwrap());
    let context = walcast::sink::OpenContext::new(name, slot, feed.lineage().clone());
    match sink.open(&context).await.unwrap() {
        Resume::After(end) => end.as_u64() / STEP + 1,
        Resume::Delegate => 1,
    }
}

/// Not a test of its own: the body of the process that [`each_kill_leaves_the_file_whole`] kills.
#[tokio::test]
async fn writes_until_it_is_killed() {
    let Some(path) = std::env::var_os(FILE) else { return };
    let told = std::env::var_os(PROVEN).unwrap();
    let mut proven = OpenOptions::new().append(true).create(true).open(told).unwrap();
    let mut sink = sink(Path::new(&path));
    let mut feed = Feed::after(Lsn::new(0));
    let mut next = opened(&mut sink, &feed).await;
    loop {
        sink.write(transaction(&mut feed, next)).await.unwrap();
        if next % 50 == 0 {
            sink.flush().await.unwrap();
            proven.write_all(format!("{next}\n").as_bytes()).unwrap();
        }
        next += 1;
    }
}

#[tokio::test]
async fn each_kill_leaves_the_file_whole() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.jsonl");
    let aside = tempfile::tempdir().unwrap();
    let proven = aside.path().join("proven");
    let mut random = StdRng::seed_from_u64(seed());
    for _ in 0..count(50) {
        let before = written(directory.path());
        let more = random.random_range(0..600_000);
        let program = std::env::current_exe().unwrap();
        let child = Program::new(program, ["--exact", CHILD, "--nocapture"]);
        let child = child.env(FILE, &path).env(PROVEN, &proven).start();
        let patience = Duration::from_secs(60);
        eventually("the child to write", patience, || written(directory.path()) > before + more);
        drop(child);
    }
    let mut sink = sink(&path);
    let mut feed = Feed::after(Lsn::new(0));
    let next = opened(&mut sink, &feed).await;
    let proven = fs::read_to_string(proven).unwrap();
    let proven: u64 = proven.lines().last().unwrap().parse().unwrap();
    assert!(next > proven, "{proven} was proven");
    sink.write(transaction(&mut feed, next)).await.unwrap();
    sink.close().await.unwrap();
    let expected = (1..next).flat_map(|nth| (1..=1 + nth % 2).map(move |seq| (nth, seq)));
    let mut expected = expected.map(|(nth, seq)| format!("7:1:{}:{seq}", Lsn::new(nth * STEP)));
    let opened_again = opened(&mut sink, &feed).await;
    assert_eq!(opened_again, next, "what was not flushed is cut off");
    for line in lines(directory.path()) {
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["id"].as_str().map(str::to_owned), expected.next());
    }
    assert_eq!(expected.next(), None);
}

/// How many bytes the files hold.
fn written(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).unwrap();
    entries.filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len())).sum()
}

/// The lines of all files in order.
fn lines(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| !path.to_string_lossy().ends_with(".cursor"));
    // The shortest name is the file being written; it comes last.
    files.sort_by_key(|path| (path.extension().is_some_and(|end| end == "jsonl"), path.clone()));
    let lines = files.iter().map(|file| fs::read_to_string(file).unwrap());
    lines.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
}

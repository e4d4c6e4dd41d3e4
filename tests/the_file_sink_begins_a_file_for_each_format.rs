//! A file holds one format: when the sink is given another, its file is put aside where it ends,
//! and a new one begun. Nothing is lost or doubled, wherever the change or a crash falls.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use walcast::codec::cloudevents::CloudEventsOptions;
use walcast::codec::value::TypeRegistry;
use walcast::codec::{Encoder, EventFormat};
use walcast::sink::{Resume, Sink};
use walcast::sinks::FileSink;

use crate::support::pipeline::SOON;
use crate::support::{Desk, Primary, Story, after, assert_same, drained, eventually, overwrite};

/// What `format` makes of the story after `from`, as a sink that begins there writes it.
fn written(story: &Story, format: &EventFormat, from: Resume) -> Vec<u8> {
    let mut lines = Vec::new();
    let mut encoder = Encoder::new(format.clone(), Arc::new(TypeRegistry::builtin()));
    for batch in after(&story.batches, from) {
        encoder.encode(&batch, &mut lines).unwrap();
    }
    lines
}

fn sink(story: &Story, format: &EventFormat) -> FileSink {
    FileSink::new(story.path()).with_format(format.clone())
}

fn numbered(story: &Story, number: u32) -> std::path::PathBuf {
    let mut path = story.path().into_os_string();
    path.push(format!(".{number:08}"));
    path.into()
}

/// Tells the story's first `count` batches in the one format, leaving a write that was not proven.
async fn begun(story: &Story, format: &EventFormat, count: usize) {
    let mut first = sink(story, format);
    story.tell_until(&mut first, count).await.unwrap();
    first.close().await.unwrap();
    overwrite(&story.path(), &[&story.content()[..], b"{\"not\":\"proven"].concat());
}

#[tokio::test]
async fn wherever_the_format_changes() {
    let formats = [
        EventFormat::Json,
        EventFormat::Wal2Json,
        EventFormat::CloudEvents(CloudEventsOptions::default()),
    ];
    let story = Story::new();
    for (one, other) in [(0, 1), (1, 0), (1, 2)].map(|(a, b)| (&formats[a], &formats[b])) {
        for count in 0..story.batches.len() {
            story.clear();
            begun(&story, one, count).await;
            let mut second = sink(&story, other);
            let stood = story.tell(&mut second).await.unwrap();
            let when = format!("{one:?} for {count} batches, then {other:?}");
            let (all, rest) =
                (written(&story, one, Resume::Delegate), written(&story, other, stood));
            assert_same(&story.content(), &rest, &when);
            let aside = story.files_aside();
            let Some(aside) = aside.first() else {
                // Nothing whole had been written.
                assert_same(&written(&story, other, Resume::Delegate), &rest, &when);
                continue;
            };
            assert_eq!(*aside, numbered(&story, 1), "{when}");
            let before = fs::read(aside).unwrap();
            assert!(!before.is_empty() && all.starts_with(&before), "{when}");
            let again = written(&story, one, stood);
            assert_same(&[before, again].concat(), &all, &format!("{when}: where it changes"));
        }
    }
}

#[tokio::test]
async fn and_back_again() {
    let story = Story::new();
    let json = EventFormat::Json;
    begun(&story, &json, 1).await;
    begun(&story, &EventFormat::Wal2Json, 4).await;
    story.tell(&mut sink(&story, &json)).await.unwrap();
    assert_eq!(story.files_aside(), [numbered(&story, 1), numbered(&story, 2)]);
    let first = fs::read(numbered(&story, 1)).unwrap();
    assert!(story.json.starts_with(&first) && story.json.ends_with(&story.content()));
    let second = fs::read_to_string(numbered(&story, 2)).unwrap();
    assert!(second.starts_with("{\"action\":\"B\""), "{second}");
    // The same format goes on in its file.
    let mut same = sink(&story, &json);
    story.tell(&mut same).await.unwrap();
    assert_eq!(story.files_aside().len(), 2);
}

/// The file was put aside, and the new one made or not, when the process died.
#[tokio::test]
async fn after_a_crash_in_the_middle_of_it() {
    for new_file in [false, true] {
        let story = Story::new();
        begun(&story, &EventFormat::Json, 4).await;
        fs::rename(story.path(), numbered(&story, 1)).unwrap();
        if new_file {
            fs::write(story.path(), b"").unwrap();
        }
        let mut second = sink(&story, &EventFormat::Wal2Json);
        let stood = story.tell(&mut second).await.unwrap();
        let rest = written(&story, &EventFormat::Wal2Json, stood);
        assert_same(&story.content(), &rest, "after it");
        assert_eq!(story.files_aside().len(), 1);
        let first = fs::read(numbered(&story, 1)).unwrap();
        assert!(story.json.starts_with(&first) && !first.is_empty());
    }
}

/// The setting in a config, between two runs.
#[test]
fn of_a_config() {
    let primary = Primary::start();
    primary.sql("create table a(id int primary key)");
    let desk = Desk::new(&primary.url(), "");
    let config = desk.path("walcast.toml");
    let plain = fs::read_to_string(&config).unwrap();
    let lines = |path: &Path| fs::read_to_string(path).map_or(0, |text| text.lines().count());
    let (current, aside) = (desk.path("audit.jsonl"), desk.path("audit.jsonl.00000001"));
    let running = desk.start(&primary);
    primary.sql("insert into a values (1), (2)");
    eventually("they are written", SOON, || lines(&current) == 2);
    drained(running);
    fs::write(&config, plain + "format = \"debezium\"\n").unwrap();
    let running = desk.start(&primary);
    primary.sql("insert into a values (3)");
    eventually("it is written", SOON, || lines(&current) == 1 && lines(&aside) == 2);
    let ended = drained(running);
    let (old, new) = ("written as json", "is debezium from now on");
    assert!(ended.stderr.contains(old) && ended.stderr.contains(new), "{}", ended.stderr);
    let [first, second] = [&aside, &current].map(|path| fs::read_to_string(path).unwrap());
    assert!(first.lines().all(|line| line.contains("\"op\":\"insert\"")), "{first}");
    assert!(second.contains("\"after\":{\"id\":3}"), "{second}");
}

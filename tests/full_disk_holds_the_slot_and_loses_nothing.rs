//! Disks that fill up under a running pipeline, the sink's or the state's: it says so, the slot
//! waits, and everything is there once there is room.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use walcast::pipeline::Membership;
use walcast::sinks::file::FileSink;
use walcast::{ErrorKind, Lsn, Pipeline};

use crate::support::pipeline::{Place, Running, SOON, caught_up, slot_at, source, start};
use crate::support::{History, Primary, Tmpfs, eventually_async, skip, workload};

/// Takes all the room that is left.
fn fill(disk: &Tmpfs) -> PathBuf {
    let ballast = disk.path().join("ballast");
    let mut file = fs::File::create(&ballast).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
    ballast
}

fn primary() -> Primary {
    let primary = Primary::start();
    workload::tables(&primary);
    primary.sql("create publication p for all tables");
    primary
}

#[tokio::test(flavor = "multi_thread")]
async fn under_the_file_sink() {
    let disk = match Tmpfs::mount(16 * 1024 * 1024) {
        Ok(disk) => disk,
        Err(why) => return skip(&why),
    };
    let (primary, place) = (primary(), Place::new());
    let file = disk.path().join("out.jsonl");
    let mut membership = Membership::default();
    membership.settings.retry.max = Duration::from_millis(500);
    let pipeline = place.pipeline(source(&primary.url()));
    let running = start(pipeline.member("out", FileSink::new(&file), membership).unwrap());
    running.streams().await;
    let mut looks = Vec::new();
    for _ in 0..3 {
        caught_up(&primary, SOON).await;
        let ballast = fill(&disk);
        let load = workload::start(&primary, 4, 300);
        running
            .wait_for_status("the sink is said to fail", SOON, |status| {
                let out = &status.replicas[0];
                let full = out.error.as_ref().is_some_and(|error| error.contains("No space left"));
                out.state == "backing_off" && full && !status.is_healthy()
            })
            .await;
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(2) {
            let slot = slot_at(&primary).await.unwrap();
            looks.push((slot, last_end(&file)));
        }
        fs::remove_file(ballast).unwrap();
        load.stop();
        caught_up(&primary, SOON).await;
    }
    running.drain().await.unwrap();
    let history = History::read(&file);
    history.assert_matches_log(&primary);
    history.assert_agrees(&primary, workload::NAMES);
    // At each look, what the slot had passed was in the file.
    let ends = history.transactions.iter().map(|transaction| transaction.end_lsn);
    let ends: Vec<Lsn> = ends.collect();
    assert!(looks.len() > 10);
    for (slot, in_file) in looks {
        let passed = ends.iter().rev().find(|end| **end <= slot).copied();
        assert!(passed <= in_file, "the slot was at {slot} with {in_file:?} in the file");
    }
}

/// The end of the last whole transaction; what follows may be part of one, or of a line.
fn last_end(file: &Path) -> Option<Lsn> {
    let text = fs::read_to_string(file).unwrap();
    text.lines().rev().find_map(|line| {
        let event: Value = serde_json::from_str(line).ok()?;
        event["end_lsn"].as_str()?.parse().ok()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn under_the_state() {
    let disk = match Tmpfs::mount(1024 * 1024) {
        Ok(disk) => disk,
        Err(why) => return skip(&why),
    };
    let (primary, place) = (primary(), Place::new());
    let file = place.file("out.jsonl");
    let again = || {
        let pipeline = Pipeline::new(source(&primary.url()), disk.path().join("state"));
        pipeline.sink("out", FileSink::new(&file)).unwrap()
    };
    let running = start(again());
    running.streams().await;
    caught_up(&primary, SOON).await;
    let load = workload::start(&primary, 4, 300);
    // It comes back by itself.
    let ballast = fill(&disk);
    state_fails(&running).await;
    fs::remove_file(ballast).unwrap();
    running.wait_for_status("all is well", SOON, |status| status.state_error.is_none()).await;
    let ballast = fill(&disk);
    state_fails(&running).await;
    let stands = slot_at(&primary).await;
    let size = || fs::metadata(&file).unwrap().len();
    let had = size();
    eventually_async("the sink goes on", SOON, async || size() > had).await;
    assert_eq!(slot_at(&primary).await, stands, "nothing is confirmed that was not saved");
    // Its end says that not all of it was saved, and the next one goes on from what was.
    let begin = Instant::now();
    let error = running.drain().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::State, "{error}");
    assert!(error.to_string().contains("No space left"), "{error}");
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    assert_eq!(slot_at(&primary).await, stands, "nothing is confirmed that was not saved");
    fs::remove_file(ballast).unwrap();
    let running = start(again());
    running.streams().await;
    load.stop();
    caught_up(&primary, SOON).await;
    running.drain().await.unwrap();
    let history = History::read(&file);
    history.assert_matches_log(&primary);
    history.assert_agrees(&primary, workload::NAMES);
}

async fn state_fails(running: &Running) {
    running
        .wait_for_status("the state is said to fail", SOON, |status| {
            let full =
                status.state_error.as_ref().is_some_and(|error| error.contains("No space left"));
            full && !status.is_healthy()
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn and_a_directory_that_cannot_be_written_is_named() {
    let (primary, place) = (primary(), Place::new());
    let nowhere = place.file("nowhere/out.jsonl");
    let pipeline = place.pipeline(source(&primary.url())).sink("out", FileSink::new(&nowhere));
    let error = start(pipeline.unwrap()).end(SOON).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Sink, "{error}");
    assert!(error.to_string().contains("nowhere/out.jsonl: No such file"), "{error}");
    // A state directory is needed at once.
    fs::write(place.file("taken"), "").unwrap();
    let pipeline = Pipeline::new(source(&primary.url()), place.file("taken/state"));
    let pipeline = pipeline.sink("out", FileSink::new(&nowhere)).unwrap();
    let error = start(pipeline).end(SOON).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::State, "{error}");
    assert!(error.fix().is_some_and(|fix| fix.contains("may write")), "{error}");
}

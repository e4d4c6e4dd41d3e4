//! Whatever a crash leaves of the file and its cursor: after the next open nothing is missing and
//! nothing is doubled.

use std::fs;
use std::time::Duration;

use walcast::Lsn;
use walcast::sink::{Resume, Sink};
use walcast::sinks::FileSink;
use walcast::sinks::file::Rotation;
use walcast::testing::Feed;

use crate::support::{Story, assert_same, eventually_async, full, overwrite};

/// What lies on the disk after a proof: the cursor's bytes and where it stands.
struct Proof {
    cursor: Vec<u8>,
    length: usize,
    end: Option<Lsn>,
}

/// Tell the story, noting each proof.
async fn proofs(story: &Story, sink: &mut FileSink) -> Vec<Proof> {
    sink.open(story.context()).await.unwrap();
    let mut proofs = Vec::new();
    for batch in &story.batches {
        sink.write(batch.clone()).await.unwrap();
        sink.flush().await.unwrap();
        let cursor = fs::read(story.cursor_path()).unwrap();
        let proven = whole_transactions(&story.content());
        proofs.push(Proof { cursor, length: proven.0, end: proven.1 });
    }
    sink.close().await.unwrap();
    proofs
}

/// How much of `content` ends with a whole transaction, and that one's end LSN.
fn whole_transactions(content: &[u8]) -> (usize, Option<Lsn>) {
    let (mut at, mut found) = (0, (0, None));
    for line in content.split_inclusive(|byte| *byte == b'\n') {
        at += line.len();
        let value: Option<serde_json::Value> = serde_json::from_slice(line).ok();
        if let Some(end) = value.filter(|_| line.ends_with(b"\n")).as_ref().and_then(ended) {
            found = (at, Some(end));
        }
    }
    found
}

fn ended(line: &serde_json::Value) -> Option<Lsn> {
    line.get("last")?;
    line["end_lsn"].as_str()?.parse().ok()
}

/// Every length, or in a short run those around the ends of lines.
fn lengths(json: &[u8], from: usize) -> Vec<usize> {
    let near = |at: &usize| {
        let around = at.saturating_sub(2)..(at + 3).min(json.len());
        *at == json.len() || (full() && at.is_multiple_of(17)) || json[around].contains(&b'\n')
    };
    (from..=json.len()).filter(near).collect()
}

#[tokio::test]
async fn data_beyond_the_cursor_is_cut_off_and_written_again() {
    let story = Story::new();
    let mut sink = FileSink::new(story.path());
    let proofs = proofs(&story, &mut sink).await;
    assert_same(&story.content(), &story.json, "at the end");
    for proof in proofs.iter().step_by(if full() { 1 } else { 4 }) {
        for length in lengths(&story.json, proof.length) {
            // The data went to the disk up to `length`, zeros where the machine died; the cursor
            // not.
            let mut left = story.json[..length].to_vec();
            left.resize(length + length % 3, 0);
            overwrite(&story.path(), &left);
            overwrite(&story.cursor_path(), &proof.cursor);
            let stood = sink.open(story.context()).await.unwrap();
            // A transaction without rows and idle progress lie between the data's end and the
            // cursor.
            let Resume::After(end) = stood else { panic!("{stood:?}") };
            assert!(Some(end) >= proof.end, "{end} {:?}", proof.end);
            assert_eq!(story.content().len(), proof.length);
            story.tell(&mut sink).await.unwrap();
            assert_same(&story.content(), &story.json, &format!("cut at {length}"));
        }
    }
}

#[tokio::test]
async fn without_a_cursor_the_file_says_where_it_ends() {
    let story = Story::new();
    let mut sink = FileSink::new(story.path());
    story.tell(&mut sink).await.unwrap();
    for length in lengths(&story.json, 0) {
        sink.close().await.unwrap();
        overwrite(&story.path(), &story.json[..length]);
        fs::remove_file(story.cursor_path()).unwrap();
        let (whole, end) = whole_transactions(&story.json[..length]);
        let stood = sink.open(story.context()).await.unwrap();
        assert_eq!(stood, end.map_or(Resume::Delegate, Resume::After), "cut at {length}");
        assert_eq!(story.content().len(), whole);
        story.tell(&mut sink).await.unwrap();
        assert_same(&story.content(), &story.json, &format!("cut at {length}"));
    }
}

#[tokio::test]
async fn a_torn_cursor_leaves_the_proof_before() {
    let story = Story::new();
    let mut sink = FileSink::new(story.path());
    let proofs = proofs(&story, &mut sink).await;
    for (before, after) in proofs.iter().zip(&proofs[1..]) {
        for torn in (0..after.cursor.len()).step_by(if full() { 7 } else { 499 }) {
            let mut cursor = before.cursor.clone();
            let fresh = after.cursor.iter().enumerate().filter(|(at, new)| cursor[*at] != **new);
            let changed: Vec<_> = fresh.map(|(at, new)| (at, *new)).collect();
            for (at, new) in changed.into_iter().filter(|(at, _)| *at % 4096 < torn % 4096) {
                cursor[at] = new;
            }
            overwrite(&story.cursor_path(), &cursor);
            overwrite(&story.path(), &story.json[..after.length]);
            let Resume::After(end) = sink.open(story.context()).await.unwrap() else { panic!() };
            assert!(Some(end) >= before.end);
            story.tell(&mut sink).await.unwrap();
            assert_same(&story.content(), &story.json, "at the end");
        }
    }
}

#[tokio::test]
async fn a_file_is_put_aside_between_transactions_and_a_crash_meanwhile_is_finished() {
    let story = Story::new();
    let rotation = Rotation { bytes: Some(700), ..Rotation::default() };
    let sink = || FileSink::new(story.path()).with_rotation(rotation.clone());
    story.tell(&mut sink()).await.unwrap();
    assert_same(&story.whole_content(), &story.json, "at the end");
    let aside = story.files_aside();
    assert!(aside.len() > 2, "{aside:?}");
    for file in aside {
        let content = fs::read(file).unwrap();
        assert_eq!(whole_transactions(&content).0, content.len());
    }
    for told in 1..story.batches.len() {
        for point in ["renamed", "renamed with more", "begun"] {
            story.clear();
            let mut plain = FileSink::new(story.path());
            story.tell_until(&mut plain, told).await.unwrap();
            plain.close().await.unwrap();
            let aside = story.path().with_extension("jsonl.00000001");
            fs::rename(story.path(), &aside).unwrap();
            match point {
                "renamed" => {}
                "begun" => overwrite(&story.path(), b""),
                _ => {
                    let more = [fs::read(&aside).unwrap(), b"{\"id\":\"7".to_vec()].concat();
                    overwrite(&aside, &more);
                }
            }
            let mut sink = sink();
            story.tell(&mut sink).await.unwrap();
            assert_same(
                &story.whole_content(),
                &story.json,
                &format!("{point} after {told} batches"),
            );
            let begun = whole_transactions(&fs::read(&aside).unwrap());
            assert_eq!(begun.0, fs::read(&aside).unwrap().len());
        }
    }
}

#[tokio::test]
async fn old_files_go_when_enough_are_kept() {
    let story = Story::new();
    let rotation = Rotation { bytes: None, age: Some(Duration::ZERO), keep: Some(2) };
    let mut sink = FileSink::new(story.path()).with_rotation(rotation);
    story.tell(&mut sink).await.unwrap();
    assert_eq!(story.files_aside().len(), 2);
    assert!(story.json.ends_with(&story.whole_content()));
}

#[tokio::test]
async fn an_abandoned_flush_or_write_is_made_good() {
    let story = Story::new();
    for told in 0..story.batches.len() {
        story.clear();
        let mut sink = FileSink::new(story.path());
        story.tell_until(&mut sink, told).await.unwrap();
        sink.write(story.batches[told].clone()).await.unwrap();
        {
            let flush = std::pin::pin!(sink.flush());
            let _ = futures::poll!(flush);
        }
        {
            let open = std::pin::pin!(sink.open(story.context()));
            let _ = futures::poll!(open);
        }
        story.tell(&mut sink).await.unwrap();
        assert_same(&story.content(), &story.json, "at the end");
    }
}

#[tokio::test]
async fn idle_progress_costs_no_write_and_settles() {
    let story = Story::new();
    let mut sink = FileSink::new(story.path());
    story.tell(&mut sink).await.unwrap();
    let before = fs::read(story.cursor_path()).unwrap();
    let mut feed = Feed::after(Lsn::new(1108));
    for end in [1200, 1300] {
        sink.write(feed.idle(end).batch()).await.unwrap();
        assert_eq!(sink.settled(), Some(Lsn::new(end)));
        sink.flush().await.unwrap();
    }
    assert_eq!(fs::read(story.cursor_path()).unwrap(), before);
}

#[tokio::test]
async fn much_data_is_proven_without_being_asked() {
    let mut feed = Feed::after(Lsn::new(0));
    let large = "x".repeat(100_000);
    let batches: Vec<_> =
        (1..=200).map(|nth| feed.transaction(nth * 100, &[&large]).batch()).collect();
    let story = Story::of(&feed, batches);
    let mut sink = FileSink::new(story.path());
    sink.open(story.context()).await.unwrap();
    for batch in &story.batches {
        sink.write(batch.clone()).await.unwrap();
    }
    let patience = Duration::from_secs(30);
    let settled = eventually_async("progress", patience, async || sink.settled()).await;
    assert!(settled > Lsn::new(0));
    sink.flush().await.unwrap();
    assert_eq!(sink.settled(), Some(Lsn::new(20_008)));
    assert_same(&story.content(), &story.json, "at the end");
}

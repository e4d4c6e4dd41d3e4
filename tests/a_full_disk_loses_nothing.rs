//! A disk that fills up under the file sink: a passing error each time, and the file goes on where
//! it stopped.

use std::fs;

use walcast::Lsn;
use walcast::sink::{Sink, SinkErrorKind};
use walcast::sinks::FileSink;
use walcast::sinks::file::Rotation;
use walcast::testing::Feed;

use crate::support::{Story, Tmpfs, after, assert_same, skip};

const PAGE: u64 = 4096;

#[tokio::test]
async fn what_did_not_fit_comes_when_there_is_room() {
    let disk = match Tmpfs::mount(64 * PAGE) {
        Ok(disk) => disk,
        Err(why) => return skip(&why),
    };
    let mut feed = Feed::after(Lsn::new(0));
    let note = "n".repeat(700);
    let notes = [note.as_str(); 4];
    let batches: Vec<_> = (1..=40).map(|nth| feed.transaction(nth * 100, &notes).batch()).collect();
    let story = Story::of(&feed, batches);
    assert!(story.json.len() as u64 > 32 * PAGE && (story.json.len() as u64) < 60 * PAGE);
    let path = disk.path().join("audit.jsonl");
    for rotation in [None, Some(20 * PAGE)] {
        let rotation = Rotation { bytes: rotation, ..Rotation::default() };
        let mut sink = FileSink::new(&path).with_rotation(rotation);
        let ballast = disk.path().join("ballast");
        fs::write(&ballast, vec![1; 54 * PAGE as usize]).unwrap();
        let mut failures = 0;
        loop {
            let told = async {
                let resume = sink.open(story.context()).await?;
                for batch in after(&story.batches, resume) {
                    sink.write(batch).await?;
                    sink.flush().await?;
                }
                Ok::<_, walcast::sink::SinkError>(())
            };
            let Err(error) = told.await else { break };
            assert_eq!(error.kind(), SinkErrorKind::Unavailable, "{error}");
            failures += 1;
            let room = fs::metadata(&ballast).unwrap().len().saturating_sub(3 * PAGE);
            fs::OpenOptions::new().write(true).open(&ballast).unwrap().set_len(room).unwrap();
        }
        assert!(failures > 3, "the disk was full {failures} times");
        sink.close().await.unwrap();
        let mut content = Vec::new();
        let mut files: Vec<_> =
            fs::read_dir(disk.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let numbered = |path: &&std::path::PathBuf| path.to_string_lossy().contains(".jsonl.0");
        for file in files.iter().filter(numbered).chain([&path]) {
            content.extend(fs::read(file).unwrap());
        }
        assert_same(&content, &story.json, "on a full disk");
        files.iter().for_each(|file| fs::remove_file(file).unwrap());
    }
}

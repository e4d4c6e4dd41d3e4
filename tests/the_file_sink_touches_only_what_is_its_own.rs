//! A file that is not what the cursor says, or not ours at all, is an error that names what to do,
//! and stays as it was.

use std::fs;
use std::sync::Arc;

use walcast::codec::value::TypeRegistry;
use walcast::codec::{Encoder, EventFormat};
use walcast::sink::{OpenContext, Resume, Sink, SinkErrorKind};
use walcast::sinks::FileSink;
use walcast::testing::Feed;
use walcast::{Lineage, Lsn, ServerIdentity, SystemId, Timeline};

use crate::support::{Story, overwrite};

async fn told() -> (Story, FileSink) {
    let story = Story::new();
    let mut sink = FileSink::new(story.path());
    story.tell(&mut sink).await.unwrap();
    sink.close().await.unwrap();
    (story, sink)
}

/// The error of opening, which must leave the files alone.
async fn refused(story: &Story, context: &OpenContext) -> (SinkErrorKind, String) {
    let before = fs::read(story.path()).ok();
    let error = FileSink::new(story.path()).open(context).await.unwrap_err();
    assert_eq!(fs::read(story.path()).ok(), before);
    (error.kind(), error.to_string())
}

#[tokio::test]
async fn a_file_that_lost_what_was_proven_is_not_written_on() {
    let (story, _) = told().await;
    let whole = story.content();
    overwrite(&story.path(), &whole[..whole.len() - 1]);
    let (kind, text) = refused(&story, story.context()).await;
    assert_eq!(kind, SinkErrorKind::Fatal);
    assert!(text.contains("were proven: restore it, or remove the cursor"), "{text}");

    let other: Vec<u8> = whole.iter().map(|byte| byte ^ 1).collect();
    overwrite(&story.path(), &other);
    let (_, text) = refused(&story, story.context()).await;
    assert!(text.contains("is not the file that was written before"), "{text}");

    // Made while the other still is: the system gives a new file the inode of one that is gone.
    let beside = story.path().with_extension("copy");
    fs::write(&beside, &whole).unwrap();
    fs::remove_file(story.path()).unwrap();
    let (_, text) = refused(&story, story.context()).await;
    assert!(text.contains("is gone, though its cursor says"), "{text}");

    fs::rename(&beside, story.path()).unwrap();
    let (_, text) = refused(&story, story.context()).await;
    assert!(text.contains("is not the file that was written before"), "{text}");
}

#[tokio::test]
async fn a_format_that_does_not_say_where_its_writer_stood_needs_the_cursor() {
    let story = Story::new();
    let sink = || FileSink::new(story.path()).with_format(EventFormat::Wal2Json);
    story.tell_until(&mut sink(), 3).await.unwrap();
    let half = story.content();
    // With its cursor it goes on, whatever was not proven.
    overwrite(&story.path(), &[&half[..], b"{\"action\":\"B\""].concat());
    let mut whole = sink();
    story.tell(&mut whole).await.unwrap();
    whole.close().await.unwrap();
    let content = story.content();
    assert!(content.starts_with(&half) && content.len() > half.len());
    assert_eq!(content.iter().filter(|byte| **byte == b'\n').count(), wal2json(&story));

    fs::remove_file(story.cursor_path()).unwrap();
    let error = sink().open(story.context()).await.unwrap_err();
    assert_eq!(error.kind(), SinkErrorKind::Fatal);
    assert!(error.to_string().contains("put its cursor back, or name another path"), "{error}");
    assert_eq!(story.content(), content);
    fs::remove_file(story.cursor_path()).unwrap();
    overwrite(&story.path(), b"");
    assert_eq!(sink().open(story.context()).await.unwrap(), Resume::Delegate);
}

/// How many lines the story has in that format.
fn wal2json(story: &Story) -> usize {
    let mut lines = Vec::new();
    let mut encoder = Encoder::new(EventFormat::Wal2Json, Arc::new(TypeRegistry::builtin()));
    for batch in &story.batches {
        encoder.encode(batch, &mut lines).unwrap();
    }
    lines.iter().filter(|byte| **byte == b'\n').count()
}

#[tokio::test]
async fn a_damaged_cursor_is_not_believed() {
    let (story, mut sink) = told().await;
    let mut cursor = fs::read(story.cursor_path()).unwrap();
    for at in [5, 4096 + 5] {
        cursor[at] ^= 1;
    }
    overwrite(&story.cursor_path(), &cursor);
    let (kind, text) = refused(&story, story.context()).await;
    assert_eq!(kind, SinkErrorKind::Fatal);
    assert!(text.contains("is damaged: remove it"), "{text}");
    fs::remove_file(story.cursor_path()).unwrap();
    let stood = sink.open(story.context()).await.unwrap();
    assert_eq!(stood, Resume::After(Lsn::new(1108)));
}

#[tokio::test]
async fn files_of_others_stay_as_they_are() {
    let story = Story::new();
    for foreign in
        ["a letter\n", "{\"id\":1}\n", "no line at all", "\n", "{\"id\":\"7:1:0/1:1\"}\n"]
    {
        overwrite(&story.path(), foreign.as_bytes());
        let (kind, text) = refused(&story, story.context()).await;
        assert_eq!(kind, SinkErrorKind::Fatal);
        assert!(text.contains("does not hold native JSON events"), "{foreign}: {text}");
        fs::remove_file(story.cursor_path()).unwrap();
    }
    let ours_then_theirs = [&story.json[..], b"hello\n"].concat();
    overwrite(&story.path(), &ours_then_theirs);
    refused(&story, story.context()).await;
    fs::remove_file(story.path()).unwrap();
    fs::create_dir(story.path()).unwrap();
    let (kind, text) = refused(&story, story.context()).await;
    assert!(kind == SinkErrorKind::Fatal && text.contains("not a regular file"), "{text}");
}

#[tokio::test]
async fn a_file_of_another_cluster_is_refused_with_and_without_cursor() {
    let (story, _) = told().await;
    let identity = ServerIdentity { system_id: SystemId::new(8), timeline: Timeline::new(1) };
    let mut context = story.context().clone();
    context.lineage = std::sync::Arc::new(Lineage::single(identity));
    for _ in 0..2 {
        let (kind, text) = refused(&story, &context).await;
        assert_eq!(kind, SinkErrorKind::Fatal);
        assert!(text.contains("of cluster 7, the source is cluster 8"), "{text}");
        let _ = fs::remove_file(story.cursor_path());
    }
}

#[tokio::test]
async fn two_writers_are_one_too_many() {
    let (story, mut sink) = told().await;
    sink.open(story.context()).await.unwrap();
    let link = story.path().with_extension("link");
    std::os::unix::fs::symlink(story.path(), &link).unwrap();
    let error = FileSink::new(link).open(story.context()).await.unwrap_err();
    assert_eq!(error.kind(), SinkErrorKind::Fenced);
    drop(sink);
    FileSink::new(story.path()).open(story.context()).await.unwrap();
}

#[tokio::test]
async fn a_file_taken_away_meanwhile_proves_nothing() {
    let (story, mut sink) = told().await;
    let mut feed = Feed::after(Lsn::new(1108));
    sink.open(story.context()).await.unwrap();
    sink.write(feed.transaction(1200, &["x"]).batch()).await.unwrap();
    fs::rename(story.path(), story.path().with_extension("away")).unwrap();
    let error = sink.flush().await.unwrap_err();
    assert!(error.to_string().contains("renamed, removed or replaced"), "{error}");
    assert_eq!(sink.open(story.context()).await.unwrap_err().kind(), SinkErrorKind::Fatal);
}

#[tokio::test]
async fn a_target_that_vanished_stands_before_everything() {
    let story = Story::new();
    let mut context = story.context().clone();
    context.cursor = Some(Lsn::new(1108));
    for _ in 0..2 {
        let mut sink = FileSink::new(story.path());
        // The checkpoint decides whether that is a loss: it knows whether data was proven.
        assert_eq!(sink.open(&context).await.unwrap(), Resume::After(Lsn::new(0)));
        sink.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_place_that_cannot_be_written_is_said_at_once() {
    let story = Story::new();
    let missing = story.path().with_extension("d").join("audit.jsonl");
    let error = FileSink::new(missing).open(story.context()).await.unwrap_err();
    assert_eq!(error.kind(), SinkErrorKind::Fatal);
    assert!(error.to_string().contains("audit.jsonl"), "{error}");
}

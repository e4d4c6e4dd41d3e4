//! A file sink and what it is told, without a server: transactions in batches that end anywhere,
//! the bytes they should become, and a lane that feeds a sink from where it says it stands.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use walcast::codec::value::TypeRegistry;
use walcast::codec::{Encoder, EventFormat};
use walcast::event::Batch;
use walcast::sink::{OpenContext, Resume, Sink, SinkError};
use walcast::sinks::FileSink;
use walcast::testing::Feed;
use walcast::{Lsn, SinkName, SlotName};

/// Batches of committed changes, and a place to write them to.
pub(crate) struct Story {
    pub(crate) batches: Vec<Batch>,
    /// All of them as native JSON.
    pub(crate) json: Vec<u8>,
    context: OpenContext,
    directory: tempfile::TempDir,
}

impl Story {
    /// Ten transactions, the greatest over several batches; in between, idle progress, a message, a
    /// transaction without rows, and batches that end inside the next transaction.
    pub(crate) fn new() -> Story {
        let mut feed = Feed::after(Lsn::new(0));
        let mut batches = vec![
            feed.transaction(100, &["a"]).transaction(200, &["b", "c"]).batch(),
            feed.transaction(300, &["d"]).open(400, &["e", "f", "g"]).batch(),
            feed.rows(400, 4, &["h"; 5]).batch(),
            feed.rows(400, 9, &["i"]).commit(400).transaction(500, &["j"]).batch(),
            feed.idle(550).batch(),
            feed.transaction(600, &[]).batch(),
        ];
        feed.frames.free_message(700, "prefix", b"content");
        batches.push(feed.batch());
        for commit in [800, 900, 1000, 1100] {
            batches.push(feed.transaction(commit, &["line\nbreak", "\",\"lsn\":\""]).batch());
        }
        Story::of(&feed, batches)
    }

    pub(crate) fn of(feed: &Feed, batches: Vec<Batch>) -> Story {
        let mut json = Vec::new();
        let mut encoder = Encoder::new(EventFormat::Json, Arc::new(TypeRegistry::builtin()));
        for batch in &batches {
            encoder.encode(batch, &mut json).unwrap();
        }
        let (sink, slot) = (SinkName::new("audit").unwrap(), SlotName::new("s").unwrap());
        let context = OpenContext::new(sink, slot, feed.lineage().clone());
        Story { batches, json, context, directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn context(&self) -> &OpenContext {
        &self.context
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("audit.jsonl")
    }

    pub(crate) fn cursor_path(&self) -> PathBuf {
        self.directory.path().join("audit.jsonl.cursor")
    }

    pub(crate) fn content(&self) -> Vec<u8> {
        fs::read(self.path()).unwrap()
    }

    /// Everything written, the files put aside first.
    pub(crate) fn whole_content(&self) -> Vec<u8> {
        let mut content: Vec<u8> = Vec::new();
        for aside in self.files_aside() {
            content.extend(fs::read(aside).unwrap());
        }
        content.extend(self.content());
        content
    }

    pub(crate) fn files_aside(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.directory.path()).unwrap();
        let mut aside: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        aside.retain(|path| {
            path.extension()
                .is_some_and(|end| end.as_encoded_bytes().iter().all(u8::is_ascii_digit))
        });
        aside.sort();
        aside
    }

    /// Begin with an empty directory.
    pub(crate) fn clear(&self) {
        for entry in fs::read_dir(self.directory.path()).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
    }

    /// Open `sink` and give it everything after where it stands, flushing after each batch. Answers
    /// where it stood.
    pub(crate) async fn tell(&self, sink: &mut FileSink) -> Result<Resume, SinkError> {
        self.tell_until(sink, self.batches.len()).await
    }

    /// The same with the first `count` batches only.
    pub(crate) async fn tell_until(
        &self,
        sink: &mut FileSink,
        count: usize,
    ) -> Result<Resume, SinkError> {
        let resume = sink.open(&self.context).await?;
        for batch in after(&self.batches[..count], resume) {
            sink.write(batch).await?;
            sink.flush().await?;
        }
        Ok(resume)
    }
}

/// What a sink that stands at `resume` gets of `batches`.
pub(crate) fn after(batches: &[Batch], resume: Resume) -> impl Iterator<Item = Batch> + '_ {
    let from = match resume {
        Resume::After(end) => end,
        Resume::Delegate => Lsn::new(0),
    };
    let wanted = move |batch: &Batch| !batch.is_empty() || batch.end() > from;
    batches.iter().map(move |batch| batch.after(from)).filter(wanted)
}

/// Fails the test when `content` is not `expected`, naming the first line that differs.
#[track_caller]
pub(crate) fn assert_same(content: &[u8], expected: &[u8], when: &str) {
    let lines = |bytes: &[u8]| -> Vec<String> {
        let lines = bytes.split_inclusive(|byte| *byte == b'\n');
        lines.map(|line| String::from_utf8_lossy(line).into_owned()).collect()
    };
    let (content, expected) = (lines(content), lines(expected));
    let same = content.iter().zip(&expected).take_while(|(have, want)| have == want).count();
    let (have, want) = (content.get(same), expected.get(same));
    assert!(have == want, "{when}: line {same} is {have:?} where it should be {want:?}");
}

/// Put `content` into the file at `path`, which stays the same file.
pub(crate) fn overwrite(path: &Path, content: &[u8]) {
    fs::write(path, content).unwrap();
}

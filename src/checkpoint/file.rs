//! The checkpoint as a file, replaced as a whole.
//!
//! ```text
//! walcast-checkpoint version=1 bytes=412 crc32c=1a2b3c4d
//! { …JSON… }
//! ```
//!
//! A new one is written beside it, synced, renamed over it, and the directory synced: a crash at
//! any point leaves the old one or the new one. The work is done on tokio's blocking threads.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use tokio::task::JoinHandle;

use super::{Checkpoint, CheckpointError, CheckpointStore, StoreFuture};

const MAGIC: &str = "walcast-checkpoint";
const VERSION: u32 = 1;

/// Keeps a checkpoint in a file.
#[derive(Debug)]
pub struct FileStore {
    path: PathBuf,
    /// A save whose caller did not wait for its end. The next one must, or the two would write one
    /// file.
    unfinished: Option<JoinHandle<Result<(), CheckpointError>>>,
}

impl FileStore {
    /// A store at `path`. Nothing is read or made yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), unfinished: None }
    }

    /// Wait for the save that is under way, if there is one.
    async fn finish(&mut self) -> Result<(), CheckpointError> {
        let Some(unfinished) = self.unfinished.as_mut() else { return Ok(()) };
        let result = unfinished.await;
        self.unfinished = None;
        result.unwrap_or_else(|lost| Err(self.io("write")(io::Error::other(lost))))
    }

    fn io(&self, operation: &'static str) -> impl Fn(io::Error) -> CheckpointError + use<> {
        let path = self.path.clone();
        move |source| CheckpointError::Io { operation, path: path.clone(), source }
    }
}

impl CheckpointStore for FileStore {
    fn load(&mut self) -> StoreFuture<'_, Option<Checkpoint>> {
        Box::pin(async {
            // What became of an abandoned save shows in the file.
            let _ = self.finish().await;
            let path = self.path.clone();
            let read = tokio::task::spawn_blocking(move || read(&path)).await;
            read.unwrap_or_else(|lost| Err(self.io("read")(io::Error::other(lost))))
        })
    }

    fn save<'a>(&'a mut self, checkpoint: &'a Checkpoint) -> StoreFuture<'a, ()> {
        Box::pin(async {
            let _ = self.finish().await;
            let content = encode(checkpoint)
                .map_err(|source| CheckpointError::Content { path: self.path.clone(), source })?;
            let (path, failed) = (self.path.clone(), self.io("write"));
            let write = move || replace(&path, &content).map_err(failed);
            self.unfinished = Some(tokio::task::spawn_blocking(write));
            self.finish().await
        })
    }
}

fn encode(checkpoint: &Checkpoint) -> Result<Vec<u8>, serde_json::Error> {
    let body = serde_json::to_string_pretty(checkpoint)? + "\n";
    let (bytes, crc) = (body.len(), crc32c::crc32c(body.as_bytes()));
    let header = format!("{MAGIC} version={VERSION} bytes={bytes} crc32c={crc:08x}\n");
    Ok((header + &body).into_bytes())
}

fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let mut file = File::create(&beside)?;
    file.write_all(content)?;
    file.sync_all()?;
    drop(file);
    fs::rename(&beside, path)?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

fn read(path: &Path) -> Result<Option<Checkpoint>, CheckpointError> {
    let file = || path.to_owned();
    let content = match fs::read(path) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(CheckpointError::Io { operation: "read", path: file(), source });
        }
    };
    let no_checkpoint = || CheckpointError::NotACheckpoint { path: file() };
    let line = content.iter().position(|byte| *byte == b'\n').ok_or_else(no_checkpoint)?;
    let (header, body) = (&content[..line], &content[line + 1..]);
    let header = std::str::from_utf8(header).ok().and_then(Header::parse);
    let header = header.ok_or_else(no_checkpoint)?;
    if header.version != VERSION {
        let (found, known) = (header.version, VERSION);
        return Err(CheckpointError::Version { path: file(), found, known });
    }
    let (bytes, crc) = header.content.ok_or_else(no_checkpoint)?;
    if body.len() != bytes {
        return Err(CheckpointError::Length { path: file(), have: body.len(), want: bytes });
    }
    if crc32c::crc32c(body) != crc {
        return Err(CheckpointError::Checksum { path: file() });
    }
    let checkpoint = serde_json::from_slice(body)
        .map_err(|source| CheckpointError::Content { path: file(), source })?;
    Ok(Some(checkpoint))
}

/// The first line.
struct Header {
    version: u32,
    /// The length and checksum of what follows; absent where another version says it otherwise.
    content: Option<(usize, u32)>,
}

impl Header {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        if words.next()? != MAGIC {
            return None;
        }
        let version = words.next()?.strip_prefix("version=")?.parse().ok()?;
        let content = || {
            let bytes = words.next()?.strip_prefix("bytes=")?.parse().ok()?;
            let crc = words.next()?.strip_prefix("crc32c=")?;
            Some((bytes, u32::from_str_radix(crc, 16).ok()?))
        };
        Some(Self { version, content: { content }() })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::checkpoint;
    use super::*;

    fn store() -> (tempfile::TempDir, FileStore) {
        let directory = tempfile::tempdir().unwrap();
        let store = FileStore::new(directory.path().join("checkpoint"));
        (directory, store)
    }

    #[tokio::test]
    async fn what_was_saved_is_loaded_and_the_last_save_counts() {
        let (_directory, mut store) = store();
        assert_eq!(store.load().await.unwrap(), None);
        for confirmed in [5, 9] {
            let saved = checkpoint(confirmed);
            store.save(&saved).await.unwrap();
            assert_eq!(store.load().await.unwrap(), Some(saved));
        }
    }

    #[tokio::test]
    async fn every_truncation_and_every_flipped_bit_is_found() {
        let (_directory, mut store) = store();
        store.save(&checkpoint(5)).await.unwrap();
        let whole = fs::read(&store.path).unwrap();
        for length in 0..whole.len() {
            fs::write(&store.path, &whole[..length]).unwrap();
            assert!(read(&store.path).is_err(), "cut to {length} bytes");
        }
        for at in 0..whole.len() * 8 {
            let mut broken = whole.clone();
            broken[at / 8] ^= 1 << (at % 8);
            fs::write(&store.path, &broken).unwrap();
            // A hexadecimal digit's case is the one bit that means nothing.
            match read(&store.path) {
                Err(_) => {}
                Ok(found) => assert_eq!(found, Some(checkpoint(5)), "bit {at}"),
            }
        }
    }

    #[tokio::test]
    async fn each_kind_of_damage_has_its_own_error() {
        use CheckpointError as E;
        let (_directory, mut store) = store();
        store.save(&checkpoint(5)).await.unwrap();
        let whole = fs::read_to_string(&store.path).unwrap();
        let after = |text: &str| {
            fs::write(&store.path, text).unwrap();
            read(&store.path).unwrap_err()
        };
        assert!(matches!(after("hello\n"), E::NotACheckpoint { .. }));
        assert!(matches!(after(&whole[..whole.len() - 3]), E::Length { .. }));
        assert!(matches!(after(&whole.replace("0/5", "0/6")), E::Checksum { .. }));
        let newer = after("walcast-checkpoint version=2 with something else\n");
        assert!(matches!(newer, E::Version { found: 2, .. }), "{newer}");
        let error = crate::Error::from(newer).to_string();
        assert!(error.contains("version 2") && error.contains("fix: run the version"), "{error}");
    }

    #[tokio::test]
    async fn an_unwritable_place_is_an_error_and_keeps_the_old_one() {
        let (directory, mut store) = store();
        store.save(&checkpoint(5)).await.unwrap();
        // A directory where the new file should be made: even root cannot write over that.
        fs::create_dir(directory.path().join("checkpoint.new")).unwrap();
        let error = store.save(&checkpoint(9)).await.unwrap_err();
        assert!(matches!(error, CheckpointError::Io { operation: "write", .. }));
        assert_eq!(store.load().await.unwrap(), Some(checkpoint(5)));
    }

    #[tokio::test]
    async fn an_abandoned_save_never_mixes_with_the_next() {
        let (_directory, mut store) = store();
        for confirmed in 0..50 {
            let (first, second) = (checkpoint(confirmed), checkpoint(confirmed + 1));
            let mut save = store.save(&first);
            let polled = futures::poll!(&mut save);
            drop((polled, save));
            store.save(&second).await.unwrap();
            assert_eq!(store.load().await.unwrap(), Some(second));
        }
    }
}

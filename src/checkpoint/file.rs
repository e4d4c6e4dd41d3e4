//! The checkpoint as a file, replaced as a whole.
//!
//! ```text
//! walcast-checkpoint version=2 bytes=412 crc32c=1a2b3c4d
//! { "relations": { …a file beside it… }, "checkpoint": { …JSON… } }
//! ```
//!
//! Version 1 had the checkpoint alone and is read as well; a program that knows only that refuses
//! what is written here. A new one is written beside it, synced, renamed over it, and the
//! directory synced: a crash at any point leaves the old one or the new one. The work is done on
//! tokio's blocking threads.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use tokio::task::JoinHandle;

use super::relations_file::RelationsFile;
use super::{Checkpoint, CheckpointError, CheckpointStore, RelationVersions, StoreFuture};

const MAGIC: &str = "walcast-checkpoint";
const VERSION: u32 = 2;
/// The version that knew no relations.
const WITHOUT_RELATIONS: u32 = 1;

/// Keeps a checkpoint in a file.
#[derive(Debug)]
pub struct FileStore {
    path: PathBuf,
    /// What is known to be in the file of relations.
    relations: Option<Relations>,
    /// A save whose caller did not wait for its end. The next one must, or the two would write one
    /// file.
    unfinished: Option<JoinHandle<Result<Option<Relations>, CheckpointError>>>,
}

/// Versions of tables and the file they are in.
#[derive(Debug, Clone)]
struct Relations {
    versions: RelationVersions,
    file: RelationsFile,
}

/// What follows the header.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Content<T> {
    relations: Option<RelationsFile>,
    checkpoint: T,
}

impl FileStore {
    /// A store at `path`. Nothing is read or made yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), relations: None, unfinished: None }
    }

    /// Wait for the save that is under way, if there is one.
    async fn finish(&mut self) -> Result<(), CheckpointError> {
        let Some(unfinished) = self.unfinished.as_mut() else { return Ok(()) };
        let result = unfinished.await;
        self.unfinished = None;
        self.relations =
            result.unwrap_or_else(|lost| Err(self.io("write")(io::Error::other(lost))))?;
        Ok(())
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
            let (path, failed) = (self.path.clone(), self.io("write"));
            let (checkpoint, known) = (checkpoint.clone(), self.relations.clone());
            let write = move || write(&path, checkpoint, known).map_err(failed);
            self.unfinished = Some(tokio::task::spawn_blocking(write));
            self.finish().await
        })
    }
}

/// Write `checkpoint`, and before it the file of its relations unless it is the one `known`.
fn write(
    path: &Path,
    mut checkpoint: Checkpoint,
    known: Option<Relations>,
) -> io::Result<Option<Relations>> {
    let versions = std::mem::take(&mut checkpoint.relations);
    let is_known = known.as_ref().is_some_and(|known| known.versions == versions);
    let relations = match known {
        Some(known) if is_known => Some(known),
        _ if versions.is_empty() => None,
        _ => Some(Relations { file: RelationsFile::write(path, &versions)?, versions }),
    };
    let file = relations.as_ref().map(|relations| relations.file);
    let content = Content { relations: file, checkpoint: &checkpoint };
    let body = serde_json::to_string_pretty(&content)? + "\n";
    let (bytes, crc) = (body.len(), crc32c::crc32c(body.as_bytes()));
    let header = format!("{MAGIC} version={VERSION} bytes={bytes} crc32c={crc:08x}\n");
    replace(path, (header + &body).as_bytes())?;
    if let Some(file) = file.filter(|_| !is_known) {
        // What cannot be taken away now is so with the next version.
        let _ = file.remove_others(path);
    }
    Ok(relations)
}

/// Put a file with this content in the place of the one at `path`, whole or not at all.
pub(super) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
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
    if ![VERSION, WITHOUT_RELATIONS].contains(&header.version) {
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
    let no_sense = |source| CheckpointError::Content { path: file(), source };
    if header.version == WITHOUT_RELATIONS {
        return Ok(Some(serde_json::from_slice(body).map_err(no_sense)?));
    }
    let content: Content<Checkpoint> = serde_json::from_slice(body).map_err(no_sense)?;
    let mut checkpoint = content.checkpoint;
    if let Some(relations) = content.relations {
        checkpoint.relations = relations.read(path)?;
    }
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
    use std::os::unix::fs::MetadataExt as _;
    use std::sync::Arc;

    use super::super::tests::checkpoint;
    use super::*;
    use crate::event::{Column, Oid, Relation, ReplicaIdentity};

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

    /// A checkpoint with the version of one table that has a column of this name.
    fn with_version(confirmed: u64, column: &str) -> Checkpoint {
        let column = Column {
            name: column.to_owned(),
            type_oid: Oid::new(70_000),
            type_name: Some("public.mood".to_owned()),
            type_modifier: -1,
            in_identity: true,
        };
        let relation = Relation {
            oid: Oid::new(9),
            schema: "public".to_owned(),
            name: "t".to_owned(),
            replica_identity: ReplicaIdentity::Index,
            columns: vec![column],
            catalog: None,
        };
        let relations = [Arc::new(relation)].into_iter().collect();
        Checkpoint { relations, ..checkpoint(confirmed) }
    }

    /// The files of relations, each with what tells a rewritten one.
    fn relation_files(store: &FileStore) -> Vec<(PathBuf, u64)> {
        let entries = fs::read_dir(store.path.parent().unwrap()).unwrap();
        let entries = entries.map(|entry| entry.unwrap()).filter(|entry| {
            entry.file_name().to_str().unwrap().starts_with("checkpoint.relations-")
        });
        entries.map(|entry| (entry.path(), entry.metadata().unwrap().ino())).collect()
    }

    #[tokio::test]
    async fn versions_of_tables_are_kept_and_written_when_they_change() {
        let (_directory, mut store) = store();
        let mut written = Vec::new();
        for (confirmed, column) in [(5, "a"), (6, "a"), (7, "b"), (8, "b")] {
            let saved = with_version(confirmed, column);
            store.save(&saved).await.unwrap();
            assert_eq!(FileStore::new(&store.path).load().await.unwrap(), Some(saved));
            written.push(relation_files(&store));
        }
        assert!(written.iter().all(|files| files.len() == 1));
        assert_eq!(written[0], written[1]);
        assert_ne!(written[1], written[2]);
        assert_eq!(written[2], written[3]);
    }

    #[tokio::test]
    async fn a_damaged_file_of_versions_is_named_and_may_be_taken_away() {
        let (_directory, mut store) = store();
        store.save(&with_version(5, "a")).await.unwrap();
        let (path, _) = relation_files(&store).remove(0);
        let whole = fs::read(&path).unwrap();
        let mut broken = whole.clone();
        broken[7] ^= 1;
        for content in [&whole[..9], &broken] {
            fs::write(&path, content).unwrap();
            let error = crate::Error::from(store.load().await.unwrap_err()).to_string();
            let named = path.file_name().unwrap().to_str().unwrap();
            assert!(error.contains(named) && error.contains("fix: remove the file"), "{error}");
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(store.load().await.unwrap(), Some(checkpoint(5)));
    }

    #[tokio::test]
    async fn a_checkpoint_from_before_there_were_versions_of_tables_is_read() {
        let (_directory, mut store) = store();
        let body = serde_json::to_string_pretty(&checkpoint(5)).unwrap() + "\n";
        let (bytes, crc) = (body.len(), crc32c::crc32c(body.as_bytes()));
        let header = format!("walcast-checkpoint version=1 bytes={bytes} crc32c={crc:08x}\n");
        fs::write(&store.path, header + &body).unwrap();
        assert_eq!(store.load().await.unwrap(), Some(checkpoint(5)));
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
        let newer = after("walcast-checkpoint version=3 with something else\n");
        assert!(matches!(newer, E::Version { found: 3, .. }), "{newer}");
        let error = crate::Error::from(newer).to_string();
        assert!(error.contains("version 3") && error.contains("fix: run the version"), "{error}");
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

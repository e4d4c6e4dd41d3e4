//! The directory a pipeline keeps its state in, held by one process at a time.
//!
//! A [`StateDir`] makes the directory when it is missing and holds a lock in it for as long as it
//! lives; the system lets go of the lock when the process dies, however it dies. What the files in
//! it hold is not known here.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind};

const LOCK: &str = "lock";

/// A state directory of our own.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    /// Locked; holds our process id.
    _lock: File,
}

/// Why a directory cannot be ours.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateDirError {
    /// Another process holds it.
    #[error("state directory {} is held by {}", path.display(), Holder(*.holder))]
    Locked {
        /// The directory.
        path: PathBuf,
        /// The process that holds it, if it said so.
        holder: Option<u32>,
    },
    /// There is something else of that name.
    #[error("{} is not a directory", path.display())]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// It cannot be made or written to.
    #[error("cannot {operation} in state directory {}", path.display())]
    Io {
        /// What failed.
        operation: &'static str,
        /// The directory.
        path: PathBuf,
        /// How.
        #[source]
        source: io::Error,
    },
}

impl StateDir {
    /// Make the directory `path` when it is missing, readable by its owner alone, and hold it.
    ///
    /// Blocks for a few small file operations.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, StateDirError> {
        let path = path.into();
        let failed = |operation| {
            let path = path.clone();
            move |source| StateDirError::Io { operation, path, source }
        };
        if path.exists() && !path.is_dir() {
            return Err(StateDirError::NotADirectory { path });
        }
        DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(failed("make"))?;
        let lock_path = path.join(LOCK);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut lock = options.open(&lock_path).map_err(failed("write"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = fs::read_to_string(&lock_path).ok();
                let holder = holder.and_then(|text| text.trim().parse().ok());
                return Err(StateDirError::Locked { path, holder });
            }
            Err(TryLockError::Error(source)) => return Err(failed("lock")(source)),
        }
        write_pid(&mut lock).map_err(failed("write"))?;
        Ok(Self { path, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The place of the file or directory called `name` in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

/// The process that holds the directory at `path` now; `None` when nobody does.
///
/// # Errors
/// When the lock cannot be looked at.
pub fn holder(path: &Path) -> io::Result<Option<u32>> {
    let mut lock = match File::open(path.join(LOCK)) {
        Ok(lock) => lock,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    // Shared, so that two who look do not take each other for the holder.
    match lock.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            lock.read_to_string(&mut text)?;
            Ok(text.trim().parse().ok())
        }
    }
}

fn write_pid(lock: &mut File) -> io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    writeln!(lock, "{}", std::process::id())
}

/// Who holds the directory, in words.
struct Holder(Option<u32>);

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(pid) => write!(f, "process {pid}"),
            None => f.write_str("another process"),
        }
    }
}

impl From<StateDirError> for Error {
    fn from(error: StateDirError) -> Self {
        let (kind, fix) = match &error {
            StateDirError::Locked { .. } => (
                ErrorKind::StateLocked,
                "stop that process, or give this one its own [pipeline] state",
            ),
            StateDirError::NotADirectory { .. } => {
                (ErrorKind::State, "name a directory in [pipeline] state")
            }
            StateDirError::Io { .. } => (
                ErrorKind::State,
                "name a directory in [pipeline] state that this user may write to and that has room",
            ),
        };
        Error::permanent(kind, error).with_fix(fix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_held_and_let_go() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b");
        assert_eq!(holder(&path).unwrap(), None);
        let held = StateDir::open(&path).unwrap();
        assert_eq!(held.join("checkpoint"), path.join("checkpoint"));
        let ours = Some(std::process::id());
        assert_eq!(holder(&path).unwrap(), ours);
        match StateDir::open(&path).unwrap_err() {
            StateDirError::Locked { holder, .. } => assert_eq!(holder, ours),
            other => panic!("{other}"),
        }
        drop(held);
        assert_eq!(holder(&path).unwrap(), None);
        StateDir::open(&path).unwrap();
    }

    #[test]
    fn what_cannot_be_a_state_directory_says_so() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        fs::write(&file, "").unwrap();
        let error = StateDir::open(&file).unwrap_err();
        assert!(matches!(error, StateDirError::NotADirectory { .. }));
        let error = Error::from(StateDir::open(file.join("below")).unwrap_err());
        assert_eq!(error.kind(), ErrorKind::State);
        assert!(error.fix().is_some_and(|fix| fix.contains("may write")), "{error}");
    }
}

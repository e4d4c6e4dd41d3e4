//! The versions of tables, in a file of their own beside the checkpoint.
//!
//! They change seldom and may be megabytes, while the checkpoint is written many times a second.
//! The file is named after its content, written before the first checkpoint that names it, and
//! taken away after the first one that names another: whatever checkpoint a crash leaves, its file
//! is there. When it is not, somebody took it away, and tables are met as if for the first time.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::file::replace;
use super::{CheckpointError, RelationVersions};

/// What a checkpoint says of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RelationsFile {
    bytes: usize,
    crc32c: u32,
}

impl RelationsFile {
    /// Keep `versions` for the checkpoint at `checkpoint`.
    pub(super) fn write(checkpoint: &Path, versions: &RelationVersions) -> io::Result<Self> {
        let content = serde_json::to_vec(versions)?;
        let this = Self { bytes: content.len(), crc32c: crc32c::crc32c(&content) };
        replace(&this.path(checkpoint), &content)?;
        Ok(this)
    }

    pub(super) fn read(self, checkpoint: &Path) -> Result<RelationVersions, CheckpointError> {
        let path = self.path(checkpoint);
        let content = match fs::read(&path) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let path = path.display();
                tracing::warn!(%path, "the versions of tables are gone: a change of shape since \
                    the last run will not be told");
                return Ok(RelationVersions::default());
            }
            Err(source) => return Err(CheckpointError::Io { operation: "read", path, source }),
        };
        let is_whole = content.len() == self.bytes && crc32c::crc32c(&content) == self.crc32c;
        let versions = serde_json::from_slice(&content).ok().filter(|_| is_whole);
        versions.ok_or(CheckpointError::Relations { path })
    }

    /// Take every other such file away.
    pub(super) fn remove_others(self, checkpoint: &Path) -> io::Result<()> {
        let path = self.path(checkpoint);
        let prefix = prefix(checkpoint);
        let directory = checkpoint.parent().filter(|parent| !parent.as_os_str().is_empty());
        for entry in fs::read_dir(directory.unwrap_or(Path::new(".")))? {
            let entry = entry?;
            let name = entry.file_name();
            let is_one = name.as_encoded_bytes().starts_with(prefix.as_encoded_bytes());
            if is_one && path.file_name() != Some(&name) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    fn path(self, checkpoint: &Path) -> PathBuf {
        let mut name = prefix(checkpoint);
        name.push(format!("{:08x}-{}", self.crc32c, self.bytes));
        checkpoint.with_file_name(name)
    }
}

fn prefix(checkpoint: &Path) -> std::ffi::OsString {
    let mut name = checkpoint.file_name().unwrap_or_default().to_owned();
    name.push(".relations-");
    name
}

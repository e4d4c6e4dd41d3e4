//! Opening: from whatever a crash left to a file that ends with a whole, proven transaction.
//!
//! ```text
//! cursor   file at its path          then
//! yes      the cursor's, long enough cut to the proven length; in another format: put aside
//! yes      missing, or empty and new the cursor's file was being put aside: finish that
//! yes      anything else             an error: somebody else was at it
//! no       missing or empty          a new file
//! no       native JSON               cut to its last whole transaction
//! no       anything else             an error: it is not ours to cut, or, in a format that does
//!                                    not say where its writer stood, not ours to go on with
//! ```

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::cursor::{Cursor, FormatName, Stand};
use super::data::{DataFile, Whole, create, now, set_aside, sync_directory, tail_checksum};
use super::error::FileSinkError;
use super::scan::{LastTransaction, last_transaction};
use super::{Rotation, Source};
use crate::codec::EventFormat;
use crate::lsn::Lsn;

/// Open the file at `path` and make it end with a whole transaction.
pub(super) fn recover(
    path: &Path,
    format: &EventFormat,
    rotation: Rotation,
    source: &Source,
) -> Result<DataFile, FileSinkError> {
    let path = resolve(path).map_err(FileSinkError::io("find", path))?;
    match fs::metadata(&path) {
        Ok(found) if !found.is_file() => return Err(FileSinkError::NotAFile { path }),
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(FileSinkError::io("open", &path)(error));
        }
        _ => {}
    }
    let (cursor, stand) = Cursor::open(&path)?;
    let (file, whole, begun) = match stand {
        Some(stand) => by_cursor(&path, &cursor, &stand, source)?,
        None => {
            let (file, whole) = by_content(&path, format, source)?;
            (file, whole, now())
        }
    };
    let mut data = DataFile {
        path,
        file,
        cursor,
        system_id: source.lineage.system_id(),
        timeline: source.lineage.identity().timeline,
        begun,
        format: FormatName::of(format),
        written: whole.length,
        whole,
        proven: whole,
        rotation,
    };
    // What was found may be in the page cache alone, and a sync that failed before may have left it
    // there as if it were clean: it counts only once it was written again.
    data.file.sync_all().map_err(FileSinkError::io("sync", &data.path))?;
    match stand {
        Some(stand) if stand.format != data.format && whole.length > 0 => {
            let (path, before, now) = (data.path.display(), stand.format, data.format);
            tracing::warn!(%path, "written as {before}, and is {now} from now on: put aside");
            data.put_aside()?;
        }
        _ => data.point_cursor()?,
    }
    if stand.is_none() {
        // Both slots have their place on the disk before it can be full.
        data.point_cursor()?;
    }
    sync_directory(&data.path).map_err(FileSinkError::io("sync", &data.path))?;
    Ok(data)
}

/// The path without symbolic links, so that a file has one cursor however it is named.
fn resolve(path: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            let parent = fs::canonicalize(parent.unwrap_or(Path::new(".")))?;
            let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
            Ok(parent.join(name))
        }
        resolved => resolved,
    }
}

fn open(path: &Path) -> Result<Option<File>, FileSinkError> {
    match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileSinkError::io("open", path)(error)),
    }
}

fn by_cursor(
    path: &Path,
    cursor: &Cursor,
    stand: &Stand,
    source: &Source,
) -> Result<(File, Whole, u64), FileSinkError> {
    let source_id = source.lineage.system_id();
    if stand.system_id != source_id {
        let (path, stored) = (path.to_owned(), stand.system_id);
        return Err(FileSinkError::OtherSystem { path, stored, source_id });
    }
    let whole = Whole { length: stand.length, end: stand.end };
    let found = open(path)?;
    if let Some(file) = &found {
        let metadata = file.metadata().map_err(FileSinkError::io("read", path))?;
        if metadata.ino() == stand.file {
            cut(file, path, cursor, stand)?;
            return Ok((
                file.try_clone().map_err(FileSinkError::io("open", path))?,
                whole,
                stand.begun,
            ));
        }
        if metadata.len() > 0 {
            let (path, cursor) = (path.to_owned(), cursor.path().to_owned());
            return Err(FileSinkError::Replaced { path, cursor });
        }
    }
    if stand.length == 0 {
        let file = match found {
            Some(file) => file,
            None => create(path)?,
        };
        return Ok((file, whole, now()));
    }
    let Some((aside, aside_path)) = put_aside(path, stand)? else {
        let (path, cursor) = (path.to_owned(), cursor.path().to_owned());
        return Err(match found {
            Some(_) => FileSinkError::Replaced { path, cursor },
            None => FileSinkError::Lost { path, cursor, length: stand.length },
        });
    };
    cut(&aside, &aside_path, cursor, stand)?;
    aside.sync_all().map_err(FileSinkError::io("sync", &aside_path))?;
    let file = match found {
        Some(file) => file,
        None => create(path)?,
    };
    Ok((file, Whole { length: 0, end: stand.end }, now()))
}

/// The file that the cursor is of, where it was renamed to.
fn put_aside(path: &Path, stand: &Stand) -> Result<Option<(File, PathBuf)>, FileSinkError> {
    for (_, aside) in set_aside(path).map_err(FileSinkError::io("list", path))? {
        let Some(file) = open(&aside)? else { continue };
        if file.metadata().is_ok_and(|metadata| metadata.ino() == stand.file) {
            return Ok(Some((file, aside)));
        }
    }
    Ok(None)
}

/// Cut the cursor's file to what was proven of it.
fn cut(file: &File, path: &Path, cursor: &Cursor, stand: &Stand) -> Result<(), FileSinkError> {
    let failed = || FileSinkError::io("read", path);
    let (have, want) = (file.metadata().map_err(failed())?.len(), stand.length);
    let (path, cursor) = (path.to_owned(), cursor.path().to_owned());
    if have < want {
        return Err(FileSinkError::Truncated { path, cursor, have, want });
    }
    if tail_checksum(file, want).map_err(failed())? != stand.tail {
        return Err(FileSinkError::Replaced { path, cursor });
    }
    cut_to(file, &path, have, want)
}

fn cut_to(file: &File, path: &Path, have: u64, want: u64) -> Result<(), FileSinkError> {
    if have > want {
        let bytes = have - want;
        tracing::info!(path = %path.display(), bytes, "cutting off what was not proven");
        file.set_len(want).map_err(FileSinkError::io("cut", path))?;
    }
    Ok(())
}

fn by_content(
    path: &Path,
    format: &EventFormat,
    source: &Source,
) -> Result<(File, Whole), FileSinkError> {
    let source_id = source.lineage.system_id();
    let scan = |file: &File, path: &Path| {
        let length = file.metadata().map_err(FileSinkError::io("read", path))?.len();
        let last = match format {
            EventFormat::Json => last_transaction(file, path, length, source_id)?,
            _ if length == 0 => LastTransaction { length: 0, end: None },
            _ => {
                let (path, format) = (path.to_owned(), format.name());
                return Err(FileSinkError::NoCursor { path, format });
            }
        };
        Ok::<_, FileSinkError>((last, length))
    };
    let file = open(path)?;
    if let Some(file) = &file {
        let (LastTransaction { length, end }, have) = scan(file, path)?;
        cut_to(file, path, have, length)?;
        if end.is_some() {
            let file = file.try_clone().map_err(FileSinkError::io("open", path))?;
            return Ok((file, Whole { length, end }));
        }
    }
    // Nothing whole in this one: the one before it ends with what was proven last.
    let aside = set_aside(path).map_err(FileSinkError::io("list", path))?.pop();
    let before = match aside {
        None => None,
        Some((_, path)) => open(&path)?.map(|file| scan(&file, &path)).transpose()?,
    };
    let end = before.and_then(|(last, _)| last.end).or_else(|| source.expects_more());
    let file = match file {
        Some(file) => file,
        None => create(path)?,
    };
    Ok((file, Whole { length: 0, end }))
}

impl Source {
    /// With nothing on disk, but a checkpoint that knows this sink: it stands before everything.
    /// Whether data is missing then, is for the checkpoint to say.
    fn expects_more(&self) -> Option<Lsn> {
        self.cursor.map(|_| Lsn::new(0))
    }
}

//! The password file, read as libpq reads it.
//!
//! One line per server: `hostname:port:database:username:password`, `*` for any, `\` before a `:`
//! or `\` that is meant literally; the first line that matches wins
//! (<https://www.postgresql.org/docs/current/libpq-pgpass.html>). A file that others can read is
//! ignored with a warning. The file is read anew at each look-up, so that a changed password is
//! found, and nothing of it is kept.

use std::fmt;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::name::Secret;

/// Far more than any password file has; what lies beyond is not read.
const LINES_MAX: usize = 100_000;

/// What a line has to match.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) host: String,
    pub(super) is_socket: bool,
    pub(super) port: u16,
    pub(super) database: String,
    pub(super) user: String,
}

/// What became of a look-up that found nothing: said when the server then asks for a password.
#[derive(Debug)]
#[non_exhaustive]
pub enum PassfileOutcome {
    /// There is no home directory to look in.
    NoHome,
    /// The file does not exist.
    Missing(PathBuf),
    /// Group or others may read the file, so it is ignored.
    ReadableByOthers(PathBuf),
    /// It is not a regular file.
    NotAFile(PathBuf),
    /// It could not be read.
    Unreadable(PathBuf, io::Error),
    /// No line matches host, port, database and user.
    NoMatch(PathBuf),
}

impl fmt::Display for PassfileOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHome => f.write_str("no home directory to look for .pgpass in"),
            Self::Missing(path) => write!(f, "no password file {}", path.display()),
            Self::ReadableByOthers(path) => write!(
                f,
                "password file {} is ignored because group or others have access to it",
                path.display()
            ),
            Self::NotAFile(path) => write!(f, "{} is not a regular file", path.display()),
            Self::Unreadable(path, error) => {
                write!(f, "password file {} cannot be read: {error}", path.display())
            }
            Self::NoMatch(path) => write!(f, "no line of {} matches", path.display()),
        }
    }
}

/// Find a password in `explicit`, else in `PGPASSFILE`, else in `~/.pgpass`. Blocks on the disk.
pub(super) fn look_up(
    explicit: Option<PathBuf>,
    wanted: &Wanted,
) -> Result<Secret, PassfileOutcome> {
    let path = explicit
        .or_else(|| std::env::var_os("PGPASSFILE").filter(|p| !p.is_empty()).map(PathBuf::from))
        .or_else(|| std::env::home_dir().map(|home| home.join(".pgpass")))
        .ok_or(PassfileOutcome::NoHome)?;
    let outcome = look_up_in(&path, wanted);
    if let Err(PassfileOutcome::ReadableByOthers(_) | PassfileOutcome::NotAFile(_)) = &outcome {
        tracing::warn!(path = %path.display(), "password file ignored: its permissions should be 0600");
    }
    outcome
}

fn look_up_in(path: &Path, wanted: &Wanted) -> Result<Secret, PassfileOutcome> {
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => PassfileOutcome::Missing(path.to_owned()),
        _ => PassfileOutcome::Unreadable(path.to_owned(), error),
    };
    // Looked at before it is opened: opening a pipe would wait for its writer.
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(PassfileOutcome::NotAFile(path.to_owned()));
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(PassfileOutcome::ReadableByOthers(path.to_owned()));
    }
    let file = fs::File::open(path).map_err(unreadable)?;
    for line in BufReader::new(file).lines().take(LINES_MAX) {
        if let Some(password) = password_of(&line.map_err(unreadable)?, wanted) {
            return Ok(password);
        }
    }
    Err(PassfileOutcome::NoMatch(path.to_owned()))
}

fn password_of(line: &str, wanted: &Wanted) -> Option<Secret> {
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.starts_with('#') {
        return None;
    }
    let (host, rest) = field(line)?;
    let (port, rest) = field(rest)?;
    let (database, rest) = field(rest)?;
    let (user, rest) = field(rest)?;
    let host_matches = host.matches(&wanted.host) || wanted.is_socket && host.matches("localhost");
    let matches = host_matches
        && port.matches(&wanted.port.to_string())
        && database.matches(&wanted.database)
        && user.matches(&wanted.user);
    // The password ends at the next bare ':' or at the end of the line.
    let password = field(rest).map_or_else(|| unescaped(rest), |(field, _)| field.text);
    (matches && !password.is_empty()).then(|| Secret::new(password))
}

struct Field {
    text: String,
    any: bool,
}

impl Field {
    fn matches(&self, value: &str) -> bool {
        self.any || self.text == value
    }
}

/// The text up to the next bare ':', and what follows it; `None` if there is none.
fn field(line: &str) -> Option<(Field, &str)> {
    let mut escaped = false;
    for (at, character) in line.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ':' => {
                let raw = &line[..at];
                return Some((Field { text: unescaped(raw), any: raw == "*" }, &line[at + 1..]));
            }
            _ => {}
        }
    }
    None
}

fn unescaped(raw: &str) -> String {
    let mut text = String::with_capacity(raw.len());
    let mut characters = raw.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => text.push(characters.next().unwrap_or('\\')),
            _ => text.push(character),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(host: &str) -> Wanted {
        Wanted {
            host: host.to_owned(),
            is_socket: host.starts_with('/'),
            port: 5432,
            database: "shop".to_owned(),
            user: "cdc".to_owned(),
        }
    }

    fn found(line: &str, host: &str) -> Option<String> {
        password_of(line, &wanted(host)).map(|password| password.expose().to_owned())
    }

    #[test]
    fn lines_match_by_field_and_wildcard() {
        assert_eq!(found("db1:5432:shop:cdc:pw", "db1").as_deref(), Some("pw"));
        assert_eq!(found("*:*:*:*:pw", "db1").as_deref(), Some("pw"));
        assert_eq!(found("db1:5433:*:*:pw", "db1"), None);
        assert_eq!(found("db1:*:other:*:pw", "db1"), None);
        assert_eq!(found("#*:*:*:*:pw", "db1"), None);
        assert_eq!(found("", "db1"), None);
        assert_eq!(found("*:*:*:*:", "db1"), None);
    }

    #[test]
    fn a_backslash_takes_the_next_character_literally() {
        assert_eq!(found(r"\:\:1:*:*:*:p\:w\\d", "::1").as_deref(), Some(r"p:w\d"));
        assert_eq!(found(r"\*:*:*:*:pw", "db1"), None);
        assert_eq!(found("*:*:*:*:pw:ignored", "db1").as_deref(), Some("pw"));
        assert_eq!(found("*:*:*:*:pw\r", "db1").as_deref(), Some("pw"));
    }

    #[test]
    fn a_socket_is_found_by_its_directory_and_as_localhost() {
        assert_eq!(found("/run/pg:*:*:*:pw", "/run/pg").as_deref(), Some("pw"));
        assert_eq!(found("localhost:*:*:*:pw", "/run/pg").as_deref(), Some("pw"));
        assert_eq!(found("localhost:*:*:*:pw", "db1"), None);
    }

    #[test]
    fn the_first_match_of_a_private_file_wins() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pgpass");
        assert!(matches!(look_up_in(&path, &wanted("db1")), Err(PassfileOutcome::Missing(_))));
        fs::write(&path, "db2:*:*:*:no\ndb1:*:*:*:first\n*:*:*:*:second\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let open = look_up_in(&path, &wanted("db1"));
        assert!(matches!(open, Err(PassfileOutcome::ReadableByOthers(_))));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(look_up_in(&path, &wanted("db1")).unwrap().expose(), "first");
        let directory = look_up_in(directory.path(), &wanted("db1"));
        assert!(matches!(directory, Err(PassfileOutcome::NotAFile(_))));
    }
}

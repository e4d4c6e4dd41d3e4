//! Where the server's programs are.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::error::DemoError;

const MAJOR_MIN: u32 = 14;

/// A directory with `postgres` and `initdb`.
#[derive(Debug, Clone)]
pub(super) struct Programs {
    bin: PathBuf,
    /// Their major version.
    pub(super) major: u32,
}

impl Programs {
    /// Those of `WALCAST_PG_BIN`; without it the first found on PATH and where packages put them.
    pub(super) fn find() -> Result<Self, DemoError> {
        if let Some(named) = std::env::var_os("WALCAST_PG_BIN").filter(|value| !value.is_empty()) {
            let place = "in WALCAST_PG_BIN";
            return Self::at(Path::new(&named)).ok_or(DemoError::NoServer { place });
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let on_path = std::env::split_paths(&path).filter_map(|directory| {
            // A directory on PATH may link to only some of the programs.
            let real = directory.join("postgres").canonicalize().ok()?;
            Some(real.parent()?.to_owned())
        });
        let packaged = versions_in(Path::new("/usr/lib/postgresql"))
            .chain((MAJOR_MIN..=30).rev().map(|major| format!("/usr/pgsql-{major}/bin").into()));
        let found = on_path.chain(packaged).find_map(|directory| Self::at(&directory));
        found.ok_or(DemoError::NoServer { place: "on PATH or under /usr/lib/postgresql" })
    }

    fn at(bin: &Path) -> Option<Self> {
        if !bin.join("initdb").is_file() {
            return None;
        }
        let output = Command::new(bin.join("postgres")).arg("--version").output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let version = text.split_whitespace().find(|word| word.starts_with(char::is_numeric))?;
        let major = version.split(|c: char| !c.is_numeric()).next()?.parse().ok()?;
        (major >= MAJOR_MIN).then(|| Self { bin: bin.to_owned(), major })
    }

    /// A command that runs `program`.
    pub(super) fn command(&self, program: &str) -> Command {
        Command::new(self.bin.join(program))
    }
}

/// `<parent>/<major>/bin`, the newest first.
fn versions_in(parent: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let number = |name: &OsStr| name.to_str()?.parse::<u32>().ok();
    let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
    let mut majors: Vec<u32> = entries.filter_map(|entry| number(&entry.file_name())).collect();
    majors.sort_unstable_by(|a, b| b.cmp(a));
    let parent = parent.to_owned();
    majors.into_iter().map(move |major| parent.join(major.to_string()).join("bin"))
}

//! This machine: directories that have to be ours and writable.
//!
//! Everything here blocks for a few small file operations.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::{Finding, Findings};
use crate::state_dir;

/// Check that a pipeline could keep its state in the directory `path`.
pub fn check_state_dir(path: &Path) -> Vec<Finding> {
    const SUBJECT: &str = "state directory";
    let mut findings = Findings::new("this machine");
    let shown = path.display();
    if path.exists() && !path.is_dir() {
        let fix = "name a directory in [pipeline] state";
        findings.error(SUBJECT, format!("{shown} is no directory"), "a directory", fix);
        return findings.list;
    }
    match state_dir::holder(path) {
        Ok(None) => {}
        Ok(Some(pid)) => {
            let fix = "stop that process, or give this one its own [pipeline] state";
            let have = format!("{shown} is held by process {pid}");
            findings.error(SUBJECT, have, "one that nobody holds", fix);
            return findings.list;
        }
        Err(error) => {
            let fix = "let this user read and write it";
            let have = format!("{shown} cannot be looked at: {error}");
            findings.error(SUBJECT, have, "one of our own", fix);
            return findings.list;
        }
    }
    let existing = path.ancestors().find(|ancestor| ancestor.exists());
    match probe(existing.unwrap_or(Path::new("."))) {
        Ok(()) if path.exists() => findings.ok(SUBJECT, format!("{shown}, writable")),
        Ok(()) => findings.ok(SUBJECT, format!("{shown}, will be made")),
        Err(error) => {
            let fix = "name a directory in [pipeline] state that this user may write to";
            let have = format!("{shown} cannot be written to: {error}");
            findings.error(SUBJECT, have, "a writable directory", fix);
        }
    }
    findings.list
}

/// Check that the sink called `sink` could write the file `path`.
pub fn check_file_target(sink: &str, path: &Path) -> Vec<Finding> {
    const SUBJECT: &str = "file";
    let mut findings = Findings::new(format!("sink {sink}"));
    let shown = path.display();
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    if !directory.is_dir() {
        let have = format!("there is no directory {}", directory.display());
        let fix = format!("mkdir -p {}", directory.display());
        findings.error(SUBJECT, have, "a directory to write in", fix);
    } else if path.exists() && !path.is_file() {
        let have = format!("{shown} is no file");
        findings.error(SUBJECT, have, "a file, or nothing yet", "name another path");
    } else if let Err(error) = OpenOptions::new().read(true).write(true).open(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        let have = format!("{shown} cannot be written to: {error}");
        findings.error(SUBJECT, have, "a writable file", "let this user write to it");
    } else if let Err(error) = probe(directory) {
        let have = format!("{} cannot be written to: {error}", directory.display());
        let fix = "let this user write to it, or name a path elsewhere";
        findings.error(SUBJECT, have, "a writable directory", fix);
    } else {
        findings.ok(SUBJECT, format!("{shown}, writable"));
    }
    findings.list
}

/// Write something into `directory` and take it away again.
fn probe(directory: &Path) -> io::Result<()> {
    let path: PathBuf = directory.join(format!(".walcast-check-{}", std::process::id()));
    let made = OpenOptions::new().write(true).create_new(true).open(&path);
    let written = made.and_then(|mut file| io::Write::write_all(&mut file, b"walcast"));
    match fs::remove_file(&path) {
        Err(error) if written.is_ok() => Err(error),
        _ => written,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Severity;
    use super::*;
    use crate::state_dir::StateDir;

    fn severity(findings: &[Finding]) -> Severity {
        findings.iter().map(|finding| finding.severity).max().unwrap()
    }

    #[test]
    fn nothing_is_left_behind() {
        let root = tempfile::tempdir().unwrap();
        let state = root.path().join("a/state");
        assert_eq!(severity(&check_state_dir(&state)), Severity::Ok);
        let file = root.path().join("out.jsonl");
        assert_eq!(severity(&check_file_target("audit", &file)), Severity::Ok);
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_directory_that_cannot_be_ours_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        let held = StateDir::open(root.path().join("state")).unwrap();
        let findings = check_state_dir(held.path());
        assert_eq!(severity(&findings), Severity::Error);
        assert!(findings[0].have.contains(&format!("process {}", std::process::id())));
        let file = root.path().join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(severity(&check_state_dir(&file)), Severity::Error);
        assert_eq!(severity(&check_state_dir(&file.join("below"))), Severity::Error);
        let lost = check_file_target("audit", &root.path().join("missing/out.jsonl"));
        assert_eq!(severity(&lost), Severity::Error);
        assert!(lost[0].fix.as_deref().unwrap().starts_with("mkdir -p "));
        assert_eq!(severity(&check_file_target("audit", root.path())), Severity::Error);
    }
}

//! The user that the servers run as: PostgreSQL refuses root.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use super::error::DemoError;

/// A user and a group, when they are not our own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner {
    other: Option<(u32, u32)>,
}

impl Owner {
    /// Ourselves if the user `uid` that we are is not root; else `postgres`, else `nobody`.
    pub(super) fn of_process(uid: u32) -> Result<Self, DemoError> {
        if uid != 0 {
            return Ok(Self { other: None });
        }
        let ids = |name| Some((id("-u", name)?, id("-g", name)?));
        let other = ["postgres", "nobody"].into_iter().find_map(ids);
        other.map(|other| Self { other: Some(other) }).ok_or(DemoError::NoOwner)
    }

    /// Have `command` run as this user.
    pub(super) fn become_in(self, command: &mut Command) {
        if let Some((uid, gid)) = self.other {
            command.uid(uid).gid(gid);
        }
    }

    /// Whether this user gets to `directory`.
    pub(super) fn can_enter(self, directory: &Path) -> bool {
        let mut look = Command::new("sh");
        look.args(["-c", "cd \"$1\"", "look"]).arg(directory);
        look.stderr(std::process::Stdio::null()).current_dir("/");
        self.become_in(&mut look);
        look.status().is_ok_and(|status| status.success())
    }

    /// Make this user the owner of `path`.
    pub(super) fn own(self, path: &Path) -> std::io::Result<()> {
        match self.other {
            Some((uid, gid)) => std::os::unix::fs::chown(path, Some(uid), Some(gid)),
            None => Ok(()),
        }
    }
}

fn id(option: &str, name: &str) -> Option<u32> {
    let output = Command::new("id").args([option, name]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    if output.status.success() { text.trim().parse().ok() } else { None }
}

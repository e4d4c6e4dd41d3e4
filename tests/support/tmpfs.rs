//! A disk that is small enough to fill: a tmpfs of a given size, unmounted when its value drops or
//! its test dies.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::tether::Tether;

pub(crate) struct Tmpfs {
    path: PathBuf,
    _unmounts: Tether,
}

impl Tmpfs {
    /// Mounts one of `bytes` (whole pages); `Err` says why this machine cannot, for
    /// [`skip`](super::skip).
    pub(crate) fn mount(bytes: u64) -> Result<Tmpfs, String> {
        let directory = tempfile::Builder::new().prefix("wcfs").tempdir();
        let path = directory.expect("a temporary directory can be made").keep();
        let tether = Tether::new("umount -l \"$1\"; rmdir \"$1\"", &[path.as_os_str()]);
        let output = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes},mode=0777"), "walcast-test"])
            .arg(&path)
            .output();
        match output {
            Ok(output) if output.status.success() => Ok(Tmpfs { path, _unmounts: tether }),
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                Err(format!("a tmpfs cannot be mounted here (it needs root): {said}"))
            }
            Err(error) => Err(format!("mount does not start: {error}")),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

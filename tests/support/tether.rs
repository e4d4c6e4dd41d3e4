//! A shell that does one thing when the test is gone, however it went.
//!
//! The test holds the only writing end of the shell's standard input; its end is the signal. The
//! shell has a process group of its own, so that what kills the test does not kill it.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};

pub(crate) struct Tether {
    shell: Child,
    pipe: Option<ChildStdin>,
}

impl Tether {
    /// Runs `script`, with `arguments` as `$1`, `$2` …, when this value or the whole test is gone.
    pub(crate) fn new(script: &str, arguments: &[&OsStr]) -> Tether {
        let mut shell = Command::new("sh")
            .arg("-c")
            .arg(format!("read -r released && exit 0\n{script}"))
            .arg("tether")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .current_dir("/")
            .spawn()
            .expect("sh starts");
        let pipe = shell.stdin.take();
        Tether { shell, pipe }
    }

    /// Lets go: the script does not run, its work is already done.
    pub(crate) fn release(mut self) {
        if let Some(pipe) = &mut self.pipe {
            // A shell that is gone has nothing left to be told.
            let _ = pipe.write_all(b"released\n");
        }
    }
}

impl Drop for Tether {
    fn drop(&mut self) {
        drop(self.pipe.take());
        let _ = self.shell.wait();
    }
}

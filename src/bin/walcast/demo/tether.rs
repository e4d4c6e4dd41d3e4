//! Shells that clean up behind the demo, however it ends.
//!
//! Each waits for the end of its standard input, whose only writing end is ours: a return, a panic
//! and SIGKILL all close it. They have process groups of their own, so that Ctrl-C reaches the demo
//! alone and things end in its order.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use super::error::DemoError;
use super::owner::Owner;

/// How long a shell may take over its last work.
const LAST_WORK: Duration = Duration::from_secs(20);

/// `$@` is the server's command line. Its end is the shell's; so is ours the server's.
const SERVER: &str = r#"
exec 3<&0
"$@" </dev/null 3<&- &
server=$!
( read -r _ <&3; kill -s QUIT "$server" ) 2>/dev/null &
wait "$server"
"#;

/// `$1` is the directory. A program that still ends may write to it once more.
const DIRECTORY: &str = r#"
read -r _
patience=50
until rm -rf "$1" && [ ! -e "$1" ]; do
  patience=$((patience - 1))
  [ "$patience" -gt 0 ] || exit 1
  sleep 0.1
done
"#;

/// A shell; dropped, it does its last work and is waited for.
#[derive(Debug)]
pub(super) struct Tether {
    shell: Child,
    pipe: Option<ChildStdin>,
}

impl Tether {
    /// Run `server` as `owner`, its output in `log`, until this value is gone.
    pub(super) fn server(server: &Command, owner: Owner, log: File) -> Result<Self, DemoError> {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(SERVER).arg("server").arg(server.get_program());
        shell.args(server.get_args());
        let errors = log.try_clone().map_err(failed)?;
        shell.stdout(log).stderr(errors);
        owner.become_in(&mut shell);
        Self::start(shell)
    }

    /// Remove `directory` when this value is gone.
    pub(super) fn directory(directory: &Path) -> Result<Self, DemoError> {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(DIRECTORY).arg("directory").arg(directory);
        shell.stdout(Stdio::null()).stderr(Stdio::null());
        Self::start(shell)
    }

    fn start(mut shell: Command) -> Result<Self, DemoError> {
        quiet(&mut shell);
        shell.stdin(Stdio::piped()).process_group(0).current_dir("/");
        let mut shell = shell.spawn().map_err(failed)?;
        let pipe = shell.stdin.take();
        Ok(Self { shell, pipe })
    }

    /// Whether what it runs has ended by itself.
    pub(super) fn has_ended(&mut self) -> bool {
        !matches!(self.shell.try_wait(), Ok(None))
    }
}

impl Drop for Tether {
    fn drop(&mut self) {
        drop(self.pipe.take());
        let begun = Instant::now();
        while !self.has_ended() && begun.elapsed() < LAST_WORK {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn failed(error: std::io::Error) -> DemoError {
    DemoError::Program { program: "sh", said: error.to_string() }
}

/// Keeps the caller's `PG*` variables and locale away from a server program.
pub(super) fn quiet(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"PG") {
            command.env_remove(name);
        }
    }
    command.env("LC_ALL", OsStr::new("C"));
}

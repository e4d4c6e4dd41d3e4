//! A program as a child process: the `walcast` under test, killed when its value drops.
//!
//! Its output is read all the time, so that it never waits for the test; a test looks at what came
//! so far, or waits for the end.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::tether::Tether;
use super::wait::eventually;

/// What to run, not yet running.
pub(crate) struct Program {
    command: Command,
}

impl Program {
    /// The `walcast` program of this build.
    pub(crate) fn walcast<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Program {
        Program::new(env!("CARGO_BIN_EXE_walcast"), arguments)
    }

    pub(crate) fn new<S: AsRef<OsStr>>(
        program: impl AsRef<OsStr>,
        arguments: impl IntoIterator<Item = S>,
    ) -> Program {
        let mut command = Command::new(program);
        command.args(arguments);
        // A caller's variables must not decide what a test sees.
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_foreign(name)) {
            command.env_remove(name);
        }
        Program { command }
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Program {
        self.command.env(name, value);
        self
    }

    pub(crate) fn current_dir(mut self, directory: impl AsRef<Path>) -> Program {
        self.command.current_dir(directory);
        self
    }

    pub(crate) fn start(mut self) -> Running {
        self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().expect("the program starts");
        let stdout = Output::read(child.stdout.take().expect("stdout is piped"));
        let stderr = Output::read(child.stderr.take().expect("stderr is piped"));
        let pid = OsString::from(child.id().to_string());
        let tether = Some(Tether::new("kill -KILL \"$1\"", &[&pid]));
        Running { child, stdout, stderr, tether }
    }

    /// Runs it to its end.
    #[track_caller]
    pub(crate) fn run(self, deadline: Duration) -> Ended {
        self.start().wait(deadline)
    }
}

/// PostgreSQL's and walcast's own variables, but for those that steer the harness.
fn is_foreign(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with("PG")
        || name == "RUST_LOG"
        || (name.starts_with("WALCAST_") && !name.starts_with("WALCAST_TEST_"))
}

/// A child that runs; killed on drop.
pub(crate) struct Running {
    child: Child,
    stdout: Output,
    stderr: Output,
    tether: Option<Tether>,
}

/// How a child ended, and all it said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// From the start of the wait to the end of the process.
    pub(crate) took: Duration,
}

impl Ended {
    /// The exit code; `None` when a signal ended it.
    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its standard output so far.
    pub(crate) fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// Its standard error so far.
    pub(crate) fn stderr(&self) -> String {
        self.stderr.text()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal by its name without `SIG`: `TERM`, `INT`, `STOP`, `CONT`.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.expect("kill starts").success(), "no process {pid} to send SIG{name} to");
    }

    /// SIGKILL, and the wait for the end.
    pub(crate) fn kill(mut self) -> Ended {
        // An error means that it is dead already, which is what was asked for.
        let _ = self.child.kill();
        self.wait(Duration::from_secs(10))
    }

    /// Waits for the end; fails the test at the deadline, with what the program said.
    #[track_caller]
    pub(crate) fn wait(mut self, deadline: Duration) -> Ended {
        let start = Instant::now();
        while self.is_running() {
            assert!(
                start.elapsed() < deadline,
                "still running after {deadline:?}; stdout:\n{}\nstderr:\n{}",
                self.stdout(),
                self.stderr()
            );
            std::thread::sleep(Duration::from_millis(2));
        }
        let took = start.elapsed();
        let status = self.child.wait().expect("a child can be waited for");
        self.stdout.finish();
        self.stderr.finish();
        Ended { status, stdout: self.stdout(), stderr: self.stderr(), took }
    }

    /// Waits until standard output holds `text`; fails the test when the program ends without it.
    #[track_caller]
    pub(crate) fn wait_for_stdout(&mut self, text: &str, deadline: Duration) {
        let what = format!("{text:?} on standard output");
        eventually(&what, deadline, || {
            let running = self.is_running();
            let came = self.stdout().contains(text);
            assert!(running || came, "ended without {what}; stderr:\n{}", self.stderr());
            came
        });
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Errors mean that it is dead already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(tether) = self.tether.take() {
            tether.release();
        }
    }
}

struct Output {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Output {
    fn read(mut pipe: impl Read + Send + 'static) -> Output {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let written = Arc::clone(&bytes);
        let reader = std::thread::spawn(move || {
            let mut chunk = [0; 8192];
            while let Ok(length @ 1..) = pipe.read(&mut chunk) {
                written.lock().unwrap().extend_from_slice(&chunk[..length]);
            }
        });
        Output { bytes, reader }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap()).into_owned()
    }

    /// Waits until all that was said is read.
    fn finish(&self) {
        eventually("the program's output closes with it", Duration::from_secs(10), || {
            self.reader.is_finished()
        });
    }
}

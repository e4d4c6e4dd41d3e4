//! The pipeline's process, seen by the demo: started, watched, killed, drained.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use walcast::Error;
use walcast::monitor::{Status, ask_status};

use super::error::DemoError;
use super::pipeline;
use super::screen::Screen;
use super::server::last_lines;

/// How long draining may take.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);

/// How to start the pipeline.
#[derive(Debug)]
pub(super) struct Recipe {
    pub(super) source: String,
    pub(super) target: String,
    pub(super) directory: PathBuf,
    pub(super) colours: bool,
}

/// A running pipeline; killed when dropped.
#[derive(Debug)]
pub(super) struct Worker {
    child: Child,
    orders: Option<ChildStdin>,
    directory: PathBuf,
}

impl Recipe {
    /// Start it; what its terminal sink prints goes to `screen`.
    pub(super) fn start(&self, screen: &Screen) -> Result<Worker, Error> {
        let failed = |error: std::io::Error| DemoError::Program {
            program: "walcast",
            said: error.to_string(),
        };
        let path = log(&self.directory);
        let logged = File::options().append(true).create(true).open(&path);
        let logged =
            logged.map_err(|source| DemoError::File { operation: "open", path, source })?;
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        command.args(["demo-pipeline", "--source", &self.source, "--target", &self.target]);
        command.arg("--directory").arg(&self.directory);
        if self.colours {
            command.arg("--colours");
        }
        // Ctrl-C is for the demo, which ends things in its order.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(logged);
        let mut child = command.spawn().map_err(failed)?;
        if let Some(out) = child.stdout.take() {
            let screen = screen.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(out).lines().map_while(Result::ok) {
                    screen.say(&line);
                }
            });
        }
        let orders = child.stdin.take();
        Ok(Worker { child, orders, directory: self.directory.clone() })
    }
}

impl Worker {
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it says of itself; `None` while it starts.
    pub(super) async fn status(&mut self) -> Result<Option<Status>, Error> {
        self.check()?;
        // A process that is starting, or that was killed a moment ago, does not answer.
        Ok(ask_status(&pipeline::state(&self.directory)).await.unwrap_or_default())
    }

    /// Fail if it has ended.
    fn check(&mut self) -> Result<(), DemoError> {
        match self.child.try_wait() {
            Ok(Some(status)) => Err(self.failed(status)),
            _ => Ok(()),
        }
    }

    /// SIGKILL: nothing of it runs any more when this returns.
    pub(super) fn kill(mut self) {
        self.end();
    }

    /// Have it prove and confirm what it was given, and wait for its good end.
    pub(super) async fn drain(mut self) -> Result<(), Error> {
        if let Some(orders) = &mut self.orders {
            // A process that takes no orders has ended, which shows below.
            let _ = orders.write_all(pipeline::DRAIN.as_bytes());
        }
        let begun = Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => return Err(self.failed(status).into()),
                _ if begun.elapsed() > DRAIN_TIMEOUT => {
                    let (what, log) = ("does not drain".to_owned(), self.last_log());
                    return Err(DemoError::Pipeline { what, log }.into());
                }
                _ => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    }

    /// It should have been further by now.
    pub(super) fn late(&self) -> DemoError {
        DemoError::Pipeline { what: "does not catch up".to_owned(), log: self.last_log() }
    }

    fn failed(&self, status: ExitStatus) -> DemoError {
        DemoError::Pipeline { what: format!("ended with {status}"), log: self.last_log() }
    }

    fn last_log(&self) -> String {
        last_lines(&log(&self.directory))
    }

    fn end(&mut self) {
        // Errors mean that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.end();
    }
}

fn log(directory: &Path) -> PathBuf {
    directory.join("pipeline.log")
}

//! A directory with a config, an output file and a state directory, for the `walcast` program.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::primary::Primary;
use super::process::{Ended, Program, Running};
use super::wait::eventually;

const DEADLINE: Duration = Duration::from_secs(30);

/// Slot `s` and publication `p` of a server, fed into `audit.jsonl`; removed on drop.
pub(crate) struct Desk {
    directory: TempDir,
}

impl Desk {
    /// The publication is made with the tables of schema `public`. `rest` goes on after the sink.
    pub(crate) fn new(url: &str, rest: &str) -> Desk {
        let create = "publication_options = { create = \"tables\", tables = [\"public.*\"] }\n";
        Desk::of(url, create, rest)
    }

    /// The publication has to be there.
    pub(crate) fn with_publication(url: &str, rest: &str) -> Desk {
        Desk::of(url, "", rest)
    }

    fn of(url: &str, source: &str, rest: &str) -> Desk {
        let directory = tempfile::tempdir().unwrap();
        let config = format!(
            "[source]\nurl = \"{url}\"\nslot = \"s\"\npublication = \"p\"\n{source}\
             [[sink]]\nname = \"audit\"\ntype = \"file\"\npath = \"audit.jsonl\"\n{rest}"
        );
        std::fs::write(directory.path().join("walcast.toml"), config).unwrap();
        Desk { directory }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// `walcast run`, from elsewhere: paths in a config start where the config lies.
    pub(crate) fn run(&self) -> Program {
        self.walcast("run", &[])
    }

    /// `walcast <command> <config> <options>`.
    pub(crate) fn walcast(&self, command: &str, options: &[&str]) -> Program {
        let config = self.path("walcast.toml");
        let words = [command.as_ref(), config.as_os_str()];
        let options = options.iter().map(|option| option.as_ref());
        Program::walcast(words.into_iter().chain(options)).current_dir("/")
    }

    /// Runs it, and waits until it streams.
    #[track_caller]
    pub(crate) fn start(&self, primary: &Primary) -> Running {
        let mut running = self.run().start();
        streams(primary, &mut running);
        running
    }

    /// [`start`](Self::start) with a standard output that blocks until the pipe is read.
    #[track_caller]
    pub(crate) fn start_blocked(&self, primary: &Primary) -> (Running, File) {
        let pipe = self.path("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let reader = File::options().read(true).write(true).open(&pipe).unwrap();
        let script = "exec \"$0\" run \"$1\" >\"$2\"";
        let config = self.path("walcast.toml");
        let words = ["-c", script, env!("CARGO_BIN_EXE_walcast")].map(OsStr::new);
        let paths = [config.as_os_str(), pipe.as_os_str()];
        let mut running = Program::new("bash", words.into_iter().chain(paths)).start();
        streams(primary, &mut running);
        (running, reader)
    }

    /// The whole lines of the output file.
    pub(crate) fn lines(&self) -> Vec<Value> {
        lines_of(&self.path("audit.jsonl"))
    }
}

/// Waits until the program streams from slot `s`; what it said is shown when it ends instead.
#[track_caller]
pub(crate) fn streams(primary: &Primary, running: &mut Running) {
    eventually("it streams", DEADLINE, || {
        assert!(running.is_running(), "{}", running.stderr());
        let active = "select active from pg_replication_slots where slot_name = 's'";
        primary.query_one_text(active).as_deref() == Some("t")
    });
}

/// Ends the program by SIGTERM, which it has to take well and soon.
#[track_caller]
pub(crate) fn drained(running: Running) -> Ended {
    running.signal("TERM");
    let ended = running.wait(Duration::from_secs(5));
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    ended
}

fn lines_of(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

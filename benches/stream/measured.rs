//! A child process that runs to its end, and what it and its walsender used.
//!
//! Everything comes from `/proc`: a process that has ended keeps its times there until it is waited
//! for, its memory is looked at while it runs.

use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::Tether;

/// How often to look. A run takes seconds; a look takes microseconds.
const LOOK: Duration = Duration::from_millis(5);
/// `/proc` counts in hundredths of a second, on every architecture.
const TICKS_PER_SECOND: f64 = 100.0;

/// What a run took.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cost {
    pub(crate) seconds: f64,
    /// Of the consumer, user and system.
    pub(crate) cpu_seconds: f64,
    pub(crate) walsender_cpu_seconds: f64,
    /// Resident memory of the consumer at its most, in bytes.
    pub(crate) peak_bytes: u64,
    /// What it said on standard output.
    pub(crate) said: String,
}

/// Runs `command` to its end. `walsender` says which process serves it, once that is known.
pub(crate) fn run(mut command: Command, mut walsender: impl FnMut() -> Option<u32>) -> Cost {
    let start = Instant::now();
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("the consumer starts");
    let pid = OsString::from(child.id().to_string());
    let tether = Tether::new("kill -KILL \"$1\"", &[&pid]);
    let mut cost = Cost::default();
    let mut server = None;
    loop {
        let now = Stat::of(child.id()).expect("a child that is not waited for has a stat");
        if now.ended {
            cost.seconds = start.elapsed().as_secs_f64();
            cost.cpu_seconds = now.cpu_seconds;
            break;
        }
        cost.peak_bytes = peak_bytes(child.id()).unwrap_or(0).max(cost.peak_bytes);
        server = server.or_else(&mut walsender);
        if let Some(stat) = server.and_then(Stat::of) {
            cost.walsender_cpu_seconds = stat.cpu_seconds;
        }
        std::thread::sleep(LOOK);
    }
    tether.release();
    let status = child.wait().expect("a child can be waited for");
    let mut said = String::new();
    child.stdout.take().expect("stdout is piped").read_to_string(&mut said).unwrap();
    assert!(status.success(), "{command:?} ended with {status}");
    cost.said = said;
    cost
}

/// How a process is.
pub(crate) struct Stat {
    ended: bool,
    pub(crate) cpu_seconds: f64,
}

impl Stat {
    pub(crate) fn of(pid: u32) -> Option<Stat> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name before it may hold anything, parentheses and spaces too.
        let fields: Vec<&str> = text[text.rfind(')')? + 2..].split(' ').collect();
        let ticks: f64 = fields[11].parse::<f64>().ok()? + fields[12].parse::<f64>().ok()?;
        Some(Stat { ended: fields[0] == "Z", cpu_seconds: ticks / TICKS_PER_SECOND })
    }
}

fn peak_bytes(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Asks the scheduler to prefer a process and all in its session.
pub(crate) fn favor(pid: u32) {
    if let Err(error) = fs::write(format!("/proc/{pid}/autogroup"), "-15") {
        eprintln!("process {pid} is not preferred: {error}");
    }
}

//! A shell that owns one server process and the directory it lives in, and outlives the test by
//! exactly the time it takes to clean up.
//!
//! The test holds the only writing end of the shell's standard input. However the test ends (a
//! return, a panic, SIGKILL), the kernel closes it; the shell reads the end of its orders, stops
//! the server at once and removes the directory. It sits in a process group of its own, so that a
//! runner which kills the test's group leaves it the time to do so.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::server::Owner;

/// `$1` is the directory to remove, `$2` the container's name (or nothing), the rest the server's
/// command line. One subshell per start waits for the server and reports its end.
const SCRIPT: &str = r#"
root=$1 container=$2; shift 2
send() {
  if [ -n "$container" ]; then docker kill --signal "$1" "$container" >/dev/null
  elif [ -f "$root/pid" ]; then kill -s "$1" "$(cat "$root/pid")"; fi
}
while read -r order signal; do
  case $order in
  start) (
    "$@" </dev/null >>"$root/log" 2>&1 &
    echo $! >"$root/pid"
    echo started
    wait $!
    status=$?
    rm -f "$root/pid"
    echo "exited $status"
  ) & ;;
  signal) send "$signal" ;;
  esac
done
send QUIT 2>/dev/null
wait
rm -rf "$root"
"#;

pub(crate) struct Supervisor {
    shell: Child,
    /// `None` only while dropping.
    orders: Option<ChildStdin>,
    reports: Receiver<Report>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Report {
    Started,
    Exited,
}

impl Supervisor {
    /// A shell that will run `server` on [`start`](Self::start). `root` is its to remove.
    pub(crate) fn new(
        root: &Path,
        container: Option<&str>,
        owner: Owner,
        server: &Command,
    ) -> Self {
        let mut command = Command::new("sh");
        command.arg("-c").arg(SCRIPT).arg("supervisor").arg(root).arg(container.unwrap_or(""));
        command.arg(server.get_program()).args(server.get_args());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        command.process_group(0).current_dir("/");
        if container.is_none() {
            owner.become_in(&mut command);
            super::server::quiet_environment(&mut command);
        }
        let mut shell = command.spawn().expect("sh starts");
        let orders = shell.stdin.take();
        let lines = BufReader::new(shell.stdout.take().expect("stdout is piped")).lines();
        let (sender, reports) = channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let report = if line == "started" { Report::Started } else { Report::Exited };
                if sender.send(report).is_err() {
                    return;
                }
            }
        });
        Supervisor { shell, orders, reports }
    }

    /// Starts the server; returns once its process is there (not yet once it answers).
    pub(crate) fn start(&mut self) {
        self.order("start");
        assert_eq!(self.report(Duration::from_secs(30)), Some(Report::Started));
    }

    /// Sends a signal, by its name without `SIG`.
    pub(crate) fn signal(&mut self, name: &str) {
        self.order(&format!("signal {name}"));
    }

    /// Waits for the server to end; `false` at the deadline.
    pub(crate) fn exited(&mut self, deadline: Duration) -> bool {
        self.report(deadline) == Some(Report::Exited)
    }

    fn order(&mut self, line: &str) {
        let orders = self.orders.as_mut().expect("orders stay open until the drop");
        writeln!(orders, "{line}").expect("the supervising shell lives as long as its owner");
    }

    fn report(&mut self, deadline: Duration) -> Option<Report> {
        match self.reports.recv_timeout(deadline) {
            Ok(report) => Some(report),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => panic!("the supervising shell died"),
        }
    }
}

impl Drop for Supervisor {
    /// Closes the orders and waits until the server and its directory are gone.
    fn drop(&mut self) {
        drop(self.orders.take());
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(20) {
            if !matches!(self.shell.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        eprintln!("the supervising shell {} is still stopping its server", self.shell.id());
    }
}

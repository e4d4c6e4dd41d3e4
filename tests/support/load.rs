//! Load: pgbench against a primary, as a value that is stopped when it drops.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::primary::Primary;
use super::wait::eventually;

/// Makes pgbench's tables at `scale` (100,000 accounts each), in database `postgres`.
#[track_caller]
pub(crate) fn pgbench_tables(primary: &Primary, scale: u32) {
    let (mut command, _) = pgbench(primary);
    let output = command.args(["-i", "-q", "-s", &scale.to_string()]).arg("postgres").output();
    let output = output.expect("pgbench starts");
    assert!(output.status.success(), "pgbench -i: {}", String::from_utf8_lossy(&output.stderr));
}

/// What pgbench shall do, not yet started. Without a script it runs its own TPC-B-like one, on the
/// tables of [`pgbench_tables`].
pub(crate) struct LoadBuilder<'a> {
    primary: &'a Primary,
    arguments: Vec<String>,
    scripts: Vec<String>,
}

impl<'a> LoadBuilder<'a> {
    pub(crate) fn clients(self, clients: u32) -> Self {
        self.option("--client", clients)
    }

    /// Ends after this many transactions of each client.
    pub(crate) fn transactions(self, per_client: u32) -> Self {
        self.option("--transactions", per_client)
    }

    /// Ends after this time.
    pub(crate) fn seconds(self, seconds: u64) -> Self {
        self.option("--time", seconds)
    }

    /// At most so many transactions per second, all clients together.
    pub(crate) fn rate(self, per_second: u32) -> Self {
        self.option("--rate", per_second)
    }

    /// A transaction script in pgbench's language, instead of the built-in one; several are mixed.
    pub(crate) fn script(mut self, statements: &str) -> Self {
        self.scripts.push(statements.into());
        self
    }

    fn option(mut self, name: &str, value: impl ToString) -> Self {
        self.arguments.extend([name.into(), value.to_string()]);
        self
    }

    pub(crate) fn start(self) -> Load<'a> {
        let name = format!("load-{:016x}", rand::random::<u64>());
        let (mut command, container) = pgbench(self.primary);
        command.args(["--no-vacuum", "--protocol", "prepared"]).args(&self.arguments);
        let mut files = Vec::new();
        for script in &self.scripts {
            let file = script_file(self.primary.root(), script);
            command.arg("--file").arg(&file);
            files.push(file);
        }
        command.arg(format!("dbname=postgres application_name={name}"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().expect("pgbench starts");
        Load { primary: self.primary, name, child: Some(child), container, files }
    }
}

/// pgbench at work; stopped on drop. It also ends by itself when its server is gone.
pub(crate) struct Load<'a> {
    primary: &'a Primary,
    /// What its sessions call themselves.
    name: String,
    child: Option<Child>,
    /// Set when it runs in a container, where only the engine can stop it.
    container: Option<String>,
    files: Vec<PathBuf>,
}

impl<'a> Load<'a> {
    /// pgbench against `primary`; one client and ten transactions unless told otherwise.
    pub(crate) fn on(primary: &'a Primary) -> LoadBuilder<'a> {
        LoadBuilder { primary, arguments: Vec::new(), scripts: Vec::new() }
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Waits for the end; the number of transactions that were committed.
    #[track_caller]
    pub(crate) fn wait(mut self, deadline: Duration) -> u64 {
        eventually("pgbench ends", deadline, || !self.is_running());
        let child = self.child.take().expect("a load is waited for once");
        let output = child.wait_with_output().expect("pgbench can be waited for");
        let said = String::from_utf8_lossy(&output.stdout);
        let complained = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "pgbench: {said}{complained}");
        let prefix = "number of transactions actually processed: ";
        let count = said.lines().find_map(|line| line.strip_prefix(prefix));
        let digits = count.and_then(|count| count.split('/').next()).unwrap_or_default();
        digits.parse().unwrap_or_else(|_| panic!("pgbench counted nothing: {said}"))
    }

    /// Stops it. What its sessions were at may still commit: it is over when they are.
    pub(crate) fn stop(mut self) {
        self.kill();
        let gone = format!(
            "not exists (select from pg_stat_activity where application_name = '{}')",
            self.name
        );
        self.primary.wait_for_sql_blocking(&gone, Duration::from_secs(30));
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            if let Some(container) = &self.container {
                let mut kill = Command::new("docker");
                let _ = kill.args(["rm", "--force", container]).output();
            }
            // Errors mean that it ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Load<'_> {
    fn drop(&mut self) {
        self.kill();
        for file in &self.files {
            let _ = fs::remove_file(file);
        }
    }
}

fn pgbench(primary: &Primary) -> (Command, Option<String>) {
    let root = primary.root();
    let container = format!("walcast-load-{:016x}", rand::random::<u64>());
    let mut command = primary.server().command("pgbench", root, primary.owner(), &container);
    command.arg("--host").arg(primary.socket_dir()).args(["--username", "postgres"]);
    command.args(["--port", &primary.port().to_string()]).current_dir("/");
    (command, primary.server().in_docker().then_some(container))
}

fn script_file(root: &Path, script: &str) -> PathBuf {
    let path = root.join(format!("load-{:016x}.sql", rand::random::<u64>()));
    fs::write(&path, script).unwrap();
    path
}

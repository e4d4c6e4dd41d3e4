//! `walcast demo`: it ends well only when source and targets agree, and leaves nothing behind
//! however it ends.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio_postgres::NoTls;

use crate::support::{Program, Running, Server, eventually, eventually_async};

const DEADLINE: Duration = Duration::from_secs(120);

/// Where a demo makes its files.
struct Hall {
    directory: TempDir,
}

impl Hall {
    fn new() -> Hall {
        let directory = tempfile::tempdir().unwrap();
        // The servers may run as another user.
        std::fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        Hall { directory }
    }

    fn demo(&self, options: &[&str]) -> Program {
        let server = Server::local(None).unwrap();
        Program::walcast([&["demo"], options].concat())
            .env("WALCAST_PG_BIN", server.bin().expect("a local server has programs"))
            .env("TMPDIR", self.directory.path())
            .current_dir(self.directory.path())
    }

    fn files(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.directory.path()).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    /// How many processes have this place in their command line.
    fn processes(&self) -> usize {
        let here = self.directory.path().to_str().unwrap();
        let all = std::fs::read_dir("/proc").unwrap().flatten();
        let lines = all.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
        lines.filter(|line| String::from_utf8_lossy(line).contains(here)).count()
    }

    #[track_caller]
    fn is_left_empty(&self) {
        eventually("processes and files are gone", Duration::from_secs(30), || {
            self.processes() == 0 && self.files().is_empty()
        });
    }

    /// A superuser's client of the replica, once the shop is open.
    async fn replica(&self, demo: &mut Running) -> tokio_postgres::Client {
        demo.wait_for_stdout("the shop opens", DEADLINE);
        let [root] = self.files().try_into().unwrap();
        let mut config = tokio_postgres::Config::new();
        config.host_path(root.join("replica/s")).user("postgres").dbname("shop");
        let (client, connection) = config.connect(NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }
}

#[test]
fn and_ends_well_when_all_agree() {
    let hall = Hall::new();
    let ended = hall.demo(&["--seconds", "5", "--keep"]).run(DEADLINE);
    assert_eq!(ended.code(), Some(0), "{}\n{}", ended.stdout, ended.stderr);
    assert_eq!(ended.stderr, "");
    for told in ["kill -9 ", "dead for ", "caught up ", "  the same rows", "Nothing was lost"] {
        assert!(ended.stdout.contains(told), "{told}: {}", ended.stdout);
    }
    let kept = hall.directory.path().join("walcast-demo.jsonl");
    assert_eq!(hall.files(), std::slice::from_ref(&kept));
    let text = std::fs::read_to_string(kept).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let has =
        |op: &str, table: &str| lines.iter().any(|line| line["op"] == op && line["table"] == table);
    for table in ["customers", "orders", "order_items", "payments"] {
        assert!(has("insert", table), "{table}");
    }
    assert!(has("update", "orders") && has("delete", "order_items"));
    let unchanged = |line: &Value| line["unchanged"] == serde_json::json!(["about"]);
    assert!(lines.iter().any(unchanged), "no large value was left out");
    assert_eq!(hall.processes(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn and_ends_badly_when_the_replica_has_other_rows() {
    let hall = Hall::new();
    let mut demo = hall.demo(&["--seconds", "5"]).start();
    let replica = hall.replica(&mut demo).await;
    let forged = "insert into customers (id, name, email) values (-1, 'nobody', 'n@example.org')";
    replica.batch_execute(forged).await.unwrap();
    let ended = demo.wait(DEADLINE);
    assert_eq!(ended.code(), Some(1), "{}\n{}", ended.stdout, ended.stderr);
    assert!(ended.stdout.contains("OTHER ROWS"), "{}", ended.stdout);
    assert!(!ended.stdout.contains("Nothing was lost"), "{}", ended.stdout);
    hall.is_left_empty();
}

#[test]
fn and_takes_everything_away_when_interrupted() {
    let hall = Hall::new();
    let mut demo = hall.demo(&["--seconds", "60"]).start();
    demo.wait_for_stdout("the shop opens", DEADLINE);
    demo.signal("INT");
    let ended = demo.wait(Duration::from_secs(20));
    assert_eq!(ended.code(), Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("interrupted"), "{}", ended.stderr);
    assert!(hall.files().is_empty() && hall.processes() == 0, "it waits until all is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn and_takes_everything_away_even_when_killed() {
    let hall = Hall::new();
    let mut demo = hall.demo(&["--seconds", "60"]).start();
    let replica = hall.replica(&mut demo).await;
    assert!(hall.processes() >= 5, "two servers, their shells, the pipeline");
    demo.kill();
    eventually_async("the replica is gone", DEADLINE, async || replica.is_closed()).await;
    hall.is_left_empty();
}

#[test]
fn but_not_without_a_server() {
    let hall = Hall::new();
    let ended = hall.demo(&[]).env("WALCAST_PG_BIN", "/nowhere").run(DEADLINE);
    assert_eq!(ended.code(), Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("fix: install PostgreSQL's server package"), "{}", ended.stderr);
    assert!(hall.files().is_empty());
}

//! The throwaway primary: it answers, restarts, keeps its port, and leaves nothing behind, even
//! when its test is killed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::{Primary, Program, docker_or_skip, eventually, every_major};

const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn it_is_ready_for_logical_replication_over_tcp_and_socket() {
    let primary = Primary::start();
    assert_eq!(primary.query_one_text("SHOW wal_level").as_deref(), Some("logical"));
    assert_ne!(primary.query_one_text("SHOW timezone").as_deref(), Some("UTC"));
    for url in [primary.url(), primary.socket_url()] {
        let (client, connection) =
            tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
        let connection = tokio::spawn(connection);
        let row = client.query_one("SELECT current_setting('port')::int", &[]).await.unwrap();
        assert_eq!(row.get::<_, i32>(0), i32::from(primary.port()));
        drop(client);
        connection.await.unwrap().unwrap();
    }
    primary.sql("CREATE TABLE t (n int); INSERT INTO t VALUES (1)");
    primary.wait_for_sql("(SELECT count(*) FROM t) = 1", SOON).await;
    primary.wait_for_sql("SELECT exists (SELECT FROM t)", SOON).await;
}

#[test]
fn it_takes_settings_access_rules_and_files() {
    let primary = Primary::builder()
        .setting("wal_sender_timeout", "5s")
        .setting("application_name", "it's")
        .hba("host all all 127.0.0.1/32 scram-sha-256")
        .file("note.txt", "kept", 0o600)
        .start();
    assert_eq!(primary.query_one_text("SHOW wal_sender_timeout").as_deref(), Some("5s"));
    assert_eq!(primary.query_one_text("SELECT pg_read_file('note.txt')").as_deref(), Some("kept"));
    primary.sql("CREATE ROLE \"a@b\" LOGIN PASSWORD 'p:/ w'");
    let connect = |url: String| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let connected = runtime.block_on(tokio_postgres::connect(&url, tokio_postgres::NoTls));
        connected.map(drop)
    };
    connect(primary.url_for("a@b", "p:/ w", "postgres")).unwrap();
    connect(primary.url_for("a@b", "wrong", "postgres")).unwrap_err();
    connect(primary.url()).unwrap_err();
}

#[test]
fn rows_survive_a_restart_and_a_crash_and_the_port_stays() {
    let primary = Primary::start();
    primary.sql("CREATE TABLE t (n int)");
    primary.restart();
    primary.sql("INSERT INTO t VALUES (1)");
    primary.stop_immediate();
    std::net::TcpStream::connect(("127.0.0.1", primary.port())).unwrap_err();
    primary.start_again();
    assert_eq!(primary.query_one_text("SELECT count(*) FROM t").as_deref(), Some("1"));
    assert!(primary.log().contains("database system was interrupted"));
}

#[test]
fn a_socket_only_primary_has_no_tcp() {
    let primary = Primary::builder().unix_socket_only().start();
    std::net::TcpStream::connect(("127.0.0.1", primary.port())).unwrap_err();
    assert_eq!(primary.query_one_text("SHOW listen_addresses").as_deref(), Some(""));
}

#[test]
fn a_fresh_system_id_is_nobody_elses() {
    let identifier = |primary: &Primary| {
        primary.query_one_text("SELECT system_identifier FROM pg_control_system()").unwrap()
    };
    let [one, two] = [Primary::start(), Primary::start()];
    assert_eq!(identifier(&one), identifier(&two), "copies of one template");
    let stranger = Primary::builder().fresh_system_id().start();
    assert_ne!(identifier(&one), identifier(&stranger));
}

#[test]
fn dropping_it_leaves_no_process_and_no_file() {
    let primary = Primary::start();
    let root = primary.root().to_path_buf();
    assert!(!processes_naming(&root).is_empty(), "the supervising shell and the server");
    drop(primary);
    assert!(!root.exists());
    assert!(processes_naming(&root).is_empty());
}

#[test]
fn every_major_version_runs_side_by_side() {
    let primaries: Vec<Primary> =
        every_major().into_iter().map(|server| Primary::builder().start_on(server)).collect();
    for primary in &primaries {
        let version = primary.query_one_text("SHOW server_version_num").unwrap();
        assert_eq!(version.parse::<u32>().unwrap() / 10_000, primary.major());
    }
}

#[test]
fn a_primary_in_docker_is_the_same_value() {
    let Some(server) = docker_or_skip() else { return };
    let primary = Primary::builder().start_on(server);
    primary.sql("CREATE TABLE t (n int)");
    primary.stop_immediate();
    primary.start_again();
    assert_eq!(primary.query_one_text("SELECT count(*) FROM t").as_deref(), Some("0"));
    assert!(std::net::TcpStream::connect(("127.0.0.1", primary.port())).is_ok());
}

/// Not a test by itself: [`killing_the_test_kills_the_server`] runs it in a process of its own.
#[test]
fn a_primary_to_be_orphaned() {
    let Some(report) = std::env::var_os("WALCAST_TEST_ORPHAN") else { return };
    let primary = Primary::start();
    let log = primary.root().join("log");
    let _child = Program::new("tail", ["-f".as_ref(), log.as_os_str()]).start();
    std::fs::write(&report, primary.root().as_os_str().as_encoded_bytes()).unwrap();
    loop {
        std::thread::park();
    }
}

#[test]
fn killing_the_test_kills_the_server() {
    let directory = tempfile::tempdir().unwrap();
    let report = directory.path().join("root");
    let name = "harness_primary_lives_and_dies::a_primary_to_be_orphaned";
    let mut test = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--test-threads=1"])
        .env("WALCAST_TEST_ORPHAN", &report)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let root = eventually("the other test has its primary", SOON, || {
        let path = PathBuf::from(std::fs::read_to_string(&report).ok()?);
        path.join("s").exists().then_some(path)
    });
    assert!(!processes_naming(&root).is_empty());
    // Only the test itself: nothing it started hears of it but by the closing of its pipes.
    test.kill().unwrap();
    test.wait().unwrap();
    eventually("server, child and files are gone", SOON, || {
        processes_naming(&root).is_empty() && !root.exists()
    });
}

/// The processes with `root` on their command line.
fn processes_naming(root: &Path) -> Vec<PathBuf> {
    let root = root.as_os_str().as_encoded_bytes();
    let entries = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let named = |path: &PathBuf| {
        let line = std::fs::read(path.join("cmdline")).unwrap_or_default();
        line.windows(root.len()).any(|window| window == root)
    };
    entries.filter(named).collect()
}

//! Each example, run as its head comment says, against a real server.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::support::{Primary, Program, Running, eventually_async};

const DEADLINE: Duration = Duration::from_secs(60);

/// The built example, beside the program that is under test.
fn example(name: &str) -> PathBuf {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_walcast"));
    let path = program.with_file_name("examples").join(name);
    assert!(path.exists(), "{} is not built: cargo build --examples", path.display());
    path
}

struct Stage {
    primary: Primary,
    directory: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        let primary = Primary::start();
        primary
            .sql("create table t(id int primary key, note text); create publication p for table t");
        Self { primary, directory: tempfile::tempdir().unwrap() }
    }

    fn run(&self, name: &str, rest: &[&str]) -> Running {
        let url = self.primary.url();
        let arguments: Vec<&str> = [url.as_str(), "p"].iter().chain(rest).copied().collect();
        Program::new(example(name), arguments).current_dir(self.directory.path()).start()
    }

    async fn streaming(&self) {
        let condition = "select exists (select from pg_replication_slots where active)";
        self.primary.wait_for_sql(condition, DEADLINE).await;
    }

    fn insert(&self, from: u32, upto: u32) {
        self.primary
            .sql(&format!("insert into t select g, 'n' from generate_series({from}, {upto}) g"));
    }

    fn lines(&self, name: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.directory.path().join(name)).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tail_prints_changes_and_leaves_no_slot() {
    let stage = Stage::new();
    let running = stage.run("tail", &["3"]);
    stage.streaming().await;
    stage.insert(1, 3);
    let ended = running.wait(DEADLINE);
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    let ids: Vec<Value> = ended
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["new"]["id"].clone())
        .collect();
    assert_eq!(ids, [1, 2, 3]);
    let none = "select count(*) = 0 from pg_replication_slots";
    stage.primary.wait_for_sql(none, DEADLINE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fan_out_gives_every_sink_everything() {
    let stage = Stage::new();
    let running = stage.run("fan_out", &["100"]);
    stage.streaming().await;
    stage.insert(1, 100);
    let ended = running.wait(DEADLINE);
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains("100 changes counted"), "{}", ended.stdout);
    assert_eq!(stage.lines("fan_out.jsonl").len(), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn custom_sink_counts_each_change_once_although_it_is_killed() {
    let stage = Stage::new();
    for round in 0..5 {
        let running = stage.run("custom_sink", &["counts.json"]);
        stage.streaming().await;
        stage.insert(round * 100, round * 100 + 99);
        running.kill();
        let idle = "select count(*) = 0 from pg_replication_slots where active";
        stage.primary.wait_for_sql(idle, DEADLINE).await;
    }
    let running = stage.run("custom_sink", &["counts.json"]);
    let path = stage.directory.path().join("counts.json");
    eventually_async("500 rows are counted", DEADLINE, async || {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        text.contains("\"public.t\":500")
    })
    .await;
    running.signal("TERM");
    let ended = running.wait(DEADLINE);
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    assert!(std::fs::read_to_string(&path).unwrap().contains("\"public.t\":500"));
}

#[tokio::test(flavor = "multi_thread")]
async fn resume_goes_on_after_what_was_confirmed() {
    let stage = Stage::new();
    let running = stage.run("resume", &[]);
    stage.streaming().await;
    stage.insert(1, 1);
    stage.insert(2, 2);
    let ended = running.wait(DEADLINE);
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains("nothing was lost"), "{}", ended.stdout);
}

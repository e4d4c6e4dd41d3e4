//! `walcast check`: findings on real servers, each with its fix, and what the exit code says.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Ended, Primary, Program};

const DEADLINE: Duration = Duration::from_secs(30);

fn check(target: &str, options: &[&str]) -> Ended {
    Program::walcast([&["check", target], options].concat()).run(DEADLINE)
}

/// The findings of severity `severity`, each as `subject: have`, with its fix.
#[track_caller]
fn findings(target: &str, code: i32, severity: &str) -> Vec<(String, String)> {
    let ended = check(target, &["--json"]);
    assert_eq!(ended.code(), Some(code), "{}{}", ended.stdout, ended.stderr);
    let all: Value = serde_json::from_str(&ended.stdout).unwrap();
    let found = all["findings"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    found
        .filter(|finding| finding["severity"] == severity)
        .map(|finding| {
            let said = format!("{}: {}", text(&finding["subject"]), text(&finding["have"]));
            (said, text(&finding["fix"]))
        })
        .collect()
}

/// The only error, and its fix.
#[track_caller]
fn only_error(target: &str) -> (String, String) {
    let errors = findings(target, 7, "error");
    assert_eq!(errors.len(), 1, "{errors:?}");
    errors.into_iter().next().unwrap()
}

#[track_caller]
fn has(text: &str, piece: &str) {
    assert!(text.contains(piece), "{text:?} lacks {piece:?}");
}

/// A config in a directory of its own, its URL and more lines of `[source]` given.
fn config(url: &str, source: &str) -> (TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("walcast.toml");
    write_config(&path, url, source);
    let path = path.display().to_string();
    (directory, path)
}

fn write_config(path: &Path, url: &str, source: &str) {
    let text = format!(
        "[source]\nurl = \"{url}\"\n{source}\n\
         [[sink]]\nname = \"audit\"\ntype = \"file\"\npath = \"audit.jsonl\"\n"
    );
    std::fs::write(path, text).unwrap();
}

#[test]
fn nothing_on_a_server_that_is_ready() {
    let primary = Primary::builder().setting("max_slot_wal_keep_size", "1GB").start();
    primary.sql("create table t(id int primary key); create publication walcast for table t");
    let (directory, path) = config(&primary.url(), "");
    let ended = check(&path, &[]);
    assert_eq!(ended.code(), Some(0), "{}{}", ended.stdout, ended.stderr);
    has(&ended.stdout, "fit to run; 0 warnings");
    has(&ended.stdout, "wal_level");
    has(&ended.stdout, "slot walcast");
    has(&ended.stdout, "missing; will be made");
    assert!(!ended.stdout.contains('\u{1b}'));
    let left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "only the config: {left:?}");
    assert_eq!(primary.query_one_text("select count(*) from pg_replication_slots").unwrap(), "0");
    assert_eq!(check(&primary.url(), &[]).code(), Some(0));
}

#[test]
fn wal_that_is_not_logical() {
    let primary = Primary::builder().setting("wal_level", "replica").start();
    let (said, fix) = only_error(&primary.url());
    assert_eq!(said, "wal_level: replica");
    has(&fix, "ALTER SYSTEM SET wal_level = logical");
}

#[test]
fn a_publication_that_is_missing_or_lacks_something() {
    let primary = Primary::start();
    primary.sql("create table keyless(id int); create table keyed(id int primary key)");
    let (_directory, path) = config(&primary.url(), "");
    let (said, fix) = only_error(&path);
    assert_eq!(said, "publication \"walcast\": missing");
    has(&fix, "CREATE PUBLICATION \"walcast\" FOR TABLE");

    let create = "publication_options = { create = \"tables\", tables = [\"public.keyed\"] }";
    let (_directory, path) = config(&primary.url(), create);
    assert_eq!(findings(&path, 0, "error"), []);
    let create = "publication_options = { create = \"tables\", tables = [\"public.*\"] }";
    let (_directory, path) = config(&primary.url(), create);
    let (said, fix) = only_error(&path);
    has(&said, "table public.keyless: no replica identity");
    has(&fix, "ALTER TABLE public.keyless REPLICA IDENTITY FULL");
    let create = "publication_options = { create = \"tables\", tables = [\"shop.*\"] }";
    let (_directory, path) = config(&primary.url(), create);
    has(&only_error(&path).0, "no table matches shop.*");

    primary.sql("create publication walcast for table keyless, keyed");
    let (_directory, path) = config(&primary.url(), "");
    has(&only_error(&path).0, "table public.keyless: no replica identity");
    primary.sql("alter publication walcast set (publish = 'insert')");
    assert_eq!(findings(&path, 0, "error"), []);
    let warnings = findings(&path, 0, "warning");
    assert!(warnings.iter().any(|(said, _)| said.ends_with("2 tables: insert")), "{warnings:?}");
}

#[test]
fn types_that_only_text_can_carry() {
    let primary = Primary::start();
    primary.sql(
        "create domain price as money; create table t(id int primary key, m price);
         create publication walcast for table t",
    );
    let (_directory, path) = config(&primary.url(), "");
    let warnings = findings(&path, 0, "warning");
    let said = warnings.iter().map(|(said, _)| said).find(|said| said.starts_with("column types"));
    assert_eq!(said.unwrap(), "column types: no binary decoder for public.price (public.t)");
    let (_directory, path) = config(&primary.url(), "format = \"binary\"");
    has(&only_error(&path).1, "set [source] format");
}

#[test]
fn a_role_without_the_right() {
    let primary = Primary::start();
    primary.sql("create role plain login; create table t(id int primary key)");
    primary.sql("create publication walcast for table t");
    let url = primary.url_for("plain", "", "postgres");
    let (said, fix) = only_error(&url);
    has(&said, "REPLICATION right: ");
    assert_eq!(fix, "ALTER ROLE \"plain\" REPLICATION");
    primary.sql("drop publication walcast; alter role plain replication");
    let create = "publication_options = { create = \"tables\", tables = [\"public.t\"] }";
    let (_directory, path) = config(&url, create);
    let (said, fix) = only_error(&path);
    assert_eq!(said, "right to make a publication: none");
    has(&fix, "GRANT CREATE ON DATABASE postgres TO plain");
}

#[test]
fn a_slot_that_cannot_be_used() {
    let primary = Primary::builder().setting("max_replication_slots", "1").start();
    primary.sql("create table t(id int primary key); create publication walcast for table t");
    primary.sql("select pg_create_logical_replication_slot('walcast', 'test_decoding')");
    let (_directory, path) = config(&primary.url(), "");
    assert_eq!(only_error(&path).0, "slot walcast: of plugin test_decoding");
    let (_directory, other) = config(&primary.url(), "slot = \"other\"");
    let (said, fix) = only_error(&other);
    assert_eq!(said, "replication slots: 1 of 1 in use");
    has(&fix, "max_replication_slots");
    primary.sql("select pg_drop_replication_slot('walcast')");
    primary.sql("select pg_create_logical_replication_slot('walcast', 'pgoutput')");
    assert_eq!(findings(&path, 0, "error"), []);
    let running = Program::walcast(["tail", &primary.url(), "--slot", "walcast"]).start();
    primary.wait_for_sql_blocking("(select active from pg_replication_slots)", DEADLINE);
    let (said, _) = only_error(&path);
    has(&said, "slot walcast: in use by pid ");
    has(&said, "\"walcast\" of \"postgres\" from 127.0.0.1");
    drop(running);
}

#[test]
fn targets_on_this_machine_that_cannot_be_written() {
    let primary = Primary::start();
    primary.sql("create table t(id int primary key); create publication walcast for table t");
    let (directory, path) = config(&primary.url(), "");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("audit.jsonl", "nowhere/audit.jsonl")).unwrap();
    let (said, fix) = only_error(&path);
    has(&said, "file: there is no directory ");
    has(&fix, "mkdir -p ");
    std::fs::write(directory.path().join("walcast-state"), "").unwrap();
    let errors = findings(&path, 7, "error");
    has(&errors[0].0, "walcast-state is no directory");
}

#[test]
fn a_target_that_changes_cannot_be_applied_to() {
    let (primary, target) = (Primary::start(), Primary::start());
    primary.sql("create table t(id int primary key); create publication walcast for table t");
    let (_directory, path) = config(&primary.url(), "");
    let with_target = |url: &str| {
        let text = std::fs::read_to_string(&path).unwrap();
        let own = text.split("[[sink]]\nname = \"replica\"").next().unwrap();
        let sink = format!("[[sink]]\nname = \"replica\"\ntype = \"postgres\"\nurl = \"{url}\"\n");
        std::fs::write(&path, format!("{own}{sink}")).unwrap();
    };
    with_target(&target.url());
    let (said, fix) = only_error(&path);
    assert_eq!(said, "tables: 1 of 1 are missing: public.t");
    has(&fix, "pg_dump --schema-only");
    target.sql("create table t(id int primary key); create role plain login");
    assert_eq!(findings(&path, 0, "error"), []);
    with_target(&target.url_for("plain", "", "postgres"));
    let (said, fix) = only_error(&path);
    assert_eq!(said, "walcast.progress: missing");
    has(&fix, "GRANT CREATE ON DATABASE \"postgres\" TO \"plain\"");
    let warnings = findings(&path, 7, "warning");
    for subject in ["replication origins: ", "session_replication_role: "] {
        assert!(warnings.iter().any(|(said, _)| said.starts_with(subject)), "{warnings:?}");
    }
    target.sql(
        "grant create on database postgres to plain;
         grant execute on function pg_replication_origin_create(text),
            pg_replication_origin_oid(text), pg_replication_origin_session_setup,
            pg_replication_origin_xact_setup to plain",
    );
    assert_eq!(findings(&path, 0, "error"), []);
    with_target("postgres://u@127.0.0.1:1/d");
    has(&only_error(&path).0, "target: cannot reach 127.0.0.1:1");
}

#[test]
fn and_says_so_when_there_is_no_server_to_ask() {
    let (_directory, path) = config("postgres://u@127.0.0.1:1/d", "");
    let ended = check(&path, &[]);
    assert_eq!(ended.code(), Some(3), "{}", ended.stderr);
    has(&ended.stdout, "state directory");
    assert!(!ended.stdout.contains("fit to run"), "{}", ended.stdout);
    has(&ended.stderr, "cannot reach 127.0.0.1:1");
}

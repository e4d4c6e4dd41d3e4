//! `walcast record` and `walcast replay`: the same bytes as `walcast tail` prints, with no server,
//! whatever happened to the recorder.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::streamed_transactions_arrive_as_any_other::story;
use crate::support::{
    Desk, Ended, Load, Primary, Program, Running, Tmpfs, count, drained, eventually, every_major,
    skip,
};

const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) fn make_slot(primary: &Primary, slot: &str) {
    primary.sql(&format!("select pg_create_logical_replication_slot('{slot}', 'pgoutput')"));
}

/// `walcast <command> <url> --slot … --publication …`.
pub(crate) fn walcast(
    primary: &Primary,
    command: &str,
    of: (&str, &str),
    more: &[&str],
) -> Program {
    let url = primary.url();
    let words = [command, &url, "--slot", of.0, "--publication", of.1];
    Program::walcast([&words, more].concat())
}

pub(crate) fn record(primary: &Primary, slot: &str, out: &Path, more: &[&str]) -> Program {
    let out = out.to_str().unwrap();
    walcast(primary, "record", (slot, "p"), &[&["--out", out], more].concat())
}

/// Runs it to its end, which must be a good one.
#[track_caller]
pub(crate) fn done(program: Program) -> Ended {
    let ended = program.run(DEADLINE);
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    ended
}

pub(crate) fn replay(out: &Path, more: &[&str]) -> Program {
    Program::walcast([&["replay", out.to_str().unwrap()], more].concat())
}

/// What is replayed must be what was printed.
#[track_caller]
pub(crate) fn assert_same(replayed: &str, printed: &str, what: &str) {
    let first = replayed.lines().zip(printed.lines()).find(|(have, want)| have != want);
    assert!(first.is_none(), "{what}: {first:#?}");
    let (have, want) = (replayed.lines().count(), printed.lines().count());
    assert!(replayed == printed, "{what}: {have} lines for {want}");
}

/// The files of a recording, in order.
pub(crate) fn segments(out: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(out).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|end| end == "journal")).collect();
    files.sort();
    files
}

/// A table `a`, published as `p`, and slots `t` and `r` older than its rows.
pub(crate) fn primary_with_slots() -> Primary {
    let primary = Primary::start();
    primary
        .sql("create table a(id serial primary key, note text); create publication p for table a");
    for slot in ["t", "r"] {
        make_slot(&primary, slot);
    }
    primary
}

#[track_caller]
pub(crate) fn streams(primary: &Primary, running: &mut Running, slot: &str) {
    let active = format!("select active from pg_replication_slots where slot_name = '{slot}'");
    eventually("it streams", DEADLINE, || {
        assert!(running.is_running(), "{}", running.stderr());
        primary.query_one_text(&active).as_deref() == Some("t")
    });
}

/// Waits until everything that is logged by now is recorded.
#[track_caller]
pub(crate) fn wait_until_confirmed(primary: &Primary, slot: &str) {
    let now = primary.query_one_text("select pg_current_wal_lsn()").unwrap();
    let confirmed = format!(
        "exists (select from pg_replication_slots
            where slot_name = '{slot}' and confirmed_flush_lsn >= '{now}')"
    );
    primary.wait_for_sql_blocking(&confirmed, DEADLINE);
}

#[tokio::test(flavor = "multi_thread")]
async fn byte_for_byte_on_every_major_in_binary_and_text_streamed_or_not() {
    let root = tempfile::tempdir().unwrap();
    for server in every_major() {
        let primary = story::primary_on(server);
        primary.sql("create table odd(id int primary key, item aclitem)");
        let publications = ["p", "plain"];
        for publication in publications {
            for kind in ["t", "r"] {
                make_slot(&primary, &format!("{kind}_{publication}"));
            }
        }
        // The server has no binary output for it.
        primary.sql("insert into odd select 1, ('=r/' || current_user)::aclitem");
        story::tell(&primary).await;
        let mut printed = Vec::new();
        for publication in publications {
            let (tail, recorded) = (format!("t_{publication}"), format!("r_{publication}"));
            let of = (tail.as_str(), publication);
            printed.push(done(walcast(&primary, "tail", of, &["--until-now"])).stdout);
            let out = root.path().join(format!("{}-{publication}", primary.major()));
            let options = ["--out", out.to_str().unwrap(), "--until-now"];
            let of = (recorded.as_str(), publication);
            let ended = done(walcast(&primary, "record", of, &options));
            assert!(ended.stdout.starts_with("recorded up to "), "{}", ended.stdout);
            let streamed = format!(
                "exists (select from pg_stat_replication_slots
                    where slot_name = '{recorded}' and stream_txns > 0)"
            );
            primary.wait_for_sql(&streamed, DEADLINE).await;
        }
        let major = primary.major();
        drop(primary);
        for (publication, printed) in publications.iter().zip(printed) {
            let out = root.path().join(format!("{major}-{publication}"));
            let what = format!("PostgreSQL {major}, {publication}");
            assert!(printed.contains(story::LAST), "{what}");
            assert_same(&done(replay(&out, &[])).stdout, &printed, &what);
            let some = done(replay(&out, &["--tables", "public.late", "--limit", "3"]));
            assert_eq!(some.stdout.lines().count(), 3, "{what}");
            let opening = fs::read(&segments(&out)[0]).unwrap();
            let format = if *publication == "p" { "text" } else { "binary" };
            let said = format!("\"format\":\"{format}\"");
            assert!(opening.windows(said.len()).any(|at| at == said.as_bytes()), "{what}");
        }
    }
}

#[test]
fn after_kills_torn_writes_and_broken_connections() {
    let primary = primary_with_slots();
    let root = tempfile::tempdir().unwrap();
    let out = root.path().join("recording");
    let script = "insert into a(note) select repeat('n', 300) from generate_series(1, 20)";
    let mut load = Load::on(&primary).clients(3).script(script).rate(200).seconds(600).start();
    for round in 0..count(40) {
        let mut running = record(&primary, "r", &out, &[]).start();
        streams(&primary, &mut running, "r");
        if round % 2 == 0 {
            primary.sql(
                "select pg_terminate_backend(active_pid) from pg_replication_slots
                 where slot_name = 'r'",
            );
            eventually("it connects again", DEADLINE, || running.stderr().contains("broke off"));
            streams(&primary, &mut running, "r");
        }
        wait_until_confirmed(&primary, "r");
        running.kill();
        // A write that was cut off in the middle.
        let last = segments(&out).pop().unwrap();
        let mut file = fs::OpenOptions::new().append(true).open(last).unwrap();
        std::io::Write::write_all(&mut file, &vec![round as u8; round * 37 + 1]).unwrap();
    }
    assert!(load.is_running());
    load.stop();
    let ended = done(record(&primary, "r", &out, &["--until-now"]));
    assert!(ended.stderr.contains("cut off"), "{}", ended.stderr);
    let printed = done(walcast(&primary, "tail", ("t", "p"), &["--until-now"])).stdout;
    drop(primary);
    assert!(printed.lines().count() > 100);
    assert_same(&done(replay(&out, &[])).stdout, &printed, "after kills");
}

#[test]
fn and_a_flipped_bit_is_named_after_all_that_lies_before_it() {
    let primary = primary_with_slots();
    let root = tempfile::tempdir().unwrap();
    let out = root.path().join("recording");
    for id in 0..50 {
        primary.sql(&format!("insert into a(note) values ('note {id}')"));
    }
    done(record(&primary, "r", &out, &["--until-now"]));
    let whole = done(replay(&out, &[])).stdout;
    assert_eq!(whole.lines().count(), 50);
    let file = segments(&out).pop().unwrap();
    let mut bytes = fs::read(&file).unwrap();
    let at = bytes.windows(7).position(|at| at == b"note 30").unwrap();
    bytes[at] ^= 4;
    fs::write(&file, &bytes).unwrap();
    let ended = replay(&out, &[]).run(DEADLINE);
    assert_eq!(ended.code(), Some(1), "{}", ended.stderr);
    let name = file.to_str().unwrap();
    let named = ended.stderr.contains(name) && ended.stderr.contains("damaged at byte");
    assert!(named && ended.stderr.contains("checksum"), "{}", ended.stderr);
    assert!(whole.starts_with(&ended.stdout) && ended.stdout.lines().count() < 50);
    // Nor is anything written after it.
    let ended = record(&primary, "r", &out, &["--until-now"]).run(DEADLINE);
    assert_eq!(ended.code(), Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("damaged at byte"), "{}", ended.stderr);
}

#[test]
fn into_the_sinks_of_a_config_and_only_once() {
    let primary = primary_with_slots();
    let root = tempfile::tempdir().unwrap();
    let out = root.path().join("recording");
    primary.sql("insert into a(note) select repeat('x', 500) from generate_series(1, 3000)");
    primary.sql("update a set note = 'y' where id <= 10; delete from a where id = 11");
    done(record(&primary, "r", &out, &["--until-now"]));
    let printed = done(replay(&out, &[])).stdout;
    primary.sql("insert into a(note) values ('more')");
    let desk = Desk::with_publication(&primary.url(), "");
    let config = desk.path("walcast.toml");
    let into = || replay(&out, &["--config", config.to_str().unwrap()]);
    done(into());
    let fed = fs::read_to_string(desk.path("audit.jsonl")).unwrap();
    assert_same(&fed, &printed, "into a file");
    done(into());
    assert_eq!(fs::read_to_string(desk.path("audit.jsonl")).unwrap(), fed);
    done(record(&primary, "r", &out, &["--until-now"]));
    drop(primary);
    done(into());
    let more = fs::read_to_string(desk.path("audit.jsonl")).unwrap();
    assert_same(&more, &done(replay(&out, &[])).stdout, "what came later");
    assert_eq!(more.lines().count(), printed.lines().count() + 1);
    assert!(!desk.path("walcast-state").exists());
}

#[test]
fn and_never_with_a_hole() {
    let primary = primary_with_slots();
    let root = tempfile::tempdir().unwrap();
    let out = root.path().join("recording");
    primary.sql("insert into a(note) values ('first')");
    done(record(&primary, "r", &out, &["--until-now"]));
    let out_text = out.to_str().unwrap();
    // A temporary slot begins now.
    let words = ["record", &primary.url(), "--publication", "p", "--out", out_text];
    let ended = Program::walcast(words).run(DEADLINE);
    assert_eq!(ended.code(), Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("name the slot it was recorded from"), "{}", ended.stderr);
    // Someone else read the slot.
    primary.sql("insert into a(note) values ('unseen')");
    done(walcast(&primary, "tail", ("r", "p"), &["--until-now"]));
    let ended = record(&primary, "r", &out, &["--until-now"]).run(DEADLINE);
    assert_eq!(ended.code(), Some(5), "{}", ended.stderr);
    assert_eq!(done(replay(&out, &[])).stdout.lines().count(), 1);
    // No directory, or none of ours.
    let ended = replay(&root.path().join("none"), &[]).run(DEADLINE);
    assert_eq!(ended.code(), Some(1), "{}", ended.stderr);
    let ended = replay(root.path(), &[]).run(DEADLINE);
    assert_eq!(ended.code(), Some(2), "{}", ended.stderr);
    // Two at a time.
    let other = root.path().join("other");
    let mut running = record(&primary, "t", &other, &[]).start();
    streams(&primary, &mut running, "t");
    let ended = record(&primary, "r", &other, &[]).run(DEADLINE);
    assert!(ended.stderr.contains("another process"), "{}", ended.stderr);
    wait_until_confirmed(&primary, "t");
    drained(running);
    assert_eq!(done(replay(&other, &[])).stdout.lines().count(), 2);
}

#[test]
fn from_a_disk_that_was_full() {
    let disk = match Tmpfs::mount(1 << 20) {
        Ok(disk) => disk,
        Err(why) => return skip(&why),
    };
    let primary = primary_with_slots();
    let out = disk.path().join("recording");
    primary.sql("insert into a(note) select repeat('x', 1000) from generate_series(1, 300)");
    primary.sql("insert into a(note) select repeat('y', 1000) from generate_series(1, 3000)");
    let ended = record(&primary, "r", &out, &["--until-now"]).run(DEADLINE);
    assert_eq!(ended.code(), Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("No space left"), "{}", ended.stderr);
    assert!(ended.stderr.contains("see to the disk"), "{}", ended.stderr);
    let moved = tempfile::tempdir().unwrap();
    for file in segments(&out) {
        fs::copy(&file, moved.path().join(file.file_name().unwrap())).unwrap();
    }
    done(record(&primary, "r", moved.path(), &["--until-now"]));
    let printed = done(walcast(&primary, "tail", ("t", "p"), &["--until-now"])).stdout;
    assert_eq!(printed.lines().count(), 3300);
    assert_same(&done(replay(moved.path(), &[])).stdout, &printed, "after a full disk");
}

//! Every option of `walcast record` and `walcast replay`, held against what the live commands print
//! and write of the same changes.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::a_recording_replays_as_it_was_streamed::{
    assert_same, done, make_slot, primary_with_slots, record, replay, streams,
    wait_until_confirmed, walcast,
};
use crate::prepared_transactions_arrive_at_their_commit::story as prepared;
use crate::streamed_transactions_arrive_as_any_other::story;
use crate::support::{Primary, Program, drained, eventually, every_major};

const DEADLINE: Duration = Duration::from_secs(60);

/// How many events lie in a recording.
fn events(out: &Path) -> usize {
    done(replay(out, &[])).stdout.lines().count()
}

/// Transactions of one, two, three… rows of table `a`; `count` of them.
fn growing(primary: &Primary, count: usize) {
    for rows in 1..=count {
        primary.sql(&format!("insert into a(note) select 'x' from generate_series(1, {rows})"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_format_in_which_it_is_printed() {
    let primary = story::primary();
    let formats: &[&[&str]] = &[
        &["--format", "json"],
        &["--format", "pretty"],
        &["--format", "wal2json"],
        &["--format", "debezium"],
        &["--format", "debezium", "--debezium"],
        &["--format", "cloudevents"],
        &["--format", "cloudevents", "--cloudevents-source", "urn:shop"],
    ];
    let options = "name=shop,decimals=string,time=iso,placeholder=gone,tombstones,transactions";
    let slots: Vec<String> = (0..formats.len()).map(|at| format!("t{at}")).collect();
    slots.iter().for_each(|slot| make_slot(&primary, slot));
    make_slot(&primary, "r");
    story::tell(&primary).await;
    let words = |format: &[&'static str]| {
        let more = format.contains(&"--debezium").then_some(options);
        format.iter().copied().chain(more).collect::<Vec<_>>()
    };
    let mut printed = Vec::new();
    for (slot, format) in slots.iter().zip(formats) {
        let more = [&["--until-now", "--messages", "outbox,audit"], &words(format)[..]].concat();
        printed.push(done(walcast(&primary, "tail", (slot, "p"), &more)).stdout);
    }
    let root = tempfile::tempdir().unwrap();
    let out = root.path().join("recording");
    done(record(&primary, "r", &out, &["--until-now", "--messages", "outbox,audit"]));
    drop(primary);
    for (printed, format) in printed.iter().zip(formats) {
        assert!(printed.contains(story::LAST), "{format:?}");
        let what = format.join(" ");
        assert_same(&done(replay(&out, &words(format))).stdout, printed, &what);
    }
}

/// Sinks that a config can name: what a live pipeline wrote and what a replay writes.
#[tokio::test(flavor = "multi_thread")]
async fn the_config_whose_sinks_take_it() {
    let primary = story::primary();
    ["s", "r"].iter().for_each(|slot| make_slot(&primary, slot));
    story::tell(&primary).await;
    let root = tempfile::tempdir().unwrap();
    let out = root.path().join("recording");
    done(record(&primary, "r", &out, &["--until-now", "--messages", "*"]));
    let files = ["json", "cloudevents", "debezium", "wal2json"];
    let mut config = format!(
        "[source]\nurl = \"{}\"\nslot = \"s\"\npublication = \"p\"\nmessages = [\"*\"]\n\
         [[sink]]\nname = \"out\"\ntype = \"stdout\"\nformat = \"debezium\"\n\
         debezium = {{ tombstones = true, transactions = true, decimals = \"double\" }}\n",
        primary.url()
    );
    for format in files {
        config += &format!(
            "[[sink]]\nname = \"{format}\"\ntype = \"file\"\npath = \"{format}\"\n\
             format = \"{format}\"\n"
        );
    }
    let place = |name: &str| {
        let directory = root.path().join(name);
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("walcast.toml"), &config).unwrap();
        directory
    };
    let (live, again) = (place("live"), place("again"));
    let path = live.join("walcast.toml");
    let mut running = Program::walcast(["run", path.to_str().unwrap()]).start();
    streams(&primary, &mut running, "s");
    wait_until_confirmed(&primary, "s");
    let printed = drained(running).stdout;
    drop(primary);
    let path = again.join("walcast.toml");
    let ended = done(replay(&out, &["--config", path.to_str().unwrap()]));
    assert!(printed.contains(story::LAST));
    assert_same(&ended.stdout, &printed, "standard output");
    for format in files {
        let [have, want] = [&again, &live].map(|it| fs::read_to_string(it.join(format)).unwrap());
        assert!(want.contains(story::LAST), "{format}");
        assert_same(&have, &want, format);
    }
}

/// Killed while transactions are prepared: they lie in the recording's directory alone.
#[tokio::test(flavor = "multi_thread")]
async fn two_phase_and_what_was_prepared_survives_a_kill() {
    for server in every_major() {
        let primary = prepared::primary_on(server);
        let what = format!("PostgreSQL {}", primary.major());
        ["t", "r"].iter().for_each(|slot| make_slot(&primary, slot));
        let root = tempfile::tempdir().unwrap();
        let out = root.path().join("recording");
        let options = ["--two-phase", "--messages", "*"];
        let client = primary.client().await;
        prepared::prepare(&client, "early", 500, 3).await;
        let mut running = record(&primary, "r", &out, &options).start();
        streams(&primary, &mut running, "r");
        prepared::prepare(&client, "stays", 600, 3).await;
        prepared::prepare(&client, "large", 100_000, 1000).await;
        prepared::prepare(&client, "gone", 700, 3).await;
        wait_until_confirmed(&primary, "r");
        running.kill();
        for end in ["rollback prepared 'gone'", "commit prepared 'large'"] {
            client.batch_execute(end).await.unwrap();
        }
        done(record(&primary, "r", &out, &[&options[..], &["--until-now"]].concat()));
        for end in ["commit prepared 'stays'", "commit prepared 'early'"] {
            client.batch_execute(end).await.unwrap();
        }
        prepared::tell(&primary).await;
        done(record(&primary, "r", &out, &[&options[..], &["--until-now"]].concat()));
        let asked = "select two_phase from pg_replication_slots where slot_name = 'r'";
        let is_asked = primary.query_one_text(asked).unwrap() == "t";
        assert_eq!(is_asked, primary.major() >= 15, "{what}");
        let more = ["--until-now", "--messages", "*"];
        let printed = done(walcast(&primary, "tail", ("t", "p"), &more)).stdout;
        assert!(printed.contains(prepared::LAST), "{what}");
        assert_same(&done(replay(&out, &[])).stdout, &printed, &what);
        if primary.major() >= 15 {
            // A recording goes on with all of its directory.
            prepared::prepare(&client, "lost", 800, 3).await;
            done(record(&primary, "r", &out, &[&options[..], &["--until-now"]].concat()));
            fs::remove_dir_all(out.join("prepared")).unwrap();
            client.batch_execute("commit prepared 'lost'").await.unwrap();
            let more = [&options[..], &["--until-now"]].concat();
            let ended = record(&primary, "r", &out, &more).run(DEADLINE);
            assert_eq!(ended.code(), Some(5), "{what}: {}", ended.stderr);
        }
    }
}

#[test]
fn where_it_ends() {
    let primary = primary_with_slots();
    let root = tempfile::tempdir().unwrap();
    let out = root.path().join("limited");
    growing(&primary, 10);
    // The fourth event is in the middle of the third transaction.
    done(record(&primary, "r", &out, &["--limit", "4"]));
    let recorded = events(&out);
    assert!((6..=55).contains(&recorded), "{recorded}");
    // And once all are there, it waits for more.
    done(record(&primary, "r", &out, &["--until-now"]));
    assert_eq!(events(&out), 55);
    let mut running = record(&primary, "r", &out, &["--limit", "1"]).start();
    streams(&primary, &mut running, "r");
    primary.sql("insert into a(note) values ('the one'), ('and its neighbour')");
    let ended = running.wait(DEADLINE);
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    let whole = done(replay(&out, &[])).stdout;
    assert_eq!(whole.lines().count(), 57);
    let middle = whole.lines().nth(20).unwrap();
    let middle: serde_json::Value = serde_json::from_str(middle).unwrap();
    let until = middle["commit_lsn"].as_str().unwrap();
    // Transactions that commit before: those of 1 to 5 rows.
    let before = done(replay(&out, &["--until-lsn", until])).stdout;
    assert_eq!(before.lines().count(), 15);
    assert!(whole.starts_with(&before));
    let some = done(replay(&out, &["--limit", "17"])).stdout;
    assert_eq!(some.lines().count(), 17);
    assert!(whole.starts_with(&some));
    let out = root.path().join("until");
    done(record(&primary, "t", &out, &["--until-lsn", until]));
    assert!(done(replay(&out, &["--until-lsn", until])).stdout == before);
    let printed = done(walcast(&primary, "tail", ("t", "p"), &["--until-now"])).stdout;
    // The slot has followed what was recorded: each event is here or there.
    assert_eq!(events(&out) + printed.lines().count(), 57);
}

/// What is missing is made when that is asked for.
#[test]
fn what_is_to_be_made() {
    let primary = Primary::start();
    primary.sql("create table a(id int primary key); create table b(id int primary key)");
    let root = tempfile::tempdir().unwrap();
    let out = root.path().join("recording");
    let without = record(&primary, "new", &out, &["--until-now"]).run(DEADLINE);
    assert_ne!(without.code(), Some(0));
    let alone = ["--until-now", "--tables", "public.a"];
    let ended = record(&primary, "new", &out, &alone).run(DEADLINE);
    assert_eq!(ended.code(), Some(2), "{}", ended.stderr);
    let create = ["--create", "--tables", "public.a"];
    let mut running = record(&primary, "new", &out, &create).start();
    streams(&primary, &mut running, "new");
    primary.sql("insert into a values (1); insert into b values (2)");
    wait_until_confirmed(&primary, "new");
    drained(running);
    let printed = done(replay(&out, &[])).stdout;
    assert!(printed.lines().count() == 1 && printed.contains(r#""new":{"id":1}"#), "{printed}");
    let made = "select exists (select from pg_publication where pubname = 'p')";
    assert_eq!(primary.query_one_text(made).unwrap(), "t");
    // Several publications, and a temporary slot.
    primary.sql("create publication q for table b");
    let (url, temporary) = (primary.url(), root.path().join("temporary"));
    let words = ["record", "--publication", "p,q", "--out", temporary.to_str().unwrap()];
    let mut running = Program::walcast(words).env("WALCAST_URL", &url).start();
    let slot = "select active from pg_replication_slots where temporary";
    eventually("it streams", DEADLINE, || {
        assert!(running.is_running(), "{}", running.stderr());
        primary.query_one_text(slot).as_deref() == Some("t")
    });
    primary.sql("begin; insert into a values (3); insert into b values (4); commit");
    let now = primary.query_one_text("select pg_current_wal_lsn()").unwrap();
    let reached = format!(
        "exists (select from pg_replication_slots
            where temporary and confirmed_flush_lsn >= '{now}')"
    );
    primary.wait_for_sql_blocking(&reached, DEADLINE);
    let ended = drained(running);
    assert!(ended.stdout.starts_with("recorded up to "), "{}", ended.stdout);
    assert_eq!(events(&temporary), 2);
    let only = done(replay(&temporary, &["--tables", "public.b"])).stdout;
    assert!(only.lines().count() == 1 && only.contains(r#""new":{"id":4}"#), "{only}");
    let every = done(replay(&temporary, &["--tables", "*"])).stdout;
    assert_eq!(every.lines().count(), 2);
}

/// Options that say nothing together are refused before anything is read.
#[test]
fn but_none_that_would_not_count() {
    let root = tempfile::tempdir().unwrap();
    let none = root.path().join("none");
    let refused: &[&[&str]] = &[
        &["--config", "c.toml", "--format", "json"],
        &["--config", "c.toml", "--tables", "*"],
        &["--config", "c.toml", "--limit", "1"],
        &["--config", "c.toml", "--until-lsn", "0/1"],
        &["--config", "c.toml", "--debezium", "tombstones"],
        &["--config", "c.toml", "--cloudevents-source", "urn:shop"],
        &["--format", "yaml"],
        &["--limit", "0"],
        &["--tables", "orders"],
        &["--config", "no-such.toml"],
    ];
    for options in refused {
        let ended = replay(&none, options).run(DEADLINE);
        assert_eq!(ended.code(), Some(2), "{options:?}: {}", ended.stderr);
    }
    for options in [&["--until-lsn", "0/1", "--until-now"][..], &["--limit", "0"]] {
        let url = "postgres://nowhere.invalid/x";
        let out = none.to_str().unwrap();
        let words = [&["record", url, "--out", out], options].concat();
        let ended = Program::walcast(words).run(DEADLINE);
        assert_eq!(ended.code(), Some(2), "{options:?}: {}", ended.stderr);
    }
    assert!(!none.exists());
}

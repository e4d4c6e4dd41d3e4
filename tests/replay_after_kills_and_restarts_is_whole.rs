//! `walcast run` under load, killed and restarted at random moments: what is in the file is what
//! was committed, once, in commit order.

use std::path::Path;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::support::pipeline::{Place, SOON, caught_up};
use crate::support::{
    History, Load, Primary, Program, Running, count, eventually, oracle, pgbench_tables, seed,
    workload,
};

const PGBENCH: &[&str] =
    &["pgbench_accounts", "pgbench_branches", "pgbench_tellers", "pgbench_history"];

fn config(primary: &Primary, place: &Place) -> std::path::PathBuf {
    let path = place.file("walcast.toml");
    let text = format!(
        "[source]\nurl = \"{}\"\nslot = \"s\"\npublication = \"p\"\nsnapshot = \"never\"\n\
         [pipeline]\nstate = \"{}\"\nstatus_interval = \"1s\"\n\
         [[sink]]\nname = \"out\"\ntype = \"file\"\npath = \"{}\"\n",
        primary.url(),
        place.state().display(),
        place.file("out.jsonl").display()
    );
    std::fs::write(&path, text).unwrap();
    path
}

fn walcast(config: &Path) -> Running {
    Program::walcast(["run".as_ref(), config.as_os_str()]).start()
}

/// The first run makes the slot, so that nothing comes before it.
fn primary_with_a_slot(place: &Place) -> Primary {
    let primary = Primary::start();
    workload::tables(&primary);
    pgbench_tables(&primary, 1);
    primary.sql(
        "create publication p for table items, notes, pages, scratch, events, txlog,
        pgbench_accounts, pgbench_branches, pgbench_tellers, pgbench_history",
    );
    let first = walcast(&config(&primary, place));
    let active = "exists (select from pg_replication_slots where slot_name = 's' and active)";
    primary.wait_for_sql_blocking(active, SOON);
    first.signal("TERM");
    let ended = first.wait(SOON);
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    primary
}

fn tables_of(primary: &Primary, names: &[&str]) -> oracle::Tables {
    names.iter().map(|name| (String::from(*name), oracle::table(primary, name))).collect()
}

fn loads(primary: &Primary) -> [Load<'_>; 2] {
    let bank = Load::on(primary).clients(2).rate(100).seconds(3600).start();
    [workload::start(primary, 4, 200), bank]
}

/// Everything is there once it has caught up, and the end is in order.
fn finish(primary: &Primary, place: &Place, before: oracle::Tables) {
    let last = walcast(&config(primary, place));
    tokio::runtime::Runtime::new().unwrap().block_on(caught_up(primary, Duration::from_secs(60)));
    last.signal("TERM");
    let ended = last.wait(SOON);
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    let history = History::read(&place.file("out.jsonl"));
    history.assert_matches_log(primary);
    history.assert_agrees_from(before, primary, &[workload::NAMES, PGBENCH].concat());
    println!("{} transactions, {} events", history.transactions.len(), history.events().count());
}

#[test]
fn killed_with_sigkill() {
    let (mut random, place) = (StdRng::seed_from_u64(seed()), Place::new());
    let primary = primary_with_a_slot(&place);
    let before = tables_of(&primary, PGBENCH);
    let loads = loads(&primary);
    let config = config(&primary, &place);
    for _ in 0..count(50) {
        let running = walcast(&config);
        // The moment is the point: anywhere from its first steps to full flow.
        std::thread::sleep(Duration::from_millis(random.random_range(20..1500)));
        let ended = running.kill();
        assert_eq!(ended.code(), None, "it ended by itself: {}", ended.stderr);
    }
    loads.into_iter().for_each(Load::stop);
    finish(&primary, &place, before);
}

#[test]
fn restarted_in_order() {
    let (mut random, place) = (StdRng::seed_from_u64(seed()), Place::new());
    let primary = primary_with_a_slot(&place);
    let before = tables_of(&primary, PGBENCH);
    let loads = loads(&primary);
    let config = config(&primary, &place);
    let size = || std::fs::metadata(place.file("out.jsonl")).map_or(0, |file| file.len());
    for _ in 0..count(20) {
        let (running, had) = (walcast(&config), size());
        eventually("the file grows", SOON, || size() > had);
        std::thread::sleep(Duration::from_millis(random.random_range(0..300)));
        running.signal("TERM");
        let ended = running.wait(SOON);
        assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
        assert!(ended.took < Duration::from_secs(5), "{:?}", ended.took);
        // Whole as it is, and all of it confirmed: nothing comes again.
        let end = History::read(&place.file("out.jsonl")).end_lsn();
        let query = "select confirmed_flush_lsn::text from pg_replication_slots";
        let confirmed = primary.query_one_text(query).unwrap().parse().unwrap();
        assert!(end.is_some_and(|end| end <= confirmed), "{end:?} is in, {confirmed} confirmed");
    }
    loads.into_iter().for_each(Load::stop);
    finish(&primary, &place, before);
}

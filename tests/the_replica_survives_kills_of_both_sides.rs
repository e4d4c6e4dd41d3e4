//! `walcast run` into a second PostgreSQL, both killed at random moments under load, the target
//! with commits that do not wait for its disk: at every moment the target is what the source was
//! after some commit, and in the end both are the same.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::support::pipeline::{Place, SOON, caught_up};
use crate::support::{
    Load, Primary, Program, Running, Twins, full, pgbench_tables, seed, workload,
};

const PGBENCH: &[&str] =
    &["pgbench_accounts", "pgbench_branches", "pgbench_tellers", "pgbench_history"];

/// Each transaction adds the next number: in commit order there is no gap.
const STEP: &str = "begin;
update counter set n = n + 1 returning n \\gset
insert into steps values (:n);
commit;
";

/// What holds after each commit of the source, in one snapshot of the target.
const INVARIANT: &str = "
select (select n from counter) = (select count(*) from steps)
    and (select n from counter) = (select coalesce(max(n), 0) from steps)
    and (select sum(abalance) from pgbench_accounts) = (select sum(bbalance) from pgbench_branches)
    and (select sum(tbalance) from pgbench_tellers) = (select sum(bbalance) from pgbench_branches)
    and (select coalesce(sum(delta), 0) from pgbench_history)
        = (select sum(bbalance) from pgbench_branches)";

fn config(twins: &Twins, place: &Place) -> PathBuf {
    let path = place.file("walcast.toml");
    let text = format!(
        "[source]\nurl = \"{}\"\nslot = \"s\"\npublication = \"p\"\n\
         [pipeline]\nstate = \"{}\"\nstatus_interval = \"1s\"\n\
         [[sink]]\nname = \"replica\"\ntype = \"postgres\"\nurl = \"{}\"\n",
        twins.source.url(),
        place.state().display(),
        twins.target.url(),
    );
    std::fs::write(&path, text).unwrap();
    path
}

fn walcast(config: &Path) -> Running {
    Program::walcast(["run".as_ref(), config.as_os_str()]).start()
}

fn twins_with_a_slot(place: &Place) -> Twins {
    let twins = Twins::start();
    for primary in [&twins.source, &twins.target] {
        workload::tables(primary);
        pgbench_tables(primary, 1);
        primary.sql(
            "create table counter(n bigint); insert into counter values (0);
             alter table counter replica identity full;
             create table steps(n bigint primary key)",
        );
    }
    twins.source.sql("create publication p for all tables");
    let first = walcast(&config(&twins, place));
    let active = "exists (select from pg_replication_slots where slot_name = 's' and active)";
    twins.source.wait_for_sql_blocking(active, SOON);
    first.signal("TERM");
    let ended = first.wait(SOON);
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    twins
}

fn loads(source: &Primary) -> [Load<'_>; 3] {
    [
        workload::start(source, 4, 100),
        Load::on(source).clients(2).rate(100).seconds(3600).start(),
        Load::on(source).clients(2).rate(100).seconds(3600).script(STEP).start(),
    ]
}

/// Looks at the target until told to stop; how often it could.
fn watch(target: &Primary, stop: &AtomicBool, looked: &AtomicUsize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        while !stop.load(Ordering::Relaxed) {
            let Ok(client) = target.try_client().await else {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            while !stop.load(Ordering::Relaxed) {
                let Ok(row) = client.query_one(INVARIANT, &[]).await else { break };
                assert!(row.get::<_, bool>(0), "the target is no moment of the source");
                looked.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(7)).await;
            }
        }
    });
}

fn finish(twins: &Twins, place: &Place) {
    let last = walcast(&config(twins, place));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(caught_up(&twins.source, Duration::from_secs(120)));
    last.signal("TERM");
    let ended = last.wait(SOON);
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    twins.assert_same(&[workload::NAMES, PGBENCH, &["counter", "steps"]].concat());
}

/// Runs `kill` so often under load, looking at the target all the while.
fn survive(times: usize, kill: impl Fn(&Twins, &Path, &mut StdRng)) {
    let (mut random, place) = (StdRng::seed_from_u64(seed()), Place::new());
    let twins = twins_with_a_slot(&place);
    let config = config(&twins, &place);
    let loads = loads(&twins.source);
    let (stop, looked) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let watching = scope.spawn(|| watch(&twins.target, &stop, &looked));
        for _ in 0..times {
            if watching.is_finished() {
                break;
            }
            kill(&twins, &config, &mut random);
        }
        loads.into_iter().for_each(Load::stop);
        stop.store(true, Ordering::Relaxed);
        watching.join().unwrap();
    });
    let looked = looked.into_inner();
    assert!(looked > times, "looked only {looked} times");
    finish(&twins, &place);
    let steps = twins.target.query_one_text("select count(*) from steps").unwrap();
    println!("looked {looked} times; {steps} steps");
}

/// A moment anywhere from the first steps to full flow.
fn moment(random: &mut StdRng) -> Duration {
    Duration::from_millis(random.random_range(20..1500))
}

#[test]
fn of_walcast() {
    survive(if full() { 200 } else { 10 }, |_, config, random| {
        let running = walcast(config);
        std::thread::sleep(moment(random));
        let ended = running.kill();
        assert_eq!(ended.code(), None, "it ended by itself: {}", ended.stderr);
    });
}

#[test]
fn of_the_target() {
    survive(if full() { 20 } else { 2 }, |twins, config, random| {
        let mut running = walcast(config);
        std::thread::sleep(moment(random));
        twins.target.stop_immediate();
        twins.target.start_again();
        let applied = "select end_lsn from walcast.progress";
        let before = twins.target.query_one_text(applied).unwrap();
        let more = format!("select end_lsn > '{before}' from walcast.progress");
        twins.target.wait_for_sql_blocking(&more, SOON);
        assert!(running.is_running(), "{}", running.stderr());
        running.kill();
    });
}

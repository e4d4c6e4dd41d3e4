//! walcast as a synchronous standby: a commit waits for every required sink, for a quorum of them,
//! or for nobody, as the transaction says.

use std::time::Duration;

use tokio::sync::watch;

use crate::support::pipeline::{Place, SOON, caught_up, source, start};
use crate::support::{Gate, Gated, Primary, eventually_async};

/// Long against a commit that nothing holds up.
const WHILE: Duration = Duration::from_millis(700);

/// Commits one row with `id` at `level`; whether that returned before `patience` was over. What is
/// given up goes on waiting on the server.
async fn commits(primary: &Primary, level: &str, id: u32, patience: Duration) -> bool {
    let client = primary.client().await;
    let statement = format!("set synchronous_commit = {level}; insert into a values ({id})");
    tokio::time::timeout(patience, client.batch_execute(&statement)).await.is_ok()
}

fn holds(place: &Place, name: &str, id: u32) -> bool {
    let text = std::fs::read_to_string(place.file(name)).unwrap_or_default();
    text.contains(&format!("\"new\":{{\"id\":{id}}}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn with_three_sinks_and_a_quorum_of_two() {
    let (primary, place) = (Primary::start(), Place::new());
    primary.sql("create table a(id int primary key); create publication p for all tables");
    let names = ["one", "two", "three"];
    let mut pipeline = place.pipeline(source(&primary.url())).quorum(2);
    let mut gates: Vec<watch::Sender<Gate>> = Vec::new();
    for name in names {
        let (sink, gate) = Gated::file(&place.file(name));
        pipeline = pipeline.sink(name, sink).unwrap();
        gates.push(gate);
    }
    let running = start(pipeline);
    running.streams().await;
    caught_up(&primary, SOON).await;
    primary.sql("alter system set synchronous_standby_names = 'walcast'");
    primary.sql("select pg_reload_conf()");
    let sync = "exists (select from pg_stat_replication where sync_state = 'sync')";
    primary.wait_for_sql(sync, SOON).await;

    for (id, level) in [(1, "on"), (2, "remote_apply"), (3, "remote_write"), (4, "local")] {
        assert!(commits(&primary, level, id, SOON).await, "{level} with every sink at work");
        let everyone = names.iter().all(|name| holds(&place, name, id));
        assert!(everyone || level != "on", "all have it when the commit returns");
    }
    // One of three stands still.
    gates[2].send_replace(Gate::Shut);
    assert!(commits(&primary, "remote_apply", 11, SOON).await, "two of three are a quorum");
    assert!(holds(&place, "one", 11) && holds(&place, "two", 11));
    assert!(!holds(&place, "three", 11));
    assert!(commits(&primary, "local", 12, SOON).await);
    assert!(!commits(&primary, "on", 13, WHILE).await, "one of three has not got it");
    // Two of three stand still.
    gates[1].send_replace(Gate::Shut);
    assert!(!commits(&primary, "remote_apply", 21, WHILE).await, "one of three is no quorum");
    assert!(commits(&primary, "local", 22, SOON).await);
    assert!(!holds(&place, "two", 21) && !holds(&place, "three", 13));
    // Whoever waits is let go once its sinks have it.
    gates[1].send_replace(Gate::Open);
    assert!(commits(&primary, "remote_apply", 31, SOON).await);
    assert!(holds(&place, "two", 31));
    gates[2].send_replace(Gate::Open);
    assert!(commits(&primary, "on", 32, SOON).await);
    assert!((1..=32).filter(|id| holds(&place, "one", *id)).all(|id| holds(&place, "three", id)));
    let nobody = "not exists (select from pg_stat_activity where wait_event = 'SyncRep')";
    primary.wait_for_sql(nobody, SOON).await;
    running.drain().await.unwrap();
}

/// What a run before had confirmed is not taken for what a quorum has.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_too() {
    let (primary, place) = (Primary::start(), Place::new());
    primary.sql("create table a(id int primary key); create publication p for all tables");
    let pipeline = || {
        let (one, _) = Gated::file(&place.file("one"));
        let (two, gate) = Gated::file(&place.file("two"));
        let pipeline = place.pipeline(source(&primary.url()));
        (pipeline.sink("one", one).unwrap().sink("two", two).unwrap(), gate)
    };
    let (first, gate) = pipeline();
    let running = start(first);
    running.streams().await;
    caught_up(&primary, SOON).await;
    primary.sql("alter system set synchronous_standby_names = 'walcast'");
    primary.sql("select pg_reload_conf()");
    assert!(commits(&primary, "remote_apply", 1, SOON).await);
    gate.send_replace(Gate::Shut);
    assert!(!commits(&primary, "remote_apply", 2, WHILE).await);
    running.abort().await;
    let (second, gate) = pipeline();
    gate.send_replace(Gate::Shut);
    let running = start(second);
    running.streams().await;
    eventually_async("one has it", SOON, async || holds(&place, "one", 2)).await;
    assert!(!commits(&primary, "remote_apply", 3, WHILE).await);
    let waiting = "select count(*) from pg_stat_activity where wait_event = 'SyncRep'";
    assert_eq!(primary.query_one_text(waiting).as_deref(), Some("2"));
    gate.send_replace(Gate::Open);
    assert!(commits(&primary, "remote_apply", 4, SOON).await);
    assert!((2..=4).all(|id| holds(&place, "two", id)));
    running.drain().await.unwrap();
}

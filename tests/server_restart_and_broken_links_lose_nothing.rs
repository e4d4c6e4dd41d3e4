//! A source that goes away and comes back, and links that break in every way, under load:
//! everything arrives, once, in commit order.

use std::time::Duration;

use walcast::Source;

use crate::support::pipeline::{Place, SOON, caught_up, source, start};
use crate::support::{History, Primary, Proxy, count, eventually_async, workload};

/// Soon enough for a test to see that a link is dead.
const SILENCE: Duration = Duration::from_secs(2);

fn primary() -> Primary {
    // A walsender whose peer is gone without a word holds the slot for this long.
    let primary = Primary::builder().setting("wal_sender_timeout", "3s").start();
    workload::tables(&primary);
    primary.sql("create publication p for all tables");
    primary
}

fn through(proxy: &Proxy) -> Source {
    let url = format!("postgres://postgres@127.0.0.1:{}/postgres?connect_timeout=2", proxy.port());
    source(&url).silence_timeout(SILENCE)
}

/// What the load has noted so far.
fn transactions(primary: &Primary) -> u64 {
    primary.query_one_text("select count(*) from txlog").unwrap().parse().unwrap()
}

/// Runs under load while `trouble` is made again and again; each time it streams on afterwards.
async fn survives(times: usize, mut trouble: impl AsyncFnMut(&Primary, &Proxy)) {
    let (primary, place) = (primary(), Place::new());
    let proxy = Proxy::to(primary.port());
    let running = start(place.to_file(through(&proxy)));
    running.streams().await;
    for _ in 0..times {
        let load = workload::start(&primary, 4, 300);
        let before = transactions(&primary);
        let more = format!("(select count(*) from txlog) > {}", before + 50);
        primary.wait_for_sql(&more, SOON).await;
        trouble(&primary, &proxy).await;
        load.stop();
        caught_up(&primary, Duration::from_secs(60)).await;
    }
    let status = running.status().await;
    assert!(status.reconnects >= times as u64, "{} reconnects", status.reconnects);
    running.drain().await.unwrap();
    let history = History::read(&place.file("out.jsonl"));
    history.assert_matches_log(&primary);
    history.assert_agrees(&primary, workload::NAMES);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_it_restarts() {
    survives(count(20).min(5), async |primary, _| primary.restart()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_it_crashes() {
    survives(count(20).min(5), async |primary, _| {
        primary.stop_immediate();
        primary.start_again();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_its_backends_are_terminated() {
    survives(count(50), async |primary, _| {
        for kind in ["walsender", "client backend"] {
            primary.sql(&format!(
                "select pg_terminate_backend(pid) from pg_stat_activity
                 where backend_type = '{kind}' and application_name like 'walcast%'"
            ));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_links_are_reset_and_cut() {
    survives(count(50), async |_, proxy| {
        proxy.reset();
        eventually_async("it connects again", SOON, async || proxy.open() >= 2).await;
        proxy.cut();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_links_stall() {
    survives(count(20), async |_, proxy| {
        let before = proxy.accepted();
        proxy.stall();
        // The watchdog gives the link up, and a new one that stalls too.
        let what = "it connects again though nothing moves";
        eventually_async(what, SOON, async || proxy.accepted() > before).await;
        proxy.flow();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_nobody_answers_for_a_while() {
    survives(count(20), async |_, proxy| {
        let before = proxy.accepted();
        proxy.refuse(true);
        proxy.reset();
        eventually_async("it tries again", SOON, async || proxy.accepted() > before + 3).await;
        proxy.refuse(false);
    })
    .await;
}

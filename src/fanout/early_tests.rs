//! What sinks get that take changes before they commit, and what those get that do not.

use super::tests::{Act, Bench, Served, Told, settings, settle};
use super::*;
use crate::sink::Resume;
use crate::testing::Feed;

/// The transaction of [`Feed`].
const XID: u32 = 731;
const SUBXID: u32 = XID + 1;

/// A lane whose sink takes what has not committed.
fn taking(bench: &mut Bench, sink: Told) -> Served {
    let lane = bench.lane("early", settings(), None, sink);
    let sender = bench.senders.pop().unwrap().taking_early(true);
    bench.senders.push(sender);
    lane
}

/// Batches to every lane, one after the other.
async fn sent(fan_out: &mut FanOut, batches: impl IntoIterator<Item = Batch>) {
    for batch in batches {
        fan_out.send(batch).await.unwrap();
    }
    settle().await;
}

#[tokio::test(start_paused = true)]
async fn who_takes_it_has_the_commit_alone_and_who_does_not_has_all_at_the_commit() {
    let mut bench = Bench::at(10);
    let mut early = taking(&mut bench, Told::default());
    let mut other = bench.required("other", settings());
    let mut fan_out = bench.fan_out();
    let mut feed = Feed::after(Lsn::new(10));
    let told = [feed.early(XID, XID, &["x"]), feed.early(XID, SUBXID, &["y"])];
    sent(&mut fan_out, told).await;
    assert_eq!(early.sink.seen(), "open x? y?");
    assert_eq!(other.sink.seen(), "open");
    let told = [feed.abort(XID, SUBXID), feed.transaction(100, &["x"]).batch()];
    sent(&mut fan_out, told).await;
    early.proves(108).await;
    other.proves(108).await;
    assert_eq!(early.sink.seen(), "!732 100) flush");
    assert_eq!(other.sink.seen(), "(100 x 100) flush");
}

#[tokio::test(start_paused = true)]
async fn a_rolled_back_transaction_is_void_and_the_next_one_is_its_own() {
    let mut bench = Bench::at(10);
    let mut early = taking(&mut bench, Told::default());
    let mut fan_out = bench.fan_out();
    let mut feed = Feed::after(Lsn::new(10));
    let told = [feed.early(900, 900, &["x"]), feed.abort(900, 900)];
    sent(&mut fan_out, told).await;
    sent(&mut fan_out, [feed.transaction(100, &["y"]).batch()]).await;
    early.proves(108).await;
    assert_eq!(early.sink.seen(), "open x? !900 (100 y 100) flush");
}

#[tokio::test(start_paused = true)]
async fn after_an_error_a_transaction_comes_whole_at_its_commit() {
    let mut bench = Bench::at(10);
    let mut early = taking(&mut bench, Told::default());
    let mut fan_out = bench.fan_out();
    let mut feed = Feed::after(Lsn::new(10));
    sent(&mut fan_out, [feed.early(XID, XID, &["x"])]).await;
    early.sink.script(|script| script.writes.push_back(Act::Fail));
    sent(&mut fan_out, [feed.early(XID, XID, &["y"]), feed.early(XID, XID, &["z"])]).await;
    sent(&mut fan_out, [feed.transaction(100, &["x", "y", "z"]).batch()]).await;
    early.proves(108).await;
    assert_eq!(early.sink.seen(), "open x? open (100 x y z 100) flush");
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_was_not_proven_comes_again_with_its_changes() {
    let mut bench = Bench::at(10);
    let mut early = taking(&mut bench, Told::default());
    early.sink.script(|script| script.flushes.push_back(Act::Fail));
    let mut fan_out = bench.fan_out();
    let mut feed = Feed::after(Lsn::new(10));
    let told = [feed.early(XID, XID, &["x"]), feed.transaction(100, &["x"]).batch()];
    sent(&mut fan_out, told).await;
    early.proves(108).await;
    assert_eq!(early.sink.seen(), "open x? 100) open (100 x 100) flush");
}

/// Nobody can tell it from others before its Commit.
#[tokio::test(start_paused = true)]
async fn what_is_told_again_of_a_transaction_that_the_sink_has_is_void() {
    let mut bench = Bench::at(10);
    let sink = Told::default();
    sink.script(|script| script.opens.push_back(Resume::After(Lsn::new(108))));
    let mut early = taking(&mut bench, sink);
    let mut fan_out = bench.fan_out();
    let mut feed = Feed::after(Lsn::new(10));
    let told = [feed.early(XID, XID, &["x"]), feed.transaction(100, &["x"]).batch()];
    sent(&mut fan_out, told).await;
    sent(&mut fan_out, [feed.transaction(200, &["y"]).batch()]).await;
    early.proves(208).await;
    assert_eq!(early.sink.seen(), "open x? !731 (200 y 200) flush");
}

/// A part of it was kept from the sink when the stream broke off, and comes without streaming now.
#[tokio::test(start_paused = true)]
async fn a_void_transaction_is_given_whole_though_part_of_its_commit_was_passed_over() {
    let mut bench = Bench::at(10);
    let mut early = taking(&mut bench, Told::default());
    let mut fan_out = bench.fan_out();
    let mut feed = Feed::after(Lsn::new(10));
    sent(&mut fan_out, [feed.early(XID, XID, &["x", "y"])]).await;
    sent(&mut fan_out, [feed.open(100, &["x", "y"]).batch()]).await;
    let mut again = Feed::after(Lsn::new(10));
    sent(&mut fan_out, [feed.abort(XID, XID)]).await;
    sent(&mut fan_out, [again.transaction(100, &["x", "y"]).batch()]).await;
    early.proves(108).await;
    let seen = early.sink.seen().replace("flush ", "");
    assert_eq!(seen, "open x? y? !731 (100 x y 100) flush");
}

#[tokio::test(start_paused = true)]
async fn a_best_effort_sink_that_is_full_goes_on_with_what_commits() {
    let mut bench = Bench::at(10);
    let sink = Told::default();
    sink.script(|script| script.writes.push_back(Act::Hang));
    let lane = bench.lane("early", settings(), Some(1), sink.clone());
    let sender = bench.senders.pop().unwrap().taking_early(true);
    bench.senders.push(sender);
    let mut fan_out = bench.fan_out();
    let mut feed = Feed::after(Lsn::new(10));
    sent(&mut fan_out, [feed.early(XID, XID, &["x"]), feed.early(XID, XID, &["y"])]).await;
    // The call that hangs is over by now, and the one that was told of has been passed over.
    tokio::time::sleep(settings().timeout * 2).await;
    sent(&mut fan_out, [feed.early(XID, XID, &["z"])]).await;
    sent(&mut fan_out, [feed.transaction(100, &["x", "y", "z"]).batch()]).await;
    drop(fan_out);
    lane.end().await.unwrap();
    let seen = sink.seen();
    assert!(!seen.contains("y?") && !seen.contains("z?"), "{seen}");
    assert!(seen.contains("(100 x y z 100)"), "{seen}");
}

//! Lanes with sinks that fail as they are told, with time that passes when nothing else can.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::*;
use crate::checkpoint::SinkProgress;
use crate::event::{EarlyKind, Event, Value};
use crate::name::SlotName;
use crate::sink::{BoxSink, OpenContext, Resume, Sink, SinkError};
use crate::testing::Feed;

/// What a sink was given and what it is to do.
#[derive(Debug, Default)]
pub(super) struct Script {
    /// What `open` answers, then [`Resume::Delegate`].
    pub(super) opens: VecDeque<Resume>,
    /// What the calls of `write` and of `flush` do, in order; then they succeed.
    pub(super) writes: VecDeque<Act>,
    pub(super) flushes: VecDeque<Act>,
    settled: Option<Lsn>,
    /// Every event written, and `open` and `flush` where they came.
    seen: Vec<String>,
    cursors: Vec<Option<Lsn>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Succeed,
    Fail,
    Hang,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Told(Arc<Mutex<Script>>);

impl Told {
    pub(super) fn script<T>(&self, of: impl FnOnce(&mut Script) -> T) -> T {
        of(&mut self.0.lock().unwrap())
    }

    /// Events written since the last call, in one line.
    pub(super) fn seen(&self) -> String {
        self.script(|script| std::mem::take(&mut script.seen)).join(" ")
    }
}

async fn act(act: Option<Act>) -> Result<(), SinkError> {
    match act.unwrap_or(Act::Succeed) {
        Act::Succeed => Ok(()),
        Act::Fail => Err(SinkError::unavailable("told to")),
        Act::Hang => std::future::pending().await,
    }
}

impl Sink for Told {
    async fn open(&mut self, context: &OpenContext) -> Result<Resume, SinkError> {
        Ok(self.script(|script| {
            script.seen.push("open".to_owned());
            script.cursors.push(context.cursor);
            script.opens.pop_front().unwrap_or(Resume::Delegate)
        }))
    }

    async fn write(&mut self, batch: Batch) -> Result<(), SinkError> {
        let next = self.script(|script| script.writes.pop_front());
        act(next).await?;
        self.script(|script| script.seen.extend(batch.events().map(named)));
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), SinkError> {
        let next = self.script(|script| script.flushes.pop_front());
        act(next).await?;
        self.script(|script| script.seen.push("flush".to_owned()));
        Ok(())
    }

    fn settled(&mut self) -> Option<Lsn> {
        self.script(|script| script.settled)
    }
}

fn named(event: Event<'_>) -> String {
    match event {
        Event::Begin(of) => format!("({}", of.commit_lsn().as_u64()),
        Event::Commit(of) => format!("{})", of.commit_lsn().as_u64()),
        Event::Change(change) => match change.new_row().and_then(|row| row.value_of("note")) {
            Some(Value::Text(note)) => String::from_utf8_lossy(note).into_owned(),
            _ => panic!("no note"),
        },
        Event::Message(message) => String::from_utf8_lossy(message.content()).into_owned(),
        Event::Truncate(_) => panic!("nothing truncates here"),
        Event::SchemaChange(_) => panic!("no shape changes here"),
        Event::Early(change) => match change.kind() {
            EarlyKind::Row(row) => match row.new_row().and_then(|row| row.value_of("note")) {
                Some(Value::Text(note)) => format!("{}?", String::from_utf8_lossy(note)),
                _ => panic!("no note"),
            },
            _ => panic!("rows alone are early here"),
        },
        Event::Abort(abort) => format!("!{}", abort.subxid()),
    }
}

/// One lane of a fan-out.
pub(super) struct Served {
    pub(super) sink: Told,
    status: watch::Receiver<LaneStatus>,
    task: JoinHandle<Result<(), LaneError>>,
}

impl Served {
    fn progress(&self) -> (u64, Option<u64>) {
        let SinkProgress { cursor, data_end } = self.status.borrow().progress;
        (cursor.as_u64(), data_end.map(Lsn::as_u64))
    }

    /// Wait until its cursor is at `lsn`.
    pub(super) async fn proves(&mut self, lsn: u64) {
        let reached = self.status.wait_for(|it| it.progress.cursor >= Lsn::new(lsn));
        let reached = tokio::time::timeout(Duration::from_secs(3600), reached).await.is_ok();
        assert!(reached, "stuck at {:?}", self.progress());
    }

    pub(super) async fn end(self) -> Result<(), LaneError> {
        let ended = tokio::time::timeout(Duration::from_secs(3600), self.task).await;
        ended.expect("the lane does not end").unwrap()
    }
}

/// Lanes to come, and what they share.
pub(super) struct Bench {
    pub(super) senders: Vec<LaneSender>,
    contention: watch::Sender<bool>,
    rewind: (mpsc::Sender<()>, mpsc::Receiver<()>),
    start: u64,
}

impl Bench {
    /// A stream that starts at `start`.
    pub(super) fn at(start: u64) -> Self {
        let contention = watch::Sender::new(false);
        Self { senders: Vec::new(), contention, rewind: mpsc::channel(1), start }
    }

    pub(super) fn required(&mut self, name: &str, settings: LaneSettings) -> Served {
        self.lane(name, settings, None, Told::default())
    }

    /// A lane whose checkpoint says that its sink stands where the stream starts.
    pub(super) fn lane(
        &mut self,
        name: &str,
        settings: LaneSettings,
        share: Option<usize>,
        sink: Told,
    ) -> Served {
        self.any_lane(name, settings, (share, false), sink)
    }

    fn any_lane(
        &mut self,
        name: &str,
        settings: LaneSettings,
        (share, is_new): (Option<usize>, bool),
        sink: Told,
    ) -> Served {
        let name = SinkName::new(name).unwrap();
        let entry = SinkProgress { cursor: Lsn::new(self.start), data_end: None };
        let (status, status_out) =
            watch::channel(LaneStatus { placed: !is_new, ..LaneStatus::at(entry) });
        let (parcels_in, parcels) = mpsc::channel(1024);
        let gauge = Arc::<Gauge>::default();
        let lineage = Arc::clone(Feed::after(entry.cursor).lineage());
        let slot = SlotName::new("slot").unwrap();
        let parts = LaneParts {
            sink: BoxSink::new(sink.clone()),
            context: OpenContext::new(name.clone(), slot, lineage),
            settings,
            stream_start: entry.cursor,
            parcels,
            gauge: Arc::clone(&gauge),
            contention: self.contention.subscribe(),
            status,
            is_new,
            required: share.is_none(),
            rewind: self.rewind.0.clone(),
        };
        let course = share.map_or(Course::Wait, Course::skip);
        let end = LaneEnd { parcels: parcels_in, gauge, status: status_out.clone() };
        self.senders.push(LaneSender::new((name, share.is_none()), course, end, entry.cursor));
        let task = tokio::spawn(Lane::new(parts).run());
        Served { sink, status: status_out, task }
    }

    pub(super) fn fan_out(&mut self) -> FanOut {
        FanOut::new(std::mem::take(&mut self.senders))
    }
}

pub(super) fn settings() -> LaneSettings {
    let mut settings = LaneSettings::default();
    settings.retry.max = Duration::from_secs(1);
    settings
}

/// Let every task run until it waits for something.
pub(super) async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn after_an_error_a_sink_is_given_again_what_it_had_not_proven() {
    let mut bench = Bench::at(10);
    let mut lane = bench.required("a", settings());
    let mut fan_out = bench.fan_out();
    let mut feed = Feed::after(Lsn::new(10));
    fan_out.send(feed.transaction(100, &["x"]).batch()).await.unwrap();
    lane.proves(108).await;
    lane.sink.script(|script| script.flushes.push_back(Act::Fail));
    fan_out.send(feed.transaction(200, &["y"]).batch()).await.unwrap();
    fan_out.send(feed.transaction(300, &["z"]).batch()).await.unwrap();
    lane.proves(308).await;
    let again = "(200 y 200) (300 z 300)";
    assert_eq!(lane.sink.seen(), format!("open (100 x 100) flush {again} open {again} flush"));
    assert_eq!(lane.status.borrow().retries, 1);
    assert_eq!(lane.progress(), (308, Some(308)));
    drop(fan_out);
    lane.end().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_is_dropped_and_the_sink_opened_again() {
    let mut bench = Bench::at(10);
    let mut lane = bench.required("a", settings());
    lane.sink.script(|script| script.writes.push_back(Act::Hang));
    let mut fan_out = bench.fan_out();
    let mut feed = Feed::after(Lsn::new(10));
    fan_out.send(feed.transaction(100, &["x"]).batch()).await.unwrap();
    lane.proves(108).await;
    assert_eq!(lane.sink.seen(), "open open (100 x 100) flush");
    lane.sink.script(|script| script.flushes.push_back(Act::Hang));
    fan_out.send(feed.transaction(200, &["y"]).batch()).await.unwrap();
    drop(fan_out);
    lane.sink.script(|script| assert!(script.seen.is_empty()));
    let (sink, status) = (lane.sink.clone(), lane.status.clone());
    lane.end().await.unwrap();
    assert_eq!(sink.seen(), "(200 y 200) open (200 y 200) flush");
    assert_eq!(status.borrow().state, LaneState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_never_proves_is_given_up_whatever_else_it_says() {
    let mut bench = Bench::at(10);
    let retry = Retry { attempts: Some(3), ..settings().retry };
    let lane = bench.required("a", LaneSettings { retry, ..settings() });
    lane.sink.script(|script| {
        script.flushes = vec![Act::Fail; 100].into();
        script.settled = Some(Lsn::new(10));
    });
    let mut fan_out = bench.fan_out();
    let mut feed = Feed::after(Lsn::new(10));
    fan_out.send(feed.transaction(100, &["x"]).batch()).await.unwrap();
    let status = lane.status.clone();
    let error = lane.end().await.unwrap_err();
    assert!(matches!(error, LaneError::Sink { attempts: 3, .. }), "{error}");
    assert_eq!(status.borrow().progress.cursor, Lsn::new(10));
}

#[tokio::test(start_paused = true)]
async fn a_sink_cannot_settle_what_it_was_not_given() {
    let mut bench = Bench::at(10);
    let lane = bench.required("a", settings());
    lane.sink.script(|script| {
        script.settled = Some(Lsn::new(1000));
        script.flushes.push_back(Act::Hang);
    });
    let mut fan_out = bench.fan_out();
    fan_out.send(Feed::after(Lsn::new(10)).transaction(100, &["x"]).batch()).await.unwrap();
    settle().await;
    assert_eq!(lane.progress(), (108, Some(108)));
}

/// Part of a large transaction was proven and let go of when the sink fails.
#[tokio::test(start_paused = true)]
async fn what_a_sink_lost_of_a_transaction_comes_again_and_idle_progress_does_not_pass_it() {
    let mut bench = Bench::at(10);
    let small = LaneSettings { batch_bytes: 1, ..settings() };
    let mut lost = bench.required("lost", small);
    let mut other = bench.required("other", settings());
    let mut fan_out = bench.fan_out();
    let mut feed = Feed::after(Lsn::new(10));
    fan_out.send(feed.open(100, &["x", "y"]).batch()).await.unwrap();
    settle().await;
    lost.sink.script(|script| script.writes.push_back(Act::Fail));
    fan_out.send(feed.rows(100, 3, &["z"]).commit(100).batch()).await.unwrap();
    fan_out.send(feed.idle(500).batch()).await.unwrap();
    assert!(fan_out.has_idle(), "it waits for the lanes");
    bench.rewind.1.recv().await.unwrap();
    fan_out.rewound(Lsn::new(10)).await.unwrap();
    settle().await;
    fan_out.send_idle().await.unwrap();
    settle().await;
    assert_eq!(lost.progress(), (10, None), "nothing of the transaction was proven");
    other.proves(108).await;

    // The stream begins again at what is confirmed.
    let mut feed = Feed::after(Lsn::new(10));
    fan_out.send(feed.transaction(100, &["x", "y", "z"]).batch()).await.unwrap();
    lost.proves(108).await;
    assert_eq!(lost.sink.seen(), "open (100 x flush open (100 x y z 100) flush");
    assert_eq!(other.sink.seen(), "open (100 x y z 100) flush");
    fan_out.send(feed.idle(500).batch()).await.unwrap();
    settle().await;
    fan_out.send_idle().await.unwrap();
    lost.proves(500).await;
    other.proves(500).await;
    assert_eq!(other.progress(), (500, Some(108)));
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_opens_lower_than_before_gets_what_lies_between() {
    let mut bench = Bench::at(10);
    let after = |lsn| Resume::After(Lsn::new(lsn));
    let told = Told::default();
    told.script(|script| {
        script.opens = [after(208), after(108)].into();
        script.flushes.push_back(Act::Fail);
    });
    let mut lane = bench.lane("a", settings(), None, told);
    let mut fan_out = bench.fan_out();
    let mut feed = Feed::after(Lsn::new(10));
    let play = |feed: &mut Feed| {
        feed.transaction(100, &["x"]).transaction(200, &["y"]).transaction(300, &["z"]).batch()
    };
    fan_out.send(play(&mut feed)).await.unwrap();
    bench.rewind.1.recv().await.unwrap();
    fan_out.rewound(Lsn::new(10)).await.unwrap();
    fan_out.send(play(&mut Feed::after(Lsn::new(10)))).await.unwrap();
    lane.proves(308).await;
    assert_eq!(lane.sink.seen(), "open (300 z 300) open (200 y 200) (300 z 300) flush");
}

#[tokio::test(start_paused = true)]
async fn what_a_sink_says_it_has_counts_as_its_data() {
    let mut bench = Bench::at(10);
    let told = Told::default();
    told.script(|script| script.opens = [Resume::After(Lsn::new(208))].into());
    let mut lane = bench.lane("a", settings(), None, told);
    let mut fan_out = bench.fan_out();
    let mut feed = Feed::after(Lsn::new(10));
    fan_out.send(feed.transaction(100, &["x"]).transaction(200, &["y"]).batch()).await.unwrap();
    lane.proves(208).await;
    assert_eq!(lane.sink.seen(), "open");
    assert_eq!(lane.progress(), (208, Some(208)), "a sink restored to 108 would be found out");
}

#[tokio::test(start_paused = true)]
async fn a_new_sink_that_misses_something_is_not_known_by_where_the_slot_is() {
    let mut bench = Bench::at(10);
    let told = Told::default();
    told.script(|script| script.opens = [Resume::After(Lsn::new(5))].into());
    let lane = bench.any_lane("new", settings(), (None, true), told);
    let (sink, status) = (lane.sink.clone(), lane.status.clone());
    assert!(matches!(lane.end().await, Err(LaneError::Resume { .. })));
    assert!(!status.borrow().placed);
    sink.script(|script| assert_eq!(script.cursors, [None]));

    let mut lane = bench.any_lane("fresh", settings(), (None, true), Told::default());
    lane.status.wait_for(|status| status.placed).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_begins_where_a_message_ends_keeps_its_begin() {
    let mut bench = Bench::at(10);
    let mut lane = bench.required("a", settings());
    let mut fan_out = bench.fan_out();
    let mut feed = Feed::after(Lsn::new(10));
    feed.frames.free_message(100, "p", b"hi");
    fan_out.send(feed.batch()).await.unwrap();
    fan_out.send(feed.transaction(100, &["x"]).batch()).await.unwrap();
    lane.proves(108).await;
    assert!(lane.sink.seen().contains("hi (100 x 100)"), "{}", lane.sink.seen());
}

#[tokio::test(start_paused = true)]
async fn proving_after_every_byte_and_after_none_is_the_same() {
    let mut bench = Bench::at(10);
    let mut lane = bench.required("a", LaneSettings { batch_bytes: 0, ..settings() });
    let mut fan_out = bench.fan_out();
    let mut feed = Feed::after(Lsn::new(10));
    fan_out.send(feed.transaction(100, &["x"]).batch()).await.unwrap();
    lane.proves(108).await;
}

#[tokio::test(start_paused = true)]
async fn a_best_effort_sink_that_blocks_skips_whole_transactions_and_says_so() {
    let mut bench = Bench::at(10);
    let mut lane = bench.lane("late", settings(), Some(1), Told::default());
    lane.sink.script(|script| script.writes.push_back(Act::Hang));
    let mut other = bench.required("other", settings());
    let mut fan_out = bench.fan_out();
    let mut feed = Feed::after(Lsn::new(10));
    fan_out.send(feed.transaction(100, &["x"]).batch()).await.unwrap();
    settle().await;
    fan_out.send(feed.transaction(200, &["y"]).batch()).await.unwrap();
    other.proves(208).await;
    lane.proves(108).await;
    fan_out.send(feed.transaction(300, &["z"]).batch()).await.unwrap();
    lane.proves(308).await;
    let seen = "open open (100 x 100) flush open (300 z 300) flush";
    assert_eq!(lane.sink.seen(), seen);
    assert_eq!(lane.status.borrow().skipped_bytes, 300 - 108);
    assert_eq!(other.sink.seen(), "open (100 x 100) (200 y 200) flush (300 z 300) flush");
}

#[tokio::test(start_paused = true)]
async fn a_best_effort_sink_comes_back_from_the_middle_of_a_transaction() {
    for fails in [false, true] {
        let mut bench = Bench::at(10);
        let mut lane = bench.lane("late", settings(), Some(1 << 20), Told::default());
        let mut fan_out = bench.fan_out();
        let mut feed = Feed::after(Lsn::new(10));
        fan_out.send(feed.open(100, &["w", "x"]).batch()).await.unwrap();
        fan_out.lanes[0].course = Course::skip(1);
        lane.sink.script(|script| script.flushes.extend(fails.then_some(Act::Fail)));
        fan_out.send(feed.rows(100, 3, &["y"]).commit(100).batch()).await.unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
        fan_out.send(feed.transaction(300, &["z"]).batch()).await.unwrap();
        lane.proves(308).await;
        assert!(lane.sink.seen().ends_with("open (300 z 300) flush"), "fails: {fails}");
        assert_eq!(lane.status.borrow().skipped_bytes, 300 - 10);
        bench.rewind.1.try_recv().unwrap_err();
    }
}

#[tokio::test(start_paused = true)]
async fn a_best_effort_sink_that_lost_what_is_confirmed_says_that_it_skips_it() {
    let mut bench = Bench::at(10);
    let small = LaneSettings { batch_bytes: 1, ..settings() };
    let mut lane = bench.lane("late", small, Some(1 << 20), Told::default());
    let mut fan_out = bench.fan_out();
    let mut feed = Feed::after(Lsn::new(10));
    fan_out.send(feed.open(100, &["w", "x"]).batch()).await.unwrap();
    settle().await;
    lane.sink.script(|script| script.writes.push_back(Act::Fail));
    fan_out.send(feed.rows(100, 3, &["y"]).commit(100).batch()).await.unwrap();
    bench.rewind.1.recv().await.unwrap();
    fan_out.rewound(Lsn::new(208)).await.unwrap();
    fan_out.send(Feed::after(Lsn::new(208)).transaction(300, &["z"]).batch()).await.unwrap();
    lane.proves(308).await;
    assert!(lane.sink.seen().ends_with("open (300 z 300) flush"));
    assert_eq!(lane.status.borrow().skipped_bytes, 208 - 10);
}

#[tokio::test(start_paused = true)]
async fn a_drain_proves_what_was_given_and_closes() {
    let mut bench = Bench::at(10);
    let lane = bench.required("a", LaneSettings { linger: Duration::MAX / 4, ..settings() });
    let mut fan_out = bench.fan_out();
    let mut feed = Feed::after(Lsn::new(10));
    fan_out.send(feed.transaction(100, &["x"]).batch()).await.unwrap();
    fan_out.send(feed.open(200, &["y", "z"]).batch()).await.unwrap();
    drop(fan_out);
    let status = lane.status.clone();
    lane.end().await.unwrap();
    assert_eq!(status.borrow().progress.cursor, Lsn::new(108));
    assert_eq!(status.borrow().state, LaneState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_drain_is_not_done_while_a_sink_waits_for_what_it_lost() {
    let mut bench = Bench::at(10);
    let small = LaneSettings { batch_bytes: 1, ..settings() };
    let lane = bench.required("a", small);
    let mut fan_out = bench.fan_out();
    let mut feed = Feed::after(Lsn::new(10));
    fan_out.send(feed.open(100, &["x", "y"]).batch()).await.unwrap();
    settle().await;
    lane.sink.script(|script| script.writes.push_back(Act::Fail));
    fan_out.send(feed.rows(100, 3, &["z"]).commit(100).batch()).await.unwrap();
    bench.rewind.1.recv().await.unwrap();
    drop(fan_out);
    lane.end().await.unwrap_err();
}

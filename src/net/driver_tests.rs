//! The wire task over a connection in memory, with time that passes when nothing else can.

use tokio::io::DuplexStream;

use super::*;
use crate::event::{Column, Event, Oid, Relation, ReplicaIdentity, Value};
use crate::lineage::Lineage;
use crate::lsn::Position;
use crate::name::{ServerIdentity, SystemId, Timeline};
use crate::session::{Assembler, AssemblerOptions, HandedOut, Intervals, LINGER, PAUSE};
use crate::testing::Frames;

const INTERVALS: Intervals =
    Intervals { status: Duration::from_secs(10), silence: Duration::from_secs(60) };
const LONG: Duration = Duration::from_secs(600);

/// A wire task that runs, seen from both of its ends.
struct Wired {
    server: DuplexStream,
    feed: mpsc::Receiver<Feed>,
    progress: watch::Sender<Progress>,
    _request: watch::Sender<Request>,
    budget: Budget,
}

fn progress(flush: u64) -> Progress {
    Progress { flush: Lsn::new(flush), apply: Lsn::new(flush) }
}

/// Start one whose session came to CopyBoth `elapsed` after `start`.
fn wired(limit: usize, start: Instant, elapsed: Duration) -> Wired {
    let (server, ours) = tokio::io::duplex(64 * 1024);
    let mut session = Session::new();
    session.start_replication("START_REPLICATION", INTERVALS, progress(1));
    let mut input = BytesMut::from(&b"W\0\0\0\x07\0\0\0"[..]);
    let now = Now { elapsed, wall: SystemTime::now().into() };
    assert_eq!(session.handle_input(now, &mut input), Ok(Some(Output::Started)));
    session.transmit().clear();
    let budget = Budget::new(limit);
    let (feed_in, feed) = mpsc::channel(QUEUED_RUNS);
    let (progress_in, progress) = watch::channel(progress(1));
    let (request, requested) = watch::channel(Request::Stream);
    let wiring = Wiring {
        session,
        start,
        input,
        budget: budget.clone(),
        gulps: Some(Gulps::of_nothing().unwrap()),
        catch_up: true,
        messages: vec!["m".to_owned()],
        feed: feed_in,
        progress,
        request: requested,
        gauges: Arc::default(),
    };
    tokio::spawn(Driver::new(ours, wiring).run());
    Wired { server, feed, progress: progress_in, _request: request, budget }
}

fn table() -> Relation {
    let column = Column {
        name: "note".to_owned(),
        type_oid: Oid::new(25),
        type_name: None,
        type_modifier: -1,
        in_identity: true,
    };
    Relation {
        oid: Oid::new(9),
        schema: "public".to_owned(),
        name: "t".to_owned(),
        replica_identity: ReplicaIdentity::Full,
        columns: vec![column],
        catalog: None,
    }
}

fn assembler() -> Assembler {
    assembler_with(AssemblerOptions::everything())
}

fn assembler_with(options: AssemblerOptions) -> Assembler {
    let identity = ServerIdentity { system_id: SystemId::new(1), timeline: Timeline::new(1) };
    let handed = HandedOut { end: Lsn::new(0), partial: None };
    let lineage = Arc::new(Lineage::single(identity));
    Assembler::new(lineage, handed, options)
}

#[tokio::test(start_paused = true)]
async fn rows_larger_than_all_memory_get_through_one_by_one() {
    for rows in [1, 2, 3] {
        let mut it = wired(1024 * 1024, Instant::now(), Duration::ZERO);
        let large = vec![b'x'; 3 * 1024 * 1024];
        let mut frames = Frames::new();
        frames.begin(100).relation(&table());
        for _ in 0..rows {
            frames.insert(90, Oid::new(9), &[Value::Text(&large)]);
        }
        frames.commit(100);
        let mut server = it.server;
        let sending = tokio::spawn(async move {
            server.write_all(&frames.chunk().bytes).await.unwrap();
            server
        });
        let mut assembler = assembler();
        let mut handed_out = 0;
        let received = async {
            while assembler.handed_out().end < Lsn::new(108) {
                match it.feed.recv().await.unwrap() {
                    Feed::Frames(chunk) => drop(assembler.push(chunk).unwrap()),
                    Feed::ChangeFollows => assembler.change_follows(),
                    Feed::PublicationInDoubt => {}
                }
                if assembler.has_events() {
                    let batch = assembler.take(|bytes| it.budget.charge(bytes)).unwrap();
                    handed_out += batch.len();
                }
            }
        };
        tokio::time::timeout(LONG, received).await.expect("the reader waits for itself");
        assert_eq!(handed_out, rows + 2);
        sending.await.unwrap();
        assert!(it.budget.peak() < 2 * large.len(), "{}", it.budget.peak());
    }
}

/// Whether the last change of its transaction is still the last, although something that takes all
/// memory comes before the Commit.
#[tokio::test(start_paused = true)]
async fn a_large_message_that_nobody_wants_takes_no_memory() {
    let mut it = wired(1024 * 1024, Instant::now(), Duration::ZERO);
    let large = vec![b'x'; 3 * 1024 * 1024];
    let mut frames = Frames::new();
    frames.begin(100).relation(&table()).insert(90, Oid::new(9), &[Value::Text(&large)]);
    frames.message(91, "other", &large).message(92, "other", &large).commit(100);
    frames.begin(200).message(190, "m", &large).message(191, "other", &large).commit(200);
    let mut server = it.server;
    let sending = tokio::spawn(async move {
        server.write_all(&frames.chunk().bytes).await.unwrap();
        server
    });
    let options = AssemblerOptions { messages: vec!["m".to_owned()], local_only: false };
    let mut assembler = assembler_with(options);
    let mut last = Vec::new();
    let received = async {
        while assembler.handed_out().end < Lsn::new(208) {
            match it.feed.recv().await.unwrap() {
                Feed::Frames(chunk) => drop(assembler.push(chunk).unwrap()),
                Feed::ChangeFollows => assembler.change_follows(),
                Feed::PublicationInDoubt => {}
            }
            if assembler.has_events() {
                let batch = assembler.take(|bytes| it.budget.charge(bytes)).unwrap();
                last.extend(batch.events().filter_map(|event| match event {
                    Event::Change(change) => Some((change.position(), change.is_last())),
                    Event::Message(message) => Some((message.position(), message.is_last())),
                    _ => None,
                }));
            }
        }
    };
    tokio::time::timeout(LONG, received).await.expect("the reader waits for itself");
    let at = |commit, index| Position::Logged { commit_lsn: Lsn::new(commit), index };
    assert_eq!(last, [(at(100, 1), true), (at(200, 1), true)]);
    sending.await.unwrap();
    assert!(it.budget.peak() < 2 * large.len(), "{}", it.budget.peak());
}

/// A gigabyte over a slow link takes longer than a server may be silent.
#[tokio::test(start_paused = true)]
async fn a_frame_that_takes_its_time_is_no_silence() {
    let mut it = wired(64 * 1024 * 1024, Instant::now(), Duration::ZERO);
    let chunk = transaction(100, CLOSE, 1024 * 1024);
    let mut left = chunk.bytes.len();
    let mut server = it.server;
    let pieces = chunk.bytes.clone();
    let sending = tokio::spawn(async move {
        for piece in pieces.chunks(64 * 1024) {
            server.write_all(piece).await.unwrap();
            tokio::time::sleep(INTERVALS.silence * 3 / 4).await;
        }
        server
    });
    while left > 0 {
        match it.feed.recv().await.expect("the server was given up") {
            Feed::Frames(chunk) => left -= chunk.bytes.len(),
            Feed::ChangeFollows | Feed::PublicationInDoubt => {}
        }
    }
    sending.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_clock_goes_on_from_where_the_session_began() {
    let start = Instant::now();
    tokio::time::advance(Duration::from_secs(50)).await;
    let mut it = wired(1024 * 1024, start, start.elapsed());
    let begin = Instant::now();
    it.progress.send_replace(progress(2));
    let mut update = BytesMut::new();
    while update.len() < 39 {
        it.server.read_buf(&mut update).await.unwrap();
    }
    assert!(begin.elapsed() < Duration::from_secs(1), "told after {:?}", begin.elapsed());
    assert_eq!((update.len(), update[5]), (39, b'r'));
    it.server.read_buf(&mut update).await.unwrap();
    assert!(begin.elapsed() <= INTERVALS.status * 2, "the next came after {:?}", begin.elapsed());
}

/// A transaction of about `bytes` that was sent `late` after its commit.
fn transaction(commit: u64, late: Duration, bytes: usize) -> Chunk {
    let mut frames = Frames::new();
    frames.begin_at(commit, -i64::try_from(late.as_micros()).unwrap()).relation(&table());
    let row = vec![b'x'; bytes];
    frames.insert(commit - 1, Oid::new(9), &[Value::Text(&row)]).commit(commit);
    frames.chunk()
}

impl Wired {
    /// Send a transaction; how long it takes until it is handed on.
    async fn handed_on_after(&mut self, commit: u64, late: Duration, bytes: usize) -> Duration {
        let begin = Instant::now();
        let chunk = transaction(commit, late, bytes);
        self.server.write_all(&chunk.bytes).await.unwrap();
        let mut left = chunk.bytes.len();
        while left > 0 {
            let Some(Feed::Frames(chunk)) = self.feed.recv().await else { panic!("no frames") };
            left -= chunk.bytes.len();
        }
        begin.elapsed()
    }
}

const BEHIND: Duration = Duration::from_secs(1);
const CLOSE: Duration = Duration::from_millis(1);
const STEP: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn what_keeps_up_is_handed_on_in_the_turn_it_comes() {
    let mut it = wired(16 * 1024 * 1024, Instant::now(), Duration::ZERO);
    for number in 1..500 {
        let bytes = [50, 20_000, 8_000][number as usize % 3];
        let took = it.handed_on_after(number * 100, CLOSE, bytes).await;
        assert_eq!(took, Duration::ZERO, "transaction {number} of {bytes} bytes");
        tokio::time::sleep(STEP).await;
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_backlog_it_is_live_again() {
    let mut it = wired(16 * 1024 * 1024, Instant::now(), Duration::ZERO);
    let mut number = 0;
    let mut paused = 0;
    while paused < 5 {
        number += 1;
        assert!(number < 200, "a backlog is not recognised");
        let took = it.handed_on_after(number * 100, BEHIND, 20_000).await;
        assert!(took <= PAUSE + STEP, "{took:?}");
        paused += u32::from(took > Duration::ZERO);
        tokio::time::sleep(LINGER + STEP).await;
    }
    it.handed_on_after(number * 100 + 50, CLOSE, 8_000).await;
    for live in 1..50 {
        let took = it.handed_on_after((number + live) * 100, CLOSE, 8_000).await;
        assert_eq!(took, Duration::ZERO, "transaction {live} after the backlog");
        tokio::time::sleep(STEP).await;
    }
}

//! Streamed transactions beside a model that only remembers: what is rolled back is never handed
//! out, what commits is, whole and in the order of the commits, however large and cut.
//!
//! Each byte of the input is one act of a server with up to four transactions at once.

use serde_json::Value;
use walcast::event::{self, Column, Oid, Relation, ReplicaIdentity};
use walcast::testing::{Frames, Reading};

use crate::session::{agree, in_pieces};
use crate::steering::Steering;

const TABLE: Oid = Oid::new(9);
const ACTS_MAX: usize = 500;

/// See the [module](self).
pub fn check(input: &[u8]) {
    let mut server = Server::default();
    input.iter().take(ACTS_MAX).for_each(|byte| server.act(byte % 8, usize::from(byte / 8)));
    server.stop();
    let bytes = server.frames.chunk().bytes;

    let mut whole = Reading::new(usize::MAX);
    whole.read(&bytes).and_then(|()| whole.hand_out()).expect("the server keeps to the protocol");
    assert_eq!(ids(whole.lines()), server.committed);

    let mut steering = Steering::of(input);
    let mut pieces = Reading::new([100_000, 300_000][steering.below(2)]);
    let pieced = in_pieces(&mut pieces, &bytes, &mut steering);
    agree(Ok(()), whole.lines(), pieced, pieces.lines());
}

fn ids(lines: &[u8]) -> Vec<u64> {
    let events = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let id = |line| {
        let event: Value = serde_json::from_slice(line).expect("a line is one JSON value");
        event["new"]["id"].as_u64().expect("every row has an id")
    };
    events.map(id).collect()
}

/// What the server sends, and what a consumer must get.
#[derive(Default)]
struct Server {
    frames: Frames,
    open: [Option<Open>; 4],
    /// Whose block is open.
    block: Option<usize>,
    committed: Vec<u64>,
    /// The last transaction id, row id and commit LSN: all count up.
    last: u32,
    is_described: bool,
}

struct Open {
    xid: u32,
    is_described: bool,
    /// From the transaction itself to the innermost savepoint, each with the released ones in it.
    levels: Vec<Vec<u32>>,
    /// Rows and what they belong to.
    rows: Vec<(u32, u64)>,
}

impl Server {
    fn act(&mut self, act: u8, choice: usize) {
        match act {
            0 => self.start(choice % 4),
            1 | 2 => (0..=choice % 4).for_each(|_| self.row()),
            3 => self.savepoint(),
            4 => self.end_savepoint(choice % 2 == 0),
            5 => self.commit(choice % 4),
            6 => self.abort(choice % 4),
            _ => self.small(),
        }
    }

    fn next(&mut self) -> u32 {
        self.last += 1;
        self.last
    }

    fn start(&mut self, at: usize) {
        self.stop();
        let next = self.next();
        let is_first = self.open[at].is_none();
        let open = self.open[at].get_or_insert_with(|| Open {
            xid: next,
            is_described: false,
            levels: vec![vec![next]],
            rows: Vec::new(),
        });
        self.frames.stream_start(open.xid, is_first);
        self.block = Some(at);
    }

    fn stop(&mut self) {
        if self.block.take().is_some() {
            self.frames.stream_stop();
        }
    }

    fn row(&mut self) {
        let id = self.next();
        let Some(open) = self.block.and_then(|at| self.open[at].as_mut()) else { return };
        let xid = open.levels.last().expect("the transaction itself stays")[0];
        self.frames.within(xid);
        if !open.is_described {
            open.is_described = true;
            self.frames.relation(&table());
        }
        open.rows.push((xid, u64::from(id)));
        insert(&mut self.frames, id);
    }

    fn savepoint(&mut self) {
        let xid = self.next();
        if let Some(open) = self.block.and_then(|at| self.open[at].as_mut()) {
            open.levels.push(vec![xid]);
        }
    }

    /// Release the innermost savepoint, or roll it back.
    fn end_savepoint(&mut self, release: bool) {
        let Some(at) = self.block else { return };
        let Some(open) = self.open[at].as_mut().filter(|open| open.levels.len() > 1) else {
            return;
        };
        let inner = open.levels.pop().expect("there is more than one");
        if release {
            open.levels.last_mut().expect("there was more than one").extend(inner);
            return;
        }
        open.rows.retain(|(xid, _)| !inner.contains(xid));
        let top = open.xid;
        self.stop();
        // The server names what it has sent something of, the innermost first.
        inner.iter().rev().for_each(|xid| {
            self.frames.stream_abort(top, *xid);
        });
    }

    fn commit(&mut self, at: usize) {
        self.stop();
        let commit = self.next();
        if let Some(open) = self.open[at].take() {
            self.committed.extend(open.rows.iter().map(|(_, id)| id));
            self.frames.stream_commit(open.xid, lsn(commit));
        }
    }

    fn abort(&mut self, at: usize) {
        self.stop();
        if let Some(open) = self.open[at].take() {
            self.frames.stream_abort(open.xid, open.xid);
        }
    }

    /// A transaction that is not streamed.
    fn small(&mut self) {
        self.stop();
        let (id, commit) = (self.next(), self.next());
        self.frames.begin(lsn(commit));
        if !self.is_described {
            self.is_described = true;
            self.frames.relation(&table());
        }
        insert(&mut self.frames, id);
        self.frames.commit(lsn(commit));
        self.committed.push(u64::from(id));
    }
}

/// Far enough apart for commit records.
fn lsn(number: u32) -> u64 {
    u64::from(number) * 100
}

fn insert(frames: &mut Frames, id: u32) {
    frames.insert(
        0,
        TABLE,
        &[event::Value::Binary(&u64::from(id).to_be_bytes()), event::Value::Null],
    );
}

fn table() -> Relation {
    let column = |name: &str, type_oid| Column {
        name: name.to_owned(),
        type_oid: Oid::new(type_oid),
        type_name: None,
        type_modifier: -1,
        in_identity: name == "id",
    };
    Relation {
        oid: TABLE,
        schema: "public".to_owned(),
        name: "t".to_owned(),
        replica_identity: ReplicaIdentity::Default,
        columns: vec![column("id", 20), column("note", 25)],
        catalog: None,
    }
}

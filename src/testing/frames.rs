//! The frames of a walsender, written by hand.
//!
//! Each method appends one CopyData message of pgoutput. Nothing is checked: a test may write what
//! no server would.

use bytes::{BufMut, BytesMut};

use crate::event::{Chunk, Lease, Oid, Relation, ReplicaIdentity, Value};

/// How far a commit record reaches in these scripts: `commit_lsn` + this is the end LSN.
const COMMIT_BYTES: u64 = 8;
/// The transaction id of every transaction.
const XID: u32 = 731;

/// Appends messages as a server sends them.
#[derive(Debug, Default)]
pub struct Frames {
    bytes: BytesMut,
    /// What the messages of a stream block carry after their tag.
    xid: Option<u32>,
}

/// What the server logged of an old row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OldRowKind {
    /// The replica identity's columns.
    Key,
    /// All columns.
    Full,
}

impl Frames {
    /// No frames yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What was written since the last call.
    pub fn chunk(&mut self) -> Chunk {
        Chunk { bytes: self.bytes.split().freeze(), lease: Lease::free() }
    }

    /// A block of the streamed transaction `xid` begins.
    pub fn stream_start(&mut self, xid: u32, first: bool) -> &mut Self {
        let mut payload = vec![b'S'];
        payload.put_u32(xid);
        payload.put_u8(u8::from(first));
        self.frame(0, &payload);
        self.within(xid)
    }

    /// What follows in the block belongs to this (sub)transaction.
    pub fn within(&mut self, xid: u32) -> &mut Self {
        self.xid = Some(xid);
        self
    }

    /// The block ends.
    pub fn stream_stop(&mut self) -> &mut Self {
        self.xid = None;
        self.frame(0, b"E")
    }

    /// The streamed transaction `xid` commits at `commit`, at the server's epoch.
    pub fn stream_commit(&mut self, xid: u32, commit: u64) -> &mut Self {
        let mut payload = vec![b'c'];
        payload.put_u32(xid);
        payload.put_u8(0);
        payload.put_u64(commit);
        payload.put_u64(commit + COMMIT_BYTES);
        payload.put_i64(0);
        self.frame(commit, &payload)
    }

    /// Of the streamed transaction `xid`, `subxid` is rolled back; `xid` itself if they are equal.
    pub fn stream_abort(&mut self, xid: u32, subxid: u32) -> &mut Self {
        let mut payload = vec![b'A'];
        payload.put_u32(xid);
        payload.put_u32(subxid);
        self.frame(0, &payload)
    }

    /// The transaction `xid`, called `gid`, that is prepared at `prepare` follows.
    pub fn begin_prepare(&mut self, xid: u32, gid: &str, prepare: u64) -> &mut Self {
        self.about_prepared(b"b", xid, gid, prepare)
    }

    /// It is prepared.
    pub fn prepare(&mut self, xid: u32, gid: &str, prepare: u64) -> &mut Self {
        self.about_prepared(&[b'P', 0], xid, gid, prepare)
    }

    /// The streamed transaction `xid` is prepared.
    pub fn stream_prepare(&mut self, xid: u32, gid: &str, prepare: u64) -> &mut Self {
        self.about_prepared(&[b'p', 0], xid, gid, prepare)
    }

    /// The prepared transaction `xid` commits at `commit`.
    pub fn commit_prepared(&mut self, xid: u32, gid: &str, commit: u64) -> &mut Self {
        self.about_prepared(&[b'K', 0], xid, gid, commit)
    }

    /// The prepared transaction `xid` is rolled back at `rollback`.
    pub fn rollback_prepared(&mut self, xid: u32, gid: &str, rollback: u64) -> &mut Self {
        let mut payload = vec![b'r', 0];
        payload.put_u64(0);
        payload.put_u64(rollback + COMMIT_BYTES);
        payload.put_i64(0);
        payload.put_i64(0);
        payload.put_u32(xid);
        put_text(&mut payload, gid);
        self.frame(rollback, &payload)
    }

    fn about_prepared(&mut self, head: &[u8], xid: u32, gid: &str, lsn: u64) -> &mut Self {
        let mut payload = head.to_vec();
        payload.put_u64(lsn);
        payload.put_u64(lsn + COMMIT_BYTES);
        payload.put_i64(0);
        payload.put_u32(xid);
        put_text(&mut payload, gid);
        self.frame(lsn, &payload)
    }

    /// A keepalive that says the log ends at `end`.
    pub fn keepalive(&mut self, end: u64) -> &mut Self {
        self.bytes.put_u8(b'd');
        self.bytes.put_u32(4 + 18);
        self.bytes.put_u8(b'k');
        self.bytes.put_u64(end);
        self.bytes.put_i64(0);
        self.bytes.put_u8(0);
        self
    }

    /// The start of the transaction that commits at `commit`, at the server's epoch.
    pub fn begin(&mut self, commit: u64) -> &mut Self {
        self.begin_at(commit, 0)
    }

    /// The start of a transaction that commits `micros` microseconds after the server's epoch.
    pub fn begin_at(&mut self, commit: u64, micros: i64) -> &mut Self {
        self.begin_with(commit, micros, XID)
    }

    /// The start of the transaction `xid`, which commits at `commit`, at the server's epoch.
    pub fn begin_of(&mut self, xid: u32, commit: u64) -> &mut Self {
        self.begin_with(commit, 0, xid)
    }

    fn begin_with(&mut self, commit: u64, micros: i64, xid: u32) -> &mut Self {
        let mut payload = vec![b'B'];
        payload.put_u64(commit);
        payload.put_i64(micros);
        payload.put_u32(xid);
        self.frame(commit, &payload)
    }

    /// The end of the transaction; its end LSN is 8 further.
    pub fn commit(&mut self, commit: u64) -> &mut Self {
        let mut payload = vec![b'C', 0];
        payload.put_u64(commit);
        payload.put_u64(commit + COMMIT_BYTES);
        payload.put_i64(0);
        self.frame(commit, &payload)
    }

    /// Where the open transaction came from.
    pub fn origin(&mut self, name: &str) -> &mut Self {
        let mut payload = vec![b'O'];
        payload.put_u64(0);
        put_text(&mut payload, name);
        self.frame(0, &payload)
    }

    /// A type that is not built in.
    pub fn type_name(&mut self, oid: u32, schema: &str, name: &str) -> &mut Self {
        let mut payload = vec![b'Y'];
        payload.put_u32(oid);
        put_text(&mut payload, schema);
        put_text(&mut payload, name);
        self.frame(0, &payload)
    }

    /// The shape of a table.
    pub fn relation(&mut self, relation: &Relation) -> &mut Self {
        let mut payload = vec![b'R'];
        payload.put_u32(relation.oid.as_u32());
        put_text(&mut payload, &relation.schema);
        put_text(&mut payload, &relation.name);
        payload.put_u8(match relation.replica_identity {
            ReplicaIdentity::Default => b'd',
            ReplicaIdentity::Nothing => b'n',
            ReplicaIdentity::Full => b'f',
            ReplicaIdentity::Index => b'i',
        });
        payload.put_u16(relation.columns.len() as u16);
        for column in &relation.columns {
            payload.put_u8(u8::from(column.in_identity));
            put_text(&mut payload, &column.name);
            payload.put_u32(column.type_oid.as_u32());
            payload.put_i32(column.type_modifier);
        }
        self.frame(0, &payload)
    }

    /// A new row.
    pub fn insert(&mut self, lsn: u64, relation: Oid, new: &[Value<'_>]) -> &mut Self {
        let mut payload = vec![b'I'];
        payload.put_u32(relation.as_u32());
        put_row(&mut payload, b'N', new);
        self.frame(lsn, &payload)
    }

    /// A changed row.
    pub fn update(
        &mut self,
        lsn: u64,
        relation: Oid,
        old: Option<(OldRowKind, &[Value<'_>])>,
        new: &[Value<'_>],
    ) -> &mut Self {
        let mut payload = vec![b'U'];
        payload.put_u32(relation.as_u32());
        if let Some((kind, row)) = old {
            put_row(&mut payload, kind.tag(), row);
        }
        put_row(&mut payload, b'N', new);
        self.frame(lsn, &payload)
    }

    /// A removed row.
    pub fn delete(
        &mut self,
        lsn: u64,
        relation: Oid,
        kind: OldRowKind,
        old: &[Value<'_>],
    ) -> &mut Self {
        let mut payload = vec![b'D'];
        payload.put_u32(relation.as_u32());
        put_row(&mut payload, kind.tag(), old);
        self.frame(lsn, &payload)
    }

    /// Emptied tables, with CASCADE.
    pub fn truncate(&mut self, lsn: u64, relations: &[Oid]) -> &mut Self {
        let mut payload = vec![b'T'];
        payload.put_u32(relations.len() as u32);
        payload.put_u8(1);
        relations.iter().for_each(|oid| payload.put_u32(oid.as_u32()));
        self.frame(lsn, &payload)
    }

    /// A logical message of the open transaction.
    pub fn message(&mut self, lsn: u64, prefix: &str, content: &[u8]) -> &mut Self {
        self.logical(lsn, 1, prefix, content)
    }

    /// A logical message outside transactions.
    pub fn free_message(&mut self, lsn: u64, prefix: &str, content: &[u8]) -> &mut Self {
        self.logical(lsn, 0, prefix, content)
    }

    fn logical(&mut self, lsn: u64, flags: u8, prefix: &str, content: &[u8]) -> &mut Self {
        let mut payload = vec![b'M', flags];
        payload.put_u64(lsn);
        put_text(&mut payload, prefix);
        payload.put_u32(content.len() as u32);
        payload.put_slice(content);
        self.frame(lsn, &payload)
    }

    fn frame(&mut self, lsn: u64, payload: &[u8]) -> &mut Self {
        let mut payload = payload.to_vec();
        if let Some(xid) = self.xid.filter(|_| payload[0] != b'O' && payload[0] != b'S') {
            payload.splice(1..1, xid.to_be_bytes());
        }
        self.bytes.put_u8(b'd');
        self.bytes.put_u32(4 + 25 + payload.len() as u32);
        self.bytes.put_u8(b'w');
        self.bytes.put_u64(lsn);
        self.bytes.put_u64(lsn);
        self.bytes.put_i64(0);
        self.bytes.put_slice(&payload);
        self
    }
}

impl OldRowKind {
    fn tag(self) -> u8 {
        match self {
            Self::Key => b'K',
            Self::Full => b'O',
        }
    }
}

fn put_text(payload: &mut Vec<u8>, text: &str) {
    payload.put_slice(text.as_bytes());
    payload.put_u8(0);
}

fn put_row(payload: &mut Vec<u8>, tag: u8, row: &[Value<'_>]) {
    payload.put_u8(tag);
    payload.put_u16(row.len() as u16);
    for value in row {
        let (tag, bytes) = match value {
            Value::Null => (b'n', None),
            Value::Unchanged => (b'u', None),
            Value::Text(bytes) => (b't', Some(bytes)),
            Value::Binary(bytes) => (b'b', Some(bytes)),
        };
        payload.put_u8(tag);
        if let Some(bytes) = bytes {
            payload.put_u32(bytes.len() as u32);
            payload.put_slice(bytes);
        }
    }
}

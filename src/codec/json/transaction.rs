//! What is the same in every line of one transaction.

use std::io::Write as _;

use crate::codec::string::write_json_str;
use crate::codec::value::{Scalar, write_json};
use crate::event::{Transaction, Value};
use crate::lineage::Lineage;
use crate::lsn::Lsn;

/// A transaction's share of its lines. Its buffers are kept from one transaction to the next.
#[derive(Debug, Default)]
pub(super) struct TransactionText {
    /// Whose text this is; `None` when it is of no use any more.
    of: Option<Lsn>,
    /// `{"id":"7391:1:0/16B3748:`
    opening: Vec<u8>,
    /// `","commit_lsn":"0/16B3748","seq":`
    commit: Vec<u8>,
    /// `","last":true`, with the end LSN before it, when that is known.
    last: Vec<u8>,
    /// `,"xid":731,"commit_time":…}` and the line's end.
    closing: Vec<u8>,
}

impl TransactionText {
    /// The next event is of another batch, which may know more or less of the same transaction.
    pub(super) fn forget(&mut self) {
        self.of = None;
    }

    /// Make it the text of `transaction`.
    #[inline]
    pub(super) fn set(&mut self, lineage: &Lineage, transaction: Transaction<'_>) {
        let commit_lsn = transaction.commit_lsn();
        if self.of == Some(commit_lsn) {
            return;
        }
        self.place(lineage, commit_lsn, transaction.end_lsn());
        self.of = Some(commit_lsn);
        let closing = &mut self.closing;
        closing.clear();
        closing.extend_from_slice(b",\"xid\":");
        closing.extend_from_slice(itoa::Buffer::new().format(transaction.xid()).as_bytes());
        commit_time(closing, transaction);
        origin(closing, transaction.origin());
        closing.extend_from_slice(b",\"snapshot\":false}\n");
    }

    /// Make it the text of a message at `lsn` that belongs to no transaction.
    pub(super) fn set_free(&mut self, lineage: &Lineage, lsn: Lsn) {
        self.place(lineage, lsn, Some(lsn));
        self.of = None;
        self.closing.clear();
        self.closing.extend_from_slice(
            b",\"xid\":null,\"commit_time\":null,\"origin\":null,\"snapshot\":false}\n",
        );
    }

    fn place(&mut self, lineage: &Lineage, commit_lsn: Lsn, end_lsn: Option<Lsn>) {
        self.opening.clear();
        self.commit.clear();
        self.last.clear();
        let (system_id, timeline) = (lineage.system_id(), lineage.timeline_of(commit_lsn));
        // Writing to a vector cannot fail.
        let _ = write!(self.opening, "{{\"id\":\"{system_id}:{timeline}:{commit_lsn}:");
        let _ = write!(self.commit, "\",\"commit_lsn\":\"{commit_lsn}\",\"seq\":");
        if let Some(end_lsn) = end_lsn {
            let _ = write!(self.last, ",\"end_lsn\":\"{end_lsn}\",\"last\":true");
        }
    }

    pub(super) fn opening(&self) -> &[u8] {
        &self.opening
    }

    pub(super) fn commit(&self) -> &[u8] {
        &self.commit
    }

    pub(super) fn last(&self) -> &[u8] {
        &self.last
    }

    pub(super) fn closing(&self) -> &[u8] {
        &self.closing
    }
}

/// Appends when `transaction` committed.
pub(super) fn commit_time(out: &mut Vec<u8>, transaction: Transaction<'_>) {
    out.extend_from_slice(b",\"commit_time\":");
    let micros = transaction.commit_time().as_postgres_micros().to_be_bytes();
    if write_json(out, &Scalar::TimestampTz.into(), Value::Binary(&micros)).is_err() {
        // A time that the server's own type cannot hold.
        out.extend_from_slice(b"null");
    }
}

/// Appends which node a transaction came from.
pub(super) fn origin(out: &mut Vec<u8>, name: Option<&str>) {
    out.extend_from_slice(b",\"origin\":");
    match name {
        Some(name) => write_json_str(out, name),
        None => out.extend_from_slice(b"null"),
    }
}

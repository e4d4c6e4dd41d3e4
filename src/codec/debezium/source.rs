//! The `source` block, and the times beside it.
//!
//! A codec has no clock: the envelope's own times, which say when the connector had the event, are
//! the commit's too, so that the same event is always the same bytes.

use super::options::DebeziumOptions;
use super::time::EPOCH_MICROS;
use crate::codec::string::write_json_str;
use crate::event::Transaction;
use crate::lsn::Lsn;

/// A transaction's share of its lines. Its buffers are kept from one transaction to the next.
#[derive(Debug)]
pub(super) struct SourceText {
    /// Whose text this is; `None` when it is of no use any more.
    of: Option<Lsn>,
    /// `"version":…,"name":"walcast","ts_ms":`
    connector: Vec<u8>,
    /// `,"snapshot":"false","db":"shop","sequence":"[`
    database: Vec<u8>,
    /// Up to where the event's LSN stands in `sequence`.
    opening: Vec<u8>,
    /// `\"]","ts_us":…,"ts_ns":…`
    clock: Vec<u8>,
    /// `,"txId":731,"lsn":`
    xid: Vec<u8>,
    /// `,"ts_ms":…`, and with it `,"ts_us":…,"ts_ns":…`
    pub(super) millis: Vec<u8>,
    pub(super) times: Vec<u8>,
}

impl SourceText {
    pub(super) fn new(options: &DebeziumOptions) -> Self {
        let mut connector = b"{\"version\":".to_vec();
        write_json_str(&mut connector, env!("CARGO_PKG_VERSION"));
        connector.extend_from_slice(b",\"connector\":\"postgresql\",\"name\":");
        write_json_str(&mut connector, &options.name);
        connector.extend_from_slice(b",\"ts_ms\":");
        let mut database = b",\"snapshot\":\"false\",\"db\":".to_vec();
        write_json_str(&mut database, &options.database);
        database.extend_from_slice(b",\"sequence\":\"[");
        let [opening, clock, xid, millis, times] = [const { Vec::new() }; 5];
        Self { of: None, connector, database, opening, clock, xid, millis, times }
    }

    /// The next event is of another batch.
    pub(super) fn forget(&mut self) {
        self.of = None;
    }

    /// Make it the text of `transaction`.
    pub(super) fn set(&mut self, transaction: Transaction<'_>) {
        let commit_lsn = transaction.commit_lsn();
        if self.of == Some(commit_lsn) {
            return;
        }
        self.of = Some(commit_lsn);
        let micros = transaction.commit_time().as_postgres_micros().saturating_add(EPOCH_MICROS);
        let millis = micros.div_euclid(1000);
        self.set_times(Some((millis, micros, i128::from(micros) * 1000)));
        let mut number = itoa::Buffer::new();
        self.opening.extend_from_slice(b"\\\"");
        self.opening.extend_from_slice(number.format(commit_lsn.as_u64()).as_bytes());
        self.opening.extend_from_slice(b"\\\"");
        self.xid.clear();
        self.xid.extend_from_slice(b",\"txId\":");
        self.xid.extend_from_slice(number.format(transaction.xid()).as_bytes());
        self.xid.extend_from_slice(b",\"lsn\":");
    }

    /// Make it the text of a message that belongs to no transaction: nobody says when it was.
    pub(super) fn set_free(&mut self) {
        self.of = None;
        self.set_times(None);
        self.opening.extend_from_slice(b"null");
        self.xid.clear();
        self.xid.extend_from_slice(b",\"txId\":null,\"lsn\":");
    }

    /// Sets the times, and begins anew what they stand in.
    fn set_times(&mut self, times: Option<(i64, i64, i128)>) {
        let (mut a, mut b, mut c) = (itoa::Buffer::new(), itoa::Buffer::new(), itoa::Buffer::new());
        let [millis, micros, nanos] = match times {
            Some((millis, micros, nanos)) => [a.format(millis), b.format(micros), c.format(nanos)],
            None => ["null"; 3],
        };
        let join = |out: &mut Vec<u8>, pieces: &[&[u8]]| {
            out.clear();
            pieces.iter().for_each(|piece| out.extend_from_slice(piece));
        };
        let (millis, micros, nanos) = (millis.as_bytes(), micros.as_bytes(), nanos.as_bytes());
        join(&mut self.opening, &[&self.connector, millis, &self.database]);
        let later: &[&[u8]] = &[b",\"ts_us\":", micros, b",\"ts_ns\":", nanos];
        join(&mut self.clock, &[b"\\\"]\"", later[0], micros, later[2], nanos]);
        join(&mut self.millis, &[b",\"ts_ms\":", millis]);
        join(&mut self.times, &[b",\"ts_ms\":", millis, later[0], micros, later[2], nanos]);
    }

    /// Append the block for an event at `lsn` about `table`.
    pub(super) fn write(&self, out: &mut Vec<u8>, lsn: Lsn, table: &[u8]) {
        let mut number = itoa::Buffer::new();
        let lsn = number.format(lsn.as_u64()).as_bytes();
        let pieces: [&[u8]; 9] = [
            &self.opening,
            b",\\\"",
            lsn,
            &self.clock,
            table,
            &self.xid,
            lsn,
            b",\"xmin\":null",
            b"}",
        ];
        pieces.iter().for_each(|piece| out.extend_from_slice(piece));
    }
}

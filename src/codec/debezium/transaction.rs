//! Where an event stands in its transaction, and the lines that begin and end one.
//!
//! The connector counts the events it makes, in all and per table. An encoder that comes into a
//! transaction whose beginning it has not seen (its sink failed inside one that is larger than its
//! lane keeps) does not know the counts and says null.

use std::io::Write as _;

use super::plan::RelationPlan;
use crate::codec::string::write_json_str;
use crate::event::{Oid, Transaction};
use crate::lsn::{Lsn, Position};

/// What messages are counted under.
const MESSAGES: &str = "LOGICAL_DECODING_MESSAGE";

/// The counts of the transaction at hand.
#[derive(Debug, Default)]
pub(super) struct Counts {
    of: Option<Lsn>,
    /// The place in the log of the last event that was counted.
    last_index: u64,
    /// Whether the transaction was seen from its beginning.
    is_known: bool,
    total: u64,
    /// Per table, in the order of their first events.
    tables: Vec<(Option<Oid>, String, u64)>,
}

impl Counts {
    /// `transaction` begins.
    pub(super) fn begin(&mut self, transaction: Transaction<'_>) {
        self.of = Some(transaction.commit_lsn());
        self.last_index = 0;
        self.is_known = true;
        self.total = 0;
        self.tables.clear();
    }

    /// The next event counted is the one at `position`.
    pub(super) fn enter(&mut self, position: Position, transaction: Transaction<'_>) {
        let index = match position {
            Position::Logged { index, .. } => index,
            Position::Read { index, .. } => u64::from(index),
        };
        if self.of != Some(transaction.commit_lsn()) || index <= self.last_index {
            self.begin(transaction);
            self.is_known = index == 1;
        }
        self.last_index = index;
    }

    /// Append the block of the next event, about the table of `plan` or a message; counts it.
    pub(super) fn write_block(
        &mut self,
        out: &mut Vec<u8>,
        transaction: Transaction<'_>,
        lsn: Lsn,
        plan: Option<&RelationPlan>,
    ) {
        self.total += 1;
        let oid = plan.map(|plan| plan.oid);
        let known = self.tables.iter().position(|(table, ..)| *table == oid);
        let at = known.unwrap_or_else(|| {
            let name = plan.map_or(MESSAGES, |plan| &plan.name);
            self.tables.push((oid, name.to_owned(), 0));
            self.tables.len() - 1
        });
        self.tables[at].2 += 1;
        let of_table = self.tables[at].2;
        // Writing to a vector cannot fail.
        let _ = write!(out, "{{\"id\":\"{}:{}\"", transaction.xid(), lsn.as_u64());
        let _ = match self.is_known {
            true => write!(
                out,
                ",\"total_order\":{},\"data_collection_order\":{of_table}}}",
                self.total
            ),
            false => write!(out, ",\"total_order\":null,\"data_collection_order\":null}}"),
        };
    }

    /// Append the line that begins `transaction`.
    pub(super) fn write_begin(out: &mut Vec<u8>, transaction: Transaction<'_>, millis: &[u8]) {
        let (xid, lsn) = (transaction.xid(), transaction.commit_lsn().as_u64());
        let _ = write!(
            out,
            "{{\"status\":\"BEGIN\",\"id\":\"{xid}:{lsn}\",\"event_count\":null,\
             \"data_collections\":null"
        );
        out.extend_from_slice(millis);
        out.extend_from_slice(b"}\n");
    }

    /// Append the line that ends `transaction`.
    pub(super) fn write_end(&self, out: &mut Vec<u8>, transaction: Transaction<'_>, millis: &[u8]) {
        let lsn = transaction.end_lsn().unwrap_or(transaction.commit_lsn()).as_u64();
        let _ = write!(out, "{{\"status\":\"END\",\"id\":\"{}:{lsn}\"", transaction.xid());
        if self.of == Some(transaction.commit_lsn()) && self.is_known {
            let _ = write!(out, ",\"event_count\":{},\"data_collections\":[", self.total);
            for (nth, (_, name, count)) in self.tables.iter().enumerate() {
                if nth > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(b"{\"data_collection\":");
                write_json_str(out, name);
                let _ = write!(out, ",\"event_count\":{count}}}");
            }
            out.push(b']');
        } else {
            out.extend_from_slice(b",\"event_count\":null,\"data_collections\":null");
        }
        out.extend_from_slice(millis);
        out.extend_from_slice(b"}\n");
    }
}

//! The envelope of [Debezium's](https://debezium.io/documentation/reference/stable/connectors/postgresql.html)
//! PostgreSQL connector, as the JSON converter writes it without schemas.
//!
//! ```json
//! {"before":null,"after":{"id":7,"total":"BOI="},"source":{"version":"0.1.0",
//!   "connector":"postgresql","name":"walcast","ts_ms":1795472525123,"snapshot":"false",
//!   "db":"shop","sequence":"[\"23820104\",\"23820032\"]","ts_us":1795472525123456,
//!   "ts_ns":1795472525123456000,"schema":"public","table":"orders","txId":731,"lsn":23820032,
//!   "xmin":null},
//!  "transaction":null,"op":"c","ts_ms":1795472525123,"ts_us":1795472525123456,
//!  "ts_ns":1795472525123456000}
//! ```
//!
//! `op` is `c`, `u`, `d`, `t` for a truncated table, `m` for a logical message. An update of a key
//! is a `d` and a `c`. A column that an update left alone and the server did not send holds the
//! placeholder; in a `before` of which the key alone was logged the other columns are null. A type
//! that the connector has no converter for is its text.
//!
//! It differs where a codec cannot know: the envelope's own times are the commit's, as nobody's
//! clock is asked; `sequence` begins with the commit LSN of the event's own transaction, not of the
//! one before, which orders events in the same way; NaN and the infinities are an error where
//! decimals are precise, as with the connector.

mod array;
mod decimal;
mod options;
mod plan;
mod source;
mod time;
mod transaction;
mod value;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

pub use options::{DebeziumOptions, Decimals, TimePrecision, UnknownWord};

use self::plan::RelationPlan;
use self::source::SourceText;
use self::transaction::Counts;
use crate::codec::error::{EncodeError, EncodeFault};
use crate::codec::lines::EventLines;
use crate::codec::plans::Plans;
use crate::codec::string::write_json_str;
use crate::codec::value::TypeRegistry;
use crate::event::{Batch, Change, Event, Message, OldRow, Operation, Row, Transaction, Truncate};
use crate::lineage::Lineage;

/// Writes events in Debezium's envelope.
#[derive(Debug)]
pub(super) struct DebeziumLines {
    options: DebeziumOptions,
    types: Arc<TypeRegistry>,
    plans: Plans<RelationPlan>,
    source: SourceText,
    counts: Counts,
}

impl DebeziumLines {
    pub(super) fn new(types: Arc<TypeRegistry>, options: &DebeziumOptions) -> Self {
        Self {
            options: options.clone(),
            types,
            plans: Plans::new(),
            source: SourceText::new(options),
            counts: Counts::default(),
        }
    }
}

impl EventLines for DebeziumLines {
    fn take_up(&mut self, batch: &Batch) {
        let (types, options) = (&self.types, &self.options);
        self.plans.take_up(batch, |relation| RelationPlan::new(relation, types, options));
        self.source.forget();
    }

    fn write(
        &mut self,
        out: &mut Vec<u8>,
        _: &Lineage,
        event: Event<'_>,
    ) -> Result<(), EncodeError> {
        match event {
            Event::Begin(transaction) if self.options.transactions => {
                self.source.set(transaction);
                self.counts.begin(transaction);
                Counts::write_begin(out, transaction, &self.source.millis);
            }
            Event::Commit(transaction) if self.options.transactions => {
                self.source.set(transaction);
                self.counts.write_end(out, transaction, &self.source.millis);
            }
            // Debezium has no event of its own for it, and rows without a schema need none.
            Event::Begin(_) | Event::Commit(_) | Event::SchemaChange(_) => {}
            Event::Change(change) => self.change(out, change)?,
            Event::Truncate(truncate) => self.truncate(out, truncate),
            Event::Message(message) => self.message(out, message),
            Event::Early(_) | Event::Abort(_) => {}
        }
        Ok(())
    }

    fn lay_down(&mut self) {
        self.plans.lay_down();
    }
}

/// What an envelope is made of beside its rows.
struct Envelope<'a> {
    op: u8,
    lsn: crate::lsn::Lsn,
    transaction: Transaction<'a>,
    relation: usize,
}

impl DebeziumLines {
    fn change(&mut self, out: &mut Vec<u8>, change: Change<'_>) -> Result<(), EncodeError> {
        let transaction = change.transaction();
        self.source.set(transaction);
        if self.options.transactions {
            self.counts.enter(change.position(), transaction);
        }
        let at_fault = |(column, fault): (usize, EncodeFault)| EncodeError {
            position: change.position(),
            table: change.relation().to_string(),
            column: change.relation().columns[column].name.clone(),
            fault,
        };
        let (new, old) = (change.new_row(), change.old_row());
        let envelope =
            |op| Envelope { op, lsn: change.lsn(), transaction, relation: change.relation_slot() };
        let plan = self.plans.at(change.relation_slot());
        match change.operation() {
            Operation::Insert => self.rows(out, envelope(b'c'), None, new).map_err(at_fault)?,
            Operation::Update if key_changes(plan, old, new) => {
                self.rows(out, envelope(b'd'), old, None).map_err(at_fault)?;
                self.tombstone(out);
                self.rows(out, envelope(b'c'), None, new).map_err(at_fault)?;
            }
            Operation::Update => self.rows(out, envelope(b'u'), old, new).map_err(at_fault)?,
            Operation::Delete => {
                self.rows(out, envelope(b'd'), old, None).map_err(at_fault)?;
                self.tombstone(out);
            }
        }
        Ok(())
    }

    fn rows(
        &mut self,
        out: &mut Vec<u8>,
        envelope: Envelope<'_>,
        old: Option<OldRow<'_>>,
        new: Option<Row<'_>>,
    ) -> Result<(), (usize, EncodeFault)> {
        let plan = self.plans.at(envelope.relation);
        out.extend_from_slice(b"{\"before\":");
        match old {
            None => out.extend_from_slice(b"null"),
            Some(OldRow::Full(row)) => columns(out, plan, row, Logged::All)?,
            Some(OldRow::Key(row)) => columns(out, plan, row, Logged::Key)?,
        }
        out.extend_from_slice(b",\"after\":");
        match new {
            None => out.extend_from_slice(b"null"),
            Some(row) => columns(out, plan, row, Logged::All)?,
        }
        self.close(out, envelope);
        Ok(())
    }

    /// Appends what stands after the rows.
    fn close(&mut self, out: &mut Vec<u8>, envelope: Envelope<'_>) {
        let plan = self.plans.at(envelope.relation);
        out.extend_from_slice(b",\"source\":");
        self.source.write(out, envelope.lsn, &plan.table);
        out.extend_from_slice(b",\"transaction\":");
        if self.options.transactions {
            self.counts.write_block(out, envelope.transaction, envelope.lsn, Some(plan));
        } else {
            out.extend_from_slice(b"null");
        }
        out.extend_from_slice(b",\"op\":\"");
        out.extend_from_slice(&[envelope.op, b'"']);
        out.extend_from_slice(&self.source.times);
        out.extend_from_slice(b"}\n");
    }

    /// What follows a delete, for the key that is gone.
    fn tombstone(&self, out: &mut Vec<u8>) {
        if self.options.tombstones {
            out.extend_from_slice(b"null\n");
        }
    }

    fn truncate(&mut self, out: &mut Vec<u8>, truncate: Truncate<'_>) {
        let transaction = truncate.transaction();
        self.source.set(transaction);
        if self.options.transactions {
            self.counts.enter(truncate.position(), transaction);
        }
        out.extend_from_slice(b"{\"before\":null,\"after\":null");
        let (lsn, relation) = (truncate.lsn(), truncate.relation_slot());
        self.close(out, Envelope { op: b't', lsn, transaction, relation });
    }

    fn message(&mut self, out: &mut Vec<u8>, message: Message<'_>) {
        match message.transaction() {
            Some(transaction) => self.source.set(transaction),
            None => self.source.set_free(),
        }
        out.extend_from_slice(b"{\"op\":\"m\"");
        out.extend_from_slice(&self.source.millis);
        out.extend_from_slice(b",\"source\":");
        self.source.write(out, message.lsn(), b",\"schema\":\"\",\"table\":\"\"");
        out.extend_from_slice(b",\"transaction\":");
        match message.transaction().filter(|_| self.options.transactions) {
            Some(transaction) => {
                self.counts.enter(message.position(), transaction);
                self.counts.write_block(out, transaction, message.lsn(), None);
            }
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"message\":{\"prefix\":");
        write_json_str(out, message.prefix());
        out.extend_from_slice(b",\"content\":\"");
        push_base64(out, message.content());
        out.extend_from_slice(b"\"}}\n");
    }
}

/// Which columns of a row say something.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Logged {
    All,
    /// Those of the replica identity.
    Key,
}

/// Appends a row with all its columns.
fn columns(
    out: &mut Vec<u8>,
    plan: &RelationPlan,
    row: Row<'_>,
    logged: Logged,
) -> Result<(), (usize, EncodeFault)> {
    out.push(b'{');
    for (at, (column, (_, value))) in plan.columns.iter().zip(row.iter()).enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(&column.name);
        if logged == Logged::Key && !column.in_identity {
            out.extend_from_slice(b"null");
        } else if value.is_unchanged() {
            out.extend_from_slice(&column.placeholder);
        } else {
            column.form.write(out, value).map_err(|fault| (at, fault))?;
        }
    }
    out.push(b'}');
    Ok(())
}

/// Whether an update makes another row of it, for whoever goes by the key.
fn key_changes(plan: &RelationPlan, old: Option<OldRow<'_>>, new: Option<Row<'_>>) -> bool {
    let (Some(old), Some(new)) = (old, new) else { return false };
    plan.key.iter().any(|&at| old.row().value(at) != new.value(at))
}

/// Appends `bytes` as base64.
fn push_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    // The place is as long as base64 of that many bytes.
    let written = STANDARD.encode_slice(bytes, &mut out[start..]).unwrap_or_default();
    out.truncate(start + written);
}

#[cfg(test)]
mod tests;

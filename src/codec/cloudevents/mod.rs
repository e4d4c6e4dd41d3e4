//! [CloudEvents 1.0](https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md) in their
//! JSON format: one structured event per line, with the native JSON event as its data.
//!
//! ```json
//! {"specversion":"1.0","source":"/postgresql/7391","id":"7391:1:0/16B3748:3",
//!  "type":"walcast.update","subject":"public.orders","time":"2026-11-23T22:22:05.123456+00:00",
//!  "datacontenttype":"application/json","data":{"id":"7391:1:0/16B3748:3","op":"update"}}
//! ```
//!
//! `type` ends with the native event's `op`. `subject` is the table with its schema, or a message's
//! prefix; a character that an attribute may not have, and `%`, is percent-encoded there, and an
//! empty one is left out. `time` is when the transaction committed; a message of no transaction has
//! none. `source` and `id` together are unique and the same whenever an event is sent again. A
//! consumer that gets one cluster's events through slots whose publications differ tells them apart
//! by a `source` of its own for each.

use std::io::Write as _;
use std::sync::Arc;

use crate::codec::error::EncodeError;
use crate::codec::json::JsonLines;
use crate::codec::lines::EventLines;
use crate::codec::plans::Plans;
use crate::codec::string::write_json_str;
use crate::codec::value::{Scalar, TypeRegistry, write_json};
use crate::event::{Batch, Event, Message, Operation, Relation, Transaction, Value};
use crate::lineage::Lineage;
use crate::lsn::{Lsn, Position};

/// What is to be chosen about them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub struct CloudEventsOptions {
    /// The `source` of every event, a URI reference; when absent it is `/postgresql/` and the
    /// cluster's system id.
    pub source: Option<String>,
}

impl CloudEventsOptions {
    /// The same with every event's `source` given.
    pub fn with_source(mut self, source: impl Into<String>) -> Self {
        self.source = Some(source.into());
        self
    }
}

/// Writes events as CloudEvents.
#[derive(Debug)]
pub(super) struct CloudEventLines {
    data: JsonLines,
    plans: Plans<Attributes>,
    transaction: TransactionText,
    /// The chosen `source`, in quotes.
    source: Option<Vec<u8>>,
}

/// A table's share of its events' attributes.
#[derive(Debug)]
struct Attributes {
    /// `","type":"walcast.insert","subject":"public.orders"` and its likes.
    insert: Vec<u8>,
    update: Vec<u8>,
    delete: Vec<u8>,
    truncate: Vec<u8>,
}

/// A transaction's share.
#[derive(Debug, Default)]
struct TransactionText {
    /// Whose text this is; `None` when it is of no use any more.
    of: Option<Lsn>,
    /// Up to where the event's number in the transaction ends its id.
    opening: Vec<u8>,
    /// From the time up to where the data begins.
    closing: Vec<u8>,
}

impl CloudEventLines {
    pub(super) fn new(types: Arc<TypeRegistry>, options: &CloudEventsOptions) -> Self {
        let quoted = |source: &String| {
            let mut text = Vec::new();
            write_json_str(&mut text, source);
            text
        };
        Self {
            data: JsonLines::new(types),
            plans: Plans::new(),
            transaction: TransactionText::default(),
            source: options.source.as_ref().map(quoted),
        }
    }
}

impl EventLines for CloudEventLines {
    fn take_up(&mut self, batch: &Batch) {
        self.plans.take_up(batch, |relation| Attributes::new(relation));
        self.transaction.of = None;
        self.data.take_up(batch);
    }

    fn write(
        &mut self,
        out: &mut Vec<u8>,
        lineage: &Lineage,
        event: Event<'_>,
    ) -> Result<(), EncodeError> {
        let (position, transaction) = match event {
            Event::Begin(_) | Event::Commit(_) | Event::Early(_) | Event::Abort(_) => return Ok(()),
            Event::SchemaChange(change) => (change.before(), Some(change.transaction())),
            Event::Change(change) => (change.position(), Some(change.transaction())),
            Event::Truncate(truncate) => (truncate.position(), Some(truncate.transaction())),
            Event::Message(message) => (message.position(), message.transaction()),
        };
        let (commit_lsn, seq) = match position {
            Position::Logged { commit_lsn, index } => (commit_lsn, index),
            Position::Read { point, index, .. } => (point, u64::from(index)),
        };
        self.transaction.set(self.source.as_deref(), lineage, commit_lsn, transaction);
        out.extend_from_slice(&self.transaction.opening);
        out.extend_from_slice(itoa::Buffer::new().format(seq).as_bytes());
        match event {
            Event::Begin(_) | Event::Commit(_) | Event::Early(_) | Event::Abort(_) => {}
            Event::SchemaChange(change) => {
                out.extend_from_slice(b":s");
                attributes(out, "schema", &subject(change.new_relation()));
            }
            Event::Change(change) => {
                let attributes = self.plans.at(change.relation_slot());
                out.extend_from_slice(attributes.of(change.operation()));
            }
            Event::Truncate(truncate) => {
                out.extend_from_slice(&self.plans.at(truncate.relation_slot()).truncate);
            }
            Event::Message(message) => message_attributes(out, message),
        }
        out.extend_from_slice(&self.transaction.closing);
        self.data.write(out, lineage, event)?;
        // The data is a line of its own; the event ends it.
        out.pop();
        out.extend_from_slice(b"}\n");
        Ok(())
    }

    fn lay_down(&mut self) {
        self.plans.lay_down();
        self.data.lay_down();
    }
}

impl Attributes {
    fn new(relation: &Relation) -> Self {
        let subject = subject(relation);
        let attributes = |op: &str| {
            let mut text = Vec::new();
            attributes(&mut text, op, &subject);
            text
        };
        Self {
            insert: attributes("insert"),
            update: attributes("update"),
            delete: attributes("delete"),
            truncate: attributes("truncate"),
        }
    }

    fn of(&self, operation: Operation) -> &[u8] {
        match operation {
            Operation::Insert => &self.insert,
            Operation::Update => &self.update,
            Operation::Delete => &self.delete,
        }
    }
}

fn subject(relation: &Relation) -> String {
    format!("{}.{}", relation.schema, relation.name)
}

fn message_attributes(out: &mut Vec<u8>, message: Message<'_>) {
    attributes(out, "message", message.prefix());
}

fn attributes(out: &mut Vec<u8>, op: &str, subject: &str) {
    // Writing to a vector cannot fail.
    let _ = write!(out, "\",\"type\":\"walcast.{op}\"");
    if subject.is_empty() {
        return;
    }
    out.extend_from_slice(b",\"subject\":");
    if subject.chars().any(|char| char == '%' || is_forbidden(char)) {
        write_json_str(out, &without_forbidden(subject));
    } else {
        write_json_str(out, subject);
    }
}

/// Whether an attribute's string may not hold it: control characters and noncharacters.
fn is_forbidden(char: char) -> bool {
    let code = u32::from(char);
    char.is_control() || code & 0xfffe == 0xfffe || (0xfdd0..=0xfdef).contains(&code)
}

fn without_forbidden(text: &str) -> String {
    let mut encoded = String::new();
    for char in text.chars() {
        if char == '%' || is_forbidden(char) {
            let mut utf8 = [0; 4];
            for byte in char.encode_utf8(&mut utf8).bytes() {
                encoded.push_str(&format!("%{byte:02X}"));
            }
        } else {
            encoded.push(char);
        }
    }
    encoded
}

impl TransactionText {
    /// Make it the text of what committed at `commit_lsn`, as a transaction or on its own.
    fn set(
        &mut self,
        source: Option<&[u8]>,
        lineage: &Lineage,
        commit_lsn: Lsn,
        transaction: Option<Transaction<'_>>,
    ) {
        if self.of == Some(commit_lsn) && transaction.is_some() {
            return;
        }
        // A message of no transaction may have the LSN of one.
        self.of = transaction.is_some().then_some(commit_lsn);
        let (system_id, timeline) = (lineage.system_id(), lineage.timeline_of(commit_lsn));
        self.opening.clear();
        self.opening.extend_from_slice(b"{\"specversion\":\"1.0\",\"source\":");
        // Writing to a vector cannot fail.
        let _ = match source {
            Some(source) => self.opening.write_all(source),
            None => write!(self.opening, "\"/postgresql/{system_id}\""),
        };
        let _ = write!(self.opening, ",\"id\":\"{system_id}:{timeline}:{commit_lsn}:");
        self.closing.clear();
        if let Some(transaction) = transaction {
            self.push_time(transaction);
        }
        self.closing.extend_from_slice(b",\"datacontenttype\":\"application/json\",\"data\":");
    }

    fn push_time(&mut self, transaction: Transaction<'_>) {
        const TIME: &[u8] = b",\"time\":";
        /// `"2026-11-23T` in quotes: a year of four digits.
        const DATE_END: usize = 11;
        self.closing.extend_from_slice(TIME);
        let micros = transaction.commit_time().as_postgres_micros().to_be_bytes();
        let written =
            write_json(&mut self.closing, &Scalar::TimestampTz.into(), Value::Binary(&micros));
        // RFC 3339 has no other years.
        let time = &self.closing[TIME.len()..];
        if written.is_err() || time.get(DATE_END) != Some(&b'T') || time.ends_with(b"BC\"") {
            self.closing.clear();
        }
    }
}

#[cfg(test)]
mod tests;

//! What the output plugin [wal2json](https://github.com/eulerto/wal2json) writes in its format
//! version 2, made of `pgoutput`: no plugin on the server.
//!
//! As with its options `format-version=2, include-xids=1, include-timestamp=1, include-lsn=1,
//! include-domain-data-type=1`, in a session whose time zone is UTC:
//!
//! ```json
//! {"action":"B","xid":731,"timestamp":"2026-11-23 22:22:05.123456+00","lsn":"0/16B3748"}
//! {"action":"U","xid":731,"timestamp":"2026-11-23 22:22:05.123456+00","lsn":"0/16B3700",
//!  "schema":"public","table":"orders","columns":[{"name":"id","type":"integer","value":7}],
//!  "identity":[{"name":"id","type":"integer","value":7}]}
//! {"action":"C","xid":731,"timestamp":"2026-11-23 22:22:05.123456+00","lsn":"0/16B3748",
//!  "nextlsn":"0/16B3778"}
//! ```
//!
//! It differs where `pgoutput` tells more or less than the plugin knows: `B` has no `nextlsn`,
//! which is not known before the Commit; a domain's modifier (`numeric(6,2)`) is not known; a
//! column that an update left alone is left out, but shown where the old row of REPLICA IDENTITY
//! FULL carries it; a message whose content is not text is base64 and says `"encoding":"base64"`.

mod plan;
mod type_name;
mod value;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use self::plan::{ColumnPlan, RelationPlan};
use crate::codec::error::{EncodeError, EncodeFault};
use crate::codec::lines::EventLines;
use crate::codec::place::write_lsn;
use crate::codec::plans::Plans;
use crate::codec::string::{write_json_str, write_json_utf8};
use crate::codec::value::{Scalar, TypeRegistry, write_output};
use crate::event::{Batch, Change, Event, Message, OldRow, Row, Transaction, Truncate, Value};
use crate::lineage::Lineage;
use crate::lsn::Lsn;

/// Writes events as wal2json does.
#[derive(Debug)]
pub(super) struct Wal2JsonLines {
    types: Arc<TypeRegistry>,
    plans: Plans<RelationPlan>,
    /// Whose text `facts` is; `None` when it is of no use any more.
    facts_of: Option<Lsn>,
    /// `,"xid":731,"timestamp":"2026-…","lsn":"`
    facts: Vec<u8>,
}

impl Wal2JsonLines {
    pub(super) fn new(types: Arc<TypeRegistry>) -> Self {
        Self { types, plans: Plans::new(), facts_of: None, facts: Vec::new() }
    }
}

impl EventLines for Wal2JsonLines {
    fn take_up(&mut self, batch: &Batch) {
        let types = &self.types;
        self.plans.take_up(batch, |relation| RelationPlan::new(relation, types));
        self.facts_of = None;
    }

    fn write(
        &mut self,
        out: &mut Vec<u8>,
        _: &Lineage,
        event: Event<'_>,
    ) -> Result<(), EncodeError> {
        match event {
            Event::Begin(transaction) => {
                self.open(out, b'B', Some(transaction), transaction.commit_lsn());
            }
            Event::Commit(transaction) => {
                self.open(out, b'C', Some(transaction), transaction.commit_lsn());
                if let Some(end_lsn) = transaction.end_lsn() {
                    out.extend_from_slice(b",\"nextlsn\":\"");
                    write_lsn(out, end_lsn);
                    out.push(b'"');
                }
            }
            // The plugin has no word for it; every row names its columns and their types.
            Event::SchemaChange(_) | Event::Early(_) | Event::Abort(_) => return Ok(()),
            Event::Change(change) => self.change(out, change)?,
            Event::Truncate(truncate) => self.truncate(out, truncate),
            Event::Message(message) => self.message(out, message),
        }
        out.extend_from_slice(b"}\n");
        Ok(())
    }

    fn lay_down(&mut self) {
        self.plans.lay_down();
    }
}

impl Wal2JsonLines {
    /// Appends what every line begins with.
    fn open(
        &mut self,
        out: &mut Vec<u8>,
        action: u8,
        transaction: Option<Transaction<'_>>,
        lsn: Lsn,
    ) {
        match transaction {
            Some(transaction) => self.set_facts(transaction),
            None => {
                self.facts_of = None;
                self.facts.clear();
                self.facts.extend_from_slice(b",\"xid\":null,\"timestamp\":null,\"lsn\":\"");
            }
        }
        out.extend_from_slice(b"{\"action\":\"");
        out.extend_from_slice(&[action, b'"']);
        out.extend_from_slice(&self.facts);
        write_lsn(out, lsn);
        out.push(b'"');
    }

    fn set_facts(&mut self, transaction: Transaction<'_>) {
        if self.facts_of == Some(transaction.commit_lsn()) {
            return;
        }
        self.facts_of = Some(transaction.commit_lsn());
        let facts = &mut self.facts;
        facts.clear();
        facts.extend_from_slice(b",\"xid\":");
        facts.extend_from_slice(itoa::Buffer::new().format(transaction.xid()).as_bytes());
        facts.extend_from_slice(b",\"timestamp\":\"");
        let micros = transaction.commit_time().as_postgres_micros().to_be_bytes();
        // A time that the server's own type cannot hold is left empty.
        let _ = write_output(facts, &Scalar::TimestampTz.into(), Value::Binary(&micros));
        facts.extend_from_slice(b"\",\"lsn\":\"");
    }

    fn change(&mut self, out: &mut Vec<u8>, change: Change<'_>) -> Result<(), EncodeError> {
        let (new, old) = (change.new_row(), change.old_row());
        let action = match (new, old) {
            (Some(_), _) if change.operation() == crate::event::Operation::Insert => b'I',
            (Some(_), _) => b'U',
            (None, _) => b'D',
        };
        self.open(out, action, Some(change.transaction()), change.lsn());
        let plan = self.plans.at(change.relation_slot());
        out.extend_from_slice(plan.table());
        let at_fault = |(column, fault): (usize, EncodeFault)| EncodeError {
            position: change.position(),
            table: change.relation().to_string(),
            column: change.relation().columns[column].name.clone(),
            fault,
        };
        if let Some(row) = new {
            out.extend_from_slice(b",\"columns\":[");
            columns(out, plan, row).map_err(at_fault)?;
            out.push(b']');
        }
        match (action, old, new) {
            (b'I', ..) | (_, None, None) => return Ok(()),
            (_, Some(OldRow::Full(row)), _) => {
                out.extend_from_slice(b",\"identity\":[");
                columns(out, plan, row).map_err(at_fault)?;
            }
            // An identity that did not change stands in the new row.
            (_, Some(OldRow::Key(row)), _) | (_, None, Some(row)) => {
                if plan.key().is_empty() {
                    return Ok(());
                }
                out.extend_from_slice(b",\"identity\":[");
                key(out, plan, row).map_err(at_fault)?;
            }
        }
        out.push(b']');
        Ok(())
    }

    fn truncate(&mut self, out: &mut Vec<u8>, truncate: Truncate<'_>) {
        self.open(out, b'T', Some(truncate.transaction()), truncate.lsn());
        out.extend_from_slice(self.plans.at(truncate.relation_slot()).table());
    }

    fn message(&mut self, out: &mut Vec<u8>, message: Message<'_>) {
        self.open(out, b'M', message.transaction(), message.lsn());
        out.extend_from_slice(b",\"transactional\":");
        let transactional: &[u8] = if message.is_transactional() { b"true" } else { b"false" };
        out.extend_from_slice(transactional);
        out.extend_from_slice(b",\"prefix\":");
        write_json_str(out, message.prefix());
        out.extend_from_slice(b",\"content\":");
        if write_json_utf8(out, message.content()).is_err() {
            out.push(b'"');
            out.extend_from_slice(STANDARD.encode(message.content()).as_bytes());
            out.extend_from_slice(b"\",\"encoding\":\"base64\"");
        }
    }
}

type Faulty = (usize, EncodeFault);

/// Appends a row's columns, but for those that were not sent.
fn columns(out: &mut Vec<u8>, plan: &RelationPlan, row: Row<'_>) -> Result<(), Faulty> {
    let mut is_first = true;
    for (at, (planned, (_, value))) in plan.columns().iter().zip(row.iter()).enumerate() {
        if value.is_unchanged() {
            continue;
        }
        if !std::mem::take(&mut is_first) {
            out.push(b',');
        }
        column(out, planned, value).map_err(|fault| (at, fault))?;
    }
    Ok(())
}

/// Appends the columns that identify a row.
fn key(out: &mut Vec<u8>, plan: &RelationPlan, row: Row<'_>) -> Result<(), Faulty> {
    for (nth, &at) in plan.key().iter().enumerate() {
        let value = row.value(at).filter(|value| !value.is_unchanged());
        let Some(value) = value else { return Err((at, EncodeFault::KeyUnknown)) };
        if nth > 0 {
            out.push(b',');
        }
        column(out, &plan.columns()[at], value).map_err(|fault| (at, fault))?;
    }
    Ok(())
}

fn column(out: &mut Vec<u8>, plan: &ColumnPlan, value: Value<'_>) -> Result<(), EncodeFault> {
    out.extend_from_slice(plan.opening());
    value::write(out, plan.form, &plan.value_type, value)?;
    out.push(b'}');
    Ok(())
}

#[cfg(test)]
mod tests;

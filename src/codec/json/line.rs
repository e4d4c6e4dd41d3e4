//! One event, one line.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::plan::{ColumnPlan, RelationPlan};
use super::transaction::TransactionText;
use crate::codec::error::{EncodeError, EncodeFault};
use crate::codec::place::write_lsn;
use crate::codec::string::{write_json_str, write_json_utf8};
use crate::codec::value::{ValueError, write_json};
use crate::event::{Change, Message, OldRow, Relation, Row, Truncate, Value};
use crate::lsn::{Lsn, Position};

/// Appends a row change. `unsent` is scratch space.
pub(super) fn change(
    out: &mut Vec<u8>,
    plan: &RelationPlan,
    transaction: &TransactionText,
    unsent: &mut Vec<usize>,
    change: Change<'_>,
) -> Result<(), EncodeError> {
    let seq = open(out, transaction, change.position());
    out.extend_from_slice(plan.opening(change.operation()));
    rows(out, plan, unsent, change).map_err(at_fault(change.position(), change.relation()))?;
    close(out, transaction, change.lsn(), seq, change.is_last().into());
    Ok(())
}

/// What is wrong with a column of the change at `position`.
pub(super) fn at_fault(
    position: Position,
    relation: &Relation,
) -> impl Fn(Faulty) -> EncodeError + '_ {
    move |(column, fault)| EncodeError {
        position,
        table: relation.to_string(),
        column: relation.columns[column].name.clone(),
        fault,
    }
}

/// Appends what identifies the row, the rows themselves, and what is to be said of their columns.
pub(super) fn rows(
    out: &mut Vec<u8>,
    plan: &RelationPlan,
    unsent: &mut Vec<usize>,
    change: Change<'_>,
) -> Result<(), Faulty> {
    let (new, old) = (change.new_row(), change.old_row());
    key(out, plan, new, old)?;
    out.extend_from_slice(b",\"old\":");
    match old {
        None => out.extend_from_slice(b"null"),
        Some(OldRow::Key(row)) => old_key(out, plan, row)?,
        Some(OldRow::Full(row)) => whole(out, plan, row, unsent)?,
    }
    out.extend_from_slice(b",\"new\":");
    unsent.clear();
    match new {
        None => out.extend_from_slice(b"null"),
        Some(row) => whole(out, plan, row, unsent)?,
    }
    out.extend_from_slice(b",\"unchanged\":[");
    for (nth, column) in unsent.iter().enumerate() {
        if nth > 0 {
            out.push(b',');
        }
        out.extend_from_slice(plan.columns()[*column].name());
    }
    out.push(b']');
    out.extend_from_slice(plan.types());
    Ok(())
}

/// Appends a truncated table.
pub(super) fn truncate(
    out: &mut Vec<u8>,
    plan: &RelationPlan,
    transaction: &TransactionText,
    truncate: Truncate<'_>,
) {
    let seq = open(out, transaction, truncate.position());
    out.extend_from_slice(plan.opening_of_truncate());
    flags(out, truncate);
    close(out, transaction, truncate.lsn(), seq, truncate.is_last().into());
}

/// Appends what a truncated table has in place of rows.
pub(super) fn flags(out: &mut Vec<u8>, truncate: Truncate<'_>) {
    out.extend_from_slice(b"null,\"old\":null,\"new\":null,\"unchanged\":[],\"cascade\":");
    write_bool(out, truncate.cascade());
    out.extend_from_slice(b",\"restart_identity\":");
    write_bool(out, truncate.restart_identity());
}

/// Appends a logical message.
pub(super) fn message(out: &mut Vec<u8>, transaction: &TransactionText, message: Message<'_>) {
    let seq = open(out, transaction, message.position());
    out.extend_from_slice(b"\",");
    content(out, message);
    close(out, transaction, message.lsn(), seq, message.is_last().into());
}

/// Appends what a message is.
pub(super) fn content(out: &mut Vec<u8>, message: Message<'_>) {
    out.extend_from_slice(b"\"op\":\"message\",\"prefix\":");
    write_json_str(out, message.prefix());
    out.extend_from_slice(b",\"content\":");
    if write_json_utf8(out, message.content()).is_err() {
        out.push(b'"');
        out.extend_from_slice(STANDARD.encode(message.content()).as_bytes());
        out.extend_from_slice(b"\",\"encoding\":\"base64\"");
    }
    out.extend_from_slice(b",\"transactional\":");
    write_bool(out, message.is_transactional());
}

/// Appends what every line begins with, up to its `seq`, which it answers.
#[inline]
pub(super) fn open(out: &mut Vec<u8>, transaction: &TransactionText, position: Position) -> u64 {
    let seq = match position {
        Position::Logged { index, .. } => index,
        Position::Read { index, .. } => u64::from(index),
    };
    out.extend_from_slice(transaction.opening());
    out.extend_from_slice(itoa::Buffer::new().format(seq).as_bytes());
    seq
}

/// Appends what every line ends with.
#[inline]
pub(super) fn close(
    out: &mut Vec<u8>,
    transaction: &TransactionText,
    lsn: Lsn,
    seq: u64,
    last: Last,
) {
    out.extend_from_slice(b",\"lsn\":\"");
    write_lsn(out, lsn);
    out.extend_from_slice(transaction.commit());
    out.extend_from_slice(itoa::Buffer::new().format(seq).as_bytes());
    if last == Last::Yes {
        out.extend_from_slice(transaction.last());
    }
    out.extend_from_slice(transaction.closing());
}

/// Whether an event is the last of its transaction.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Last {
    No,
    Yes,
}

impl From<bool> for Last {
    fn from(is_last: bool) -> Self {
        if is_last { Self::Yes } else { Self::No }
    }
}

/// A column, and what is wrong with it.
pub(super) type Faulty = (usize, EncodeFault);

/// Appends the row's identity: its columns as they are now, or as they were where nothing newer is
/// known.
fn key(
    out: &mut Vec<u8>,
    plan: &RelationPlan,
    new: Option<Row<'_>>,
    old: Option<OldRow<'_>>,
) -> Result<(), Faulty> {
    if plan.key().is_empty() {
        out.extend_from_slice(b"null");
        return Ok(());
    }
    let mut between = b'{';
    for &at in plan.key() {
        let value = new.and_then(|row| sent(row, at)).or_else(|| sent(old?.row(), at));
        let Some(value) = value else { return Err((at, EncodeFault::KeyUnknown)) };
        out.push(between);
        between = b',';
        column(out, &plan.columns()[at], value).map_err(|error| (at, error.into()))?;
    }
    out.push(b'}');
    Ok(())
}

/// Appends the key columns of an old row, which has no others.
fn old_key(out: &mut Vec<u8>, plan: &RelationPlan, row: Row<'_>) -> Result<(), Faulty> {
    let mut between = b'{';
    for &at in plan.key() {
        let Some(value) = row.value(at) else { continue };
        out.push(between);
        between = b',';
        column(out, &plan.columns()[at], value).map_err(|error| (at, error.into()))?;
    }
    close_object(out, between);
    Ok(())
}

/// Appends a row's columns, but for those that were not sent: they are listed in `unsent`.
#[inline]
fn whole(
    out: &mut Vec<u8>,
    plan: &RelationPlan,
    row: Row<'_>,
    unsent: &mut Vec<usize>,
) -> Result<(), Faulty> {
    let mut between = b'{';
    for (at, (planned, (_, value))) in plan.columns().iter().zip(row.iter()).enumerate() {
        if value.is_unchanged() {
            unsent.push(at);
            continue;
        }
        out.push(between);
        between = b',';
        column(out, planned, value).map_err(|error| (at, error.into()))?;
    }
    close_object(out, between);
    Ok(())
}

/// The value at `at`, if the server sent one.
fn sent(row: Row<'_>, at: usize) -> Option<Value<'_>> {
    row.value(at).filter(|value| !value.is_unchanged())
}

#[inline]
fn column(out: &mut Vec<u8>, plan: &ColumnPlan, value: Value<'_>) -> Result<(), ValueError> {
    out.extend_from_slice(plan.name_and_colon());
    write_json(out, &plan.value_type, value)
}

/// `between` is still the opening brace when no column was written.
fn close_object(out: &mut Vec<u8>, between: u8) {
    if between == b'{' {
        out.push(b'{');
    }
    out.push(b'}');
}

pub(super) fn write_bool(out: &mut Vec<u8>, value: bool) {
    out.extend_from_slice(if value { b"true" } else { b"false" });
}

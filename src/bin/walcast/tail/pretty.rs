//! Events for eyes: one block for each transaction, one line for each row, and for an update with a
//! full old row one line for each column that changed.
//!
//! Values are written as JSON, cut where they are long, and nothing in them reaches the terminal's
//! own commands.

use std::borrow::Cow;
use std::fmt::Write as _;

use walcast::Lsn;
use walcast::codec::value::{Scalar, TypeRegistry, write_json};
use walcast::event::{
    Batch, Change, Column, Event, Message, OldRow, Operation, Relation, Row, SchemaChange,
    Transaction, Value,
};

use super::choice::Chosen;
use crate::paint::{Ink, Paint, clean};

/// The longest value that is shown whole, in characters.
const VALUE_CHARS_MAX: usize = 120;

/// Prints batches for eyes.
#[derive(Debug)]
pub(crate) struct Pretty {
    types: TypeRegistry,
    paint: Paint,
    /// The commit LSN of the transaction whose block is open.
    open: Option<Lsn>,
}

impl Pretty {
    pub(super) fn new(paint: Paint) -> Self {
        Self { types: TypeRegistry::builtin(), paint, open: None }
    }

    /// Append what was chosen of `batch`.
    pub(super) fn print(&mut self, batch: &Batch, chosen: &Chosen, out: &mut String) {
        for (event, picked) in batch.events().zip(&chosen.picks) {
            if !picked {
                continue;
            }
            match event {
                Event::SchemaChange(change) => {
                    self.open_block(out, change.transaction());
                    self.schema_change(out, change);
                }
                Event::Change(change) => {
                    self.open_block(out, change.transaction());
                    self.change(out, change);
                }
                Event::Truncate(truncate) => {
                    self.open_block(out, truncate.transaction());
                    let cascade = if truncate.cascade() { ", cascade" } else { "" };
                    let (mark, table) = self.heading(Ink::Red, "×", truncate.relation());
                    line(out, format_args!("  {mark} {table}  truncated{cascade}"));
                }
                Event::Message(message) => self.message(out, message),
                _ => {}
            }
        }
    }

    /// A line that says that changes were missed.
    pub(super) fn gap(&mut self, last: Lsn, start: Lsn) -> String {
        let text = format!("── gap: changes between {last} and {start} were not seen ──");
        self.open = None;
        format!("{}\n", self.paint.ink(Ink::Red, text))
    }

    fn open_block(&mut self, out: &mut String, transaction: Transaction<'_>) {
        let commit_lsn = transaction.commit_lsn();
        if self.open == Some(commit_lsn) {
            return;
        }
        if self.open.is_some() {
            out.push('\n');
        }
        self.open = Some(commit_lsn);
        let micros = transaction.commit_time().as_postgres_micros().to_be_bytes();
        let mut time = Vec::new();
        if write_json(&mut time, &Scalar::TimestampTz.into(), Value::Binary(&micros)).is_err() {
            time.clear();
        }
        let time = String::from_utf8_lossy(&time).trim_matches('"').replacen('T', " ", 1);
        let mut head = format!("{time}  {commit_lsn}  xid {}", transaction.xid());
        if let Some(origin) = transaction.origin() {
            // Writing to a text cannot fail; so below.
            let _ = write!(head, "  from {}", clean(origin));
        }
        line(out, format_args!("{}", self.paint.ink(Ink::Dim, head)));
    }

    fn change(&self, out: &mut String, change: Change<'_>) {
        let (ink, mark) = match change.operation() {
            Operation::Insert => (Ink::Green, "+"),
            Operation::Update => (Ink::Yellow, "~"),
            Operation::Delete => (Ink::Red, "-"),
        };
        let (mark, table) = self.heading(ink, mark, change.relation());
        let _ = write!(out, "  {mark} {table}");
        match (change.old_row(), change.new_row()) {
            (Some(OldRow::Full(old)), Some(new)) => self.differences(out, old, new),
            (Some(OldRow::Key(old)), Some(new)) => {
                self.columns(out, new.relation(), OldRow::Key(old).iter());
                out.push_str("  →");
                self.columns(out, new.relation(), new.iter());
                out.push('\n');
            }
            (Some(old), None) => {
                self.columns(out, old.row().relation(), old.iter());
                out.push('\n');
            }
            (None, new) => {
                self.columns(out, change.relation(), new.into_iter().flat_map(Row::iter));
                out.push('\n');
            }
        }
    }

    /// The rest of a full row's line that identifies it, then a line for each changed column.
    fn differences(&self, out: &mut String, old: Row<'_>, row: Row<'_>) {
        let pairs = || row.iter().zip(old.iter().map(|(_, value)| value));
        let same = |new: Value<'_>, old: Value<'_>| new.is_unchanged() || new == old;
        let changed = || pairs().filter(|((_, new), old)| !same(*new, *old));
        if changed().next().is_none() {
            self.columns(out, old.relation(), old.iter());
            out.push_str("  (nothing changed)\n");
            return;
        }
        // Every column identifies a full row: the first that stayed says which one it is.
        let stayed = pairs().find(|((_, new), old)| same(*new, *old));
        let stayed = stayed.map(|((column, _), old)| (column, old));
        self.columns(out, row.relation(), stayed.into_iter());
        out.push('\n');
        let name = |column: &Column| clean(&column.name).into_owned();
        let width = changed().map(|((column, _), _)| name(column).chars().count()).max();
        for ((column, new), old) in changed() {
            let value = |value| self.value(row.relation(), column, value);
            let (old, new) = (value(old), value(new));
            let padded = format!("{:width$}", name(column), width = width.unwrap_or(0));
            let padded = self.paint.ink(Ink::Dim, padded);
            line(out, format_args!("      {padded}  {old} → {new}"));
        }
    }

    fn columns<'a>(
        &self,
        out: &mut String,
        relation: &Relation,
        row: impl Iterator<Item = (&'a Column, Value<'a>)>,
    ) {
        for (column, value) in row {
            let name = self.paint.ink(Ink::Dim, clean(&column.name));
            let _ = write!(out, "  {name}={}", self.value(relation, column, value));
        }
    }

    fn schema_change(&self, out: &mut String, change: SchemaChange<'_>) {
        let (mark, table) = self.heading(Ink::Yellow, "≠", change.new_relation());
        let _ = write!(out, "  {mark} {table}  has another shape");
        let old = change.old_relation();
        if (&old.schema, &old.name) != (&change.new_relation().schema, &change.new_relation().name)
        {
            let _ = write!(out, ", was {}.{}", clean(&old.schema), clean(&old.name));
        }
        if change.is_recreated() {
            out.push_str(", is another table");
        }
        let mut columns = |what: &str, names: &mut dyn Iterator<Item = &Column>| {
            for (nth, column) in names.enumerate() {
                let before = if nth == 0 { format!("; {what} ") } else { ", ".to_owned() };
                let _ = write!(out, "{before}{}", clean(&column.name));
            }
        };
        columns("added", &mut change.added());
        columns("dropped", &mut change.dropped());
        columns("another type:", &mut change.retyped().map(|(_, column)| column));
        if change.is_key_changed() {
            out.push_str("; another key");
        }
        out.push('\n');
    }

    fn message(&mut self, out: &mut String, message: Message<'_>) {
        if let Some(transaction) = message.transaction() {
            self.open_block(out, transaction);
        }
        let content = String::from_utf8_lossy(message.content());
        let (prefix, content) = (clean(message.prefix()), shortened(&content));
        line(out, format_args!("  » {prefix}  {content}"));
    }

    fn heading(
        &self,
        ink: Ink,
        mark: &'static str,
        relation: &Relation,
    ) -> (impl std::fmt::Display, impl std::fmt::Display) {
        let table = format!("{}.{}", clean(&relation.schema), clean(&relation.name));
        (self.paint.ink(ink, mark), self.paint.ink(Ink::Bold, table))
    }

    fn value(&self, relation: &Relation, column: &Column, value: Value<'_>) -> String {
        if value.is_unchanged() {
            return "(unchanged)".to_owned();
        }
        let mut json = Vec::new();
        let value_type = relation.value_type(column.type_oid, &self.types);
        match write_json(&mut json, &value_type, value) {
            Ok(()) => shortened(&String::from_utf8_lossy(&json)).into_owned(),
            Err(error) => format!("({error})"),
        }
    }
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = writeln!(out, "{text}");
}

/// `text` cleaned, and cut where it is long.
fn shortened(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(VALUE_CHARS_MAX) {
        None => clean(text),
        Some((end, _)) => {
            let cut = text.len() - end;
            Cow::Owned(format!("{}… ({cut} bytes more)", clean(&text[..end])))
        }
    }
}

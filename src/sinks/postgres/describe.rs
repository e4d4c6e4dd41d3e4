//! A change in words, for whoever has to find out what is wrong with it.

use super::error::FailedChange;
use crate::codec::value::{TypeRegistry, write_output};
use crate::event::{Batch, Change, Event, Operation, Truncate, Value};

/// The longest text of a key.
const KEY_CHARS_MAX: usize = 200;

/// The change that is the event of this number in `batch`.
pub(super) fn event(batch: &Batch, number: usize, types: &TypeRegistry) -> Option<FailedChange> {
    match batch.events().nth(number)? {
        Event::Change(it) => Some(change(it, types)),
        Event::Truncate(it) => Some(truncate(it)),
        _ => None,
    }
}

pub(super) fn change(change: Change<'_>, types: &TypeRegistry) -> FailedChange {
    FailedChange {
        operation: match change.operation() {
            Operation::Insert => "insert into",
            Operation::Update => "update of",
            Operation::Delete => "delete from",
        },
        table: change.relation().to_string(),
        key: key(change, types),
        position: change.position(),
        lsn: change.lsn(),
    }
}

pub(super) fn truncate(truncate: Truncate<'_>) -> FailedChange {
    FailedChange {
        operation: "truncate of",
        table: truncate.relation().to_string(),
        key: String::new(),
        position: truncate.position(),
        lsn: truncate.lsn(),
    }
}

/// `id=7, part=2`: the key that the row had before.
fn key(change: Change<'_>, types: &TypeRegistry) -> String {
    let relation = change.relation();
    let Some(row) = change.old_row().map(|old| old.row()).or(change.new_row()) else {
        return String::new();
    };
    let parts = relation.key_columns().into_iter().filter_map(|place| {
        let value = row.value(place).unwrap_or(Value::Unchanged);
        let column = relation.columns.get(place)?;
        let mut text = Vec::new();
        let value_type = relation.value_type(column.type_oid, types);
        // A key that cannot be shown is not worth another error.
        write_output(&mut text, &value_type, value).ok()?;
        Some(format!("{}={}", column.name, String::from_utf8_lossy(&text)))
    });
    let text = parts.collect::<Vec<_>>().join(", ");
    match text.char_indices().nth(KEY_CHARS_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

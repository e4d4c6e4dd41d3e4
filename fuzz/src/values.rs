//! One value of any type: what it is written as is JSON on one line, what cannot be read leaves no
//! trace, and the binary form that is made of a text can be read again.
//!
//! The input's first two bytes choose the type, the rest is the value, taken as text and as binary.

use std::sync::LazyLock;

use postgres_types::Type;
use serde::de::IgnoredAny;
use walcast::codec::transcode;
use walcast::codec::value::{TypeRegistry, write_json};
use walcast::event::{Oid, Value};

/// A character may be written as `\u0000`.
const JSON_PER_BYTE: usize = 40;
/// Eight bytes of numeric may stand for 131072 digits before the point and 16383 after it, in an
/// array time and again.
const NUMERIC_PER_BYTE: usize = 60_000;

/// The identifiers of all built-in types, in order.
static TYPES: LazyLock<Vec<u32>> =
    LazyLock::new(|| (0..20_000).filter(|oid| Type::from_oid(*oid).is_some()).collect());

/// How an input names the type `oid`; `None` for one that is not built in.
pub fn selector(oid: u32) -> Option<[u8; 2]> {
    TYPES.binary_search(&oid).ok().map(|at| (at as u16).to_be_bytes())
}

/// See the [module](self).
pub fn check(input: &[u8]) {
    let Some((selector, bytes)) = input.split_first_chunk::<2>() else { return };
    let oid = TYPES[usize::from(u16::from_be_bytes(*selector)) % TYPES.len()];
    let ty = Type::from_oid(oid).expect("it was found by its identifier");
    json(oid, Value::Text(bytes));
    json(oid, Value::Binary(bytes));

    let mut binary = b"before".to_vec();
    let made =
        crate::bounded(bytes.len(), JSON_PER_BYTE, || transcode(&ty, bytes, &mut binary).is_ok());
    assert!(binary.starts_with(b"before"));
    let binary = &binary[6..];
    if !made {
        assert!(binary.is_empty(), "{ty}: what was not made stays");
        return;
    }
    if TypeRegistry::builtin().has_binary_decoder(Oid::new(oid)) {
        let from_binary = json(oid, Value::Binary(binary));
        let is_read = from_binary.is_some() || holds_json(oid) || has_a_range(oid);
        assert!(is_read, "{ty}: {binary:?} of {} is read", bytes.escape_ascii());
    }
}

/// Days and zones beyond what the server holds are refused only when they are read: date, time and
/// timestamp with and without time zone, and arrays of them.
fn has_a_range(oid: u32) -> bool {
    let time = [1082, 1083, 1114, 1184, 1266, 1115, 1182, 1183, 1185, 1270];
    time.contains(&oid)
}

/// `value` as JSON, if it can be read.
fn json(oid: u32, value: Value<'_>) -> Option<Vec<u8>> {
    let (Value::Text(bytes) | Value::Binary(bytes)) = value else { return None };
    let value_type = TypeRegistry::builtin().value_type(Oid::new(oid));
    let mut out = b"before".to_vec();
    let per_byte = if matches!(oid, 1700 | 1231) { NUMERIC_PER_BYTE } else { JSON_PER_BYTE };
    let written =
        crate::bounded(bytes.len(), per_byte, || write_json(&mut out, &value_type, value).is_ok());
    assert!(out.starts_with(b"before"));
    let json = out.split_off(6);
    if !written {
        assert!(json.is_empty(), "what cannot be read leaves no trace");
        return None;
    }
    let shown = || String::from_utf8_lossy(&json).into_owned();
    if !holds_json(oid) {
        let parsed = serde_json::from_slice::<IgnoredAny>(&json);
        assert!(parsed.is_ok(), "type {oid}, {value:?}: {} is no JSON", shown());
    }
    assert!(!json.contains(&b'\n') && !json.contains(&b'\r'), "{} is one line", shown());
    Some(json)
}

/// Values of json and jsonb, and arrays of them, are JSON because the server says so: what it has
/// parsed is not parsed again.
pub(crate) fn holds_json(oid: u32) -> bool {
    matches!(oid, 114 | 199 | 3802 | 3807)
}

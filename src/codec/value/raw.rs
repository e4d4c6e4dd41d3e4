//! A value as it came, where nothing here can say what it is.
//!
//! An object with the type's identifier (and name, where that is known) beside the server's own
//! text or, in hex, its binary form: `{"oid":16400,"type":"public.pair","text":"(1,2)"}`.

use super::binary::write_bytea;
use super::error::Fault;
use super::kind::ValueType;
use crate::codec::string::{write_json_str, write_json_utf8};
use crate::event::{Oid, Value};

/// Writes `value`, which is not NULL, of the type `oid`.
pub(super) fn write(
    out: &mut Vec<u8>,
    oid: Oid,
    value_type: &ValueType,
    value: Value<'_>,
) -> Result<(), Fault> {
    out.extend_from_slice(b"{\"oid\":");
    out.extend_from_slice(itoa::Buffer::new().format(oid.as_u32()).as_bytes());
    if let ValueType::Nested(nested) = value_type {
        out.extend_from_slice(b",\"type\":");
        write_json_str(out, nested.name());
    }
    if let Value::Binary(bytes) = value {
        out.extend_from_slice(b",\"binary\":");
        write_bytea(out, bytes);
    } else {
        out.extend_from_slice(b",\"text\":");
        write_json_utf8(out, value.bytes().unwrap_or_default())?;
    }
    out.push(b'}');
    Ok(())
}

//! Values made of values that are no single ones: ranges, composites, arrays of these.
//!
//! In JSON a range is a string, the server's text of it; a composite is an object with the names
//! of its fields; an array is an array. A composite's type can change under a table that has it,
//! and nothing in the stream says so: a value that does not fit what is known is refused here, and
//! shown raw by whoever called.

use std::fmt;

use super::error::Fault;
use super::kind::ValueType;
use super::output::Parts;
use super::write_form;
use crate::codec::scan::{Scan, Token, token};
use crate::codec::string::write_json_str;
use crate::event::{Oid, Value};

/// A type whose values are made of values.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Nested {
    oid: Oid,
    name: Box<str>,
    pub(super) shape: Shape,
    unknown: Option<Oid>,
}

/// What values are made of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Shape {
    Array { element: ValueType, delimiter: u8 },
    Range(ValueType),
    Multirange(ValueType),
    Composite(Vec<Field>),
}

/// A part of a composite.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Field {
    /// `"name":`
    pub(super) name: Box<[u8]>,
    pub(super) oid: Oid,
    pub(super) value_type: ValueType,
}

impl Nested {
    pub(super) fn new(oid: Oid, name: String, shape: Shape) -> Self {
        let unknown = match &shape {
            Shape::Array { element: inner, .. }
            | Shape::Range(inner)
            | Shape::Multirange(inner) => inner.unknown(),
            Shape::Composite(fields) => fields.iter().find_map(|it| it.value_type.unknown()),
        };
        Self { oid, name: name.into(), shape, unknown }
    }

    /// The type's object identifier.
    pub fn oid(&self) -> Oid {
        self.oid
    }

    /// The type's name, with its schema unless it is built in.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn element(&self) -> Option<&ValueType> {
        match &self.shape {
            Shape::Array { element, .. } => Some(element),
            Shape::Range(_) | Shape::Multirange(_) | Shape::Composite(_) => None,
        }
    }

    pub(super) fn delimiter(&self) -> u8 {
        match &self.shape {
            Shape::Array { delimiter, .. } => *delimiter,
            Shape::Range(_) | Shape::Multirange(_) | Shape::Composite(_) => b',',
        }
    }

    pub(super) fn unknown(&self) -> Option<Oid> {
        self.unknown
    }
}

impl Field {
    pub(super) fn new(name: &str, oid: Oid, value_type: ValueType) -> Self {
        let mut text = Vec::with_capacity(name.len() + 3);
        write_json_str(&mut text, name);
        text.push(b':');
        Self { name: text.into(), oid, value_type }
    }
}

impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", String::from_utf8_lossy(&self.name), self.value_type)
    }
}

/// Writes a composite's text `(1,,"a ""b""")` as an object. Nothing at all is NULL.
pub(super) fn write_text(out: &mut Vec<u8>, fields: &[Field], text: &[u8]) -> Result<(), Fault> {
    let mut scan = Scan(text);
    scan.expect(b"(")?;
    out.push(b'{');
    for (at, field) in fields.iter().enumerate() {
        if at > 0 {
            scan.expect(b",")?;
            out.push(b',');
        }
        out.extend_from_slice(&field.name);
        let token = token(&mut scan, b",)")?;
        let value = match &token {
            Token::Bare(b"") => Value::Null,
            token => Value::Text(token.text()),
        };
        write_form(out, &field.value_type, value)?;
    }
    out.push(b'}');
    scan.expect(b")")?;
    scan.end()
}

/// Writes a composite's binary form, which repeats the type of each field, as an object.
pub(super) fn write_binary(out: &mut Vec<u8>, fields: &[Field], bytes: &[u8]) -> Result<(), Fault> {
    let mut parts = Parts(bytes);
    if usize::try_from(parts.take_i32()?) != Ok(fields.len()) {
        return Err(Fault::Structure);
    }
    out.push(b'{');
    for (at, field) in fields.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        if parts.take_oid()? != field.oid {
            return Err(Fault::Structure);
        }
        out.extend_from_slice(&field.name);
        let value = parts.take_value()?.map_or(Value::Null, Value::Binary);
        write_form(out, &field.value_type, value)?;
    }
    out.push(b'}');
    parts.end()
}

//! Text of arrays, ranges and composites, with what is in them quoted as the server quotes it.

use super::super::array::Dimensions;
use super::super::error::Fault;
use super::super::kind::{Scalar, ValueType};
use super::super::nested::Field;
use super::parts::Parts;
use super::{simple, write, write_scalar};

/// `{1,NULL,"a b"}`, with `[2:3]=` in front when bounds are not 1.
pub(super) fn array(
    out: &mut Vec<u8>,
    element: &ValueType,
    delimiter: u8,
    bytes: &[u8],
) -> Result<(), Fault> {
    let mut parts = Parts(bytes);
    let dimensions = Dimensions::take(&mut parts)?;
    if dimensions.count() == 0 {
        out.extend_from_slice(b"{}");
        return parts.end();
    }
    if dimensions.lower_bounds().iter().any(|lower| *lower != 1) {
        for (length, lower) in dimensions.lengths().iter().zip(dimensions.lower_bounds()) {
            let upper = i64::from(*lower) + *length as i64 - 1;
            out.push(b'[');
            simple::number(out, *lower);
            out.push(b':');
            simple::number(out, upper);
            out.push(b']');
        }
        out.push(b'=');
    }
    let mut elements = Elements { parts, element, delimiter };
    elements.dimension(out, dimensions.lengths())?;
    elements.parts.end()
}

/// What is left of an array.
struct Elements<'a> {
    parts: Parts<'a>,
    element: &'a ValueType,
    delimiter: u8,
}

impl Elements<'_> {
    fn dimension(&mut self, out: &mut Vec<u8>, lengths: &[usize]) -> Result<(), Fault> {
        let Some((&length, inner)) = lengths.split_first() else { return self.one(out) };
        out.push(b'{');
        for at in 0..length {
            if at > 0 {
                out.push(self.delimiter);
            }
            self.dimension(out, inner)?;
        }
        out.push(b'}');
        Ok(())
    }

    fn one(&mut self, out: &mut Vec<u8>) -> Result<(), Fault> {
        let Some(bytes) = self.parts.take_value()? else {
            out.extend_from_slice(b"NULL");
            return Ok(());
        };
        let start = out.len();
        write(out, self.element, bytes)?;
        let text = &out[start..];
        let special = |byte: &u8| {
            matches!(*byte, b'"' | b'\\' | b'{' | b'}')
                || *byte == self.delimiter
                || is_space(*byte)
        };
        if text.is_empty() || text.eq_ignore_ascii_case(b"NULL") || text.iter().any(special) {
            quote(out, start, Escape::Backslash);
        }
        Ok(())
    }
}

/// `1 2 3`
pub(super) fn vector(out: &mut Vec<u8>, element: Scalar, bytes: &[u8]) -> Result<(), Fault> {
    let mut parts = Parts(bytes);
    let dimensions = Dimensions::take(&mut parts)?;
    for at in 0..dimensions.count() {
        if at > 0 {
            out.push(b' ');
        }
        write_scalar(out, element, parts.take_value()?.ok_or(Fault::Structure)?)?;
    }
    parts.end()
}

const EMPTY: u8 = 1;
const LOWER_INCLUSIVE: u8 = 2;
const UPPER_INCLUSIVE: u8 = 4;
const LOWER_INFINITE: u8 = 8;
const UPPER_INFINITE: u8 = 16;

/// Flags, then the bounds that there are: `[1,5)`, `(,"a b"]`, `empty`.
pub(super) fn range(out: &mut Vec<u8>, bound: &ValueType, bytes: &[u8]) -> Result<(), Fault> {
    let mut parts = Parts(bytes);
    let flags = parts.take_u8()?;
    if flags & EMPTY != 0 {
        out.extend_from_slice(b"empty");
        return parts.end();
    }
    out.push(if flags & LOWER_INCLUSIVE != 0 { b'[' } else { b'(' });
    if flags & LOWER_INFINITE == 0 {
        part(out, bound, parts.take_value()?.ok_or(Fault::Structure)?, b"\"\\()[],")?;
    }
    out.push(b',');
    if flags & UPPER_INFINITE == 0 {
        part(out, bound, parts.take_value()?.ok_or(Fault::Structure)?, b"\"\\()[],")?;
    }
    out.push(if flags & UPPER_INCLUSIVE != 0 { b']' } else { b')' });
    parts.end()
}

/// How many, then each behind its length: `{[1,2),[5,7)}`.
pub(super) fn multirange(out: &mut Vec<u8>, bound: &ValueType, bytes: &[u8]) -> Result<(), Fault> {
    let mut parts = Parts(bytes);
    out.push(b'{');
    for at in 0..parts.take_count(4)? {
        if at > 0 {
            out.push(b',');
        }
        range(out, bound, parts.take_value()?.ok_or(Fault::Structure)?)?;
    }
    out.push(b'}');
    parts.end()
}

/// How many, then each with its type and behind its length: `(1,,"a ""b""")`.
pub(super) fn composite(out: &mut Vec<u8>, fields: &[Field], bytes: &[u8]) -> Result<(), Fault> {
    let mut parts = Parts(bytes);
    if usize::try_from(parts.take_i32()?) != Ok(fields.len()) {
        return Err(Fault::Structure);
    }
    out.push(b'(');
    for (at, field) in fields.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        if parts.take_oid()? != field.oid {
            return Err(Fault::Structure);
        }
        if let Some(bytes) = parts.take_value()? {
            part(out, &field.value_type, bytes, b"\"\\(),")?;
        }
    }
    out.push(b')');
    parts.end()
}

/// A bound of a range or a field of a composite, quoted where it has one of `special`.
fn part(
    out: &mut Vec<u8>,
    value_type: &ValueType,
    bytes: &[u8],
    special: &[u8],
) -> Result<(), Fault> {
    let start = out.len();
    write(out, value_type, bytes)?;
    let text = &out[start..];
    if text.is_empty() || text.iter().any(|byte| special.contains(byte) || is_space(*byte)) {
        quote(out, start, Escape::Double);
    }
    Ok(())
}

/// How a quote or a backslash is written between quotes.
#[derive(Clone, Copy)]
enum Escape {
    Backslash,
    Double,
}

/// Puts what was written from `start` on between quotes.
fn quote(out: &mut Vec<u8>, start: usize, escape: Escape) {
    let text = out.split_off(start);
    out.push(b'"');
    for byte in text {
        match (byte, escape) {
            (b'"' | b'\\', Escape::Backslash) => out.push(b'\\'),
            (b'"' | b'\\', Escape::Double) => out.push(byte),
            _ => {}
        }
        out.push(byte);
    }
    out.push(b'"');
}

/// What the server's `isspace` says of ASCII.
const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

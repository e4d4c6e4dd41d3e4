//! Arrays, as nested JSON arrays. Lower bounds are left out, as `to_jsonb` leaves them out.
//!
//! Text arrays are read in one pass: brackets and commas become JSON's, elements go to the text
//! writer of their type. A quoted element with backslashes is unescaped run by run into the output,
//! so no element is copied twice. Binary arrays name their dimensions up front; those are checked
//! against the bytes that are there before anything is written.
//!
//! Nesting is bounded by the server's own limit of six dimensions.

use super::error::Fault;
use super::kind::{Scalar, ValueType};
use super::output::Parts;
use super::registry::builtin_scalar;
use super::{text, write_form};
use crate::codec::string::{NotUtf8, write_escaped};
use crate::event::{Oid, Value};

const DIMENSIONS_MAX: usize = 6;

/// Writes the text form: `{1,NULL,"a \"b\""}`, with `[2:3]=` in front when bounds are not 1.
pub(super) fn write_text(
    out: &mut Vec<u8>,
    element: &ValueType,
    delimiter: u8,
    text: &[u8],
) -> Result<(), Fault> {
    let mut rest = after_bounds(text)?;
    let mut depth = 0;
    if rest.first() != Some(&b'{') {
        return Err(Fault::Structure);
    }
    loop {
        match rest {
            [b'{', b'}', after @ ..] if depth < DIMENSIONS_MAX => {
                out.extend_from_slice(b"[]");
                rest = after;
            }
            [b'{', after @ ..] => {
                depth += 1;
                if depth > DIMENSIONS_MAX {
                    return Err(Fault::Structure);
                }
                out.push(b'[');
                rest = after;
                continue;
            }
            [b'"', after @ ..] => rest = write_quoted(out, element, after)?,
            _ => rest = write_bare(out, element, delimiter, rest)?,
        }
        while let (1.., [b'}', after @ ..]) = (depth, rest) {
            out.push(b']');
            depth -= 1;
            rest = after;
        }
        match (depth, rest) {
            (0, []) => return Ok(()),
            (1.., [between, after @ ..]) if *between == delimiter => {
                out.push(b',');
                rest = after;
            }
            _ => return Err(Fault::Structure),
        }
    }
}

fn after_bounds(text: &[u8]) -> Result<&[u8], Fault> {
    if text.first() != Some(&b'[') {
        return Ok(text);
    }
    let equals = memchr::memchr(b'=', text).ok_or(Fault::Structure)?;
    Ok(&text[equals + 1..])
}

/// Writes an element without quotes and returns what follows it.
fn write_bare<'a>(
    out: &mut Vec<u8>,
    element: &ValueType,
    delimiter: u8,
    text: &'a [u8],
) -> Result<&'a [u8], Fault> {
    let end = memchr::memchr2(delimiter, b'}', text).ok_or(Fault::Structure)?;
    match &text[..end] {
        b"" => return Err(Fault::Structure),
        b"NULL" => out.extend_from_slice(b"null"),
        bare => write_form(out, element, Value::Text(bare))?,
    }
    Ok(&text[end..])
}

/// Writes an element whose opening quote has been read and returns what follows its closing one.
fn write_quoted<'a>(
    out: &mut Vec<u8>,
    element: &ValueType,
    text: &'a [u8],
) -> Result<&'a [u8], Fault> {
    let mut end = 0;
    let mut escaped = false;
    loop {
        end += memchr::memchr2(b'"', b'\\', &text[end..]).ok_or(Fault::Structure)?;
        if text[end] == b'"' {
            break;
        }
        escaped = true;
        end += 2;
        if end > text.len() {
            return Err(Fault::Structure);
        }
    }
    if escaped {
        write_escaped_element(out, element, &text[..end])?;
    } else {
        write_form(out, element, Value::Text(&text[..end]))?;
    }
    Ok(&text[end + 1..])
}

/// Writes an element that holds backslash escapes: what is copied anyway is unescaped on the way.
fn write_escaped_element(out: &mut Vec<u8>, element: &ValueType, raw: &[u8]) -> Result<(), Fault> {
    match element {
        ValueType::Scalar(Scalar::Bytea) => {
            let hex = raw.strip_prefix(b"\\\\x").ok_or(Fault::Syntax)?;
            text::write_hex_string(out, hex)
        }
        ValueType::Scalar(Scalar::Text) => {
            std::str::from_utf8(raw).map_err(|_| NotUtf8)?;
            out.push(b'"');
            unescaped_runs(raw).for_each(|run| write_escaped(out, run));
            out.push(b'"');
            Ok(())
        }
        _ => {
            let unescaped: Vec<u8> = unescaped_runs(raw).flatten().copied().collect();
            write_form(out, element, Value::Text(&unescaped))
        }
    }
}

/// The pieces of `raw` between the backslashes that escape; an escaped byte opens a piece. `raw`
/// does not end in an escaping backslash, since its closing quote was found.
fn unescaped_runs(raw: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = raw;
    let mut literal = 0;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (run, after) = match memchr::memchr(b'\\', &rest[literal..]) {
            Some(found) => (&rest[..literal + found], &rest[literal + found + 1..]),
            None => (rest, &rest[rest.len()..]),
        };
        rest = after;
        literal = 1;
        Some(run)
    })
}

/// Writes the binary form.
pub(super) fn write_binary(
    out: &mut Vec<u8>,
    element: &ValueType,
    bytes: &[u8],
) -> Result<(), Fault> {
    let mut parts = Parts(bytes);
    let dimensions = Dimensions::take(&mut parts)?;
    // A type that this database defines (a domain, an enum) is read as it was declared.
    if let ValueType::Scalar(element) = element
        && builtin_scalar(dimensions.element).is_some_and(|found| found != *element)
    {
        return Err(Fault::Structure);
    }
    let mut elements = Elements { parts, element };
    if dimensions.count() == 0 {
        out.extend_from_slice(b"[]");
    } else {
        elements.write_dimension(out, dimensions.lengths())?;
    }
    elements.parts.end()
}

/// What a binary array opens with: dimension count, flags, element type, (length, lower bound) of
/// each dimension.
pub(super) struct Dimensions {
    element: Oid,
    dimension_count: usize,
    lengths: [usize; DIMENSIONS_MAX],
    lower_bounds: [i32; DIMENSIONS_MAX],
    count: usize,
}

impl Dimensions {
    /// Takes them off the front of `parts`, which has bytes for all elements.
    pub(super) fn take(parts: &mut Parts<'_>) -> Result<Self, Fault> {
        let dimension_count = usize::try_from(parts.take_i32()?).map_err(|_| Fault::Structure)?;
        let _has_nulls = parts.take_i32()?;
        let element = parts.take_oid()?;
        if dimension_count > DIMENSIONS_MAX {
            return Err(Fault::Structure);
        }
        let (mut lengths, mut lower_bounds) = ([0; DIMENSIONS_MAX], [0; DIMENSIONS_MAX]);
        let mut count = usize::from(dimension_count > 0);
        for (length, lower) in lengths.iter_mut().zip(&mut lower_bounds).take(dimension_count) {
            *length = usize::try_from(parts.take_i32()?).map_err(|_| Fault::Structure)?;
            *lower = parts.take_i32()?;
            count = count.checked_mul(*length).ok_or(Fault::Structure)?;
        }
        if count > parts.0.len() / 4 {
            return Err(Fault::Length);
        }
        Ok(Self { element, dimension_count, lengths, lower_bounds, count })
    }

    /// How many elements there are.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn lengths(&self) -> &[usize] {
        &self.lengths[..self.dimension_count]
    }

    pub(super) fn lower_bounds(&self) -> &[i32] {
        &self.lower_bounds[..self.dimension_count]
    }
}

/// What is left of a binary array.
struct Elements<'a> {
    parts: Parts<'a>,
    element: &'a ValueType,
}

impl Elements<'_> {
    fn write_dimension(&mut self, out: &mut Vec<u8>, lengths: &[usize]) -> Result<(), Fault> {
        let Some((&length, inner)) = lengths.split_first() else {
            let value = self.parts.take_value()?.map_or(Value::Null, Value::Binary);
            return write_form(out, self.element, value);
        };
        out.push(b'[');
        for index in 0..length {
            if index > 0 {
                out.push(b',');
            }
            self.write_dimension(out, inner)?;
        }
        out.push(b']');
        Ok(())
    }
}

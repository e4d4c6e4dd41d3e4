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
use super::registry::builtin;
use super::{binary, text};
use crate::codec::string::{NotUtf8, write_escaped};
use crate::event::Oid;

const DIMENSIONS_MAX: usize = 6;

/// Of the built-in types only `box`, which has no decoder here, separates its elements otherwise.
const SEPARATOR: u8 = b',';

/// Writes the text form: `{1,NULL,"a \"b\""}`, with `[2:3]=` in front when bounds are not 1.
pub(super) fn write_text(out: &mut Vec<u8>, element: Scalar, text: &[u8]) -> Result<(), Fault> {
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
            _ => rest = write_bare(out, element, rest)?,
        }
        while let (1.., [b'}', after @ ..]) = (depth, rest) {
            out.push(b']');
            depth -= 1;
            rest = after;
        }
        match (depth, rest) {
            (0, []) => return Ok(()),
            (1.., [SEPARATOR, after @ ..]) => {
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
fn write_bare<'a>(out: &mut Vec<u8>, element: Scalar, text: &'a [u8]) -> Result<&'a [u8], Fault> {
    let end = memchr::memchr2(SEPARATOR, b'}', text).ok_or(Fault::Structure)?;
    match &text[..end] {
        b"" => return Err(Fault::Structure),
        b"NULL" => out.extend_from_slice(b"null"),
        bare => text::write(out, element, bare)?,
    }
    Ok(&text[end..])
}

/// Writes an element whose opening quote has been read and returns what follows its closing one.
fn write_quoted<'a>(out: &mut Vec<u8>, element: Scalar, text: &'a [u8]) -> Result<&'a [u8], Fault> {
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
        text::write(out, element, &text[..end])?;
    }
    Ok(&text[end + 1..])
}

/// Writes an element that holds backslash escapes. Only the types whose text can hold a quote or a
/// backslash come here.
fn write_escaped_element(out: &mut Vec<u8>, element: Scalar, raw: &[u8]) -> Result<(), Fault> {
    match element {
        Scalar::Bytea => {
            let hex = raw.strip_prefix(b"\\\\x").ok_or(Fault::Syntax)?;
            text::write_hex_string(out, hex)
        }
        Scalar::Json | Scalar::Jsonb => {
            std::str::from_utf8(raw).map_err(|_| NotUtf8)?;
            let start = out.len();
            unescaped_runs(raw).for_each(|run| out.extend_from_slice(run));
            text::blank_line_breaks(&mut out[start..]);
            Ok(())
        }
        Scalar::Text | Scalar::Char => {
            std::str::from_utf8(raw).map_err(|_| NotUtf8)?;
            out.push(b'"');
            unescaped_runs(raw).for_each(|run| write_escaped(out, run));
            out.push(b'"');
            Ok(())
        }
        _ => Err(Fault::Syntax),
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

/// Writes the binary form: dimension count, flags, element type, (length, lower bound) of each
/// dimension, then each element behind its length.
pub(super) fn write_binary(out: &mut Vec<u8>, element: Scalar, bytes: &[u8]) -> Result<(), Fault> {
    let (shape, mut elements) = Shape::read(element, bytes)?;
    if shape.is_empty() {
        out.extend_from_slice(b"[]");
    } else {
        let one = |out: &mut Vec<u8>, bytes: Option<&[u8]>| match bytes {
            Some(bytes) => binary::write(out, element, bytes),
            None => {
                out.extend_from_slice(b"null");
                Ok(())
            }
        };
        elements.write_nested(out, shape.lengths(), (b'[', b']'), &one)?;
    }
    elements.end()
}

/// How long a binary array is in each of its dimensions, and where that begins to count.
pub(super) struct Shape {
    dimension_count: usize,
    lengths: [usize; DIMENSIONS_MAX],
    lower_bounds: [i32; DIMENSIONS_MAX],
}

impl Shape {
    /// Read what stands before the elements; answers what is left, which is long enough for them.
    pub(super) fn read(element: Scalar, bytes: &[u8]) -> Result<(Self, Elements<'_>), Fault> {
        let mut elements = Elements { bytes };
        let dimension_count = elements.take_i32()?;
        let _has_nulls = elements.take_i32()?;
        let element_oid = Oid::new(elements.take_i32()?.cast_unsigned());
        // A type that this database defines (a domain, an enum) is read as it was declared.
        if builtin(element_oid).is_some_and(|found| found != ValueType::Scalar(element)) {
            return Err(Fault::Structure);
        }
        let dimension_count = usize::try_from(dimension_count).map_err(|_| Fault::Structure)?;
        if dimension_count > DIMENSIONS_MAX {
            return Err(Fault::Structure);
        }
        let (mut lengths, mut lower_bounds) = ([0; DIMENSIONS_MAX], [1; DIMENSIONS_MAX]);
        let mut count = usize::from(dimension_count > 0);
        for (length, bound) in lengths.iter_mut().zip(&mut lower_bounds).take(dimension_count) {
            *length = usize::try_from(elements.take_i32()?).map_err(|_| Fault::Structure)?;
            *bound = elements.take_i32()?;
            count = count.checked_mul(*length).ok_or(Fault::Structure)?;
        }
        if count > elements.bytes.len() / 4 {
            return Err(Fault::Length);
        }
        Ok((Self { dimension_count, lengths, lower_bounds }, elements))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lengths().iter().product::<usize>() == 0 || self.dimension_count == 0
    }

    pub(super) fn lengths(&self) -> &[usize] {
        &self.lengths[..self.dimension_count]
    }

    pub(super) fn lower_bounds(&self) -> impl Iterator<Item = i32> + '_ {
        self.lower_bounds[..self.dimension_count].iter().copied()
    }
}

/// What is left of a binary array's elements.
pub(super) struct Elements<'a> {
    bytes: &'a [u8],
}

impl<'a> Elements<'a> {
    /// Write arrays of `lengths` in one another between `brackets`, each element, or NULL, by
    /// `one`.
    pub(super) fn write_nested(
        &mut self,
        out: &mut Vec<u8>,
        lengths: &[usize],
        (open, close): (u8, u8),
        one: &impl Fn(&mut Vec<u8>, Option<&'a [u8]>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let Some((&length, inner)) = lengths.split_first() else {
            return one(out, self.take()?);
        };
        out.push(open);
        for index in 0..length {
            if index > 0 {
                out.push(SEPARATOR);
            }
            self.write_nested(out, inner, (open, close), one)?;
        }
        out.push(close);
        Ok(())
    }

    /// Nothing may be left.
    pub(super) fn end(&self) -> Result<(), Fault> {
        if self.bytes.is_empty() { Ok(()) } else { Err(Fault::Length) }
    }

    fn take(&mut self) -> Result<Option<&'a [u8]>, Fault> {
        let length = self.take_i32()?;
        if length == -1 {
            return Ok(None);
        }
        let length = usize::try_from(length).map_err(|_| Fault::Length)?;
        let (value, rest) = self.bytes.split_at_checked(length).ok_or(Fault::Length)?;
        self.bytes = rest;
        Ok(Some(value))
    }

    fn take_i32(&mut self) -> Result<i32, Fault> {
        let (number, rest) = self.bytes.split_first_chunk().ok_or(Fault::Length)?;
        self.bytes = rest;
        Ok(i32::from_be_bytes(*number))
    }
}

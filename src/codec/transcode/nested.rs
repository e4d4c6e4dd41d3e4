//! Values made of values: arrays, ranges, multiranges, composites.
//!
//! Their text forms quote alike: an element stands bare or in double quotes, and inside quotes a
//! backslash takes the next byte as it is; ranges and composites double a quote instead.

use postgres_types::{Field, Kind, Type};

use super::{TranscodeError, number, write};
use crate::codec::scan::{Scan, Token, token};
use crate::codec::value::Fault;

const DIMENSIONS_MAX: usize = 6;
const NULL: i32 = -1;

/// Write what `inner` writes, behind its length.
fn with_length(
    out: &mut Vec<u8>,
    inner: impl FnOnce(&mut Vec<u8>) -> Result<(), TranscodeError>,
) -> Result<(), TranscodeError> {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    inner(out)?;
    let length = i32::try_from(out.len() - start - 4).map_err(|_| Fault::Length)?;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

fn put_i32(out: &mut Vec<u8>, number: usize) -> Result<(), Fault> {
    let number = i32::try_from(number).map_err(|_| Fault::Range)?;
    out.extend_from_slice(&number.to_be_bytes());
    Ok(())
}

/// `[2:3]={1,NULL,"a \"b\""}`: dimension count, whether there are NULLs, element type, length and
/// lower bound of each dimension, elements.
pub(super) fn array(element: &Type, text: &[u8], out: &mut Vec<u8>) -> Result<(), TranscodeError> {
    let mut scan = Scan(text);
    let bounds = lower_bounds(&mut scan)?;
    let empty = scan.0 == b"{}";
    let count = if empty { 0 } else { scan.0.iter().take_while(|byte| **byte == b'{').count() };
    if count > DIMENSIONS_MAX || (count == 0 && !empty) {
        return Err(Fault::Structure.into());
    }
    let head = out.len();
    put_i32(out, count)?;
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&element.oid().to_be_bytes());
    // Lengths are known when the elements have been read.
    out.resize(out.len() + 8 * count, 0);
    let (separator, lengths) = (separator(element), [None; DIMENSIONS_MAX]);
    let mut elements = Elements { scan, separator, element, lengths, nulls: false };
    if empty {
        elements.scan.expect(b"{}")?;
    } else {
        elements.dimension(0, count, out)?;
    }
    elements.scan.end()?;
    out[head + 7] = u8::from(elements.nulls);
    let mut place = head + 12;
    for (length, lower) in std::iter::zip(elements.lengths, bounds).take(count) {
        out[place..place + 4].copy_from_slice(&length.unwrap_or_default().to_be_bytes());
        out[place + 4..place + 8].copy_from_slice(&lower.to_be_bytes());
        place += 8;
    }
    Ok(())
}

/// What stands between two elements: boxes hold commas of their own, and PostGIS chose another.
fn separator(element: &Type) -> u8 {
    match (element, element.kind()) {
        (_, Kind::Domain(base)) => separator(base),
        (&Type::BOX, _) => b';',
        (_, Kind::Simple) if super::is_geometry(element) => b':',
        _ => b',',
    }
}

/// `[2:3][-1:0]=`; without it, or for a dimension it does not name, 1.
fn lower_bounds(scan: &mut Scan<'_>) -> Result<[i32; DIMENSIONS_MAX], Fault> {
    let mut bounds = [1; DIMENSIONS_MAX];
    if scan.peek() != Some(b'[') {
        return Ok(bounds);
    }
    let mut dimensions = bounds.iter_mut();
    while scan.take(b"[") {
        let negative = scan.take(b"-");
        let lower = scan.number()?;
        let lower = i32::try_from(if negative { -lower } else { lower });
        *dimensions.next().ok_or(Fault::Structure)? = lower.map_err(|_| Fault::Range)?;
        scan.expect(b":")?;
        scan.until(|byte| byte == b']');
        scan.expect(b"]")?;
    }
    scan.expect(b"=")?;
    Ok(bounds)
}

/// An array's elements while they are read.
struct Elements<'a> {
    scan: Scan<'a>,
    separator: u8,
    element: &'a Type,
    /// How long each dimension is, once one of it was read.
    lengths: [Option<u32>; DIMENSIONS_MAX],
    nulls: bool,
}

impl Elements<'_> {
    /// Take what stands in the brackets of the dimension `depth` of `count`.
    fn dimension(
        &mut self,
        depth: usize,
        count: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), TranscodeError> {
        self.scan.expect(b"{")?;
        let mut length = 0;
        loop {
            if depth + 1 < count {
                self.dimension(depth + 1, count, out)?;
            } else {
                self.one(out)?;
            }
            length += 1;
            if !self.scan.take(&[self.separator]) {
                break;
            }
        }
        self.scan.expect(b"}")?;
        if *self.lengths[depth].get_or_insert(length) == length {
            Ok(())
        } else {
            Err(Fault::Structure.into())
        }
    }

    fn one(&mut self, out: &mut Vec<u8>) -> Result<(), TranscodeError> {
        match token(&mut self.scan, &[self.separator, b'}'])? {
            Token::Bare(b"" | [b'{', ..]) => Err(Fault::Structure.into()),
            Token::Bare(b"NULL") => {
                self.nulls = true;
                out.extend_from_slice(&NULL.to_be_bytes());
                Ok(())
            }
            element => with_length(out, |out| write(self.element, element.text(), out)),
        }
    }
}

/// `1 2 3`: an array of one dimension that counts from 0.
pub(super) fn vector(element: &Type, text: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    let numbers = text.split(|byte| *byte == b' ').filter(|number| !number.is_empty());
    put_i32(out, 1)?;
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&element.oid().to_be_bytes());
    put_i32(out, numbers.clone().count())?;
    out.extend_from_slice(&[0; 4]);
    for text in numbers {
        if *element == Type::INT2 {
            put_i32(out, 2)?;
            number::integer(text, i16::to_be_bytes, out)?;
        } else {
            put_i32(out, 4)?;
            number::integer(text, u32::to_be_bytes, out)?;
        }
    }
    Ok(())
}

const EMPTY: u8 = 1;
const LOWER_INCLUSIVE: u8 = 2;
const UPPER_INCLUSIVE: u8 = 4;
const LOWER_INFINITE: u8 = 8;
const UPPER_INFINITE: u8 = 16;

/// `[1,5)`, `(,"a b"]`, `empty`: flags, then the bounds that there are.
pub(super) fn range(element: &Type, text: &[u8], out: &mut Vec<u8>) -> Result<(), TranscodeError> {
    let mut scan = Scan(text);
    one_range(element, &mut scan, out)?;
    Ok(scan.end()?)
}

fn one_range(element: &Type, scan: &mut Scan<'_>, out: &mut Vec<u8>) -> Result<(), TranscodeError> {
    if scan.take(b"empty") {
        out.push(EMPTY);
        return Ok(());
    }
    let flags_at = out.len();
    out.push(0);
    let mut flags = if scan.take(b"[") { LOWER_INCLUSIVE } else { 0 };
    if flags == 0 {
        scan.expect(b"(")?;
    }
    match token(scan, b",")? {
        Token::Bare(b"") => flags |= LOWER_INFINITE,
        bound => with_length(out, |out| write(element, bound.text(), out))?,
    }
    scan.expect(b",")?;
    match token(scan, b")]")? {
        Token::Bare(b"") => flags |= UPPER_INFINITE,
        bound => with_length(out, |out| write(element, bound.text(), out))?,
    }
    if scan.take(b"]") {
        flags |= UPPER_INCLUSIVE;
    } else {
        scan.expect(b")")?;
    }
    out[flags_at] = flags;
    Ok(())
}

/// `{[1,2),[5,7)}`: how many, then each behind its length.
pub(super) fn multirange(
    element: &Type,
    text: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), TranscodeError> {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    let mut scan = Scan(text);
    scan.expect(b"{")?;
    let mut count = 0u32;
    while !scan.take(b"}") {
        if count > 0 {
            scan.expect(b",")?;
        }
        with_length(out, |out| one_range(element, &mut scan, out))?;
        count += 1;
    }
    scan.end()?;
    out[start..start + 4].copy_from_slice(&count.to_be_bytes());
    Ok(())
}

/// `(1,,"a ""b""")`: how many, then each with its type and behind its length. Nothing at all is
/// NULL.
pub(super) fn composite(
    fields: &[Field],
    text: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), TranscodeError> {
    put_i32(out, fields.len())?;
    let mut scan = Scan(text);
    scan.expect(b"(")?;
    for (at, field) in fields.iter().enumerate() {
        if at > 0 {
            scan.expect(b",")?;
        }
        out.extend_from_slice(&field.type_().oid().to_be_bytes());
        match token(&mut scan, b",)")? {
            Token::Bare(b"") => out.extend_from_slice(&NULL.to_be_bytes()),
            value => with_length(out, |out| write(field.type_(), value.text(), out))?,
        }
    }
    scan.expect(b")")?;
    Ok(scan.end()?)
}

/// `"a"=>"1", "b"=>NULL`: how many, then keys and values behind their lengths.
pub(super) fn hstore(text: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    let mut scan = Scan(text);
    let mut count = 0u32;
    while !scan.is_done() {
        if count > 0 {
            scan.expect(b", ")?;
        }
        match token(&mut scan, b"=")? {
            Token::Quoted(key) => {
                put_i32(out, key.len())?;
                out.extend_from_slice(&key);
            }
            Token::Bare(_) => return Err(Fault::Syntax),
        }
        scan.expect(b"=>")?;
        match token(&mut scan, b",")? {
            Token::Quoted(value) => {
                put_i32(out, value.len())?;
                out.extend_from_slice(&value);
            }
            Token::Bare(b"NULL") => out.extend_from_slice(&NULL.to_be_bytes()),
            Token::Bare(_) => return Err(Fault::Syntax),
        }
        count += 1;
    }
    out[start..start + 4].copy_from_slice(&count.to_be_bytes());
    Ok(())
}

//! Arrays as JSON arrays of their elements, from text and from binary, one element after the other.
//! Lower bounds are left out, as the connector leaves them out.

use crate::codec::value::Fault;
use crate::codec::with_scratch;

const DIMENSIONS_MAX: usize = 6;

/// Writes the text form; `one` writes an element from its text.
pub(super) fn write_text<E: From<Fault>>(
    out: &mut Vec<u8>,
    separator: u8,
    text: &[u8],
    one: &mut impl FnMut(&mut Vec<u8>, &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    // `[2:3]={…}`: where its indexes begin.
    let start = match text.first() {
        Some(b'[') => memchr::memchr(b'=', text).ok_or(Fault::Structure)? + 1,
        _ => 0,
    };
    let mut rest = &text[start..];
    let mut depth = 0;
    loop {
        match rest {
            [b'{', after @ ..] if depth < DIMENSIONS_MAX => {
                out.push(b'[');
                depth += 1;
                rest = after;
                if rest.first() != Some(&b'}') {
                    continue;
                }
            }
            [b'"', ..] if depth > 0 => {
                rest = with_scratch(|element| {
                    let rest = unquote(element, rest)?;
                    one(out, element)?;
                    Ok::<_, E>(rest)
                })?;
            }
            _ if depth > 0 => {
                let end = |byte: &u8| *byte == separator || matches!(byte, b'{' | b'}' | b'"');
                let length = rest.iter().position(end).ok_or(Fault::Structure)?;
                match &rest[..length] {
                    b"" => return Err(Fault::Structure.into()),
                    b"NULL" => out.extend_from_slice(b"null"),
                    element => one(out, element)?,
                }
                rest = &rest[length..];
            }
            _ => return Err(Fault::Structure.into()),
        }
        while let (1.., [b'}', after @ ..]) = (depth, rest) {
            out.push(b']');
            depth -= 1;
            rest = after;
        }
        match rest.split_first() {
            None if depth == 0 => return Ok(()),
            Some((byte, after)) if depth > 0 && *byte == separator => {
                out.push(b',');
                rest = after;
            }
            _ => return Err(Fault::Structure.into()),
        }
    }
}

/// Puts the quoted element at the start of `text` into `element`; what follows it.
fn unquote<'a>(element: &mut Vec<u8>, text: &'a [u8]) -> Result<&'a [u8], Fault> {
    let mut rest = &text[1..];
    loop {
        let at = memchr::memchr2(b'"', b'\\', rest).ok_or(Fault::Structure)?;
        element.extend_from_slice(&rest[..at]);
        if rest[at] == b'"' {
            return Ok(&rest[at + 1..]);
        }
        element.push(*rest.get(at + 1).ok_or(Fault::Structure)?);
        rest = &rest[at + 2..];
    }
}

/// Writes the binary form; `one` writes an element from its binary form.
pub(super) fn write_binary<E: From<Fault>>(
    out: &mut Vec<u8>,
    bytes: &[u8],
    one: &mut impl FnMut(&mut Vec<u8>, &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut rest = Rest(bytes);
    let dimension_count = usize::try_from(rest.take_i32()?).map_err(|_| Fault::Structure)?;
    let (_has_nulls, _element_oid) = (rest.take_i32()?, rest.take_i32()?);
    let mut lengths = [0; DIMENSIONS_MAX];
    let lengths = lengths.get_mut(..dimension_count).ok_or(Fault::Structure)?;
    let mut count = usize::from(dimension_count > 0);
    for length in lengths.iter_mut() {
        *length = usize::try_from(rest.take_i32()?).map_err(|_| Fault::Structure)?;
        let _lower_bound = rest.take_i32()?;
        count = count.checked_mul(*length).ok_or(Fault::Structure)?;
    }
    if count > rest.0.len() / 4 {
        return Err(Fault::Length.into());
    }
    match count {
        0 => out.extend_from_slice(b"[]"),
        _ => rest.write_dimension(out, lengths, one)?,
    }
    if rest.0.is_empty() { Ok(()) } else { Err(Fault::Length.into()) }
}

/// What is left of a binary array.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn write_dimension<E: From<Fault>>(
        &mut self,
        out: &mut Vec<u8>,
        lengths: &[usize],
        one: &mut impl FnMut(&mut Vec<u8>, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some((&length, inner)) = lengths.split_first() else {
            match self.take()? {
                Some(element) => one(out, element)?,
                None => out.extend_from_slice(b"null"),
            }
            return Ok(());
        };
        out.push(b'[');
        for index in 0..length {
            if index > 0 {
                out.push(b',');
            }
            self.write_dimension(out, inner, one)?;
        }
        out.push(b']');
        Ok(())
    }

    fn take(&mut self) -> Result<Option<&'a [u8]>, Fault> {
        let length = self.take_i32()?;
        if length == -1 {
            return Ok(None);
        }
        let length = usize::try_from(length).map_err(|_| Fault::Length)?;
        let (element, rest) = self.0.split_at_checked(length).ok_or(Fault::Length)?;
        self.0 = rest;
        Ok(Some(element))
    }

    fn take_i32(&mut self) -> Result<i32, Fault> {
        let (number, rest) = self.0.split_first_chunk().ok_or(Fault::Length)?;
        self.0 = rest;
        Ok(i32::from_be_bytes(*number))
    }
}

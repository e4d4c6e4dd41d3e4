//! Reading text front to back, and the parts of nested values in it.

use crate::codec::value::Fault;

/// What is left of a text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scan<'a>(pub(super) &'a [u8]);

impl<'a> Scan<'a> {
    pub(super) fn is_done(self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn peek(self) -> Option<u8> {
        self.0.first().copied()
    }

    /// Take `literal` if it comes next.
    pub(super) fn take(&mut self, literal: &[u8]) -> bool {
        match self.0.strip_prefix(literal) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    /// Take `literal`, which must come next.
    pub(super) fn expect(&mut self, literal: &[u8]) -> Result<(), Fault> {
        if self.take(literal) { Ok(()) } else { Err(Fault::Syntax) }
    }

    /// Take what comes before the first byte that `ends` says is not part of it.
    pub(super) fn until(&mut self, ends: impl Fn(u8) -> bool) -> &'a [u8] {
        let length = self.0.iter().position(|byte| ends(*byte)).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken
    }

    /// Take a whole number without sign.
    pub(super) fn number(&mut self) -> Result<i64, Fault> {
        let digits = self.until(|byte| !byte.is_ascii_digit());
        if digits.is_empty() {
            return Err(Fault::Syntax);
        }
        digits
            .iter()
            .try_fold(0i64, |number, digit| {
                let next = number.checked_mul(10)?.checked_add(i64::from(digit - b'0'))?;
                Some(next)
            })
            .ok_or(Fault::Range)
    }

    /// Take exactly two digits.
    pub(super) fn two(&mut self) -> Result<i64, Fault> {
        match self.0 {
            [tens @ b'0'..=b'9', ones @ b'0'..=b'9', rest @ ..] => {
                self.0 = rest;
                Ok(i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
            }
            _ => Err(Fault::Syntax),
        }
    }

    /// Nothing may be left.
    pub(super) fn end(self) -> Result<(), Fault> {
        if self.is_done() { Ok(()) } else { Err(Fault::Syntax) }
    }
}

/// Text as `T` reads it.
pub(super) fn parse<T: std::str::FromStr>(text: &[u8]) -> Result<T, Fault> {
    let text = std::str::from_utf8(text).map_err(|_| Fault::Encoding)?;
    text.parse().map_err(|_| Fault::Syntax)
}

/// One element: as it stands, or unquoted into a buffer.
pub(super) enum Token<'a> {
    Bare(&'a [u8]),
    Quoted(Vec<u8>),
}

impl Token<'_> {
    pub(super) fn text(&self) -> &[u8] {
        match self {
            Token::Bare(text) => text,
            Token::Quoted(text) => text,
        }
    }
}

/// Take an element that one of `ends` ends.
pub(super) fn token<'a>(scan: &mut Scan<'a>, ends: &[u8]) -> Result<Token<'a>, Fault> {
    if scan.peek() != Some(b'"') {
        return Ok(Token::Bare(scan.until(|byte| ends.contains(&byte))));
    }
    scan.expect(b"\"")?;
    let mut text = Vec::new();
    loop {
        text.extend_from_slice(scan.until(|byte| byte == b'"' || byte == b'\\'));
        match scan.0 {
            [b'\\', taken, rest @ ..] | [b'"', taken @ b'"', rest @ ..] => {
                text.push(*taken);
                scan.0 = rest;
            }
            [b'"', rest @ ..] => {
                scan.0 = rest;
                return Ok(Token::Quoted(text));
            }
            _ => return Err(Fault::Structure),
        }
    }
}

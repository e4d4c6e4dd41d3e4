//! Text of `tsvector` and `tsquery`.

use std::io::Write as _;

use super::super::error::Fault;
use super::parts::Parts;

/// The lexemes, each ended by a zero byte and followed by its positions: two bits of weight,
/// fourteen of place.
pub(super) fn ts_vector(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Fault> {
    let mut parts = Parts(bytes);
    for at in 0..parts.take_count(3)? {
        if at > 0 {
            out.push(b' ');
        }
        lexeme(out, parts.take_text()?);
        for at in 0..parts.take_u16()? {
            let position = parts.take_u16()?;
            out.push(if at == 0 { b':' } else { b',' });
            out.extend_from_slice(itoa::Buffer::new().format(position & 0x3fff).as_bytes());
            // Of the least weight nothing is said.
            out.extend_from_slice([b"".as_slice(), b"C", b"B", b"A"][usize::from(position >> 14)]);
        }
    }
    parts.end()
}

/// `'it''s'`: quotes and backslashes inside are doubled.
fn lexeme(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'\'');
    for &byte in text {
        if matches!(byte, b'\'' | b'\\') {
            out.push(byte);
        }
        out.push(byte);
    }
    out.push(b'\'');
}

/// One part of a query, in the order of the binary form: an operator before its right operand, then
/// its left one.
#[derive(Clone, Copy)]
enum Item<'a> {
    Lexeme { weights: u8, is_prefix: bool, text: &'a [u8] },
    Not,
    Binary(Operator),
}

#[derive(Clone, Copy, PartialEq)]
enum Operator {
    And,
    Or,
    /// Followed by, at this distance.
    Phrase(u16),
}

impl Item<'_> {
    fn priority(self) -> i8 {
        match self {
            Item::Binary(Operator::Or) => 1,
            Item::Binary(Operator::And) => 2,
            Item::Binary(Operator::Phrase(_)) => 3,
            Item::Not | Item::Lexeme { .. } => 4,
        }
    }
}

/// What is still to be written.
#[derive(Clone, Copy)]
enum Step {
    /// The part at this place, inside an operator of this priority.
    Part {
        at: usize,
        within: i8,
        right_of_phrase: bool,
    },
    Operator(Operator),
    Close,
}

/// `'a' & !( 'b' | 'c':*A )`. Written with a list of what is left, because queries can be deep.
pub(super) fn ts_query(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Fault> {
    let items = items(bytes)?;
    let ends = ends(&items)?;
    let whole = Step::Part { at: 0, within: -1, right_of_phrase: false };
    let mut left: Vec<Step> = if items.is_empty() { Vec::new() } else { vec![whole] };
    while let Some(step) = left.pop() {
        match step {
            Step::Close => out.extend_from_slice(b" )"),
            Step::Operator(Operator::And) => out.extend_from_slice(b" & "),
            Step::Operator(Operator::Or) => out.extend_from_slice(b" | "),
            Step::Operator(Operator::Phrase(1)) => out.extend_from_slice(b" <-> "),
            Step::Operator(Operator::Phrase(distance)) => {
                // Writing to a vector cannot fail.
                let _ = write!(out, " <{distance}> ");
            }
            Step::Part { at, within, right_of_phrase } => {
                let item = items[at];
                let priority = item.priority();
                let is_phrase = matches!(item, Item::Binary(Operator::Phrase(_)));
                if priority < within || (right_of_phrase && is_phrase) {
                    out.extend_from_slice(b"( ");
                    left.push(Step::Close);
                }
                let part =
                    |at, right_of_phrase| Step::Part { at, within: priority, right_of_phrase };
                match item {
                    Item::Lexeme { weights, is_prefix, text } => {
                        operand(out, weights, is_prefix, text);
                    }
                    Item::Not => {
                        out.push(b'!');
                        left.push(part(at + 1, false));
                    }
                    Item::Binary(operator) => {
                        left.push(part(at + 1, is_phrase));
                        left.push(Step::Operator(operator));
                        left.push(part(ends[at + 1], false));
                    }
                }
            }
        }
    }
    Ok(())
}

fn items(bytes: &[u8]) -> Result<Vec<Item<'_>>, Fault> {
    const LEXEME: u8 = 1;
    const OPERATOR: u8 = 2;
    let mut parts = Parts(bytes);
    let count = parts.take_count(2)?;
    let mut items = Vec::with_capacity(count);
    for _ in 0..count {
        items.push(match (parts.take_u8()?, parts.take_u8()?) {
            (LEXEME, weights) => {
                let is_prefix = parts.take_u8()? != 0;
                Item::Lexeme { weights, is_prefix, text: parts.take_text()? }
            }
            (OPERATOR, 1) => Item::Not,
            (OPERATOR, 2) => Item::Binary(Operator::And),
            (OPERATOR, 3) => Item::Binary(Operator::Or),
            (OPERATOR, 4) => Item::Binary(Operator::Phrase(parts.take_u16()?)),
            _ => return Err(Fault::Structure),
        });
    }
    parts.end()?;
    Ok(items)
}

/// Where the part that begins at each place ends.
fn ends(items: &[Item<'_>]) -> Result<Vec<usize>, Fault> {
    let mut ends = vec![0; items.len()];
    for at in (0..items.len()).rev() {
        let end_of = |at: usize| ends.get(at).copied().ok_or(Fault::Structure);
        ends[at] = match items[at] {
            Item::Lexeme { .. } => at + 1,
            Item::Not => end_of(at + 1)?,
            Item::Binary(_) => end_of(end_of(at + 1)?)?,
        };
    }
    match ends.first() {
        Some(end) if *end != items.len() => Err(Fault::Structure),
        _ => Ok(ends),
    }
}

/// `'a':*AB`
fn operand(out: &mut Vec<u8>, weights: u8, is_prefix: bool, text: &[u8]) {
    lexeme(out, text);
    if weights == 0 && !is_prefix {
        return;
    }
    out.push(b':');
    if is_prefix {
        out.push(b'*');
    }
    for (bit, letter) in [(8, b'A'), (4, b'B'), (2, b'C'), (1, b'D')] {
        if weights & bit != 0 {
            out.push(letter);
        }
    }
}

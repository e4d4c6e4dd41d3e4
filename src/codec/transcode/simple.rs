//! Booleans, bytes, bits, identifiers.

use crate::codec::scan::{Scan, parse};
use crate::codec::value::Fault;

pub(super) fn boolean(text: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    out.push(match text {
        b"t" => 1,
        b"f" => 0,
        _ => return Err(Fault::Syntax),
    });
    Ok(())
}

/// A `"char"`: the zero byte shows as nothing, and bytes above 127 raw or, from server 16 on, as
/// `\ooo`.
pub(super) fn char(text: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    out.push(match *text {
        [] => 0,
        [byte] => byte,
        [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7'] => {
            (a - b'0') << 6 | (b - b'0') << 3 | (c - b'0')
        }
        _ => return Err(Fault::Syntax),
    });
    Ok(())
}

/// `\x` and hex digits, or bytes with `\\` and `\ooo`.
pub(super) fn bytea(text: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    if let Some(hex) = text.strip_prefix(b"\\x") {
        return hex_pairs(hex, out);
    }
    let mut scan = Scan(text);
    while !scan.is_done() {
        out.extend_from_slice(scan.until(|byte| byte == b'\\'));
        scan.0 = match scan.0 {
            [] => break,
            [_, b'\\', rest @ ..] => {
                out.push(b'\\');
                rest
            }
            [_, a, b, c, rest @ ..] => {
                char(&[b'\\', *a, *b, *c], out)?;
                rest
            }
            _ => return Err(Fault::Syntax),
        };
    }
    Ok(())
}

/// Two hex digits a byte.
pub(super) fn hex_pairs(hex: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    let (pairs, rest) = hex.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(Fault::Syntax);
    }
    out.reserve(pairs.len());
    for [high, low] in pairs {
        out.push(hex_digit(*high)? << 4 | hex_digit(*low)?);
    }
    Ok(())
}

fn hex_digit(digit: u8) -> Result<u8, Fault> {
    match NIBBLES[usize::from(digit)] {
        NO_NIBBLE => Err(Fault::Syntax),
        nibble => Ok(nibble),
    }
}

pub(super) fn uuid(text: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    if let Some(bytes) = usual_uuid(text) {
        out.extend_from_slice(&bytes);
        return Ok(());
    }
    let start = out.len();
    for part in text.split(|byte| *byte == b'-') {
        hex_pairs(part, out)?;
    }
    if out.len() - start == 16 && text.len() == 36 { Ok(()) } else { Err(Fault::Syntax) }
}

/// `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`; `None` for any other text.
fn usual_uuid(text: &[u8]) -> Option<[u8; 16]> {
    const PAIRS: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
    let text: &[u8; 36] = text.try_into().ok()?;
    let mut wrong = [8, 13, 18, 23].into_iter().fold(0, |wrong, at| wrong | (text[at] ^ b'-'));
    let bytes = PAIRS.map(|at| {
        let (high, low) = (NIBBLES[usize::from(text[at])], NIBBLES[usize::from(text[at + 1])]);
        wrong |= (high | low) & NO_NIBBLE;
        high << 4 | low
    });
    (wrong == 0).then_some(bytes)
}

const NO_NIBBLE: u8 = 0xf0;

/// What each byte means as a hex digit.
const NIBBLES: [u8; 256] = {
    let mut nibbles = [NO_NIBBLE; 256];
    let mut digit = 0;
    while digit < 16 {
        let letter = b"0123456789abcdef"[digit];
        nibbles[letter as usize] = digit as u8;
        nibbles[letter.to_ascii_uppercase() as usize] = digit as u8;
        digit += 1;
    }
    nibbles
};

/// `jsonb` and `jsonpath` are their text behind a version.
pub(super) fn versioned(text: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    std::str::from_utf8(text).map_err(|_| Fault::Encoding)?;
    out.reserve(text.len() + 1);
    out.push(1);
    out.extend_from_slice(text);
    Ok(())
}

/// The number of bits, then the bits from the highest of the first byte on.
pub(super) fn bits(text: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    let count = i32::try_from(text.len()).map_err(|_| Fault::Range)?;
    out.extend_from_slice(&count.to_be_bytes());
    for eight in text.chunks(8) {
        let mut byte = 0;
        for (at, bit) in eight.iter().enumerate() {
            match bit {
                b'0' => {}
                b'1' => byte |= 0x80 >> at,
                _ => return Err(Fault::Syntax),
            }
        }
        out.push(byte);
    }
    Ok(())
}

/// `(block,line)`.
pub(super) fn tid(text: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    let mut scan = Scan(text);
    scan.expect(b"(")?;
    let block = u32::try_from(scan.number()?).map_err(|_| Fault::Range)?;
    scan.expect(b",")?;
    let line = u16::try_from(scan.number()?).map_err(|_| Fault::Range)?;
    scan.expect(b")")?;
    out.extend_from_slice(&block.to_be_bytes());
    out.extend_from_slice(&line.to_be_bytes());
    scan.end()
}

pub(super) fn lsn(text: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    let lsn: crate::lsn::Lsn = parse(text)?;
    out.extend_from_slice(&lsn.as_u64().to_be_bytes());
    Ok(())
}

/// `xmin:xmax:xid,xid`, the list first counted.
pub(super) fn snapshot(text: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    let mut parts = text.splitn(3, |byte| *byte == b':');
    let mut next = || parts.next().ok_or(Fault::Syntax);
    let (xmin, xmax, running) = (parse::<u64>(next()?)?, parse::<u64>(next()?)?, next()?);
    let running = running.split(|byte| *byte == b',').filter(|xid| !xid.is_empty());
    let count = i32::try_from(running.clone().count()).map_err(|_| Fault::Range)?;
    out.extend_from_slice(&count.to_be_bytes());
    for xid in [xmin, xmax] {
        out.extend_from_slice(&xid.to_be_bytes());
    }
    for xid in running {
        out.extend_from_slice(&parse::<u64>(xid)?.to_be_bytes());
    }
    Ok(())
}

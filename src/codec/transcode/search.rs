//! `tsvector`.

use crate::codec::scan::Scan;
use crate::codec::value::Fault;

/// The lexemes in their order, each ended by a zero byte and followed by its positions: two bits of
/// weight, fourteen of place.
pub(super) fn ts_vector(text: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    // A zero byte ends a lexeme, and is in no text of the server.
    if text.contains(&0) || std::str::from_utf8(text).is_err() {
        return Err(Fault::Encoding);
    }
    let start = out.len();
    let mut count = 0u32;
    out.extend_from_slice(&[0; 4]);
    let mut scan = Scan(text);
    while !scan.is_done() {
        if count > 0 {
            scan.expect(b" ")?;
        }
        lexeme(&mut scan, out)?;
        positions(&mut scan, out)?;
        count += 1;
    }
    out[start..start + 4].copy_from_slice(&count.to_be_bytes());
    Ok(())
}

/// `'it''s'`: quotes and backslashes inside are doubled.
fn lexeme(scan: &mut Scan<'_>, out: &mut Vec<u8>) -> Result<(), Fault> {
    scan.expect(b"'")?;
    loop {
        out.extend_from_slice(scan.until(|byte| byte == b'\'' || byte == b'\\'));
        if scan.take(b"''") {
            out.push(b'\'');
        } else if scan.take(b"\\\\") {
            out.push(b'\\');
        } else {
            scan.expect(b"'")?;
            out.push(0);
            return Ok(());
        }
    }
}

/// `:1A,3`, or nothing.
fn positions(scan: &mut Scan<'_>, out: &mut Vec<u8>) -> Result<(), Fault> {
    let start = out.len();
    let mut count = 0u16;
    out.extend_from_slice(&[0; 2]);
    let mut between: &[u8] = b":";
    while scan.take(between) {
        between = b",";
        let place = u16::try_from(scan.number()?).ok().filter(|place| *place < 1 << 14);
        let weight = match scan.peek() {
            Some(b'A') => 3,
            Some(b'B') => 2,
            Some(b'C') => 1,
            _ => 0,
        };
        scan.0 = &scan.0[usize::from(weight > 0)..];
        out.extend_from_slice(&(weight << 14 | place.ok_or(Fault::Range)?).to_be_bytes());
        count = count.checked_add(1).ok_or(Fault::Range)?;
    }
    out[start..start + 2].copy_from_slice(&count.to_be_bytes());
    Ok(())
}

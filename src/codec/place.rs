//! Positions as text, without the formatting machinery: every row has one.

use crate::lsn::Lsn;

/// Appends an LSN as [`Lsn`] displays it.
#[inline]
pub(super) fn write_lsn(out: &mut Vec<u8>, lsn: Lsn) {
    write_hex(out, (lsn.as_u64() >> 32) as u32);
    out.push(b'/');
    write_hex(out, lsn.as_u64() as u32);
}

#[inline]
fn write_hex(out: &mut Vec<u8>, number: u32) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let count = (32 - number.leading_zeros()).div_ceil(4).max(1);
    for digit in (0..count).rev() {
        out.push(DIGITS[(number >> (digit * 4) & 15) as usize]);
    }
}

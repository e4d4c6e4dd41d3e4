//! Text of network addresses.

use std::io::Write as _;

use super::super::binary::HEX;
use super::super::error::Fault;
use super::parts::Parts;

const V4: u8 = 2;
const V6: u8 = 3;

/// Family, bits of the network, whether a `cidr`, length, address. An `inet` leaves out the bits
/// where they are all.
pub(super) fn inet(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Fault> {
    let [family, bits, is_cidr, length] = Parts(bytes).take()?;
    let address = &bytes[4..];
    let bits_max = match (family, length, address.len()) {
        (V4, 4, 4) => {
            dotted(out, address);
            32
        }
        (V6, 16, 16) => {
            words(out, address);
            128
        }
        _ => return Err(Fault::Structure),
    };
    if bits > bits_max {
        return Err(Fault::Range);
    }
    if is_cidr != 0 || bits < bits_max {
        // Writing to a vector cannot fail; so below.
        let _ = write!(out, "/{bits}");
    }
    Ok(())
}

fn dotted(out: &mut Vec<u8>, octets: &[u8]) {
    for (at, octet) in octets.iter().enumerate() {
        if at > 0 {
            out.push(b'.');
        }
        out.extend_from_slice(itoa::Buffer::new().format(*octet).as_bytes());
    }
}

/// The first of the longest runs of two zero words or more is left out; an IPv4 address inside is
/// shown as one.
fn words(out: &mut Vec<u8>, address: &[u8]) {
    let word = |at: usize| u16::from_be_bytes([address[2 * at], address[2 * at + 1]]);
    let run = |from: usize| (from..8).take_while(|at| word(*at) == 0).count();
    // Of runs of one length the last would be had, so they are looked at from the end.
    let longest = (0..8).rev().map(|from| (run(from), from)).max_by_key(|(length, _)| *length);
    let (length, from) = longest.filter(|(length, _)| *length > 1).unwrap_or((0, 8));
    let inside_v4 = from == 0 && (length == 6 || (length == 5 && word(5) == 0xffff));
    for at in 0..8 {
        if (from..from + length).contains(&at) {
            if at == from {
                out.push(b':');
            }
            continue;
        }
        if at > 0 {
            out.push(b':');
        }
        if at == 6 && inside_v4 {
            return dotted(out, &address[12..]);
        }
        let _ = write!(out, "{:x}", word(at));
    }
    if length > 0 && from + length == 8 {
        out.push(b':');
    }
}

/// Six or eight bytes in hex, with colons between.
pub(super) fn hardware(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Fault> {
    if !matches!(bytes.len(), 6 | 8) {
        return Err(Fault::Length);
    }
    for (at, byte) in bytes.iter().enumerate() {
        if at > 0 {
            out.push(b':');
        }
        out.extend_from_slice(&HEX[usize::from(*byte)]);
    }
    Ok(())
}

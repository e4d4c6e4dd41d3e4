//! Network addresses.

use core::net::IpAddr;

use super::simple::hex_pairs;
use crate::codec::scan::parse;
use crate::codec::value::Fault;

pub(super) fn inet(text: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    address(text, 0, out)
}

pub(super) fn cidr(text: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    address(text, 1, out)
}

/// Family, bits of the network, whether a `cidr`, length, address.
fn address(text: &[u8], cidr: u8, out: &mut Vec<u8>) -> Result<(), Fault> {
    let slash = text.iter().position(|byte| *byte == b'/');
    let (address, bits) = match slash {
        Some(at) => (&text[..at], Some(parse::<u8>(&text[at + 1..])?)),
        None => (text, None),
    };
    let mut write = |family, bits_max: u8, octets: &[u8]| {
        let bits = bits.unwrap_or(bits_max);
        if bits > bits_max {
            return Err(Fault::Range);
        }
        out.extend_from_slice(&[family, bits, cidr, octets.len() as u8]);
        out.extend_from_slice(octets);
        Ok(())
    };
    match parse(address)? {
        IpAddr::V4(address) => write(2, 32, &address.octets()),
        IpAddr::V6(address) => write(3, 128, &address.octets()),
    }
}

/// `BYTES` bytes in hex with colons between.
pub(super) fn hardware<const BYTES: usize>(text: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    let start = out.len();
    for byte in text.split(|byte| *byte == b':') {
        if byte.len() != 2 {
            return Err(Fault::Syntax);
        }
        hex_pairs(byte, out)?;
    }
    if out.len() - start == BYTES { Ok(()) } else { Err(Fault::Length) }
}

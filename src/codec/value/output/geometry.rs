//! Text of geometric types: floats between brackets.

use super::super::error::Fault;
use super::super::kind::Scalar;
use super::as_in_json;
use super::parts::Parts;

/// Floats with commas between.
fn floats(out: &mut Vec<u8>, bytes: &[u8]) {
    for (at, number) in bytes.as_chunks::<8>().0.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        // Eight bytes are a float whatever they are.
        let _ = as_in_json(out, Scalar::Float8, number);
    }
}

/// `(x,y)`
pub(super) fn point(out: &mut Vec<u8>, bytes: [u8; 16]) {
    out.push(b'(');
    floats(out, &bytes);
    out.push(b')');
}

/// `(x,y),(x,y)`
pub(super) fn points(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Fault> {
    let (points, rest) = bytes.as_chunks::<16>();
    if !rest.is_empty() {
        return Err(Fault::Length);
    }
    for (at, bytes) in points.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        point(out, *bytes);
    }
    Ok(())
}

/// `{A,B,C}`
pub(super) fn line(out: &mut Vec<u8>, bytes: [u8; 24]) {
    out.push(b'{');
    floats(out, &bytes);
    out.push(b'}');
}

/// `[(x,y),(x,y)]`
pub(super) fn lseg(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Fault> {
    out.push(b'[');
    points(out, bytes)?;
    out.push(b']');
    Ok(())
}

/// Whether it is closed, the number of points, the points: `((x,y),…)`, or `[(x,y),…]` when open.
pub(super) fn path(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Fault> {
    let mut parts = Parts(bytes);
    let (open, close) = if parts.take_u8()? == 0 { (b'[', b']') } else { (b'(', b')') };
    out.push(open);
    counted(out, parts)?;
    out.push(close);
    Ok(())
}

/// The number of points, the points.
pub(super) fn polygon(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Fault> {
    out.push(b'(');
    counted(out, Parts(bytes))?;
    out.push(b')');
    Ok(())
}

fn counted(out: &mut Vec<u8>, mut parts: Parts<'_>) -> Result<(), Fault> {
    let count = parts.take_count(16)?;
    if parts.0.len() != count * 16 {
        return Err(Fault::Length);
    }
    points(out, parts.0)
}

/// `<(x,y),r>`
pub(super) fn circle(out: &mut Vec<u8>, bytes: [u8; 24]) {
    out.extend_from_slice(b"<(");
    floats(out, &bytes[..16]);
    out.extend_from_slice(b"),");
    floats(out, &bytes[16..]);
    out.push(b'>');
}

//! `hstore`, which `to_jsonb` makes an object of: its maker has a cast to `json`.
//!
//! Keys and values are text; the text form quotes them all, with a backslash before a quote or a
//! backslash inside.

use super::error::Fault;
use super::output::Parts;
use crate::codec::scan::{Scan, Token, token};
use crate::codec::string::write_json_utf8;

/// Writes `"a"=>"1", "b"=>NULL`.
pub(super) fn write_text(out: &mut Vec<u8>, text: &[u8]) -> Result<(), Fault> {
    let mut scan = Scan(text);
    out.push(b'{');
    while !scan.is_done() {
        if scan.0.len() < text.len() {
            scan.expect(b", ")?;
            out.push(b',');
        }
        match token(&mut scan, b"=")? {
            Token::Quoted(key) => write_json_utf8(out, &key)?,
            Token::Bare(_) => return Err(Fault::Syntax),
        }
        scan.expect(b"=>")?;
        out.push(b':');
        match token(&mut scan, b",")? {
            Token::Quoted(value) => write_json_utf8(out, &value)?,
            Token::Bare(b"NULL") => out.extend_from_slice(b"null"),
            Token::Bare(_) => return Err(Fault::Syntax),
        }
    }
    out.push(b'}');
    Ok(())
}

/// Writes the binary form: how many, then keys and values behind their lengths.
pub(super) fn write_binary(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Fault> {
    let mut parts = Parts(bytes);
    out.push(b'{');
    for at in 0..parts.take_count(8)? {
        if at > 0 {
            out.push(b',');
        }
        write_json_utf8(out, parts.take_value()?.ok_or(Fault::Structure)?)?;
        out.push(b':');
        match parts.take_value()? {
            Some(value) => write_json_utf8(out, value)?,
            None => out.extend_from_slice(b"null"),
        }
    }
    out.push(b'}');
    parts.end()
}

//! JSON strings, escaped as PostgreSQL's `escape_json` does.
//!
//! Only what JSON demands is escaped: the quote, the backslash and the control characters. The scan
//! looks at eight bytes at a time and copies whole runs, because nearly every string needs nothing
//! at all. Bytes that are not UTF-8 are refused: JSON cannot carry them and a guess would be a lie.

/// Bytes that should be UTF-8 text are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("text is not valid UTF-8")]
pub struct NotUtf8;

/// Appends `text` as a JSON string, quotes included.
pub fn write_json_str(out: &mut Vec<u8>, text: &str) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    write_escaped(out, text.as_bytes());
    out.push(b'"');
}

/// Appends `text` as a JSON string, quotes included; on an error `out` is as it was.
pub fn write_json_utf8(out: &mut Vec<u8>, text: &[u8]) -> Result<(), NotUtf8> {
    if !text.is_ascii() && std::str::from_utf8(text).is_err() {
        return Err(NotUtf8);
    }
    out.reserve(text.len() + 2);
    out.push(b'"');
    write_escaped(out, text);
    out.push(b'"');
    Ok(())
}

/// Appends the inside of a JSON string.
pub(super) fn write_escaped(out: &mut Vec<u8>, mut text: &[u8]) {
    loop {
        let plain = plain_prefix(text);
        out.extend_from_slice(&text[..plain]);
        let Some((&special, rest)) = text[plain..].split_first() else { return };
        write_escape(out, special);
        text = rest;
    }
}

/// Escapes what stands in `out` from `start` on.
pub(super) fn escape_from(out: &mut Vec<u8>, start: usize) {
    let plain = plain_prefix(&out[start..]);
    if start + plain < out.len() {
        let rest = out.split_off(start + plain);
        write_escaped(out, &rest);
    }
}

fn write_escape(out: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\t' => b't',
        b'\r' => b'r',
        0x08 => b'b',
        0x0c => b'f',
        _ => {
            let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
            return out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// How many bytes at the start of `text` need no escape.
fn plain_prefix(text: &[u8]) -> usize {
    let (words, tail) = text.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let found = specials(u64::from_le_bytes(*word));
        if found != 0 {
            return index * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    let special = |&byte: &u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    words.len() * 8 + tail.iter().position(special).unwrap_or(tail.len())
}

/// The top bit of each byte of `word` that needs an escape. A borrow can mark a byte above a found
/// one wrongly, so only the lowest mark counts.
const fn specials(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = ONES << 7;
    let quote = word ^ (ONES * b'"' as u64);
    let backslash = word ^ (ONES * b'\\' as u64);
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    let quote = quote.wrapping_sub(ONES) & !quote;
    let backslash = backslash.wrapping_sub(ONES) & !backslash;
    (control | quote | backslash) & TOPS
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json(text: &str) -> String {
        let mut out = Vec::new();
        write_json_str(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn escapes_what_postgresql_escapes_and_nothing_else() {
        assert_eq!(json("a\"b\\c/d\u{7f}é"), "\"a\\\"b\\\\c/d\u{7f}é\"");
        assert_eq!(json("\n\t\r\u{8}\u{c}\u{1}\u{1f}"), r#""\n\t\r\b\f\u0001\u001f""#);
    }

    #[test]
    fn refuses_bytes_that_are_not_utf8_and_leaves_the_buffer() {
        let mut out = b"before".to_vec();
        assert_eq!(write_json_utf8(&mut out, b"ab\xff"), Err(NotUtf8));
        assert_eq!(out, b"before");
    }

    proptest! {
        #[test]
        fn a_json_reader_gets_the_text_back(text in any::<String>()) {
            prop_assert_eq!(serde_json::from_str::<String>(&json(&text)).unwrap(), text);
        }

        #[test]
        fn every_special_byte_is_found_wherever_it_stands(
            text in proptest::collection::vec(0u8..0x80, 0..40)
        ) {
            let slow = text.iter().position(|b| *b < 0x20 || *b == b'"' || *b == b'\\');
            prop_assert_eq!(plain_prefix(&text), slow.unwrap_or(text.len()));
        }
    }
}

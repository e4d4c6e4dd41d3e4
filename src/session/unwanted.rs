//! Logical messages that nobody asked for, and that are too large to be read for nothing.
//!
//! The server sends all messages or none. One that is larger than a read buffer, and has a prefix
//! that nobody asked for, is told by its beginning: it is counted like any other and takes no
//! memory. So what came before it, which may be the last change of its transaction, need not make
//! room for it. What its prefix means is asked here and in the [`Assembler`](super::Assembler).

use bytes::{BufMut, BytesMut};

use crate::wire::copy_both::{FRAME_HEADER_BYTES, XLOG_DATA_HEADER_BYTES};

/// Where the message begins that a frame of output carries.
const PAYLOAD_AT: usize = FRAME_HEADER_BYTES + XLOG_DATA_HEADER_BYTES;
const TAG_BYTES: usize = 1;
/// The transaction id that messages in a stream block have.
const XID_BYTES: usize = 4;
/// Flags and LSN.
const BEFORE_PREFIX_BYTES: usize = 1 + 8;
/// A longer prefix is known by its beginning.
const PREFIX_BYTES_MAX: usize = 4096;

/// What the beginning of a frame says about the rest.
#[derive(Debug, PartialEq, Eq)]
pub enum Beginning {
    /// Nothing yet.
    Open,
    /// It has to be read.
    Wanted,
    /// It can be skipped; this frame says the same, without the content.
    Unwanted(BytesMut),
}

/// Whether a message with `prefix` was asked for by `wanted`.
pub(super) fn is_wanted(wanted: &[String], prefix: &[u8]) -> bool {
    wanted.iter().any(|wish| wish == "*" || wish.as_bytes() == prefix)
}

/// Judge a frame by what has come of it. `in_block` says whether it is one of a stream block.
pub(super) fn judge(frame: &[u8], wanted: &[String], in_block: bool) -> Beginning {
    let Some(tag) = frame.get(PAYLOAD_AT) else { return Beginning::Open };
    if *tag != b'M' {
        return Beginning::Wanted;
    }
    let xid = if in_block { XID_BYTES } else { 0 };
    let prefix_at = PAYLOAD_AT + TAG_BYTES + xid + BEFORE_PREFIX_BYTES;
    let Some((before, rest)) = frame.split_at_checked(prefix_at) else { return Beginning::Open };
    let known = &rest[..rest.len().min(PREFIX_BYTES_MAX)];
    let prefix = match known.iter().position(|byte| *byte == 0) {
        Some(end) => &known[..end],
        None if known.len() < PREFIX_BYTES_MAX => return Beginning::Open,
        None if wanted.iter().any(|wish| wish.len() + 4 > PREFIX_BYTES_MAX) => {
            return Beginning::Wanted;
        }
        None => {
            let whole = std::str::from_utf8(known).map_or_else(|cut| cut.valid_up_to(), str::len);
            &known[..whole]
        }
    };
    match is_wanted(wanted, prefix) {
        true => Beginning::Wanted,
        false => Beginning::Unwanted(without_content(before, prefix)),
    }
}

fn without_content(before: &[u8], prefix: &[u8]) -> BytesMut {
    let mut frame = BytesMut::from(before);
    frame.put_slice(prefix);
    frame.put_u8(0);
    frame.put_u32(0);
    let told = u32::try_from(frame.len() - 1).unwrap_or(u32::MAX);
    frame[1..FRAME_HEADER_BYTES].copy_from_slice(&told.to_be_bytes());
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Frames;

    fn frame(prefix: &str, content: &[u8], in_block: bool) -> Vec<u8> {
        let mut frames = Frames::new();
        if in_block {
            frames.within(7);
        }
        frames.message(90, prefix, content);
        frames.chunk().bytes.to_vec()
    }

    #[test]
    fn a_message_is_known_once_its_prefix_is() {
        let wanted = ["m".to_owned(), "other".to_owned()];
        for in_block in [false, true] {
            for (prefix, is_wanted) in [("m", true), ("other", true), ("mm", false), ("", false)] {
                let whole = frame(prefix, &[b'x'; 1000], in_block);
                let known = whole.len() - 1000 - 4;
                for come in 0..whole.len() {
                    match judge(&whole[..come], &wanted, in_block) {
                        Beginning::Open => assert!(come < known),
                        Beginning::Wanted => assert!(is_wanted && come >= known),
                        Beginning::Unwanted(cut) => {
                            assert!(!is_wanted && come >= known);
                            assert_eq!(cut, frame(prefix, b"", in_block));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn whoever_wants_all_wants_each() {
        let whole = frame("any", b"content", false);
        assert_eq!(judge(&whole, &["*".to_owned()], false), Beginning::Wanted);
    }

    #[test]
    fn a_change_is_always_wanted() {
        let mut frames = Frames::new();
        frames.insert(90, crate::event::Oid::new(9), &[]);
        let whole = frames.chunk().bytes;
        assert_eq!(judge(&whole, &[], false), Beginning::Wanted);
        assert_eq!(judge(&whole[..PAYLOAD_AT], &[], false), Beginning::Open);
    }

    #[test]
    fn a_prefix_without_end_is_cut_between_characters() {
        let whole = frame(&"xé".repeat(5000), b"content", false);
        let Beginning::Unwanted(cut) = judge(&whole, &[], false) else { panic!("wanted") };
        let prefix = &cut[PAYLOAD_AT + TAG_BYTES + BEFORE_PREFIX_BYTES..cut.len() - 5];
        assert!(prefix.len() > PREFIX_BYTES_MAX - 4);
        assert!(std::str::from_utf8(prefix).is_ok());
    }
}

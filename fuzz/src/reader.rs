//! The reader of single fields, beside a second one that is too simple to be wrong.
//!
//! The input's first byte says how many operations there are, their bytes follow, what is left is
//! the message that is read.

use walcast::wire::{DecodeError, Reader};

/// See the [module](self).
pub fn check(input: &[u8]) {
    let Some((count, rest)) = input.split_first() else { return };
    let (operations, message) = rest.split_at(usize::from(*count).min(rest.len()));
    crate::bounded(input.len(), 0, || run(operations, message));
}

fn run(operations: &[u8], message: &[u8]) {
    let mut reader = Reader::new(message);
    let mut at = 0;
    for operation in operations {
        let left = &message[at..];
        let (have, want) = match operation % 9 {
            0 => (reader.u8("").map(u64::from), number::<1>(left)),
            1 => (reader.u16("").map(u64::from), number::<2>(left)),
            2 => (reader.u32("").map(u64::from), number::<4>(left)),
            3 => (reader.i64("").map(i64::cast_unsigned), number::<8>(left)),
            4 => (reader.lsn("").map(|lsn| lsn.as_u64()), number::<8>(left)),
            5 => {
                let length = reader.length("").map(|length| length as u64);
                let number = number::<4>(left);
                let negative = number.is_some_and(|(number, _)| number > 0x7fff_ffff);
                // It is read before it is refused.
                at += if negative { 4 } else { 0 };
                (length, number.filter(|_| !negative))
            }
            6 => {
                let taken = reader.take("", usize::from(*operation));
                let wanted = left.get(..usize::from(*operation));
                assert_eq!(taken.as_ref().ok(), wanted.as_ref());
                let done = wanted.map(|wanted| (0, wanted.len()));
                (taken.map(|_| 0), done)
            }
            7 => {
                let text = reader.text("");
                let end = left.iter().position(|byte| *byte == 0);
                let wanted = end.and_then(|end| std::str::from_utf8(&left[..end]).ok());
                assert_eq!(text.as_ref().ok(), wanted.as_ref());
                // What is not UTF-8 is read over before it is refused.
                at += if wanted.is_none() { end.map_or(0, |end| end + 1) } else { 0 };
                (text.map(|_| 0), wanted.map(|wanted| (0, wanted.len() + 1)))
            }
            _ => {
                assert_eq!(reader.finish("").is_ok(), left.is_empty());
                (Ok(0), Some((0, 0)))
            }
        };
        assert_eq!(have.as_ref().ok(), want.as_ref().map(|(number, _)| number));
        check_error(have.err(), left.len());
        at += want.map_or(0, |(_, bytes)| bytes);
        assert_eq!((reader.offset(), reader.remaining()), (at, message.len() - at));
    }
    assert_eq!(reader.rest(), &message[at..]);
}

/// A big-endian number and how many bytes it takes.
fn number<const BYTES: usize>(left: &[u8]) -> Option<(u64, usize)> {
    let bytes = left.get(..BYTES)?;
    Some((bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)), BYTES))
}

fn check_error(error: Option<DecodeError>, left: usize) {
    match error {
        Some(DecodeError::Truncated { need, have, .. }) => {
            assert!(have == left && need > have);
        }
        Some(DecodeError::Length { value, .. }) => assert!(value < 0),
        Some(DecodeError::NotUtf8 { .. }) | None => {}
        Some(other) => panic!("no reader says {other:?}"),
    }
}

//! The bounds-checked reader every field from the wire goes through.
//!
//! A [`Reader`] walks a slice and never past its end; lengths are checked before they are used, and
//! nothing is allocated for them. What does not fit is a [`DecodeError`] that names the field and
//! where it lies in its message.

use crate::lsn::Lsn;
use crate::timestamp::Timestamp;

/// Bytes from the server that the protocol does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// A message ended before one of its fields.
    #[error("the message ends inside {field}: {need} bytes needed at offset {offset}, {have} left")]
    Truncated {
        /// The field that was being read.
        field: &'static str,
        /// Where it starts in the message.
        offset: usize,
        /// How many bytes it takes.
        need: usize,
        /// How many there are.
        have: usize,
    },
    /// A length or count has a value that cannot be.
    #[error("{field} at offset {offset} is {value}, which cannot be")]
    Length {
        /// The field.
        field: &'static str,
        /// Where it starts in the message.
        offset: usize,
        /// What it says.
        value: i64,
    },
    /// A tag byte that means nothing where it stands.
    #[error("unknown {field} {:?} (0x{tag:02x})", char::from(*tag))]
    UnknownTag {
        /// What kind of tag it is.
        field: &'static str,
        /// The byte.
        tag: u8,
    },
    /// Text that is not UTF-8, although the session asked for UTF-8.
    #[error("{field} at offset {offset} is not UTF-8")]
    NotUtf8 {
        /// The field.
        field: &'static str,
        /// Where it starts in the message.
        offset: usize,
    },
    /// Bytes after the last field.
    #[error("{message} has {bytes} bytes after its last field")]
    Trailing {
        /// The message.
        message: &'static str,
        /// How many bytes are left over.
        bytes: usize,
    },
    /// A row of a table that the server has not described on this connection.
    #[error("a row refers to relation {oid}, which the server has not described")]
    UnknownRelation {
        /// The table's object identifier.
        oid: u32,
    },
    /// A row whose number of columns is not that of its relation.
    #[error("a row of relation {oid} has {have} columns where its description has {want}")]
    ColumnCount {
        /// The table's object identifier.
        oid: u32,
        /// How many columns the relation has.
        want: usize,
        /// How many the row has.
        have: usize,
    },
    /// A message that may not come here.
    #[error("{message} {place}")]
    OutOfPlace {
        /// The message.
        message: &'static str,
        /// Where it came: "inside a transaction", "outside a transaction".
        place: &'static str,
    },
    /// A commit that does not belong to the transaction that is open.
    #[error("Commit names {commit}, but the open transaction began with {begin}")]
    CommitMismatch {
        /// The commit LSN that Begin announced.
        begin: Lsn,
        /// The commit LSN that Commit carries.
        commit: Lsn,
    },
    /// A transaction that is not after the one before it.
    #[error("a transaction with commit LSN {commit} came after one with {last}")]
    OutOfOrder {
        /// The last commit LSN.
        last: Lsn,
        /// The one that came now.
        commit: Lsn,
    },
    /// Something from before a position up to which the server has said that all is sent.
    #[error("what happened at {lsn} came after the server had sent everything before {reached}")]
    Overdue {
        /// Up to where everything was sent.
        reached: Lsn,
        /// Where what came now lies.
        lsn: Lsn,
    },
}

/// Reads fields from a message, in network byte order.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the start of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bytes have been read.
    pub const fn offset(&self) -> usize {
        self.at
    }

    /// How many bytes are left.
    pub const fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The next `count` bytes.
    #[inline]
    pub fn take(&mut self, field: &'static str, count: usize) -> Result<&'a [u8], DecodeError> {
        match self.bytes[self.at..].get(..count) {
            Some(taken) => {
                self.at += count;
                Ok(taken)
            }
            None => Err(self.truncated(field, count)),
        }
    }

    /// Everything that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        let rest = &self.bytes[self.at..];
        self.at = self.bytes.len();
        rest
    }

    /// One byte.
    #[inline]
    pub fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        self.array::<1>(field).map(|[byte]| byte)
    }

    /// A 16-bit unsigned integer.
    #[inline]
    pub fn u16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        self.array(field).map(u16::from_be_bytes)
    }

    /// A 32-bit unsigned integer.
    #[inline]
    pub fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        self.array(field).map(u32::from_be_bytes)
    }

    /// A 32-bit signed integer.
    #[inline]
    pub fn i32(&mut self, field: &'static str) -> Result<i32, DecodeError> {
        self.array(field).map(i32::from_be_bytes)
    }

    /// A 64-bit signed integer.
    #[inline]
    pub fn i64(&mut self, field: &'static str) -> Result<i64, DecodeError> {
        self.array(field).map(i64::from_be_bytes)
    }

    /// A position.
    #[inline]
    pub fn lsn(&mut self, field: &'static str) -> Result<Lsn, DecodeError> {
        self.array(field).map(|bytes| Lsn::new(u64::from_be_bytes(bytes)))
    }

    /// A point in time: microseconds since 2000-01-01 00:00 UTC.
    #[inline]
    pub fn timestamp(&mut self, field: &'static str) -> Result<Timestamp, DecodeError> {
        self.i64(field).map(Timestamp::from_postgres_micros)
    }

    /// A length of 31 bits: negative ones are refused, not sign-extended.
    #[inline]
    pub fn length(&mut self, field: &'static str) -> Result<usize, DecodeError> {
        let offset = self.at;
        let value = self.i32(field)?;
        usize::try_from(value).map_err(|_| DecodeError::Length {
            field,
            offset,
            value: i64::from(value),
        })
    }

    /// A NUL-terminated string.
    pub fn text(&mut self, field: &'static str) -> Result<&'a str, DecodeError> {
        let offset = self.at;
        let rest = &self.bytes[offset..];
        let end = memchr::memchr(0, rest).ok_or_else(|| self.truncated(field, rest.len() + 1))?;
        self.at += end + 1;
        std::str::from_utf8(&rest[..end]).map_err(|_| DecodeError::NotUtf8 { field, offset })
    }

    /// Proof that `message` ends here.
    pub fn finish(&self, message: &'static str) -> Result<(), DecodeError> {
        match self.remaining() {
            0 => Ok(()),
            bytes => Err(DecodeError::Trailing { message, bytes }),
        }
    }

    #[inline]
    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        match self.bytes[self.at..].first_chunk::<N>() {
            Some(taken) => {
                self.at += N;
                Ok(*taken)
            }
            None => Err(self.truncated(field, N)),
        }
    }

    #[cold]
    fn truncated(&self, field: &'static str, need: usize) -> DecodeError {
        DecodeError::Truncated { field, offset: self.at, need, have: self.remaining() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_message_names_the_field_and_place() {
        let mut reader = Reader::new(&[1, 2, 3]);
        assert_eq!(reader.u8("tag"), Ok(1));
        let error = DecodeError::Truncated { field: "xid", offset: 1, need: 4, have: 2 };
        assert_eq!(reader.u32("xid"), Err(error));
        assert_eq!(reader.take("rest", 2), Ok(&[2, 3][..]));
        assert_eq!(reader.finish("it"), Ok(()));
    }

    #[test]
    fn negative_lengths_are_refused() {
        let bytes = (-1i32).to_be_bytes();
        let error = DecodeError::Length { field: "length", offset: 0, value: -1 };
        assert_eq!(Reader::new(&bytes).length("length"), Err(error));
    }

    #[test]
    fn text_needs_its_end_and_utf8() {
        assert_eq!(Reader::new(b"ab\0c").text("name"), Ok("ab"));
        assert!(matches!(Reader::new(b"ab").text("name"), Err(DecodeError::Truncated { .. })));
        assert!(matches!(Reader::new(b"\xff\0").text("name"), Err(DecodeError::NotUtf8 { .. })));
    }
}

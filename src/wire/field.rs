//! Where one column's value lies in a read chunk: eight bytes a column.
//!
//! A server builds no message of a gigabyte, so a length fits thirty bits and the two above it say
//! what kind of value it is.

use super::{DecodeError, Reader};
use crate::event::Value;

const LENGTH_BITS: u32 = 30;
const LENGTH_MASK: u32 = (1 << LENGTH_BITS) - 1;
const UNSENT: u32 = 0;
const TEXT: u32 = 1;
const BINARY: u32 = 2;

/// A span of a chunk, or the reason why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    start: u32,
    kind_and_length: u32,
}

impl Field {
    /// SQL NULL.
    pub const NULL: Self = Self { start: 0, kind_and_length: UNSENT };
    /// A value that did not change and was not sent.
    pub const UNCHANGED: Self = Self { start: 1, kind_and_length: UNSENT };

    /// The value this span means in `chunk`.
    #[inline]
    pub fn value(self, chunk: &[u8]) -> Value<'_> {
        let length = (self.kind_and_length & LENGTH_MASK) as usize;
        let start = self.start as usize;
        match self.kind_and_length >> LENGTH_BITS {
            TEXT => Value::Text(&chunk[start..start + length]),
            BINARY => Value::Binary(&chunk[start..start + length]),
            _ if self.start == 0 => Value::Null,
            _ => Value::Unchanged,
        }
    }

    fn span(kind: u32, start: usize, length: usize, offset: usize) -> Result<Self, DecodeError> {
        match (u32::try_from(start), u32::try_from(length)) {
            (Ok(start), Ok(length)) if length <= LENGTH_MASK => {
                Ok(Self { start, kind_and_length: kind << LENGTH_BITS | length })
            }
            _ => Err(DecodeError::Length {
                field: "column length",
                offset,
                value: i64::try_from(length).unwrap_or(i64::MAX),
            }),
        }
    }
}

/// Read a TupleData at `reader`, whose message starts `base` bytes into its chunk, and append a
/// [`Field`] for each column to `fields`. Returns how many there were.
#[inline]
pub(super) fn tuple(
    reader: &mut Reader<'_>,
    base: usize,
    fields: &mut Vec<Field>,
) -> Result<usize, DecodeError> {
    let count = usize::from(reader.u16("column count")?);
    for _ in 0..count {
        let kind = match reader.u8("column kind")? {
            b't' => TEXT,
            b'b' => BINARY,
            b'n' => {
                fields.push(Field::NULL);
                continue;
            }
            b'u' => {
                fields.push(Field::UNCHANGED);
                continue;
            }
            tag => return Err(DecodeError::UnknownTag { field: "column kind", tag }),
        };
        let length = reader.length("column length")?;
        let offset = reader.offset();
        reader.take("column value", length)?;
        fields.push(Field::span(kind, base + offset, length, offset)?);
    }
    Ok(count)
}

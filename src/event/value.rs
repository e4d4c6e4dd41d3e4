//! One column's value, as it came over the wire.
//!
//! A [`Value`] borrows from its batch and says nothing about its type: the column it belongs to
//! does. `Unchanged` is a value of its own, so that a TOAST value the server did not send can never
//! be taken for NULL.

/// A value of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Value<'a> {
    /// SQL NULL.
    Null,
    /// A large value that the change left as it was and the server did not send.
    Unchanged,
    /// The type's text output.
    Text(&'a [u8]),
    /// The type's binary output (its send function).
    Binary(&'a [u8]),
}

impl<'a> Value<'a> {
    /// Whether this is SQL NULL.
    pub const fn is_null(self) -> bool {
        matches!(self, Self::Null)
    }

    /// Whether the server left this value out because it did not change.
    pub const fn is_unchanged(self) -> bool {
        matches!(self, Self::Unchanged)
    }

    /// The bytes as sent, text or binary; `None` for NULL and unchanged values.
    pub const fn bytes(self) -> Option<&'a [u8]> {
        match self {
            Self::Text(bytes) | Self::Binary(bytes) => Some(bytes),
            Self::Null | Self::Unchanged => None,
        }
    }
}

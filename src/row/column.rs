//! A column that may not have been sent.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Visitor};

/// A column's value, where it matters whether it was sent.
///
/// An update that leaves a large value alone does not send it, unless the old row carries it: such
/// a column is [`Unset`](Self::Unset). So is, in a struct with `#[serde(default)]` on the field, a
/// column that the table does not have.
///
/// ```
/// use walcast::row::Column;
/// let note: Column<&str> = Column::Null;
/// assert!(!note.is_unset());
/// assert_eq!(note.sent(), Some(None));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Column<T> {
    /// It was not sent: it is as it was before.
    #[default]
    Unset,
    /// SQL NULL.
    Null,
    /// A value.
    Value(T),
}

/// The name by which a row's deserializer knows that a column is asked for.
pub(super) const COLUMN: &str = "$walcast::row::Column";

impl<T> Column<T> {
    /// Whether the server did not send it.
    pub const fn is_unset(&self) -> bool {
        matches!(self, Self::Unset)
    }

    /// What was sent: `None` when nothing was, `Some(None)` for NULL.
    pub fn sent(self) -> Option<Option<T>> {
        match self {
            Self::Unset => None,
            Self::Null => Some(None),
            Self::Value(value) => Some(Some(value)),
        }
    }

    /// The value, if there is one.
    pub fn value(self) -> Option<T> {
        self.sent().flatten()
    }
}

/// From a row, all three; from any other format, where every value there is was sent, NULL and
/// values.
impl<'de, T: Deserialize<'de>> Deserialize<'de> for Column<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(COLUMN, ColumnVisitor(PhantomData))
    }
}

struct ColumnVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ColumnVisitor<T> {
    type Value = Column<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a column")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Column::Unset)
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(Column::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, it: D) -> Result<Self::Value, D::Error> {
        T::deserialize(it).map(Column::Value)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, it: D) -> Result<Self::Value, D::Error> {
        Ok(Option::deserialize(it)?.map_or(Column::Null, Column::Value))
    }
}

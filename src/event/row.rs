//! A row: columns beside values.

use std::fmt;

use postgres_types::Type;

use crate::codec::TranscodeError;
use crate::event::arena::Arena;
use crate::event::chunk::Chunk;
use crate::event::relation::{Column, Relation};
use crate::event::typed::{TypedColumn, ValuePlace};
use crate::event::value::Value;
use crate::wire::Field;

/// A row as it was sent, with the relation that says what its columns are.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    pub(crate) relation: &'a Relation,
    pub(crate) fields: &'a [Field],
    pub(crate) chunk: &'a Chunk,
    pub(crate) arena: &'a Arena,
    /// The place of its relation among the batch's.
    pub(crate) table: u32,
    /// The first of its fields among the batch's.
    pub(crate) first: usize,
    pub(crate) logged: Logged,
}

/// Which of a row's columns the server logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Logged {
    All,
    Key,
}

impl<'a> Row<'a> {
    /// The shape the row was sent with.
    pub fn relation(self) -> &'a Relation {
        self.relation
    }

    /// How many columns it has.
    pub fn len(self) -> usize {
        self.fields.len()
    }

    /// Whether it has no columns.
    pub fn is_empty(self) -> bool {
        self.fields.is_empty()
    }

    /// The value of the column at `index`.
    #[inline]
    pub fn value(self, index: usize) -> Option<Value<'a>> {
        self.fields.get(index).map(|field| field.value(&self.chunk.bytes))
    }

    /// The value of the column called `name`.
    pub fn value_of(self, name: &str) -> Option<Value<'a>> {
        self.relation.column_index(name).and_then(|index| self.value(index))
    }

    /// The columns with their values, in order.
    pub fn iter(self) -> impl ExactSizeIterator<Item = (&'a Column, Value<'a>)> + Clone {
        let bytes: &'a [u8] = &self.chunk.bytes;
        self.relation
            .columns
            .iter()
            .zip(self.fields)
            .map(move |(column, field)| (column, field.value(bytes)))
    }
}

impl<'a> Row<'a> {
    /// Whether it is not the key alone of an old row.
    pub(crate) fn has_every_column(self) -> bool {
        self.logged == Logged::All
    }

    /// What is known of the column at `place`.
    #[inline]
    pub(crate) fn typed_column(self, place: usize) -> &'a TypedColumn {
        &self.arena.typed_columns(self.table)[place]
    }

    /// The binary form of the value at `place`, which is of type `ty` and came as `text`.
    #[inline]
    pub(crate) fn binary_form(
        self,
        place: usize,
        ty: &Type,
        text: &[u8],
    ) -> Result<&'a [u8], TranscodeError> {
        let place = ValuePlace { table: self.table, column: place, row: self.first };
        self.arena.binary_form(place, ty, text)
    }
}

impl fmt::Debug for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(column, value)| (&column.name, value))).finish()
    }
}

/// What the server logged of a row before it changed.
#[derive(Debug, Clone, Copy)]
pub enum OldRow<'a> {
    /// The columns of the replica identity have values; the others mean nothing.
    Key(Row<'a>),
    /// The whole row.
    Full(Row<'a>),
}

impl<'a> OldRow<'a> {
    /// The row, whatever it holds.
    pub fn row(self) -> Row<'a> {
        match self {
            Self::Key(row) | Self::Full(row) => row,
        }
    }

    /// The columns that carry a value, in order.
    pub fn iter(self) -> impl Iterator<Item = (&'a Column, Value<'a>)> + Clone {
        let whole = matches!(self, Self::Full(_));
        self.row().iter().filter(move |(column, _)| whole || column.in_identity)
    }
}

//! A row as a type that serde builds.
//!
//! A value offers itself as its native JSON would, with three differences: bytes are had as bytes,
//! numbers with every digit, and what can be borrowed from the batch is. A struct or map gets
//! columns by name, a tuple or sequence by place. Columns that the target ignores are not decoded.

mod nested;
mod value;

use std::any::type_name;
use std::fmt;

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

use self::value::{Cell, ValueDeserializer};
use super::error::{RowError, RowFault};
use super::get::ColumnIndex;
use crate::codec::TranscodeError;
use crate::event::Row;

impl<'a> Row<'a> {
    /// The row as a `T`.
    ///
    /// Structs and maps get the columns by name, tuples by place. Strings and bytes can be
    /// borrowed. `Option` has a place for NULL, [`Column`](crate::row::Column) also for what was
    /// not sent. Enums without fields read from text and from enums of the database, nested types
    /// from `json`, `jsonb` and arrays. Dates, times, identifiers and whatever else has no form of
    /// its own in serde come as strings, as JSON shows them; the types of `chrono`, `time`, `jiff`,
    /// `uuid` and `rust_decimal` read those.
    ///
    /// # Errors
    /// When a column that `T` needs is missing, was not sent, or is not of its form.
    pub fn deserialize<T: Deserialize<'a>>(self) -> Result<T, RowError> {
        T::deserialize(RowDeserializer { row: self }).map_err(|error| error.of_row::<T>(self))
    }

    /// Some of its columns, named by place or name, in the order that they are named in.
    ///
    /// # Errors
    /// When there is no such column.
    pub fn columns<I: ColumnIndex, const COUNT: usize>(
        self,
        indices: [I; COUNT],
    ) -> Result<Columns<'a, COUNT>, RowError> {
        let mut places = [0; COUNT];
        for (place, index) in std::iter::zip(&mut places, &indices) {
            *place = self.place_of::<Columns<'a, COUNT>>(index)?;
        }
        Ok(Columns { row: self, places })
    }
}

/// Some columns of a row; see [`Row::columns`].
#[derive(Debug, Clone, Copy)]
pub struct Columns<'a, const COUNT: usize> {
    row: Row<'a>,
    places: [usize; COUNT],
}

impl<'a, const COUNT: usize> Columns<'a, COUNT> {
    /// The columns as a `T`: a tuple has them in the order in which they were named, a struct by
    /// their names.
    ///
    /// # Errors
    /// When one was not sent, or is not of its form.
    pub fn deserialize<T: Deserialize<'a>>(self) -> Result<T, RowError> {
        let chosen = ChosenDeserializer { row: self.row, places: &self.places };
        T::deserialize(chosen).map_err(|error| error.of_row::<T>(self.row))
    }
}

/// What goes wrong inside serde, until the column is known.
#[derive(Debug)]
pub(super) struct Failure {
    fault: RowFault,
    at: Option<FailedColumn>,
}

#[derive(Debug)]
struct FailedColumn {
    place: usize,
    rust_type: &'static str,
}

impl Failure {
    fn form(message: impl fmt::Display) -> Self {
        RowFault::Form(message.to_string().into()).into()
    }

    /// Whether a value's text does not tell its binary form.
    fn has_only_text(&self) -> bool {
        matches!(self.fault, RowFault::Transcode(TranscodeError::NoTranscoder { .. }))
    }

    fn of_row<T>(self, row: Row<'_>) -> RowError {
        let relation = row.relation();
        match self.at {
            Some(FailedColumn { place, rust_type }) => {
                RowError::of_column(relation, &relation.columns[place], rust_type, self.fault)
            }
            None => RowError::of_row(relation, type_name::<T>(), self.fault),
        }
    }

    /// The same at the column `place`, unless a column was named.
    fn at<T>(mut self, place: usize) -> Self {
        self.at.get_or_insert(FailedColumn { place, rust_type: type_name::<T>() });
        self
    }
}

impl<F: Into<RowFault>> From<F> for Failure {
    fn from(fault: F) -> Self {
        Self { fault: fault.into(), at: None }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.fault, f)
    }
}

impl std::error::Error for Failure {}

impl de::Error for Failure {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::form(message)
    }
}

/// All columns.
struct RowDeserializer<'a> {
    row: Row<'a>,
}

/// Some columns.
struct ChosenDeserializer<'a, 'p> {
    row: Row<'a>,
    places: &'p [usize],
}

macro_rules! by_name_or_place {
    ($each:expr, $row:expr, $visitor:ident) => {
        fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Failure> {
            visitor.visit_map(Fields { row: $row(&self), places: $each(&self), at: None })
        }

        fn deserialize_seq<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Failure> {
            visitor.visit_seq(Fields { row: $row(&self), places: $each(&self), at: None })
        }

        fn deserialize_tuple<V: Visitor<'a>>(
            self,
            _: usize,
            visitor: V,
        ) -> Result<V::Value, Failure> {
            self.deserialize_seq(visitor)
        }

        fn deserialize_tuple_struct<V: Visitor<'a>>(
            self,
            _: &'static str,
            _: usize,
            visitor: V,
        ) -> Result<V::Value, Failure> {
            self.deserialize_seq(visitor)
        }

        fn deserialize_newtype_struct<V: Visitor<'a>>(
            self,
            _: &'static str,
            visitor: V,
        ) -> Result<V::Value, Failure> {
            visitor.visit_newtype_struct(self)
        }

        fn deserialize_option<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Failure> {
            visitor.visit_some(self)
        }

        forward_to_deserialize_any! {
            <V: Visitor<'a>>
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
            unit unit_struct map struct enum identifier ignored_any
        }
    };
}

impl<'a> Deserializer<'a> for RowDeserializer<'a> {
    type Error = Failure;

    by_name_or_place!(|it: &Self| 0..it.row.len(), |it: &Self| it.row, visitor);
}

impl<'a> Deserializer<'a> for ChosenDeserializer<'a, '_> {
    type Error = Failure;

    by_name_or_place!(|it: &Self| it.places.iter().copied(), |it: &Self| it.row, visitor);
}

/// Columns, one after the other.
struct Fields<'a, P> {
    row: Row<'a>,
    places: P,
    /// The column whose name was given out last.
    at: Option<usize>,
}

impl<'a, P: Iterator<Item = usize>> Fields<'a, P> {
    fn value<S: DeserializeSeed<'a>>(&self, place: usize, seed: S) -> Result<S::Value, Failure> {
        let cell = Cell::of(self.row, place);
        seed.deserialize(ValueDeserializer(cell)).map_err(|error| error.at::<S::Value>(place))
    }
}

impl<'a, P: Iterator<Item = usize>> MapAccess<'a> for Fields<'a, P> {
    type Error = Failure;

    fn next_key_seed<S: DeserializeSeed<'a>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Failure> {
        self.at = self.places.next();
        let Some(place) = self.at else { return Ok(None) };
        let name: &'a str = &self.row.relation().columns[place].name;
        seed.deserialize(de::value::BorrowedStrDeserializer::new(name)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'a>>(&mut self, seed: S) -> Result<S::Value, Failure> {
        let place = self.at.ok_or_else(|| Failure::form("a value before its key"))?;
        self.value(place, seed)
    }
}

impl<'a, P: Iterator<Item = usize>> SeqAccess<'a> for Fields<'a, P> {
    type Error = Failure;

    fn next_element_seed<S: DeserializeSeed<'a>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Failure> {
        self.places.next().map(|place| self.value(place, seed)).transpose()
    }
}

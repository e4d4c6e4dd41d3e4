//! One column as a type that reads PostgreSQL's binary form.

use std::any::type_name;

use postgres_types::{FromSql, Kind, Type, WasNull};

use super::column::Column;
use super::error::{RowError, RowFault};
use crate::codec::text_is_binary;
use crate::event::{Relation, Row, Value};

/// What names a column: its place from 0, or its name.
pub trait ColumnIndex: sealed::Sealed {
    /// The column's place in `relation`.
    fn place(&self, relation: &Relation) -> Option<usize>;

    /// What an error calls it.
    fn label(&self) -> String;
}

/// What [`Row::get`] returns: every type with [`FromSql`], and a [`Column`] of one.
pub trait FromColumn<'a>: Sized + sealed::FromColumn<'a> {
    /// From the column at `place` of `row`, which is of type `ty`.
    ///
    /// # Errors
    /// When it was not sent, or does not fit.
    fn from_column(row: Row<'a>, place: usize, ty: &Type) -> Result<Self, RowFault>;
}

impl<'a> Row<'a> {
    /// The column at `index` (its place or its name) as a `T`.
    ///
    /// Borrowed types borrow from the batch. `Option<T>` has a place for NULL, [`Column<T>`] for
    /// NULL and for a value that was not sent.
    ///
    /// # Errors
    /// When there is no such column, the value was not sent, or it is not a `T`.
    pub fn get<T: FromColumn<'a>>(self, index: impl ColumnIndex) -> Result<T, RowError> {
        let place = self.place_of::<T>(&index)?;
        let fault = match &self.typed_column(place).ty {
            Some(ty) => match T::from_column(self, place, ty) {
                Ok(value) => return Ok(value),
                Err(fault) => fault,
            },
            None => RowFault::UnknownType,
        };
        Err(self.fault_at::<T>(place, fault))
    }

    /// [`get`](Self::get) for a column whose type the database defines and the catalogue was not
    /// asked about, or has forgotten: `ty` is that type, as whoever still knows it (a prepared
    /// statement of `tokio-postgres`, say) describes it.
    ///
    /// # Errors
    /// As [`get`](Self::get), and when `ty` is not the column's type.
    pub fn get_as<T: FromColumn<'a>>(
        self,
        index: impl ColumnIndex,
        ty: &Type,
    ) -> Result<T, RowError> {
        let place = self.place_of::<T>(&index)?;
        let own = self.relation.columns[place].type_oid.as_u32() == ty.oid();
        let value = if own { T::from_column(self, place, ty) } else { Err(RowFault::WrongType) };
        value.map_err(|fault| self.fault_at::<T>(place, fault))
    }

    pub(super) fn place_of<T>(self, index: &impl ColumnIndex) -> Result<usize, RowError> {
        let place = index.place(self.relation).filter(|place| *place < self.len());
        place
            .ok_or_else(|| RowError::no_such_column(self.relation, index.label(), type_name::<T>()))
    }

    pub(super) fn fault_at<T>(self, place: usize, fault: RowFault) -> RowError {
        let column = &self.relation.columns[place];
        RowError::of_column(self.relation, column, type_name::<T>(), fault)
    }

    /// The binary form of the value at `place`, which came as `text`.
    pub(super) fn transcoded(
        self,
        place: usize,
        ty: &Type,
        text: &'a [u8],
    ) -> Result<&'a [u8], RowFault> {
        if text_is_binary(ty) {
            return Ok(text);
        }
        Ok(self.binary_form(place, ty, text)?)
    }

    /// Whether the server says what the column at `place` holds.
    pub(super) fn is_logged(self, place: usize) -> bool {
        self.has_every_column() || self.relation.columns[place].in_identity
    }
}

impl<'a, T: FromSql<'a>> FromColumn<'a> for T {
    fn from_column(row: Row<'a>, place: usize, ty: &Type) -> Result<Self, RowFault> {
        if !row.is_logged(place) {
            return Err(RowFault::NotLogged);
        }
        let ty = accepted::<T>(ty).ok_or(RowFault::WrongType)?;
        let refused = RowFault::Refused;
        match row.value(place).unwrap_or(Value::Null) {
            Value::Unchanged => Err(RowFault::Unchanged),
            Value::Null => T::from_sql_null(ty).map_err(|fault| match fault.is::<WasNull>() {
                true => RowFault::Null,
                false => RowFault::Refused(fault),
            }),
            Value::Binary(bytes) => T::from_sql(ty, bytes).map_err(refused),
            // As `json` the text serves as it is; as `jsonb` it would have to be copied.
            Value::Text(text) if *ty == Type::JSONB && T::accepts(&Type::JSON) => {
                T::from_sql(&Type::JSON, text).map_err(refused)
            }
            Value::Text(text) => T::from_sql(ty, row.transcoded(place, ty, text)?).map_err(refused),
        }
    }
}

/// The type as which a `T` reads values of `ty`: itself, or what it is a domain over.
fn accepted<'t, 'a, T: FromSql<'a>>(mut ty: &'t Type) -> Option<&'t Type> {
    loop {
        match ty.kind() {
            _ if T::accepts(ty) => return Some(ty),
            Kind::Domain(base) => ty = base,
            _ => return None,
        }
    }
}

impl<'a, T: FromSql<'a>> FromColumn<'a> for Column<T> {
    fn from_column(row: Row<'a>, place: usize, ty: &Type) -> Result<Self, RowFault> {
        if !row.is_logged(place) {
            return Ok(Column::Unset);
        }
        match row.value(place) {
            Some(Value::Unchanged) => Ok(Column::Unset),
            _ => Ok(Option::from_column(row, place, ty)?.map_or(Column::Null, Column::Value)),
        }
    }
}

impl ColumnIndex for usize {
    fn place(&self, relation: &Relation) -> Option<usize> {
        Some(*self).filter(|place| *place < relation.columns.len())
    }

    fn label(&self) -> String {
        self.to_string()
    }
}

impl ColumnIndex for &str {
    fn place(&self, relation: &Relation) -> Option<usize> {
        relation.column_index(self)
    }

    fn label(&self) -> String {
        (*self).to_owned()
    }
}

mod sealed {
    use postgres_types::FromSql;

    use crate::row::Column;

    pub trait Sealed {}
    impl Sealed for usize {}
    impl Sealed for &str {}

    pub trait FromColumn<'a> {}
    impl<'a, T: FromSql<'a>> FromColumn<'a> for T {}
    impl<'a, T: FromSql<'a>> FromColumn<'a> for Column<T> {}
}

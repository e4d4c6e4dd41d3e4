//! One value, offered to serde in the form that fits its type.

use std::borrow::Cow;

use postgres_types::{Kind, Type};
use serde::de::value::{BorrowedStrDeserializer, StrDeserializer};
use serde::de::{Deserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::super::column::COLUMN;
use super::super::error::RowFault;
use super::{Failure, nested};
use crate::codec::value::{TypeRegistry, ValueType, write_json};
use crate::codec::{text_is_binary, with_scratch};
use crate::event::{Oid, Relation, Row, Value};

/// A value with what is known of its type.
#[derive(Debug, Clone)]
pub(super) struct Cell<'a> {
    value: Value<'a>,
    /// `None` for a type that only a catalogue knows.
    ty: Option<Type>,
    /// The table it is of.
    relation: &'a Relation,
    /// The column it stands in; `None` for a part of one.
    column: Option<(Row<'a>, usize)>,
}

impl<'a> Cell<'a> {
    pub(super) fn of(row: Row<'a>, place: usize) -> Self {
        let value = row.value(place).unwrap_or(Value::Null);
        let ty = row.typed_column(place).ty.clone();
        Self { value, ty, relation: row.relation(), column: Some((row, place)) }
    }

    /// A part of a nested value of `relation`, which is binary all through.
    pub(super) fn part(relation: &'a Relation, ty: &Type, binary: Option<&'a [u8]>) -> Self {
        let value = binary.map_or(Value::Null, Value::Binary);
        Self { value, ty: Some(ty.clone()), relation, column: None }
    }

    fn is_unset(&self) -> bool {
        self.value.is_unchanged() || self.is_unlogged()
    }

    fn is_unlogged(&self) -> bool {
        self.column.is_some_and(|(row, place)| !row.is_logged(place))
    }

    /// The bytes of the value, which is not NULL.
    fn bytes(&self) -> Result<&'a [u8], Failure> {
        if self.is_unlogged() {
            return Err(RowFault::NotLogged.into());
        }
        match self.value {
            Value::Unchanged => Err(RowFault::Unchanged.into()),
            Value::Null => Err(RowFault::Null.into()),
            Value::Text(bytes) | Value::Binary(bytes) => Ok(bytes),
        }
    }

    fn is_text(&self) -> bool {
        matches!(self.value, Value::Text(_))
    }

    /// The bytes in binary, for a type that is known.
    fn binary(&self, ty: &Type) -> Result<&'a [u8], Failure> {
        let bytes = self.bytes()?;
        match self.column {
            Some((row, place)) if self.is_text() => Ok(row.transcoded(place, ty, bytes)?),
            _ => Ok(bytes),
        }
    }

    /// The bytes of a nested value in binary; `None` where a part of it has no form but text.
    fn nested(&self, ty: &Type) -> Result<Option<&'a [u8]>, Failure> {
        match self.binary(ty) {
            Err(failure) if failure.has_only_text() => Ok(None),
            binary => binary.map(Some),
        }
    }

    /// What JSON makes of it.
    fn with_json<V: Visitor<'a>>(&self, visitor: V) -> Result<V::Value, Failure> {
        self.with_text(|text| {
            let mut json = serde_json::Deserializer::from_reader(text.as_bytes());
            json.deserialize_any(visitor).map_err(Failure::form)
        })
    }

    /// The value of a built-in type that reads as a `T`.
    fn read<T: postgres_types::FromSql<'a>>(&self, ty: &Type) -> Result<T, Failure> {
        Ok(T::from_sql(ty, self.binary(ty)?).map_err(RowFault::Refused)?)
    }

    /// Its text as the server writes it, where that is what came; the bytes of text types.
    fn borrowed_text(&self) -> Result<Option<&'a str>, Failure> {
        let bytes = self.bytes()?;
        let is_text = match self.base() {
            _ if self.is_json() => false,
            Some(ty) if text_is_binary(ty) => true,
            Some(ty) => self.is_text() && !differs_in_json(ty),
            None if self.is_text() => true,
            None => return Err(RowFault::UnknownType.into()),
        };
        if !is_text {
            return Ok(None);
        }
        std::str::from_utf8(bytes).map(Some).map_err(Failure::form)
    }

    /// Give `visit` its text as JSON shows it.
    fn with_text<T>(
        &self,
        visit: impl FnOnce(Cow<'_, str>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.bytes()?;
        let value_type = self.value_type();
        with_scratch(|scratch| {
            write_json(scratch, &value_type, self.value).map_err(RowFault::Value)?;
            match scratch.as_slice() {
                [b'"', inner @ .., b'"'] if !inner.contains(&b'\\') => {
                    let text = std::str::from_utf8(inner).map_err(Failure::form)?;
                    visit(Cow::Borrowed(text))
                }
                [b'"', ..] => {
                    let text = serde_json::from_slice(scratch).map_err(Failure::form)?;
                    visit(Cow::Owned(text))
                }
                json => {
                    let text = std::str::from_utf8(json).map_err(Failure::form)?;
                    visit(Cow::Borrowed(text))
                }
            }
        })
    }

    fn value_type(&self) -> ValueType {
        let oid = self.ty.as_ref().map_or(0, Type::oid);
        self.relation.value_type(Oid::new(oid), &TypeRegistry::builtin())
    }

    fn base(&self) -> Option<&Type> {
        let mut ty = self.ty.as_ref()?;
        while let Kind::Domain(base) = ty.kind() {
            ty = base;
        }
        Some(ty)
    }

    fn is_json(&self) -> bool {
        matches!(self.base(), Some(&Type::JSON | &Type::JSONB))
    }

    /// The text of a `json` or `jsonb` value.
    fn json(&self) -> Result<&'a [u8], Failure> {
        let bytes = self.bytes()?;
        match (self.value, self.base()) {
            (Value::Binary(_), Some(&Type::JSONB)) => match bytes.split_first() {
                Some((1, json)) => Ok(json),
                _ => Err(Failure::form("jsonb of an unknown version")),
            },
            _ => Ok(bytes),
        }
    }
}

/// Whether JSON shows values of `ty` otherwise than their text does.
fn differs_in_json(ty: &Type) -> bool {
    let differs =
        [Type::BOOL, Type::TIMESTAMP, Type::TIMESTAMPTZ, Type::INT2_VECTOR, Type::OID_VECTOR];
    differs.contains(ty)
        || matches!(ty.kind(), Kind::Array(_) | Kind::Composite(_))
        || is_hstore(ty)
}

fn is_hstore(ty: &Type) -> bool {
    *ty.kind() == Kind::Simple && ty.name() == "hstore"
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct ValueDeserializer<'a>(pub(super) Cell<'a>);

/// Hand the call on to the JSON inside, where there is one.
macro_rules! json_first {
    ($self:ident, $visitor:ident, $method:ident $(, $argument:expr)*) => {
        if $self.0.is_json() && !$self.0.is_unset() && !$self.0.value.is_null() {
            let mut json = serde_json::Deserializer::from_slice($self.0.json()?);
            let value = json.$method($($argument,)* $visitor).map_err(Failure::form)?;
            json.end().map_err(Failure::form)?;
            return Ok(value);
        }
    };
}

/// Numbers are had from text as well: `numeric` has no other form that is exact.
macro_rules! numbers {
    ($($method:ident $number:ty => $visit:ident),*) => {$(
        fn $method<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Failure> {
            json_first!(self, visitor, $method);
            if self.0.base() != Some(&Type::NUMERIC) {
                return self.deserialize_any(visitor);
            }
            let parse = |text: &str| text.parse::<$number>().map_err(Failure::form);
            let number = match self.0.borrowed_text()? {
                Some(text) => parse(text)?,
                None => self.0.with_text(|text| parse(&text))?,
            };
            visitor.$visit(number)
        }
    )*};
}

impl<'a> Deserializer<'a> for ValueDeserializer<'a> {
    type Error = Failure;

    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Failure> {
        json_first!(self, visitor, deserialize_any);
        let cell = &self.0;
        if cell.value.is_null() && !cell.is_unlogged() {
            return visitor.visit_none();
        }
        let Some(ty) = cell.base() else { return self.deserialize_str(visitor) };
        match (ty, ty.kind()) {
            (&Type::BOOL, _) => visitor.visit_bool(cell.read(ty)?),
            (&Type::INT2, _) => visitor.visit_i16(cell.read(ty)?),
            (&Type::INT4, _) => visitor.visit_i32(cell.read(ty)?),
            (&Type::INT8, _) => visitor.visit_i64(cell.read(ty)?),
            (&Type::OID, _) => visitor.visit_u32(cell.read(ty)?),
            (&Type::FLOAT4, _) => visitor.visit_f32(cell.read(ty)?),
            (&Type::FLOAT8, _) => visitor.visit_f64(cell.read(ty)?),
            (&Type::BYTEA, _) => visitor.visit_borrowed_bytes(cell.binary(ty)?),
            (_, Kind::Array(element)) => match cell.nested(ty)? {
                Some(binary) => nested::array(cell.relation, element, binary, visitor),
                None => cell.with_json(visitor),
            },
            (_, Kind::Composite(fields)) => match cell.nested(ty)? {
                Some(binary) => nested::composite_map(cell.relation, fields, binary, visitor),
                None => cell.with_json(visitor),
            },
            _ if is_hstore(ty) => cell.with_json(visitor),
            _ => self.deserialize_str(visitor),
        }
    }

    numbers! {
        deserialize_i8 i8 => visit_i8, deserialize_i16 i16 => visit_i16,
        deserialize_i32 i32 => visit_i32, deserialize_i64 i64 => visit_i64,
        deserialize_i128 i128 => visit_i128,
        deserialize_u8 u8 => visit_u8, deserialize_u16 u16 => visit_u16,
        deserialize_u32 u32 => visit_u32, deserialize_u64 u64 => visit_u64,
        deserialize_u128 u128 => visit_u128,
        deserialize_f32 f32 => visit_f32, deserialize_f64 f64 => visit_f64
    }

    /// Every value has a text.
    fn deserialize_str<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Failure> {
        json_first!(self, visitor, deserialize_str);
        match self.0.borrowed_text()? {
            Some(text) => visitor.visit_borrowed_str(text),
            None => self.0.with_text(|text| visitor.visit_str(&text)),
        }
    }

    fn deserialize_string<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Failure> {
        json_first!(self, visitor, deserialize_bytes);
        match self.0.base() {
            Some(ty) if text_is_binary(ty) => visitor.visit_borrowed_bytes(self.0.bytes()?),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Failure> {
        json_first!(self, visitor, deserialize_option);
        if self.0.value.is_null() && !self.0.is_unlogged() {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'a>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        if name == COLUMN {
            return match self.0.value {
                _ if self.0.is_unset() => visitor.visit_unit(),
                Value::Null => visitor.visit_none(),
                _ => visitor.visit_some(self),
            };
        }
        json_first!(self, visitor, deserialize_newtype_struct, name);
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'a>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        json_first!(self, visitor, deserialize_enum, name, variants);
        match self.0.borrowed_text()? {
            Some(label) => {
                BorrowedStrDeserializer::new(label).deserialize_enum(name, variants, visitor)
            }
            None => self.0.with_text(|text| {
                StrDeserializer::new(&text).deserialize_enum(name, variants, visitor)
            }),
        }
    }

    fn deserialize_seq<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Failure> {
        json_first!(self, visitor, deserialize_seq);
        let Some(ty) = self.0.base() else { return self.deserialize_any(visitor) };
        match ty.kind() {
            Kind::Composite(fields) => {
                nested::composite_seq(self.0.relation, fields, self.0.binary(ty)?, visitor)
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_tuple<V: Visitor<'a>>(
        self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        json_first!(self, visitor, deserialize_tuple, length);
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'a>>(
        self,
        name: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        json_first!(self, visitor, deserialize_tuple_struct, name, length);
        self.deserialize_seq(visitor)
    }

    fn deserialize_struct<V: Visitor<'a>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        json_first!(self, visitor, deserialize_struct, name, fields);
        self.deserialize_any(visitor)
    }

    fn deserialize_map<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Failure> {
        json_first!(self, visitor, deserialize_map);
        self.deserialize_any(visitor)
    }

    fn deserialize_bool<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Failure> {
        json_first!(self, visitor, deserialize_bool);
        self.deserialize_any(visitor)
    }

    fn deserialize_char<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Failure> {
        json_first!(self, visitor, deserialize_char);
        self.deserialize_str(visitor)
    }

    /// What nobody wants is not looked at.
    fn deserialize_ignored_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! { <V: Visitor<'a>> unit unit_struct identifier }
}

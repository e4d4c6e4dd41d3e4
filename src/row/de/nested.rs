//! Arrays and composites, read from their binary form.

use postgres_types::{Field, Type};
use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};

use super::Failure;
use super::value::{Cell, ValueDeserializer};
use crate::event::Relation;

const DIMENSIONS_MAX: usize = 6;

/// An array, of which each dimension is a sequence; one of no dimension is an empty one.
pub(super) fn array<'a, V: Visitor<'a>>(
    relation: &'a Relation,
    element: &Type,
    binary: &'a [u8],
    visitor: V,
) -> Result<V::Value, Failure> {
    let mut parts = Parts(binary);
    let count = usize::try_from(parts.take_i32()?).map_err(|_| broken())?;
    let (_has_nulls, _element_oid) = (parts.take_i32()?, parts.take_i32()?);
    let mut lengths = [0; DIMENSIONS_MAX];
    let lengths = lengths.get_mut(..count).ok_or_else(broken)?;
    for length in lengths.iter_mut() {
        *length = usize::try_from(parts.take_i32()?).map_err(|_| broken())?;
        let _lower_bound = parts.take_i32()?;
    }
    let (left, inner) = match lengths.split_first() {
        Some((first, inner)) => (*first, inner),
        None => (0, &[] as &[usize]),
    };
    visitor.visit_seq(Dimension { parts: &mut parts, relation, element, left, inner })
}

/// What is left of a nested value.
struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    fn take_i32(&mut self) -> Result<i32, Failure> {
        let (number, rest) = self.0.split_first_chunk().ok_or_else(broken)?;
        self.0 = rest;
        Ok(i32::from_be_bytes(*number))
    }

    /// A value behind its length.
    fn take(&mut self) -> Result<Option<&'a [u8]>, Failure> {
        let length = self.take_i32()?;
        if length == -1 {
            return Ok(None);
        }
        let length = usize::try_from(length).map_err(|_| broken())?;
        let (value, rest) = self.0.split_at_checked(length).ok_or_else(broken)?;
        self.0 = rest;
        Ok(Some(value))
    }
}

fn broken() -> Failure {
    Failure::form("a nested value whose lengths do not fit")
}

/// One dimension of an array while it is read.
struct Dimension<'a, 'p> {
    parts: &'p mut Parts<'a>,
    relation: &'a Relation,
    element: &'p Type,
    left: usize,
    /// The lengths of the dimensions inside.
    inner: &'p [usize],
}

impl<'a> SeqAccess<'a> for Dimension<'a, '_> {
    type Error = Failure;

    fn next_element_seed<S: DeserializeSeed<'a>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Failure> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        match self.inner.split_first() {
            None => {
                let cell = Cell::part(self.relation, self.element, self.parts.take()?);
                seed.deserialize(ValueDeserializer(cell)).map(Some)
            }
            Some((length, inner)) => {
                let (parts, relation) = (&mut *self.parts, self.relation);
                let element = self.element;
                let dimension = Dimension { parts, relation, element, left: *length, inner };
                seed.deserialize(de::value::SeqAccessDeserializer::new(dimension)).map(Some)
            }
        }
    }

    /// No more than there are bytes for.
    fn size_hint(&self) -> Option<usize> {
        Some(self.left.min(self.parts.0.len() / 4))
    }
}

/// A composite by the names of its fields.
pub(super) fn composite_map<'a, V: Visitor<'a>>(
    relation: &'a Relation,
    fields: &[Field],
    binary: &'a [u8],
    visitor: V,
) -> Result<V::Value, Failure> {
    let mut parts = Parts(binary);
    if usize::try_from(parts.take_i32()?) != Ok(fields.len()) {
        return Err(Failure::form("a composite whose fields have changed"));
    }
    visitor.visit_map(Composite { parts, relation, fields: fields.iter(), at: None })
}

/// A composite by the order of its fields.
pub(super) fn composite_seq<'a, V: Visitor<'a>>(
    relation: &'a Relation,
    fields: &[Field],
    binary: &'a [u8],
    visitor: V,
) -> Result<V::Value, Failure> {
    let mut parts = Parts(binary);
    if usize::try_from(parts.take_i32()?) != Ok(fields.len()) {
        return Err(Failure::form("a composite whose fields have changed"));
    }
    visitor.visit_seq(Composite { parts, relation, fields: fields.iter(), at: None })
}

/// A composite while it is read.
struct Composite<'a, 'p> {
    parts: Parts<'a>,
    relation: &'a Relation,
    fields: std::slice::Iter<'p, Field>,
    /// The field whose name was given out last.
    at: Option<&'p Field>,
}

impl<'a> Composite<'a, '_> {
    fn value<S: DeserializeSeed<'a>>(
        &mut self,
        field: &Field,
        seed: S,
    ) -> Result<S::Value, Failure> {
        if self.parts.take_i32()?.cast_unsigned() != field.type_().oid() {
            return Err(Failure::form("a composite whose fields have changed"));
        }
        let cell = Cell::part(self.relation, field.type_(), self.parts.take()?);
        seed.deserialize(ValueDeserializer(cell))
    }
}

impl<'a> MapAccess<'a> for Composite<'a, '_> {
    type Error = Failure;

    fn next_key_seed<S: DeserializeSeed<'a>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Failure> {
        self.at = self.fields.next();
        let Some(field) = self.at else { return Ok(None) };
        seed.deserialize(de::value::StrDeserializer::new(field.name())).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'a>>(&mut self, seed: S) -> Result<S::Value, Failure> {
        let field = self.at.ok_or_else(|| Failure::form("a value before its key"))?;
        self.value(field, seed)
    }
}

impl<'a> SeqAccess<'a> for Composite<'a, '_> {
    type Error = Failure;

    fn next_element_seed<S: DeserializeSeed<'a>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Failure> {
        let Some(field) = self.fields.next() else { return Ok(None) };
        self.value(field, seed).map(Some)
    }
}

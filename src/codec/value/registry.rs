//! Which kind of value each type's object identifier stands for.
//!
//! Plain data. The built-in types have fixed identifiers and are always known; what a database adds
//! has identifiers of its own, whose definitions the catalogue fills in. The registry never asks a
//! server itself.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use postgres_types::{Kind, Type};
use serde::{Deserialize, Serialize};

use super::definition::{JsonForm, TypeDefinition, TypeKind};
use super::kind::{Scalar, ValueType};
use super::nested::{Field, Nested, Shape};
use crate::event::Oid;

/// How deep types may lie in one another: no server goes this far, and broken data goes no further.
pub(super) const DEPTH_MAX: usize = 32;

/// The known types.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TypeRegistry {
    defined: BTreeMap<Oid, TypeDefinition>,
}

impl TypeRegistry {
    /// The types every server has.
    pub fn builtin() -> Self {
        Self::default()
    }

    /// Take in a type that a database defines. Built-in types stay as they are.
    pub fn insert(&mut self, oid: Oid, definition: TypeDefinition) {
        self.defined.insert(oid, definition);
    }

    /// What the database says of a type, if that is known.
    pub fn definition(&self, oid: Oid) -> Option<&TypeDefinition> {
        self.defined.get(&oid)
    }

    /// The types that a database defines, as far as they are known.
    pub fn definitions(&self) -> impl Iterator<Item = (Oid, &TypeDefinition)> {
        self.defined.iter().map(|(oid, definition)| (*oid, definition))
    }

    /// Whether it knows no type beyond the built-in ones.
    pub fn is_builtin(&self) -> bool {
        self.defined.is_empty()
    }

    /// Whether every server has this type.
    pub fn has_builtin(oid: Oid) -> bool {
        Type::from_oid(oid.as_u32()).is_some()
    }

    /// How values of this type are read. Look it up once per column, not per value.
    pub fn value_type(&self, oid: Oid) -> ValueType {
        self.value_type_within(oid, DEPTH_MAX, &mut HashMap::new())
    }

    /// `found` has the types that others have as parts: no type is looked at twice.
    fn value_type_within(
        &self,
        oid: Oid,
        depth: usize,
        found: &mut HashMap<Oid, ValueType>,
    ) -> ValueType {
        if let Some(known) = builtin(oid).or_else(|| found.get(&oid).cloned()) {
            return known;
        }
        let definition = self.defined.get(&oid).zip(depth.checked_sub(1));
        let value_type = definition.and_then(|(definition, depth)| {
            let mut part = |oid| self.value_type_within(oid, depth, found);
            let name = || format!("{}.{}", definition.schema, definition.name);
            let nested = |shape| Some(ValueType::Nested(Arc::new(Nested::new(oid, name(), shape))));
            match &definition.kind {
                TypeKind::Domain(base) => Some(part(*base)),
                TypeKind::Array { element, delimiter } => match part(*element) {
                    ValueType::Scalar(element) => Some(ValueType::Array(element)),
                    element => {
                        let delimiter = u8::try_from(*delimiter).ok().filter(u8::is_ascii)?;
                        nested(Shape::Array { element, delimiter })
                    }
                },
                TypeKind::Composite(attributes) => {
                    let fields = attributes
                        .iter()
                        .map(|it| Field::new(&it.name, it.type_oid, part(it.type_oid)));
                    nested(Shape::Composite(fields.collect()))
                }
                TypeKind::Base => extension(definition),
                _ if definition.json == JsonForm::Cast => None,
                TypeKind::Enum(_) => Some(Scalar::Text.into()),
                TypeKind::Range(bound) => nested(Shape::Range(part(*bound))),
                TypeKind::Multirange(bound) => nested(Shape::Multirange(part(*bound))),
            }
        });
        let value_type = value_type.unwrap_or(ValueType::Other(oid));
        found.insert(oid, value_type.clone());
        value_type
    }

    /// Whether the type's binary output can be read.
    pub fn has_binary_decoder(&self, oid: Oid) -> bool {
        self.value_type(oid).has_binary_decoder()
    }
}

/// What extensions add, by name: their identifiers differ between databases. A type of the same
/// name that somebody else made is none of these.
fn extension(definition: &TypeDefinition) -> Option<ValueType> {
    let TypeDefinition { name, extension, json, .. } = definition;
    Some(match (extension.as_deref()?, name.as_str(), json) {
        ("citext", "citext", JsonForm::Usual) => Scalar::Text.into(),
        ("ltree", "ltree" | "lquery" | "ltxtquery", JsonForm::Usual) => {
            Scalar::VersionedText.into()
        }
        ("hstore", "hstore", JsonForm::Cast) => Scalar::Hstore.into(),
        ("vector", "vector", JsonForm::Usual) => Scalar::Vector.into(),
        ("vector", "halfvec", JsonForm::Usual) => Scalar::HalfVector.into(),
        ("vector", "sparsevec", JsonForm::Usual) => Scalar::SparseVector.into(),
        // What its cast to `json` makes of a geometry depends on its version, and names no SRID.
        ("postgis", "geometry" | "geography", _) => Scalar::Geometry.into(),
        _ => return None,
    })
}

/// Types that every server has; what is known of none of them is [`ValueType::Other`] too.
fn builtin(oid: Oid) -> Option<ValueType> {
    if let Some(scalar) = builtin_scalar(oid) {
        return Some(ValueType::Scalar(scalar));
    }
    let known = Type::from_oid(oid.as_u32())?;
    let part = |of: &Type| {
        let oid = Oid::new(of.oid());
        builtin(oid).unwrap_or(ValueType::Other(oid))
    };
    let nested = |shape| {
        let name = match known.kind() {
            Kind::Array(element) => format!("{}[]", element.name()),
            _ => known.name().to_owned(),
        };
        ValueType::Nested(Arc::new(Nested::new(oid, name, shape)))
    };
    Some(match known.kind() {
        Kind::Array(element) => match part(element) {
            ValueType::Scalar(element) => ValueType::Array(element),
            element => nested(Shape::Array { element, delimiter: b',' }),
        },
        Kind::Range(bound) => nested(Shape::Range(part(bound))),
        Kind::Multirange(bound) => nested(Shape::Multirange(part(bound))),
        _ => ValueType::Other(oid),
    })
}

/// The identifiers are fixed in the server's `pg_type.dat`.
pub(super) const fn builtin_scalar(oid: Oid) -> Option<Scalar> {
    Some(match oid.as_u32() {
        16 => Scalar::Bool,
        21 => Scalar::Int2,
        23 => Scalar::Int4,
        20 => Scalar::Int8,
        26 | 28 | 29 => Scalar::Oid,
        5069 => Scalar::Xid8,
        700 => Scalar::Float4,
        701 => Scalar::Float8,
        1700 => Scalar::Numeric,
        19 | 25 | 142 | 705 | 1042 | 1043 | 1790 => Scalar::Text,
        18 => Scalar::Char,
        17 => Scalar::Bytea,
        1560 | 1562 => Scalar::Bits,
        1082 => Scalar::Date,
        1083 => Scalar::Time,
        1266 => Scalar::TimeTz,
        1114 => Scalar::Timestamp,
        1184 => Scalar::TimestampTz,
        1186 => Scalar::Interval,
        2950 => Scalar::Uuid,
        114 => Scalar::Json,
        3802 => Scalar::Jsonb,
        4072 => Scalar::VersionedText,
        869 | 650 => Scalar::Inet,
        829 | 774 => Scalar::MacAddr,
        3220 => Scalar::Lsn,
        27 => Scalar::Tid,
        2970 | 5038 => Scalar::Snapshot,
        22 => Scalar::Int2Vector,
        30 => Scalar::OidVector,
        600 => Scalar::Point,
        628 => Scalar::Line,
        601 => Scalar::Lseg,
        603 => Scalar::Box,
        602 => Scalar::Path,
        604 => Scalar::Polygon,
        718 => Scalar::Circle,
        3614 => Scalar::TsVector,
        3615 => Scalar::TsQuery,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::value::Attribute;

    fn defined(kind: TypeKind) -> TypeDefinition {
        let (schema, name) = ("public".to_owned(), "it".to_owned());
        TypeDefinition { schema, name, kind, extension: None, json: JsonForm::Usual }
    }

    #[test]
    fn a_domain_is_read_as_its_base_and_a_builtin_cannot_be_redefined() {
        let mut registry = TypeRegistry::builtin();
        let domain = Oid::new(16_400);
        assert_eq!(registry.value_type(domain), ValueType::Other(domain));
        assert!(!registry.has_binary_decoder(domain));
        registry.insert(domain, defined(TypeKind::Domain(Oid::new(23))));
        registry.insert(Oid::new(25), defined(TypeKind::Domain(Oid::new(23))));
        assert_eq!(registry.value_type(domain), ValueType::Scalar(Scalar::Int4));
        assert_eq!(registry.value_type(Oid::new(25)), ValueType::Scalar(Scalar::Text));
    }

    #[test]
    fn a_type_that_contains_itself_is_unknown() {
        let mut registry = TypeRegistry::builtin();
        let it = Oid::new(16_400);
        registry.insert(it, defined(TypeKind::Domain(it)));
        assert_eq!(registry.value_type(it), ValueType::Other(it));
    }

    #[test]
    fn definitions_are_plain_data() {
        let mut registry = TypeRegistry::builtin();
        let attribute = Attribute { name: "n".to_owned(), type_oid: Oid::new(23) };
        registry.insert(Oid::new(16_400), defined(TypeKind::Composite(vec![attribute])));
        registry.insert(Oid::new(16_401), defined(TypeKind::Enum(vec!["a".to_owned()])));
        let stored = serde_json::to_string(&registry).unwrap();
        assert_eq!(serde_json::from_str::<TypeRegistry>(&stored).unwrap(), registry);
    }
}

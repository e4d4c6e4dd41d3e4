//! Which kind of value each type's object identifier stands for.
//!
//! Plain data. The built-in types have fixed identifiers and are always known; what a database adds
//! has identifiers of its own, whose definitions the catalogue fills in. The registry never asks a
//! server itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::definition::{JsonForm, TypeDefinition, TypeKind};
use super::kind::{Scalar, ValueType};
use crate::event::Oid;

/// How deep types may lie in one another: no server goes this far, and broken data goes no further.
const DEPTH_MAX: usize = 32;

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
        builtin(oid).is_some() || postgres_types::Type::from_oid(oid.as_u32()).is_some()
    }

    /// How values of this type are read. Look it up once per column, not per value.
    pub fn value_type(&self, oid: Oid) -> ValueType {
        self.value_type_within(oid, DEPTH_MAX)
    }

    fn value_type_within(&self, oid: Oid, depth: usize) -> ValueType {
        if let Some(known) = builtin(oid) {
            return known;
        }
        let unknown = ValueType::Other(oid);
        let (Some(definition), Some(depth)) = (self.defined.get(&oid), depth.checked_sub(1)) else {
            return unknown;
        };
        match &definition.kind {
            TypeKind::Domain(base) => self.value_type_within(*base, depth),
            TypeKind::Array { element, .. } => match self.value_type_within(*element, depth) {
                ValueType::Scalar(element) => ValueType::Array(element),
                _ => unknown,
            },
            _ if definition.json == JsonForm::Cast => unknown,
            TypeKind::Enum(_) => Scalar::Text.into(),
            _ => unknown,
        }
    }

    /// Whether the type's binary output can be read.
    pub fn has_binary_decoder(&self, oid: Oid) -> bool {
        self.value_type(oid).has_binary_decoder()
    }
}

/// The identifiers are fixed in the server's `pg_type.dat`.
pub(super) const fn builtin(oid: Oid) -> Option<ValueType> {
    use ValueType::Array;
    Some(match oid.as_u32() {
        1000 => Array(Scalar::Bool),
        1005 => Array(Scalar::Int2),
        1007 => Array(Scalar::Int4),
        1016 => Array(Scalar::Int8),
        1028 => Array(Scalar::Oid),
        1021 => Array(Scalar::Float4),
        1022 => Array(Scalar::Float8),
        1231 => Array(Scalar::Numeric),
        1003 | 1009 | 1014 | 1015 => Array(Scalar::Text),
        1002 => Array(Scalar::Char),
        1001 => Array(Scalar::Bytea),
        1182 => Array(Scalar::Date),
        1183 => Array(Scalar::Time),
        1270 => Array(Scalar::TimeTz),
        1115 => Array(Scalar::Timestamp),
        1185 => Array(Scalar::TimestampTz),
        1187 => Array(Scalar::Interval),
        2951 => Array(Scalar::Uuid),
        199 => Array(Scalar::Json),
        3807 => Array(Scalar::Jsonb),
        _ => match builtin_scalar(oid) {
            Some(scalar) => ValueType::Scalar(scalar),
            None => return None,
        },
    })
}

const fn builtin_scalar(oid: Oid) -> Option<Scalar> {
    Some(match oid.as_u32() {
        16 => Scalar::Bool,
        21 => Scalar::Int2,
        23 => Scalar::Int4,
        20 => Scalar::Int8,
        26 => Scalar::Oid,
        700 => Scalar::Float4,
        701 => Scalar::Float8,
        1700 => Scalar::Numeric,
        19 | 25 | 705 | 1042 | 1043 => Scalar::Text,
        18 => Scalar::Char,
        17 => Scalar::Bytea,
        1082 => Scalar::Date,
        1083 => Scalar::Time,
        1266 => Scalar::TimeTz,
        1114 => Scalar::Timestamp,
        1184 => Scalar::TimestampTz,
        1186 => Scalar::Interval,
        2950 => Scalar::Uuid,
        114 => Scalar::Json,
        3802 => Scalar::Jsonb,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::value::Attribute;

    fn defined(kind: TypeKind) -> TypeDefinition {
        let (schema, name) = ("public".to_owned(), "it".to_owned());
        TypeDefinition { schema, name, kind, json: JsonForm::Usual }
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

//! Which kind of value each type's object identifier stands for.
//!
//! Plain data. The built-in types have fixed identifiers and are always known; what a database adds
//! (domains, enums, their arrays) has identifiers of its own, which the catalogue fills in with
//! [`TypeRegistry::insert`]. The registry never asks a server itself.

use std::collections::HashMap;

use super::kind::{Scalar, ValueType};
use crate::event::Oid;

/// The known types.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TypeRegistry {
    declared: HashMap<Oid, ValueType>,
}

impl TypeRegistry {
    /// The types every server has.
    pub fn builtin() -> Self {
        Self::default()
    }

    /// Declares how values of a type that this database defines are read, such as a domain as its
    /// base type. Built-in types stay as they are.
    pub fn insert(&mut self, oid: Oid, value_type: ValueType) {
        self.declared.insert(oid, value_type);
    }

    /// How values of this type are read. Look it up once per column, not per value.
    pub fn value_type(&self, oid: Oid) -> ValueType {
        builtin(oid).or_else(|| self.declared.get(&oid).copied()).unwrap_or(ValueType::Other(oid))
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

    #[test]
    fn a_declared_domain_is_read_as_its_base_and_a_builtin_cannot_be_redeclared() {
        let mut registry = TypeRegistry::builtin();
        let domain = Oid::new(16_400);
        assert_eq!(registry.value_type(domain), ValueType::Other(domain));
        assert!(!registry.has_binary_decoder(domain));
        registry.insert(domain, Scalar::Int4.into());
        registry.insert(Oid::new(25), Scalar::Int4.into());
        assert_eq!(registry.value_type(domain), ValueType::Scalar(Scalar::Int4));
        assert_eq!(registry.value_type(Oid::new(25)), ValueType::Scalar(Scalar::Text));
    }
}

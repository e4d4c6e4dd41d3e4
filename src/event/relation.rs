//! The shape of a table as the server described it when it sent the rows.
//!
//! A [`Relation`] is one version: a changed table yields a new one, and every row points at the
//! version it was sent with. What the Relation message does not carry (attribute numbers, the
//! primary key, what types are made of) comes from the catalogue, whose answer stands beside it.

use std::fmt;

use super::catalog::CatalogEntry;

/// A PostgreSQL object identifier.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct Oid(u32);

impl Oid {
    /// The identifier with this number.
    pub const fn new(value: u32) -> Self {
        Self(value)
    }

    /// The number.
    pub const fn as_u32(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Which old values the server logs for updates and deletes
/// ([REPLICA IDENTITY](https://www.postgresql.org/docs/current/sql-altertable.html)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReplicaIdentity {
    /// The primary key, if there is one.
    Default,
    /// Nothing.
    Nothing,
    /// The whole old row.
    Full,
    /// The columns of a chosen unique index.
    Index,
}

/// One version of a published table's shape.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Relation {
    /// The table's object identifier.
    pub oid: Oid,
    /// The schema it lies in.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// What old rows carry.
    pub replica_identity: ReplicaIdentity,
    /// The published columns, in the order rows have them.
    pub columns: Vec<Column>,
    /// What the catalogue says of it; `None` where it was not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catalog: Option<CatalogEntry>,
}

/// One published column of a [`Relation`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type's object identifier.
    pub type_oid: Oid,
    /// The name of its type with its schema, for a type that is not built in, as the server gave
    /// it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub type_name: Option<String>,
    /// Its type modifier (`numeric(12,2)`, `varchar(20)`), -1 when there is none.
    pub type_modifier: i32,
    /// Whether it is part of the replica identity. With [`ReplicaIdentity::Full`] every column is.
    pub in_identity: bool,
}

impl Relation {
    /// Whether the server describes `other` in the same words.
    pub fn is_described_as(&self, other: &Relation) -> bool {
        let Self { oid, schema, name, replica_identity, columns, catalog: _ } = self;
        (oid, schema, name, columns) == (&other.oid, &other.schema, &other.name, &other.columns)
            && *replica_identity == other.replica_identity
    }

    /// Whether `other` is described in the same words, but for what types are called.
    pub(crate) fn is_worded_as(&self, other: &Relation) -> bool {
        let same = |(a, b): (&Column, &Column)| {
            a.name == b.name
                && a.type_oid == b.type_oid
                && a.type_modifier == b.type_modifier
                && a.in_identity == b.in_identity
        };
        self.oid == other.oid
            && self.schema == other.schema
            && self.name == other.name
            && self.replica_identity == other.replica_identity
            && self.columns.len() == other.columns.len()
            && self.columns.iter().zip(&other.columns).all(same)
    }

    /// Whether both have the same columns in the same words, as far as is known.
    pub(crate) fn has_shape_of(&self, other: &Relation) -> bool {
        let numbers = (self.attribute_numbers(), other.attribute_numbers());
        let differ = matches!(numbers, (Some(one), Some(other)) if one != other);
        !differ && self.is_worded_as(other)
    }

    /// The place of the column called `name`.
    pub fn column_index(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

//! What the catalogue says of one version of a table.
//!
//! Plain data, filled in by whoever can ask: kept beside the Relation message it answers for, it
//! says the same without a server. The catalogue knows only what is now, so that its word on the
//! table is taken only where that is still what the message describes.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::OnceLock;

use postgres_types::Type;
use serde::{Deserialize, Serialize};

use super::{Column, Oid, Relation, ReplicaIdentity};
use crate::codec::value::{TypeRegistry, ValueType};

/// The catalogue's answer about a [`Relation`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CatalogEntry {
    /// The table; `None` where it is not as the message says any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<TableEntry>,
    /// The types of its columns that are not built in, with those inside them. One that was
    /// dropped in the meantime is not among them.
    #[serde(default, skip_serializing_if = "TypeRegistry::is_builtin")]
    pub types: TypeRegistry,
    /// What follows from the types, once it was asked for.
    #[serde(skip)]
    derived: Derived,
}

impl CatalogEntry {
    /// An answer.
    pub fn new(table: Option<TableEntry>, types: TypeRegistry) -> Self {
        Self { table, types, derived: Derived::default() }
    }

    fn derived(&self) -> &DerivedTypes {
        self.derived.0.get_or_init(|| {
            let oids = || self.types.definitions().map(|(oid, _)| oid);
            DerivedTypes {
                values: oids().map(|oid| (oid, self.types.value_type(oid))).collect(),
                postgres: oids()
                    .filter_map(|oid| Some((oid, self.types.postgres_type(oid)?)))
                    .collect(),
            }
        })
    }
}

/// Says nothing beyond the types it is derived from: all are equal.
#[derive(Debug, Clone, Default)]
struct Derived(OnceLock<DerivedTypes>);

#[derive(Debug, Clone)]
struct DerivedTypes {
    values: HashMap<Oid, ValueType>,
    postgres: HashMap<Oid, Type>,
}

impl PartialEq for Derived {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Derived {}

impl Hash for Derived {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// What the catalogue knows of a table and the Relation message does not say.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TableEntry {
    /// The attribute number of each published column, which a renamed column keeps.
    pub attribute_numbers: Vec<i16>,
    /// The places of the primary key's columns, in the key's order; empty without a key, or when a
    /// column of it is not published.
    pub primary_key: Vec<usize>,
}

impl TableEntry {
    /// What `attributes`, the columns in the order of their numbers, and the numbers of the primary
    /// key's columns say of `relation`. `None` when they do not agree with it.
    pub fn new(relation: &Relation, attributes: &[TableAttribute], key: &[i16]) -> Option<Self> {
        let mut left = attributes.iter();
        let mut numbers = Vec::with_capacity(relation.columns.len());
        for column in &relation.columns {
            let same = loop {
                let attribute = left.next()?;
                if attribute.is(column) {
                    break attribute;
                }
                if !attribute.may_be_unpublished {
                    return None;
                }
            };
            numbers.push(same.number);
        }
        if !left.all(|attribute| attribute.may_be_unpublished) {
            return None;
        }
        let place = |number: &i16| numbers.iter().position(|known| known == number);
        let primary_key = key.iter().map(place).collect::<Option<_>>().unwrap_or_default();
        Some(Self { attribute_numbers: numbers, primary_key })
    }
}

/// A column as the catalogue has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableAttribute {
    /// Its attribute number.
    pub number: i16,
    /// Its name.
    pub name: String,
    /// Its type.
    pub type_oid: Oid,
    /// Its type's modifier.
    pub type_modifier: i32,
    /// Whether a publication may leave it out: it is generated, or columns are listed.
    pub may_be_unpublished: bool,
}

impl TableAttribute {
    fn is(&self, column: &Column) -> bool {
        self.name == column.name
            && self.type_oid == column.type_oid
            && self.type_modifier == column.type_modifier
    }
}

impl Relation {
    /// The attribute number of each column, where the catalogue knows it.
    pub fn attribute_numbers(&self) -> Option<&[i16]> {
        Some(&self.catalog.as_ref()?.table.as_ref()?.attribute_numbers)
    }

    /// The places of the columns that identify a row: those of the replica identity, and with
    /// `FULL`, where every column is one of them, those of the primary key. Empty when there are
    /// none, or when the catalogue, which alone knows the primary key, was not asked or has moved
    /// on.
    pub fn key_columns(&self) -> Vec<usize> {
        match self.replica_identity {
            ReplicaIdentity::Nothing => Vec::new(),
            ReplicaIdentity::Full => {
                let entry = self.catalog.as_ref().and_then(|entry| entry.table.as_ref());
                let places = entry.map(|entry| entry.primary_key.clone()).unwrap_or_default();
                // An entry that was kept elsewhere may not be this table's.
                let fits = places.iter().all(|place| *place < self.columns.len());
                if fits { places } else { Vec::new() }
            }
            ReplicaIdentity::Default | ReplicaIdentity::Index => {
                let columns = self.columns.iter().enumerate();
                columns.filter(|(_, column)| column.in_identity).map(|(at, _)| at).collect()
            }
        }
    }

    /// How values of the type `oid`, which one of its columns has, are read: by what the catalogue
    /// said of this version, else by `types`.
    pub fn value_type(&self, oid: Oid, types: &TypeRegistry) -> ValueType {
        let known = self.catalog.as_ref().and_then(|entry| entry.derived().values.get(&oid));
        known.cloned().unwrap_or_else(|| types.value_type(oid))
    }

    /// The type of the column at `place`, where that is known: a built-in one always, and what the
    /// database defines by what the catalogue said of this version.
    pub fn postgres_type(&self, place: usize) -> Option<Type> {
        let oid = self.columns.get(place)?.type_oid;
        Type::from_oid(oid.as_u32())
            .or_else(|| self.catalog.as_ref()?.derived().postgres.get(&oid).cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relation(columns: &[(&str, u32)]) -> Relation {
        let column = |&(name, type_oid): &(&str, u32)| Column {
            name: name.to_owned(),
            type_oid: Oid::new(type_oid),
            type_name: None,
            type_modifier: -1,
            in_identity: true,
        };
        Relation {
            oid: Oid::new(9),
            schema: "public".to_owned(),
            name: "t".to_owned(),
            replica_identity: ReplicaIdentity::Full,
            columns: columns.iter().map(column).collect(),
            catalog: None,
        }
    }

    fn attribute(number: i16, name: &str, type_oid: u32) -> TableAttribute {
        let (name, type_oid) = (name.to_owned(), Oid::new(type_oid));
        TableAttribute { number, name, type_oid, type_modifier: -1, may_be_unpublished: false }
    }

    #[test]
    fn an_answer_is_taken_only_where_columns_and_types_agree() {
        let relation = relation(&[("a", 23), ("b", 25)]);
        let (a, b) = (attribute(1, "a", 23), attribute(4, "b", 25));
        let entry = |attributes: &[&TableAttribute]| {
            let attributes: Vec<_> = attributes.iter().map(|it| (*it).clone()).collect();
            TableEntry::new(&relation, &attributes, &[4, 1])
        };
        let agreed = entry(&[&a, &b]).unwrap();
        assert_eq!((agreed.attribute_numbers, agreed.primary_key), (vec![1, 4], vec![1, 0]));
        let added = attribute(5, "c", 23);
        let generated = TableAttribute { may_be_unpublished: true, ..attribute(2, "c", 23) };
        assert!(entry(&[&a, &generated, &b]).is_some());
        for other in [
            vec![],
            vec![&a],
            vec![&a, &b, &added],
            vec![&a, &added, &b],
            vec![&a, &attribute(4, "b", 23)],
            vec![&a, &attribute(4, "c", 25)],
            // The names were exchanged.
            vec![&attribute(1, "b", 25), &attribute(4, "a", 23)],
        ] {
            assert_eq!(entry(&other), None, "{other:?}");
        }
    }

    #[test]
    fn with_full_the_key_is_the_primary_key_as_far_as_the_catalogue_agrees() {
        let mut relation = relation(&[("a", 23), ("b", 25)]);
        assert!(relation.key_columns().is_empty());
        let attributes = [attribute(1, "a", 23), attribute(2, "b", 25)];
        let mut say = |key: &[i16]| {
            let table = TableEntry::new(&relation, &attributes, key);
            relation.catalog = Some(CatalogEntry::new(table, TypeRegistry::builtin()));
            relation.key_columns()
        };
        assert_eq!(say(&[2]), [1]);
        assert!(say(&[]).is_empty());
        assert!(say(&[1, 7]).is_empty(), "a column of the key is not published");
        relation.catalog = Some(CatalogEntry::default());
        assert!(relation.key_columns().is_empty());
    }
}

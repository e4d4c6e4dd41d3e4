//! What one connection has described: its tables and the types it has named.
//!
//! The server describes a table before its first row and again when it has changed, and a type that
//! is not built in before the tables that use it. Nothing of it outlives the connection.

use std::collections::HashMap;
use std::sync::Arc;

use crate::codec::value::TypeRegistry;
use crate::event::{Column, Oid, Relation, ReplicaIdentity};
use crate::wire::DecodeError;
use crate::wire::pgoutput::RelationMessage;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Relations {
    tables: HashMap<Oid, Arc<Relation>>,
    /// Names of types that are not built in.
    types: HashMap<Oid, String>,
    /// The first column type met that has no binary decoder.
    undecodable: Option<Oid>,
}

impl Relations {
    /// The shape in force of the table `oid`.
    pub(super) fn table(&self, oid: Oid) -> Result<&Arc<Relation>, DecodeError> {
        self.tables.get(&oid).ok_or(DecodeError::UnknownRelation { oid: oid.as_u32() })
    }

    /// The first column type met that has no binary decoder.
    pub(super) fn undecodable(&self) -> Option<Oid> {
        self.undecodable
    }

    /// A type is called this.
    pub(super) fn name_type(&mut self, oid: Oid, schema: &str, name: &str) {
        self.types.insert(oid, format!("{schema}.{name}"));
    }

    /// A table has this shape from here on.
    pub(super) fn describe(&mut self, message: &RelationMessage<'_>) {
        let relation = self.relation_of(message);
        if self.undecodable.is_none() {
            let registry = TypeRegistry::builtin();
            let mut types = relation.columns.iter().map(|column| column.type_oid);
            self.undecodable = types.find(|oid| !registry.has_binary_decoder(*oid));
        }
        match self.tables.get(&relation.oid) {
            Some(known) if **known == relation => {}
            _ => {
                self.tables.insert(relation.oid, Arc::new(relation));
            }
        }
    }

    fn relation_of(&self, message: &RelationMessage<'_>) -> Relation {
        let schema = if message.schema.is_empty() { "pg_catalog" } else { message.schema };
        let columns = message.columns().map(|column| Column {
            name: column.name.to_owned(),
            type_oid: column.type_oid,
            type_name: self.types.get(&column.type_oid).cloned(),
            type_modifier: column.type_modifier,
            in_identity: column.in_identity,
        });
        Relation {
            oid: message.oid,
            schema: schema.to_owned(),
            name: message.name.to_owned(),
            replica_identity: match message.replica_identity {
                b'f' => ReplicaIdentity::Full,
                b'n' => ReplicaIdentity::Nothing,
                b'i' => ReplicaIdentity::Index,
                _ => ReplicaIdentity::Default,
            },
            columns: columns.collect(),
        }
    }
}

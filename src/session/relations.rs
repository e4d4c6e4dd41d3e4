//! What one connection has described: its tables and the types it has named.
//!
//! The server describes a table before its first row and again when it has changed, and a type that
//! is not built in before the tables that use it. Nothing of it outlives the connection.

use std::collections::HashMap;
use std::sync::Arc;

use super::assembler::Assembler;
use crate::codec::value::TypeRegistry;
use crate::event::{CatalogEntry, Column, Oid, Relation, ReplicaIdentity};
use crate::wire::DecodeError;
use crate::wire::pgoutput::RelationMessage;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Relations {
    tables: HashMap<Oid, Arc<Relation>>,
    /// Names of types that are not built in.
    types: HashMap<Oid, String>,
    /// Described, and not yet looked up in the catalogue.
    unanswered: Vec<Arc<Relation>>,
    /// The last version of each table that was.
    answered: HashMap<Oid, Arc<Relation>>,
    /// The first column type met that has no binary decoder.
    undecodable: Option<Oid>,
}

impl Relations {
    /// The shape in force of the table `oid`.
    pub(super) fn table(&self, oid: Oid) -> Result<&Arc<Relation>, DecodeError> {
        self.tables.get(&oid).ok_or(DecodeError::UnknownRelation { oid: oid.as_u32() })
    }

    /// A type is called this.
    pub(super) fn name_type(&mut self, oid: Oid, schema: &str, name: &str) {
        self.types.insert(oid, format!("{schema}.{name}"));
    }

    /// A table has this shape from here on.
    ///
    /// The server says it again when anything about the table has changed, also what its words do
    /// not show: the catalogue is asked each time.
    pub(super) fn describe(&mut self, message: &RelationMessage<'_>) {
        let described = self.relation_of(message);
        let relation = match self.tables.get(&described.oid) {
            Some(known) if known.catalog.is_none() && **known == described => Arc::clone(known),
            _ => Arc::new(described),
        };
        self.tables.insert(relation.oid, Arc::clone(&relation));
        if !self.unanswered.iter().any(|other| Arc::ptr_eq(other, &relation)) {
            self.unanswered.push(relation);
        }
    }

    /// Nobody will look up what was described so far.
    pub(super) fn leave_unanswered(&mut self) {
        self.unanswered.clear();
    }

    /// The catalogue's answers about what is unanswered. Tells which version each of
    /// these has become: the one before, when that says the same.
    fn answer(&mut self, answers: Vec<CatalogEntry>) -> Vec<(Arc<Relation>, Arc<Relation>)> {
        let asked = std::mem::take(&mut self.unanswered);
        let mut versions = Vec::with_capacity(asked.len());
        for (asked, entry) in asked.into_iter().zip(answers) {
            let relation = Relation { catalog: Some(entry), ..Relation::clone(&asked) };
            self.note_undecodable(&relation);
            let version = match self.answered.get(&relation.oid) {
                Some(before) if **before == relation => Arc::clone(before),
                _ => Arc::new(relation),
            };
            self.answered.insert(version.oid, Arc::clone(&version));
            if let Some(current) = self.tables.get_mut(&version.oid)
                && Arc::ptr_eq(current, &asked)
            {
                *current = Arc::clone(&version);
            }
            versions.push((asked, version));
        }
        versions
    }

    fn note_undecodable(&mut self, relation: &Relation) {
        if self.undecodable.is_none() {
            let builtin = TypeRegistry::builtin();
            let has_none = |oid: &Oid| !relation.value_type(*oid, &builtin).has_binary_decoder();
            self.undecodable = relation.columns.iter().map(|column| column.type_oid).find(has_none);
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
            catalog: None,
        }
    }
}

/// What the catalogue has to do with it.
impl Assembler {
    /// The tables described since the last batch, for which [`catalogued`](Self::catalogued) has
    /// not answered.
    pub fn undescribed(&self) -> &[Arc<Relation>] {
        &self.relations.unanswered
    }

    /// What the catalogue says of each of [`undescribed`](Self::undescribed): their rows are handed
    /// out with it. Without an answer before the next batch they are handed out as described.
    pub fn catalogued(&mut self, answers: Vec<CatalogEntry>) {
        for (asked, version) in self.relations.answer(answers) {
            for relation in &mut self.arena.relations {
                if Arc::ptr_eq(relation, &asked) {
                    *relation = Arc::clone(&version);
                }
            }
        }
    }

    /// The first column type without a binary decoder among those of the tables that the catalogue
    /// was asked about.
    pub fn undecodable(&self) -> Option<Oid> {
        self.relations.undecodable
    }
}

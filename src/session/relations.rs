//! What one connection has described: its tables and the types it has named.
//!
//! The server describes a table before its first row and again when it may have changed, and a type
//! that is not built in before the tables that use it. A description that no row follows changes
//! nothing: it may be of what was rolled back. So each version is held against the one before when
//! the first event of it comes. [`Relations`] knows the versions in force where the connection
//! begins only if it is told; what comes of it is for its owner to keep.

use std::collections::HashMap;
use std::sync::Arc;

use crate::codec::value::TypeRegistry;
use crate::event::{
    CatalogEntry, Column, Oid, Relation, RelationVersions, ReplicaIdentity, ShapeChange,
};
use crate::lsn::Lsn;
use crate::wire::DecodeError;
use crate::wire::pgoutput::RelationMessage;

/// The versions of tables that a committed transaction was the first to use since the connection
/// began.
#[derive(Debug, Clone)]
pub struct VersionsMet {
    /// The end of the transaction.
    pub end: Lsn,
    /// The versions in the order they were met.
    pub relations: Vec<Arc<Relation>>,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Relations {
    tables: HashMap<Oid, Described>,
    met: Met,
    /// Names of types that are not built in.
    types: HashMap<Oid, String>,
    /// Described, and not yet looked up in the catalogue.
    pub(super) unanswered: Vec<Arc<Relation>>,
    /// The last version of each table that was.
    answered: HashMap<Oid, Arc<Relation>>,
    /// The first column type met that has no binary decoder.
    pub(super) undecodable: Option<Oid>,
}

/// A table as it was described.
#[derive(Debug)]
pub(super) struct Described {
    pub(super) relation: Arc<Relation>,
    /// Whether no event has come since.
    pub(super) is_fresh: bool,
}

/// The last version of each table that an event came of.
#[derive(Debug, Default)]
struct Met {
    versions: HashMap<Oid, Arc<Relation>>,
    /// Which table had a name last.
    names: HashMap<(String, String), Oid>,
}

/// The first event after a description.
#[derive(Debug)]
pub(super) struct FirstEvent {
    pub(super) relation: Arc<Relation>,
    pub(super) since: Since,
}

/// What there is to tell of a table since the event before.
#[derive(Debug)]
pub(super) enum Since {
    /// Nothing: none is known of, or it is as it was.
    Nothing,
    /// It is described in other words.
    Changed(ShapeChange),
    /// It is described in the same words as this version. Only the catalogue may know better.
    Alike(Arc<Relation>),
}

impl Relations {
    /// The versions of which events came before the connection began.
    pub(super) fn know(&mut self, versions: &RelationVersions) {
        for relation in versions.iter() {
            self.met.replace(relation);
        }
    }

    /// What was met as `old` is known as `version` now.
    pub(super) fn know_better(&mut self, old: &Arc<Relation>, version: &Arc<Relation>) {
        self.met.know(old, version);
    }

    /// The last version of each table that an event came of.
    pub(super) fn known(&self) -> RelationVersions {
        let mut versions: Vec<_> = self.met.versions.values().cloned().collect();
        // Whoever has a name now comes after those that had it.
        versions.sort_by_key(|relation| (self.met.has_its_name(relation), relation.oid));
        versions.into_iter().collect()
    }

    /// The shape in force of the table `oid`.
    pub(super) fn table(&self, oid: Oid) -> Result<&Described, DecodeError> {
        self.tables.get(&oid).ok_or(DecodeError::UnknownRelation { oid: oid.as_u32() })
    }

    /// An event of the table `oid` comes; `None` unless it is the first since a description.
    pub(super) fn meet(&mut self, oid: Oid) -> Option<FirstEvent> {
        let described = self.tables.get_mut(&oid).filter(|described| described.is_fresh)?;
        described.is_fresh = false;
        let relation = Arc::clone(&described.relation);
        let is_answered = relation.catalog.is_some();
        let since = match self.met.before(&relation) {
            Some(old) if old.is_worded_as(&relation) && !is_answered => Since::Alike(old),
            // An answer that was too late teaches nothing.
            Some(old) if old.is_worded_as(&relation) && relation.attribute_numbers().is_none() => {
                Since::Nothing
            }
            old => {
                self.met.replace(&relation);
                match old.filter(|old| !old.has_shape_of(&relation)) {
                    Some(old) => Since::Changed(ShapeChange::between(old, Arc::clone(&relation))),
                    None => Since::Nothing,
                }
            }
        };
        Some(FirstEvent { relation, since })
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
            Some(Described { relation: known, .. })
                if known.catalog.is_none() && **known == described =>
            {
                Arc::clone(known)
            }
            _ => Arc::new(described),
        };
        let described = Described { relation: Arc::clone(&relation), is_fresh: true };
        self.tables.insert(relation.oid, described);
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
    pub(super) fn answer(
        &mut self,
        answers: Vec<CatalogEntry>,
    ) -> Vec<(Arc<Relation>, Arc<Relation>)> {
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
                && Arc::ptr_eq(&current.relation, &asked)
            {
                current.relation = Arc::clone(&version);
            }
            self.met.know(&asked, &version);
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

impl Met {
    /// The version that `relation` comes after: one of the same table, or else of the table that
    /// had its name.
    fn before(&self, relation: &Relation) -> Option<Arc<Relation>> {
        let same = || self.versions.get(&relation.oid);
        let name = (relation.schema.clone(), relation.name.clone());
        let namesake = || {
            let other = self.versions.get(self.names.get(&name)?)?;
            // It may have another name by now.
            (other.schema == relation.schema && other.name == relation.name).then_some(other)
        };
        same().or_else(namesake).cloned()
    }

    fn has_its_name(&self, relation: &Relation) -> bool {
        let name = (relation.schema.clone(), relation.name.clone());
        self.names.get(&name) == Some(&relation.oid)
    }

    /// Put `relation` in the place of the version before.
    fn replace(&mut self, relation: &Arc<Relation>) {
        let name = (relation.schema.clone(), relation.name.clone());
        self.names.insert(name, relation.oid);
        self.versions.insert(relation.oid, Arc::clone(relation));
    }

    /// What was met as `asked` is known as `version` now.
    fn know(&mut self, asked: &Arc<Relation>, version: &Arc<Relation>) {
        if let Some(met) = self.versions.get_mut(&asked.oid).filter(|met| Arc::ptr_eq(met, asked)) {
            *met = Arc::clone(version);
        }
    }
}

#[cfg(test)]
#[path = "relations_tests.rs"]
mod tests;

//! The shapes that tables had, to be kept and found again.

use std::sync::Arc;

use crate::event::relation::Relation;

/// One version of each table that has had an event, as of some position.
///
/// Clones share the same list. It is kept with a position, so that a change of shape is known for
/// one after a restart.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct RelationVersions(#[serde(with = "shared")] Arc<[Arc<Relation>]>);

impl RelationVersions {
    /// How many tables there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The versions, those that were in use last at the end.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Relation>> {
        self.0.iter()
    }
}

impl PartialEq for RelationVersions {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Eq for RelationVersions {}

impl FromIterator<Arc<Relation>> for RelationVersions {
    fn from_iter<T: IntoIterator<Item = Arc<Relation>>>(versions: T) -> Self {
        Self(versions.into_iter().collect())
    }
}

/// A list behind pointers as a list.
mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serializer};

    use crate::event::relation::Relation;

    pub(super) fn serialize<S: Serializer>(
        versions: &[Arc<Relation>],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(versions.iter().map(|relation| &**relation))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Arc<[Arc<Relation>]>, D::Error> {
        let versions = Vec::<Relation>::deserialize(deserializer)?;
        Ok(versions.into_iter().map(Arc::new).collect())
    }
}

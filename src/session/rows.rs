//! The rows of one change, before it has its place in a batch.

use crate::event::{Arena, Relation, RowShape, to_u32};
use crate::wire::DecodeError;
use crate::wire::pgoutput::{OldKind, TupleSpan};

/// Which rows a message carries.
#[derive(Clone, Copy)]
pub(super) enum Rows {
    Insert(TupleSpan),
    Update(Option<(OldKind, TupleSpan)>, TupleSpan),
    Delete(OldKind, TupleSpan),
}

impl Rows {
    /// Refuse rows that have not the columns of `relation`.
    #[inline]
    pub(super) fn check(self, relation: &Relation) -> Result<(), DecodeError> {
        let (old, new) = self.spans();
        for span in old.iter().chain(&new) {
            let (want, have) = (relation.columns.len(), span.count);
            if want != have {
                return Err(DecodeError::ColumnCount { oid: relation.oid.as_u32(), want, have });
            }
        }
        Ok(())
    }

    /// Where the first of its fields is among the arena's.
    pub(super) fn first(self) -> usize {
        let (old, new) = self.spans();
        old.or(new).map_or(0, |span| span.first)
    }

    /// What they are in `arena`, where columns that were not sent have the old row's values.
    #[inline]
    pub(super) fn shape(self, arena: &mut Arena, relation: &Relation) -> RowShape {
        match self {
            Rows::Insert(new) => RowShape::Insert { new: to_u32(new.first) },
            Rows::Update(None, new) => RowShape::Update { new: to_u32(new.first) },
            Rows::Update(Some((kind, old)), new) => {
                arena.merge_unchanged(relation, kind, old, new);
                RowShape::UpdateWithOld { kind, old: to_u32(old.first), new: to_u32(new.first) }
            }
            Rows::Delete(kind, old) => RowShape::Delete { kind, old: to_u32(old.first) },
        }
    }

    fn spans(self) -> (Option<TupleSpan>, Option<TupleSpan>) {
        match self {
            Self::Insert(new) => (None, Some(new)),
            Self::Update(old, new) => (old.map(|(_, span)| span), Some(new)),
            Self::Delete(_, old) => (Some(old), None),
        }
    }
}

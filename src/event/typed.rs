//! What a batch knows of its columns once they are read as Rust types: the type of each, and the
//! binary form of values that came as text.
//!
//! Rust types read the binary form, and may borrow from it: it lives as long as the batch. Nothing
//! is made before a column is asked for. Then all its values are, in one go and into one piece of
//! memory: who reads one row of a batch mostly reads the others, and what is found out about a type
//! is found out once. Long texts are left for when they are asked for one by one.

use std::sync::OnceLock;

use postgres_types::Type;

use crate::codec::{TranscodeError, Transcoder};
use crate::event::arena::{Arena, HeadKind};
use crate::event::chunk::Lease;
use crate::event::value::Value;

/// Longer texts are made into binary one by one.
const SHORT_TEXT_BYTES: usize = 1024;

/// The columns of each table of a batch.
#[derive(Debug, Default)]
pub(crate) struct TypedTables(OnceLock<Box<[TypedTable]>>);

#[derive(Debug, Default)]
struct TypedTable(OnceLock<Box<[TypedColumn]>>);

/// A column of a table of a batch.
#[derive(Debug)]
pub(crate) struct TypedColumn {
    /// Its type, where that is known.
    pub(crate) ty: Option<Type>,
    forms: OnceLock<Box<Forms>>,
}

/// A value's place in a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ValuePlace {
    /// Which of the batch's tables it is of.
    pub(crate) table: u32,
    /// Which of its columns.
    pub(crate) column: usize,
    /// The first of its row's fields among the batch's.
    pub(crate) row: usize,
}

impl Arena {
    /// The columns of a table.
    #[inline]
    pub(crate) fn typed_columns(&self, table: u32) -> &[TypedColumn] {
        let tables = self.typed.0.get_or_init(|| {
            std::iter::repeat_with(TypedTable::default).take(self.relations.len()).collect()
        });
        tables[table as usize].0.get_or_init(|| {
            let relation = &self.relations[table as usize];
            let typed =
                |place| TypedColumn { ty: relation.postgres_type(place), forms: OnceLock::new() };
            (0..relation.columns.len()).map(typed).collect()
        })
    }

    /// The binary form of the value at `place`, which is of type `ty` and came as `text`.
    pub(crate) fn binary_form(
        &self,
        place: ValuePlace,
        ty: &Type,
        text: &[u8],
    ) -> Result<&[u8], TranscodeError> {
        let columns = self.typed_columns(place.table);
        let forms = columns[place.column]
            .forms
            .get_or_init(|| Box::new(Forms::of(self, place, Transcoder::of(ty))));
        let slot = place.row / columns.len();
        match forms.short[slot] {
            Some(Form { start, length }) => Ok(&forms.bytes[start..start + length]),
            None => forms.long(slot, &self.lease, ty, text),
        }
    }
}

/// The binary forms of a column's values. Each has the slot that is its row's first field divided
/// by the number of columns: no two rows of a table have one slot.
#[derive(Debug)]
struct Forms {
    /// `None` where there is no text, or none that is short and well-formed.
    short: Box<[Option<Form>]>,
    bytes: Vec<u8>,
    long: OnceLock<Box<[OnceLock<LongForm>]>>,
    /// The memory of the short ones.
    _lease: Lease,
}

/// A place among the bytes of all.
#[derive(Debug, Clone, Copy)]
struct Form {
    start: usize,
    length: usize,
}

#[derive(Debug)]
struct LongForm {
    bytes: Box<[u8]>,
    _lease: Lease,
}

impl Forms {
    fn of(arena: &Arena, place: ValuePlace, transcoder: Transcoder<'_>) -> Self {
        let columns = arena.relations[place.table as usize].columns.len();
        let mut short = vec![None; arena.fields.len() / columns + 1].into_boxed_slice();
        let mut bytes = Vec::new();
        for head in &arena.heads {
            let HeadKind::Row(row) = head.kind else { continue };
            if row.relation != place.table {
                continue;
            }
            let chunk = &arena.chunks[row.chunk as usize].bytes;
            row.shape.each_first(|first| {
                let first = first as usize;
                let value = arena.fields[first + place.column].value(chunk);
                let Value::Text(text) = value else { return };
                let start = bytes.len();
                if text.len() > SHORT_TEXT_BYTES || transcoder.transcode(text, &mut bytes).is_err()
                {
                    return;
                }
                let length = bytes.len() - start;
                if start == 0 {
                    // The others are about as long.
                    bytes.reserve(length * short.len());
                }
                short[first / columns] = Some(Form { start, length });
            });
        }
        let lease = arena.lease.more(bytes.capacity() + size_of_val(&*short));
        Self { short, bytes, long: OnceLock::new(), _lease: lease }
    }

    /// The form of one that is not short, or the reason why there is none.
    #[cold]
    fn long(
        &self,
        slot: usize,
        lease: &Lease,
        ty: &Type,
        text: &[u8],
    ) -> Result<&[u8], TranscodeError> {
        let long = self
            .long
            .get_or_init(|| std::iter::repeat_with(OnceLock::new).take(self.short.len()).collect());
        if let Some(form) = long[slot].get() {
            return Ok(&form.bytes);
        }
        let mut bytes = Vec::new();
        Transcoder::of(ty).transcode(text, &mut bytes)?;
        let form = LongForm { _lease: lease.more(bytes.len()), bytes: bytes.into() };
        // Another thread may have been first; both made the same.
        Ok(&long[slot].get_or_init(|| form).bytes)
    }
}

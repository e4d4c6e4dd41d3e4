//! Where a batch keeps the binary form of values that came as text, so that what is read of them
//! can borrow from the batch as everything else does.
//!
//! Nothing is made before a value is asked for, and each value is made once. A form that fits stays
//! in its place: reading numbers, times and identifiers allocates once per batch and not per value.

use std::cell::Cell;
use std::sync::OnceLock;

use crate::event::chunk::Lease;

/// A place for each field of a batch.
#[derive(Debug, Default)]
pub(crate) struct Transcoded(OnceLock<Places>);

#[derive(Debug)]
struct Places {
    forms: Box<[OnceLock<Form>]>,
    /// The memory of the places and, about, of what does not fit them.
    _lease: Lease,
}

const SHORT_MAX: usize = 22;

#[derive(Debug)]
enum Form {
    Short { length: u8, bytes: [u8; SHORT_MAX] },
    Long(Box<[u8]>),
}

/// What the places of a batch take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    pub(crate) fields: usize,
    /// The bytes the batch stands on.
    pub(crate) chunk_bytes: usize,
}

impl Transcoded {
    /// The form kept for `field`, made by `make` if nobody has yet.
    pub(crate) fn share<E>(
        &self,
        field: usize,
        (extent, lease): (impl FnOnce() -> Extent, &Lease),
        make: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<&[u8], E> {
        let places = self.0.get_or_init(|| {
            let extent = extent();
            let forms: Box<[_]> = (0..extent.fields).map(|_| OnceLock::new()).collect();
            let bytes = forms.len() * size_of::<OnceLock<Form>>() + extent.chunk_bytes;
            Places { forms, _lease: lease.more(bytes) }
        });
        let place = &places.forms[field];
        if let Some(form) = place.get() {
            return Ok(form.bytes());
        }
        let form = with_scratch(|scratch| {
            make(scratch)?;
            Ok(Form::of(scratch))
        })?;
        // Another thread may have been first; both made the same.
        Ok(place.get_or_init(|| form).bytes())
    }
}

impl Form {
    fn of(made: &[u8]) -> Self {
        match u8::try_from(made.len()) {
            Ok(length) if made.len() <= SHORT_MAX => {
                let mut bytes = [0; SHORT_MAX];
                bytes[..made.len()].copy_from_slice(made);
                Self::Short { length, bytes }
            }
            _ => Self::Long(made.into()),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Short { length, bytes } => &bytes[..usize::from(*length)],
            Self::Long(bytes) => bytes,
        }
    }
}

/// A buffer that grows beyond this is not kept for the next value.
const SCRATCH_KEPT_BYTES: usize = 64 * 1024;

/// Give `use_it` an empty buffer that this thread uses again and again.
pub(crate) fn with_scratch<T>(use_it: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    thread_local! {
        static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    }
    // Taken out while in use: what is called meanwhile may want one too.
    let mut scratch = SCRATCH.take();
    scratch.clear();
    let result = use_it(&mut scratch);
    if scratch.capacity() <= SCRATCH_KEPT_BYTES {
        SCRATCH.set(scratch);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_is_made_once_and_a_failure_is_not_kept() {
        let (it, lease) = (Transcoded::default(), Lease::free());
        let extent = || Extent { fields: 3, chunk_bytes: 0 };
        let made = |field, bytes: &[u8]| {
            let make = |out: &mut Vec<u8>| {
                out.extend_from_slice(bytes);
                Ok::<_, ()>(())
            };
            it.share(field, (extent, &lease), make).unwrap().to_vec()
        };
        assert_eq!(it.share(1, (extent, &lease), |_| Err(7)), Err(7));
        let (short, long) = ([1; SHORT_MAX], [2; SHORT_MAX + 1]);
        assert_eq!(made(1, &short), short);
        assert_eq!(made(2, &long), long);
        assert_eq!(made(1, b"other"), short);
        assert_eq!(made(2, b"other"), long);
        assert_eq!(made(0, b""), b"");
    }
}

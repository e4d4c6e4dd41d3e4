//! A batch's bytes in one format, made once for every sink that writes it.

use std::sync::{Arc, OnceLock};

use crate::event::chunk::Lease;

/// A batch in one format.
#[derive(Debug, Default)]
pub struct Encoded {
    /// Its events.
    pub bytes: Vec<u8>,
    /// Up to where `bytes` holds whole transactions; `None` when the batch completes none.
    pub complete: Option<usize>,
    /// The memory of `bytes`, which may live as long as the batch.
    pub(crate) lease: Lease,
}

/// How many formats of one batch are kept. Sinks of one more each make their own.
const FORMATS_MAX: usize = 4;

/// Where a batch keeps what was encoded, one place for each format, taken by whoever is first.
///
/// A lane that comes while another encodes waits for it: that takes no longer than doing the same
/// work beside it.
#[derive(Debug, Default)]
pub(crate) struct Shelf([OnceLock<Place>; FORMATS_MAX]);

#[derive(Debug)]
struct Place {
    /// What tells one format, with all its options, from every other.
    format: Arc<str>,
    /// `None` stands for a batch that could not be encoded.
    encoded: OnceLock<Option<Arc<Encoded>>>,
}

impl Shelf {
    /// What stands at the place of `format`, made by `encode` if nobody has yet.
    pub(crate) fn share<E>(
        &self,
        format: &Arc<str>,
        mut encode: impl FnMut() -> Result<Encoded, E>,
    ) -> Result<Arc<Encoded>, E> {
        let take = |place: &OnceLock<Place>| {
            let empty = || Place { format: Arc::clone(format), encoded: OnceLock::new() };
            place.get_or_init(empty).format == *format
        };
        let Some(place) = self.0.iter().find(|place| take(place)).and_then(OnceLock::get) else {
            return encode().map(Arc::new);
        };
        let mut failure = None;
        let shared = place.encoded.get_or_init(|| match encode() {
            Ok(encoded) => Some(Arc::new(encoded)),
            Err(error) => {
                failure = Some(error);
                None
            }
        });
        match (shared, failure) {
            (Some(encoded), _) => Ok(Arc::clone(encoded)),
            (None, Some(error)) => Err(error),
            // Another lane met the failure; this one needs its own account of it.
            (None, None) => encode().map(Arc::new),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_format_has_a_place_of_its_own_while_there_are_places() {
        let shelf = Shelf::default();
        let formats: Vec<Arc<str>> = "abcde".split("").map(Arc::from).collect();
        let encode = |format: &Arc<str>| {
            let encoded = || Encoded { bytes: format.as_bytes().to_vec(), ..Encoded::default() };
            shelf.share(format, || Ok::<_, ()>(encoded())).unwrap()
        };
        for _ in 0..2 {
            for format in &formats {
                assert_eq!(encode(format).bytes, format.as_bytes());
            }
        }
        assert!(Arc::ptr_eq(&encode(&formats[0]), &encode(&formats[0].to_string().into())));
        assert!(!Arc::ptr_eq(&encode(&formats[5]), &encode(&formats[5])));
    }

    #[test]
    fn a_failure_is_met_by_each_sink_itself() {
        let shelf = Shelf::default();
        let format = Arc::from("json");
        assert_eq!(shelf.share(&format, || Err(1)).unwrap_err(), 1);
        assert_eq!(shelf.share(&format, || Err(2)).unwrap_err(), 2);
    }
}

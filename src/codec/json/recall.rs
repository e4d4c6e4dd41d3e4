//! What a line that was written earlier says about where its writer stood.
//!
//! A file without a cursor is read back from its end. Only a line's two ends are looked at: a row
//! may be a gigabyte, and everything that matters stands before the row or after it.

use serde::Deserialize;

use crate::lsn::Lsn;
use crate::name::SystemId;

/// How much of a line's start and end [`recall`] needs; a shorter line is given whole.
pub const LINE_END_BYTES: usize = 8 * 1024;

/// What a line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recalled {
    /// The cluster it came from.
    pub system_id: SystemId,
    /// The end LSN of its transaction, if it is the last line of it.
    pub end_lsn: Option<Lsn>,
}

/// Read a line of the native format, without its line break. `front` and `back` are its first and
/// last [`LINE_END_BYTES`]; they overlap when it is shorter. `None` when this is no such line.
pub fn recall(front: &[u8], back: &[u8]) -> Option<Recalled> {
    const OPENING: &[u8] = b"{\"id\":\"";
    const SEPARATOR: &[u8] = b",\"lsn\":\"";
    let id = front.strip_prefix(OPENING)?;
    let id = std::str::from_utf8(&id[..memchr::memchr(b'"', id)?]).ok()?;
    let mut parts = id.split(':');
    let system_id = SystemId::new(parts.next()?.parse().ok()?);
    // Inside a JSON string the quotes would be escaped, so this is the key itself.
    let from = memchr::memmem::rfind(back, SEPARATOR)?;
    let mut object = vec![b'{'];
    object.extend_from_slice(&back[from + 1..]);
    let place: Place = serde_json::from_slice(&object).ok()?;
    let last = place.last == Some(true);
    Some(Recalled { system_id, end_lsn: place.end_lsn.filter(|_| last) })
}

/// The keys after a line's row.
#[derive(Deserialize)]
struct Place {
    end_lsn: Option<Lsn>,
    last: Option<bool>,
    #[serde(rename = "commit_lsn")]
    _commit_lsn: Lsn,
    #[serde(rename = "snapshot")]
    _snapshot: bool,
}

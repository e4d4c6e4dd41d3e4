//! The bytes of a segment.
//!
//! ```text
//! segment header, 40 bytes          record header, 24 bytes, then the payload
//!   0  magic "WALCASTJ"               0  kind, then three zeros
//!   8  version                        4  length of the payload
//!  12  zeros                          8  durable: how much of the segment was synced before
//!  16  number of the segment         16  CRC-32C of the payload
//!  24  length of the one before      20  CRC-32C of the segment's number, the record's place
//!  32  checksum of all before it          in it and the 20 bytes before
//!  36  CRC-32C of all before
//! ```
//!
//! Numbers are little-endian. A record's checksum covers where it lies, so that no record passes
//! for one in another place. A segment says how the one before it ended: a cut between two records
//! is no end. `durable` tells a tear from damage: what was synced once cannot be torn.

/// What every segment begins with.
const MAGIC: [u8; 8] = *b"WALCASTJ";
/// The version written and read here.
pub(super) const VERSION: u32 = 1;
/// Bytes of a segment before its first record.
pub(super) const SEGMENT_HEADER_BYTES: usize = 40;
/// Bytes of a record before its payload.
pub(super) const RECORD_HEADER_BYTES: usize = 24;
/// The longest payload: one frame of the longest that a server builds, with room to spare.
pub(super) const PAYLOAD_BYTES_MAX: usize = 0x4000_0000 + 0x10_0000;

/// What a record holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[non_exhaustive]
pub enum RecordKind {
    /// Where frames come from and what decoding them needs, as an [`Opening`](super::Opening).
    Opening = 1,
    /// Whole frames, as they came.
    Frames = 2,
    /// What the catalogue said of a relation or type.
    Catalog = 3,
    /// Nothing. Written after a sync, so that everything before is known to have been durable.
    Closed = 4,
    /// Up to which LSN everything lies whole before, where no commit says it.
    Reached = 5,
    /// What is kept in other segments, where each thing has one of its own.
    Index = 16,
}

impl RecordKind {
    fn of(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Opening,
            2 => Self::Frames,
            3 => Self::Catalog,
            4 => Self::Closed,
            5 => Self::Reached,
            16 => Self::Index,
            _ => return None,
        })
    }
}

/// The start of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) number: u64,
    pub(super) previous: Sealed,
}

/// How a segment ended that is written no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Sealed {
    pub(super) bytes: u64,
    /// The checksum of its header and of the checksums of its records: of all that was written up
    /// to there, since its header has that of the segment before.
    pub(super) chain: u32,
}

/// Why bytes are no segment header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoHeader {
    Magic,
    Version(u32),
    Checksum { have: u32, want: u32 },
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.number.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.previous.bytes.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.previous.chain.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..36]);
        bytes[36..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8; SEGMENT_HEADER_BYTES]) -> Result<Self, NoHeader> {
        if bytes[..8] != MAGIC {
            return Err(NoHeader::Magic);
        }
        let (have, want) = (crc32c::crc32c(&bytes[..36]), u32_at(bytes, 36));
        if have != want {
            return Err(NoHeader::Checksum { have, want });
        }
        match u32_at(bytes, 8) {
            VERSION => {}
            version => return Err(NoHeader::Version(version)),
        }
        let previous = Sealed { bytes: u64_at(bytes, 24), chain: u32_at(bytes, 32) };
        Ok(Self { number: u64_at(bytes, 16), previous })
    }
}

/// The start of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RecordHeader {
    pub(super) kind: RecordKind,
    pub(super) length: u32,
    /// How much of the segment was synced before this was written.
    pub(super) durable: u64,
    pub(super) payload_crc: u32,
}

/// Where a record lies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) segment: u64,
    pub(super) at: u64,
}

/// Why bytes are no record header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoRecord {
    Checksum { have: u32, want: u32 },
    Kind(u8),
    Length(u32),
}

impl RecordHeader {
    /// The header and its checksum.
    pub(super) fn encode(&self, place: Place) -> ([u8; RECORD_HEADER_BYTES], u32) {
        let mut bytes = [0; RECORD_HEADER_BYTES];
        bytes[0] = self.kind as u8;
        bytes[4..8].copy_from_slice(&self.length.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.durable.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.payload_crc.to_le_bytes());
        let crc = header_crc(&bytes, place);
        bytes[20..].copy_from_slice(&crc.to_le_bytes());
        (bytes, crc)
    }

    /// The header and its checksum.
    pub(super) fn decode(
        bytes: &[u8; RECORD_HEADER_BYTES],
        place: Place,
    ) -> Result<(Self, u32), NoRecord> {
        let (have, want) = (header_crc(bytes, place), u32_at(bytes, 20));
        if have != want {
            return Err(NoRecord::Checksum { have, want });
        }
        let kind = RecordKind::of(bytes[0]).ok_or(NoRecord::Kind(bytes[0]))?;
        let length = u32_at(bytes, 4);
        if length as usize > PAYLOAD_BYTES_MAX {
            return Err(NoRecord::Length(length));
        }
        let (durable, payload_crc) = (u64_at(bytes, 8), u32_at(bytes, 16));
        Ok((Self { kind, length, durable, payload_crc }, want))
    }

    /// Whether `bytes` are a header at `place` which says that more than `beyond` bytes were
    /// synced.
    pub(super) fn vouches(bytes: &[u8; RECORD_HEADER_BYTES], place: Place, beyond: u64) -> bool {
        // Cheap tests first: this is asked at every byte of a damaged tail.
        bytes[1..4] == [0; 3]
            && (beyond + 1..=place.at).contains(&u64_at(bytes, 8))
            && Self::decode(bytes, place).is_ok()
    }
}

fn header_crc(bytes: &[u8; RECORD_HEADER_BYTES], place: Place) -> u32 {
    let crc = crc32c::crc32c(&place.segment.to_le_bytes());
    let crc = crc32c::crc32c_append(crc, &place.at.to_le_bytes());
    crc32c::crc32c_append(crc, &bytes[..20])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let four = bytes[at..].first_chunk::<4>().expect("headers have a fixed length");
    u32::from_le_bytes(*four)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let eight = bytes[at..].first_chunk::<8>().expect("headers have a fixed length");
    u64::from_le_bytes(*eight)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_read_back_and_no_flipped_bit_passes() {
        let header = SegmentHeader { number: 7, previous: Sealed { bytes: 9, chain: 11 } };
        let bytes = header.encode();
        assert_eq!(SegmentHeader::decode(&bytes), Ok(header));
        for bit in 0..SEGMENT_HEADER_BYTES * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&flipped).is_err(), "bit {bit}");
        }
        let place = Place { segment: 7, at: 40 };
        let record =
            RecordHeader { kind: RecordKind::Frames, length: 3, durable: 40, payload_crc: 5 };
        let (bytes, crc) = record.encode(place);
        assert_eq!(RecordHeader::decode(&bytes, place), Ok((record, crc)));
        assert!(RecordHeader::vouches(&bytes, place, 39));
        assert!(!RecordHeader::vouches(&bytes, place, 40));
        for bit in 0..RECORD_HEADER_BYTES * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(RecordHeader::decode(&flipped, place).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_record_is_one_only_where_it_was_written() {
        let record =
            RecordHeader { kind: RecordKind::Closed, length: 0, durable: 0, payload_crc: 0 };
        let (bytes, _) = record.encode(Place { segment: 1, at: 40 });
        for place in [Place { segment: 2, at: 40 }, Place { segment: 1, at: 64 }] {
            let read = RecordHeader::decode(&bytes, place);
            assert!(matches!(read, Err(NoRecord::Checksum { .. })), "{place:?}");
        }
    }
}

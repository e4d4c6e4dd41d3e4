//! Where reads go: one leased buffer at a time, frames split off it without copying.
//!
//! A buffer's lease covers the whole allocation and travels with every run of frames cut from it. A
//! frame that does not fit gets a buffer of its own, leased whole but grown only as its bytes come,
//! so that a length on the wire is never believed before it is backed by data. One that nobody
//! wants is dropped as it comes.

use bytes::{Buf, BytesMut};

use crate::event::Lease;
use crate::wire::DecodeError;
use crate::wire::copy_both::{FRAME_HEADER_BYTES, XLOG_DATA_HEADER_BYTES, frame_bytes};

/// With less free space than this share of a buffer a new one is taken rather than read into the
/// old one's rest, which stays leased for nothing.
const SPACE_SHARE_MIN: usize = 8;
/// How far the buffer of an oversize frame may grow beyond what has come.
const GROWTH_BYTES_MIN: usize = 1024 * 1024;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct ReadBuffer {
    pub(super) bytes: BytesMut,
    /// The memory of `bytes`; none before the first read.
    pub(super) lease: Option<Lease>,
    capacity: usize,
    /// The length of the oversize frame at the front, once it was met.
    oversize: Option<usize>,
    /// Frames were cut off: what is at the front now was not there before.
    front_is_new: bool,
    /// Bytes still to come of a frame that is skipped.
    skipped: usize,
}

/// Where a frame of output says what it carries.
const TAG_AT: usize = FRAME_HEADER_BYTES + XLOG_DATA_HEADER_BYTES;

impl ReadBuffer {
    /// A buffer that begins with `bytes` and takes `capacity` bytes at a time.
    pub(super) fn new(bytes: BytesMut, capacity: usize) -> Self {
        Self { bytes, lease: None, capacity, oversize: None, front_is_new: true, skipped: 0 }
    }

    /// How many bytes a read can bring.
    pub(super) fn space(&self) -> usize {
        self.bytes.capacity() - self.bytes.len()
    }

    /// How large a lease the next read needs first; 0 when there is room.
    pub(super) fn wanted(&mut self) -> usize {
        if self.skipped > 0 && self.lease.is_some() && self.bytes.try_reclaim(self.capacity) {
            return 0;
        }
        if let Some(length) = self.oversize {
            if self.bytes.len() < length && self.lease.is_some() {
                if self.space() == 0 {
                    let growth = self.bytes.len().max(GROWTH_BYTES_MIN);
                    self.bytes.reserve(growth.min(length - self.bytes.len()));
                }
                return 0;
            }
            if self.bytes.len() < length {
                return length;
            }
        }
        let has_room = self.space() >= self.capacity / SPACE_SHARE_MIN || self.holds_the_rest();
        if self.lease.is_some() && has_room { 0 } else { self.capacity }
    }

    /// Whether the frame at the front, which has come in part, fits: a new buffer would leave no
    /// more room than this one.
    fn holds_the_rest(&self) -> bool {
        let length = frame_bytes(&self.bytes).ok().flatten();
        length.is_some_and(|length| {
            length > self.bytes.len() && length - self.bytes.len() <= self.space()
        })
    }

    /// Room for reads whose bytes are dropped at once. Always 0: nothing is to be leased.
    pub(super) fn reuse(&mut self) -> usize {
        if self.space() < self.capacity / SPACE_SHARE_MIN {
            self.bytes.reserve(self.capacity);
        }
        0
    }

    /// Go on in memory that `lease` covers, as much as was wanted.
    pub(super) fn renew(&mut self, lease: Lease) {
        let capacity = match self.oversize {
            Some(length) => length.min(self.bytes.len() + GROWTH_BYTES_MIN),
            None => self.capacity.max(self.bytes.len()),
        };
        let mut fresh = BytesMut::with_capacity(capacity);
        fresh.extend_from_slice(&self.bytes);
        self.bytes = fresh;
        self.lease = Some(lease);
    }

    /// Frames were cut off the front.
    pub(super) fn was_cut(&mut self) {
        self.front_is_new = true;
    }

    /// The incomplete frame at the front, as far as it has come, if it does not fit an ordinary
    /// buffer and was not [met](Self::meets_oversize) yet.
    pub(super) fn unmet(&self) -> Result<Option<&[u8]>, DecodeError> {
        let length = frame_bytes(&self.bytes)?.filter(|length| *length > self.capacity);
        let is_met = self.oversize == length && !self.front_is_new;
        let is_unmet = length.is_some_and(|length| length > self.bytes.len()) && !is_met;
        Ok(is_unmet.then_some(&self.bytes))
    }

    /// Drop the incomplete frame at the front, and what is still to come of it.
    pub(super) fn skip_front(&mut self) -> Result<(), DecodeError> {
        let length = frame_bytes(&self.bytes)?.unwrap_or(0);
        self.skipped = length.saturating_sub(self.bytes.len());
        self.bytes.clear();
        self.front_is_new = true;
        if self.oversize.take().is_some() {
            self.bytes = BytesMut::new();
            self.lease = None;
        }
        Ok(())
    }

    /// Drop what has come of a frame that is skipped.
    pub(super) fn drop_skipped(&mut self) {
        let come = self.skipped.min(self.bytes.len());
        self.bytes.advance(come);
        self.skipped -= come;
    }

    /// Look at the incomplete frame at the front: whether it is the first sight of one that does
    /// not fit an ordinary buffer. The buffer's lease is let go then, so that the frame's own can
    /// be had; and so is the frame's, once it is past.
    pub(super) fn meets_oversize(&mut self) -> Result<bool, DecodeError> {
        let length = frame_bytes(&self.bytes)?.filter(|length| *length > self.capacity);
        let before = self.oversize.take();
        self.oversize = length.filter(|_| self.bytes.len() > TAG_AT);
        if before.is_some() && self.oversize == before && !self.front_is_new {
            return Ok(false);
        }
        if before.or(self.oversize).is_some() {
            self.bytes = BytesMut::from(&self.bytes[..]);
            self.lease = None;
        }
        self.front_is_new &= self.oversize.is_none();
        Ok(self.oversize.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_oversize_frame_grows_with_its_bytes() {
        let mut buffer = ReadBuffer::new(BytesMut::new(), 16 * 1024);
        assert_eq!(buffer.wanted(), 16 * 1024);
        buffer.renew(Lease::free());
        assert_eq!(buffer.wanted(), 0);
        let length = 100 * 1024 * 1024usize;
        buffer.bytes.extend_from_slice(b"d");
        buffer.bytes.extend_from_slice(&(length as u32 - 1).to_be_bytes());
        assert_eq!(buffer.meets_oversize(), Ok(false), "what it carries is not known yet");
        assert_eq!(buffer.wanted(), 0);
        buffer.bytes.resize(40, b'I');
        assert_eq!(buffer.meets_oversize(), Ok(true));
        assert_eq!(buffer.meets_oversize(), Ok(false));
        assert_eq!(buffer.wanted(), length);
        buffer.renew(Lease::free());
        assert_eq!(buffer.wanted(), 0);
        assert!(buffer.bytes.capacity() <= 2 * GROWTH_BYTES_MIN);
        while buffer.bytes.len() < length {
            assert_eq!(buffer.wanted(), 0);
            let space = buffer.space();
            assert!(space > 0 && buffer.bytes.capacity() <= 2 * buffer.bytes.len() + 2_000_000);
            buffer.bytes.resize(buffer.bytes.len() + space.min(length - buffer.bytes.len()), 0);
        }
        let frame = buffer.bytes.split_to(length);
        buffer.was_cut();
        assert_eq!(frame.len(), length);
        assert_eq!(buffer.meets_oversize(), Ok(false));
        assert_eq!(buffer.wanted(), 16 * 1024);
    }

    #[test]
    fn a_second_oversize_frame_has_a_lease_of_its_own() {
        let mut buffer = ReadBuffer::new(BytesMut::new(), 16 * 1024);
        let length = 100_000usize;
        let mut frame = vec![b'd'];
        frame.extend_from_slice(&(length as u32 - 1).to_be_bytes());
        frame.resize(length, b'I');
        buffer.bytes.extend_from_slice(&frame[..40]);
        for _ in 0..3 {
            assert_eq!(buffer.meets_oversize(), Ok(true));
            assert_eq!(buffer.wanted(), length);
            buffer.renew(Lease::free());
            assert_eq!(buffer.wanted(), 0);
            // One read brings its end and the start of the next.
            buffer.bytes.extend_from_slice(&frame[40..]);
            buffer.bytes.extend_from_slice(&frame[..40]);
            buffer.bytes.split_to(length).freeze();
            buffer.was_cut();
        }
    }

    #[test]
    fn a_frame_that_is_skipped_takes_one_buffer_however_long_it_is() {
        let mut buffer = ReadBuffer::new(BytesMut::new(), 16 * 1024);
        buffer.renew(Lease::free());
        let length = 1_000_000usize;
        buffer.bytes.extend_from_slice(b"d");
        buffer.bytes.extend_from_slice(&(length as u32 - 1).to_be_bytes());
        buffer.bytes.resize(40, b'M');
        assert_eq!(buffer.unmet().map(|front| front.unwrap().len()), Ok(40));
        buffer.skip_front().unwrap();
        assert_eq!(buffer.unmet(), Ok(None));
        let mut left = length - 40;
        while left > 0 {
            buffer.drop_skipped();
            assert_eq!((buffer.bytes.len(), buffer.wanted()), (0, 0));
            let come = buffer.space().min(left);
            assert!(come > 0 && buffer.bytes.capacity() <= 16 * 1024);
            buffer.bytes.resize(come, b'x');
            left -= come;
        }
        buffer.bytes.extend_from_slice(b"next");
        buffer.drop_skipped();
        assert_eq!(&buffer.bytes[..], b"next");
    }

    #[test]
    fn a_frame_that_all_but_fills_a_buffer_is_read_to_its_end() {
        const CAPACITY: usize = 16 * 1024;
        for length in CAPACITY - 10..=CAPACITY {
            let mut buffer = ReadBuffer::new(BytesMut::new(), CAPACITY);
            buffer.renew(Lease::free());
            buffer.bytes.extend_from_slice(b"d");
            buffer.bytes.extend_from_slice(&(length as u32 - 1).to_be_bytes());
            buffer.bytes.resize(length - 3, 0);
            assert_eq!(buffer.meets_oversize(), Ok(false));
            let mut renewed = 0;
            while buffer.wanted() > 0 {
                buffer.renew(Lease::free());
                renewed += 1;
                assert!(renewed < 3, "a new buffer again and again, and never a read");
            }
            assert!(buffer.space() >= 3);
        }
    }
}

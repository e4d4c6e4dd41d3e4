//! Binary values front to back.

use super::super::error::Fault;
use crate::event::Oid;

/// What is left of a binary value.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Parts<'a>(pub(in super::super) &'a [u8]);

impl<'a> Parts<'a> {
    pub(in super::super) fn take<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Fault::Length)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(in super::super) fn take_u8(&mut self) -> Result<u8, Fault> {
        Ok(u8::from_be_bytes(self.take()?))
    }

    pub(in super::super) fn take_u16(&mut self) -> Result<u16, Fault> {
        Ok(u16::from_be_bytes(self.take()?))
    }

    pub(in super::super) fn take_i32(&mut self) -> Result<i32, Fault> {
        Ok(i32::from_be_bytes(self.take()?))
    }

    pub(in super::super) fn take_oid(&mut self) -> Result<Oid, Fault> {
        Ok(Oid::new(u32::from_be_bytes(self.take()?)))
    }

    /// A count of things of which each takes `bytes_min` at least: no more than can be there.
    pub(in super::super) fn take_count(&mut self, bytes_min: usize) -> Result<usize, Fault> {
        let count = usize::try_from(self.take_i32()?).map_err(|_| Fault::Structure)?;
        if count > self.0.len() / bytes_min { Err(Fault::Length) } else { Ok(count) }
    }

    pub(in super::super) fn take_bytes(&mut self, length: usize) -> Result<&'a [u8], Fault> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Fault::Length)?;
        self.0 = rest;
        Ok(taken)
    }

    /// A value behind its length; `None` for NULL.
    pub(in super::super) fn take_value(&mut self) -> Result<Option<&'a [u8]>, Fault> {
        match self.take_i32()? {
            -1 => Ok(None),
            length => {
                let length = usize::try_from(length).map_err(|_| Fault::Length)?;
                self.take_bytes(length).map(Some)
            }
        }
    }

    /// Text that a zero byte ends.
    pub(in super::super) fn take_text(&mut self) -> Result<&'a [u8], Fault> {
        let end = memchr::memchr(0, self.0).ok_or(Fault::Length)?;
        let text = self.take_bytes(end)?;
        self.0 = &self.0[1..];
        Ok(text)
    }

    /// Nothing may be left.
    pub(in super::super) fn end(self) -> Result<(), Fault> {
        if self.0.is_empty() { Ok(()) } else { Err(Fault::Length) }
    }
}

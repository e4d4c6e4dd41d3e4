//! Events as lines of a format, all of them or some.
//!
//! Where events are left out, the lines that open and end a transaction are printed only with one
//! of its events between them. In formats of the native JSON event `last` and `end_lsn` stand on
//! the last line of a transaction that is printed; which one that is shows only at the Commit, so
//! that a line is held back until the next one or that.

use std::sync::Arc;

use memchr::memmem;
use walcast::codec::value::TypeRegistry;
use walcast::codec::{Encoder, EventFormat};
use walcast::event::{Batch, Event};
use walcast::{Error, ErrorKind, Lsn};

use super::choice::Chosen;

/// Prints batches as lines.
#[derive(Debug)]
pub(crate) struct Lines {
    encoder: Encoder,
    /// Whether events may be left out from the middle of a transaction.
    filters: bool,
    /// Whether the last event of a transaction says so.
    marks_last: bool,
    /// What opens the transaction at hand, until one of its events is printed.
    opening: Vec<u8>,
    /// Whether one was.
    is_open: bool,
    held: Vec<u8>,
    encoded: Vec<u8>,
    /// How long `encoded` is after each event.
    ends: Vec<usize>,
}

impl Lines {
    pub(super) fn new(format: EventFormat, filters: bool) -> Self {
        let marks_last = matches!(format, EventFormat::Json | EventFormat::CloudEvents(_));
        Self {
            encoder: Encoder::new(format, Arc::new(TypeRegistry::builtin())),
            filters,
            marks_last,
            opening: Vec::new(),
            is_open: false,
            held: Vec::new(),
            encoded: Vec::new(),
            ends: Vec::new(),
        }
    }

    /// Append what was chosen of `batch`.
    pub(super) fn print(
        &mut self,
        batch: &Batch,
        chosen: &Chosen,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let fault = |error| Error::permanent(ErrorKind::Value, error);
        if !self.filters && !chosen.ends {
            self.encoder.encode(batch, out).map_err(fault)?;
            self.is_open = true;
            return Ok(());
        }
        let Self { encoder, encoded, ends, .. } = self;
        encoded.clear();
        ends.clear();
        encoder.encode_each(batch, encoded, |end| ends.push(end)).map_err(fault)?;
        let encoded = std::mem::take(&mut self.encoded);
        let mut start = 0;
        for (nth, (event, picked)) in batch.events().zip(&chosen.picks).enumerate() {
            let lines = &encoded[start..self.ends[nth]];
            start = self.ends[nth];
            self.event(event, *picked, lines, out);
        }
        self.encoded = encoded;
        if chosen.ends {
            self.release(out);
        }
        Ok(())
    }

    fn event(&mut self, event: Event<'_>, picked: bool, lines: &[u8], out: &mut Vec<u8>) {
        match event {
            Event::Begin(_) => {
                self.opening.clear();
                self.opening.extend_from_slice(lines);
                self.is_open = false;
            }
            Event::Commit(transaction) => {
                if self.marks_last
                    && let Some(end) = transaction.end_lsn()
                {
                    mark_last(&mut self.held, end);
                }
                self.release(out);
                if self.is_open {
                    out.extend_from_slice(lines);
                }
            }
            _ if picked => {
                self.release(out);
                let transactional = !matches!(event, Event::Message(it) if !it.is_transactional());
                if transactional {
                    out.append(&mut self.opening);
                    self.is_open = true;
                }
                self.held.extend_from_slice(lines);
            }
            _ => {}
        }
    }

    /// Append what is held back, whose transaction is not printed to its end.
    pub(super) fn release(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.held);
    }
}

/// Give the event in `line`, if there is one, the fields of a transaction's last.
fn mark_last(line: &mut Vec<u8>, end: Lsn) {
    // Quotes inside strings are escaped and row values come before: the last match is the key.
    let Some(at) = memmem::rfind(line, b",\"xid\":") else { return };
    if !line[..at].ends_with(b"\"last\":true") {
        let fields = format!(",\"end_lsn\":\"{end}\",\"last\":true");
        line.splice(at..at, fields.into_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_of_a_transaction_is_marked_once() {
        let mut line =
            br#"{"new":{"a":{"x":1,"xid":2}},"seq":3,"xid":731,"snapshot":false}"#.to_vec();
        line.push(b'\n');
        let end = "0/16B3778".parse().unwrap();
        mark_last(&mut line, end);
        let marked = String::from_utf8(line.clone()).unwrap();
        assert!(
            marked.contains(r#","seq":3,"end_lsn":"0/16B3778","last":true,"xid":731,"#),
            "{marked}"
        );
        mark_last(&mut line, end);
        assert_eq!(String::from_utf8(line).unwrap(), marked);
        let mut none = Vec::new();
        mark_last(&mut none, end);
        assert!(none.is_empty());
    }
}

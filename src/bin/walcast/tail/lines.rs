//! Events as JSON lines, all of them or some.
//!
//! `last` and `end_lsn` stand on the last line of a transaction that is printed. Where lines are
//! left out, which one that is shows only at the Commit: a line is held back until the next one or
//! that.

use std::sync::Arc;

use memchr::memmem;
use walcast::codec::json::JsonLines;
use walcast::codec::value::TypeRegistry;
use walcast::event::{Batch, Event};
use walcast::{Error, ErrorKind, Lsn};

use super::choice::Chosen;

/// Prints batches as JSON lines.
#[derive(Debug)]
pub(super) struct Lines {
    encoder: JsonLines,
    /// Whether lines may be left out from the middle of a transaction.
    holds: bool,
    held: Vec<u8>,
    encoded: Vec<u8>,
}

impl Lines {
    pub(super) fn new(holds: bool) -> Self {
        let encoder = JsonLines::new(Arc::new(TypeRegistry::builtin()));
        Self { encoder, holds, held: Vec::new(), encoded: Vec::new() }
    }

    /// Append what was chosen of `batch`.
    pub(super) fn print(
        &mut self,
        batch: &Batch,
        chosen: &Chosen,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let fault = |error| Error::permanent(ErrorKind::Value, error);
        if !self.holds {
            let start = out.len();
            self.encoder.encode(batch, out).map_err(fault)?;
            if chosen.ends {
                let count = chosen.picks.iter().filter(|picked| **picked).count();
                let ends = memchr::memchr_iter(b'\n', &out[start..]);
                let end = ends.take(count).last().map_or(0, |newline| newline + 1);
                out.truncate(start + end);
            }
            return Ok(());
        }
        self.encoded.clear();
        self.encoder.encode(batch, &mut self.encoded).map_err(fault)?;
        let mut rest: &[u8] = &self.encoded;
        for (event, picked) in batch.events().zip(&chosen.picks) {
            match event {
                Event::Begin(_) => {}
                Event::Commit(transaction) => {
                    if let Some(end) = transaction.end_lsn() {
                        mark_last(&mut self.held, end);
                    }
                    out.append(&mut self.held);
                }
                _ => {
                    let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |newline| newline + 1);
                    let (line, others) = rest.split_at(end);
                    rest = others;
                    if *picked {
                        out.append(&mut self.held);
                        self.held.extend_from_slice(line);
                    }
                }
            }
        }
        if chosen.ends {
            self.release(out);
        }
        Ok(())
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

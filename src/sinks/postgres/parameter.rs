//! The parameters of one statement, each in the wire form it has.
//!
//! A value that came from the source in the form the target reads goes on as the same bytes, text
//! or binary; nothing is decoded for it. The parameters own their bytes, so that a statement can be
//! under way while the batch they are of is gone.

use std::error::Error as StdError;

use bytes::{BufMut, BytesMut};
use postgres_types::{Format, IsNull, ToSql, Type, to_sql_checked};

/// The values of `$1`, `$2` …, in order.
#[derive(Debug, Default)]
pub(super) struct Parameters {
    bytes: Vec<u8>,
    slots: Vec<Slot>,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    form: Form,
    /// Where its bytes end; they begin where those of the one before end.
    end: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Null,
    Text,
    Binary,
}

impl Parameters {
    pub(super) fn null(&mut self) {
        self.close(Form::Null);
    }

    pub(super) fn text(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.close(Form::Text);
    }

    pub(super) fn binary(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.close(Form::Binary);
    }

    /// A text that `write` appends.
    pub(super) fn text_of<E>(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        write(&mut self.bytes)?;
        self.close(Form::Text);
        Ok(())
    }

    /// A binary value that `write` appends.
    pub(super) fn binary_of<E>(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        write(&mut self.bytes)?;
        self.close(Form::Binary);
        Ok(())
    }

    fn close(&mut self, form: Form) {
        self.slots.push(Slot { form, end: self.bytes.len() });
    }

    /// What they take in memory, about.
    pub(super) fn weight(&self) -> usize {
        self.bytes.len() + self.slots.len() * size_of::<Slot>()
    }

    /// As `tokio_postgres` takes them.
    pub(super) fn arguments(&self) -> impl ExactSizeIterator<Item = Argument<'_>> {
        let mut start = 0;
        self.slots.iter().map(move |slot| {
            let bytes = &self.bytes[start..slot.end];
            start = slot.end;
            Argument { form: slot.form, bytes }
        })
    }
}

/// One parameter: bytes that the server's input or receive function of its type reads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Argument<'a> {
    form: Form,
    bytes: &'a [u8],
}

impl ToSql for Argument<'_> {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        if self.form == Form::Null {
            return Ok(IsNull::Yes);
        }
        out.put_slice(self.bytes);
        Ok(IsNull::No)
    }

    /// Whether the bytes fit the type is for the server to say.
    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        match self.form {
            // Some types have no binary form, but all have a text.
            Form::Null | Form::Text => Format::Text,
            Form::Binary => Format::Binary,
        }
    }

    to_sql_checked!();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_argument_has_its_own_bytes_and_form() {
        let mut parameters = Parameters::default();
        parameters.text(b"abc");
        parameters.null();
        parameters.binary(&[0, 1]);
        parameters.text(b"");
        let seen: Vec<_> = parameters.arguments().map(|it| (it.form, it.bytes)).collect();
        let want: [(Form, &[u8]); 4] =
            [(Form::Text, b"abc"), (Form::Null, b""), (Form::Binary, &[0, 1]), (Form::Text, b"")];
        assert_eq!(seen, want);
    }
}

//! What the server says when it refuses: the fields of an ErrorResponse.
//!
//! A [`ServerError`] keeps the five fields that a person acts on and knows, by its SQLSTATE,
//! whether the same request may succeed later with nothing changed by hand. It refuses to know what
//! was asked for: whether 42704 means a missing slot or a missing type is for the caller to say.
//!
//! Fields: <https://www.postgresql.org/docs/current/protocol-error-fields.html>,
//! codes: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.

use std::fmt;

use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::{ErrorFields, ErrorResponseBody, NoticeResponseBody};

/// The longest text kept of one field, in bytes.
const FIELD_BYTES_MAX: usize = 8 * 1024;

/// A five-character code for an outcome, such as `42501`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SqlState([u8; 5]);

impl SqlState {
    /// The role lacks a right.
    pub const INSUFFICIENT_PRIVILEGE: Self = Self(*b"42501");
    /// The role may not connect: no matching line in `pg_hba.conf`, no such role, no certificate.
    pub const INVALID_AUTHORIZATION: Self = Self(*b"28000");
    /// The password is wrong.
    pub const INVALID_PASSWORD: Self = Self(*b"28P01");
    /// There is no such database.
    pub const INVALID_CATALOG_NAME: Self = Self(*b"3D000");
    /// Every connection slot, or every walsender, is taken.
    pub const TOO_MANY_CONNECTIONS: Self = Self(*b"53300");
    /// The server is shutting down, or an administrator ended the session.
    pub const ADMIN_SHUTDOWN: Self = Self(*b"57P01");
    /// Another server process crashed.
    pub const CRASH_SHUTDOWN: Self = Self(*b"57P02");
    /// The server is starting up, shutting down or in recovery.
    pub const CANNOT_CONNECT_NOW: Self = Self(*b"57P03");
    /// Another session holds the object: a slot that is active, for one.
    pub const OBJECT_IN_USE: Self = Self(*b"55006");
    /// The object is in the wrong state for the request.
    pub const OBJECT_NOT_IN_PREREQUISITE_STATE: Self = Self(*b"55000");
    /// There is no such object: a slot, a publication, a type.
    pub const UNDEFINED_OBJECT: Self = Self(*b"42704");
    /// There is already such an object.
    pub const DUPLICATE_OBJECT: Self = Self(*b"42710");
    /// A type has no such function: no binary output, for one.
    pub const UNDEFINED_FUNCTION: Self = Self(*b"42883");
    /// A file is missing: WAL that was removed, for one.
    pub const UNDEFINED_FILE: Self = Self(*b"58P01");

    /// The code with these characters; `None` unless they are five digits or capital letters.
    pub fn new(code: &str) -> Option<Self> {
        let bytes: [u8; 5] = code.as_bytes().try_into().ok()?;
        let allowed = bytes.iter().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase());
        allowed.then_some(Self(bytes))
    }

    /// The code as text.
    pub fn as_str(&self) -> &str {
        // Only ASCII gets in, so this never falls back.
        std::str::from_utf8(&self.0).unwrap_or("XX000")
    }

    /// The class: the first two characters.
    pub fn class(&self) -> &str {
        &self.as_str()[..2]
    }

    /// Whether the condition may pass by itself.
    ///
    /// Lost connections (08), rolled back for a rival (40), short of resources (53), locked or held
    /// by another session (55006, 55P03), cancelled or shutting down (57, but for a dropped
    /// database), and input or output errors (58030). Everything else needs somebody to act.
    pub fn is_transient(&self) -> bool {
        match self.class() {
            "08" => self.as_str() != "08P01",
            "40" | "53" => true,
            "57" => self.as_str() != "57P04",
            _ => matches!(self.as_str(), "55006" | "55P03" | "58030"),
        }
    }
}

impl fmt::Display for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error that the server reported.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerError {
    /// `ERROR`, `FATAL` or `PANIC`, never translated.
    pub severity: String,
    /// What kind of error it is.
    pub sqlstate: SqlState,
    /// The message, in the server's language.
    pub message: String,
    /// More about the cause.
    pub detail: Option<String>,
    /// The server's own advice.
    pub hint: Option<String>,
}

impl ServerError {
    /// An error made of its parts, for those who receive them some other way than in a message.
    pub fn new(severity: &str, sqlstate: SqlState, message: &str) -> Self {
        Self {
            severity: severity.to_owned(),
            sqlstate,
            message: message.to_owned(),
            detail: None,
            hint: None,
        }
    }

    /// Read the body of an ErrorResponse or a NoticeResponse, without its tag and length.
    ///
    /// Never fails: before the encoding is agreed the server may send any bytes, and an error that
    /// cannot be read in full still says more than none. What is missing is left empty, and a
    /// missing code reads `XX000`.
    pub fn parse(body: &[u8]) -> Self {
        let mut error = Self::blank();
        let mut rest = body;
        while let [kind, tail @ ..] = rest
            && *kind != 0
            && let Some(end) = memchr::memchr(0, tail)
        {
            error.set(*kind, &tail[..end]);
            rest = &tail[end + 1..];
        }
        error
    }

    fn of_fields(mut fields: ErrorFields<'_>) -> Self {
        let mut error = Self::blank();
        while let Ok(Some(field)) = fields.next() {
            error.set(field.type_(), field.value_bytes());
        }
        error
    }

    fn blank() -> Self {
        Self::new("ERROR", SqlState(*b"XX000"), "")
    }

    fn set(&mut self, kind: u8, value: &[u8]) {
        let text = text_of(value);
        match kind {
            // `S` comes first and may be translated; `V` follows and is not.
            b'S' | b'V' => self.severity = text,
            b'C' => self.sqlstate = SqlState::new(&text).unwrap_or(self.sqlstate),
            b'M' => self.message = text,
            b'D' => self.detail = Some(text),
            b'H' => self.hint = Some(text),
            _ => {}
        }
    }

    /// Whether the same request may succeed later with nothing changed by hand.
    pub fn is_transient(&self) -> bool {
        self.sqlstate.is_transient()
    }
}

impl From<&ErrorResponseBody> for ServerError {
    fn from(body: &ErrorResponseBody) -> Self {
        Self::of_fields(body.fields())
    }
}

impl From<&NoticeResponseBody> for ServerError {
    fn from(body: &NoticeResponseBody) -> Self {
        Self::of_fields(body.fields())
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} (SQLSTATE {})", self.severity, self.message, self.sqlstate)?;
        if let Some(detail) = &self.detail {
            write!(f, "; detail: {detail}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "; hint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ServerError {}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(FIELD_BYTES_MAX)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use postgres_protocol::message::backend::Message;

    fn parsed(fields: &[(u8, &[u8])]) -> ServerError {
        let mut body = Vec::new();
        for (kind, value) in fields {
            body.push(*kind);
            body.extend_from_slice(value);
            body.push(0);
        }
        body.push(0);
        let mut frame = BytesMut::from(&b"E"[..]);
        frame.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
        frame.extend_from_slice(&body);
        let error = match Message::parse(&mut frame).unwrap().unwrap() {
            Message::ErrorResponse(body) => ServerError::from(&body),
            _ => panic!("not an error"),
        };
        assert_eq!(error, ServerError::parse(&body));
        assert_eq!(ServerError::parse(&body[..body.len() - 2]).sqlstate.as_str().len(), 5);
        error
    }

    #[test]
    fn the_untranslated_severity_wins_and_every_field_is_kept() {
        let error = parsed(&[
            (b'S', "FATAL traduit".as_bytes()),
            (b'V', b"FATAL"),
            (b'C', b"28P01"),
            (b'M', b"password authentication failed"),
            (b'H', b"look it up"),
        ]);
        assert_eq!(error.severity, "FATAL");
        assert_eq!(error.sqlstate, SqlState::INVALID_PASSWORD);
        assert_eq!(
            error.to_string(),
            "FATAL: password authentication failed (SQLSTATE 28P01); hint: look it up"
        );
    }

    #[test]
    fn bytes_in_another_encoding_and_odd_codes_do_no_harm() {
        let error = parsed(&[(b'M', b"d\xe9j\xe0"), (b'C', b"bad code"), (b'S', b"FEHLER")]);
        assert_eq!(error.message, "d\u{fffd}j\u{fffd}");
        assert_eq!(error.sqlstate.as_str(), "XX000");
        assert_eq!(error.severity, "FEHLER");
    }

    #[test]
    fn codes_are_classed() {
        for code in ["53300", "57P01", "57P03", "55006", "40001", "08006", "58030", "57014"] {
            assert!(SqlState::new(code).unwrap().is_transient(), "{code}");
        }
        for code in
            ["28P01", "28000", "42501", "3D000", "42704", "55000", "58P01", "57P04", "XX000"]
        {
            assert!(!SqlState::new(code).unwrap().is_transient(), "{code}");
        }
        assert!(SqlState::new("42").is_none());
    }
}

//! `${VARIABLE}` inside a value of the config.
//!
//! What a variable holds is never shown: errors name the variable. Inside a connection string the
//! value is escaped for the place it lands in, so that a password may hold any character; a value
//! that is nothing but one variable is taken as it is, for it then is the whole string.

/// Where the substituted value will be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Plain text: nothing to escape.
    Plain,
    /// A PostgreSQL URL or `key=value` string.
    Connection,
}

/// Why a substitution was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubstituteError {
    /// The variable is not in the environment.
    #[error(
        "the environment variable `{0}` is not set; set it, or write `$${{` for a literal `${{`"
    )]
    Unset(String),
    /// The variable is empty where a `key=value` string needs a value.
    #[error("the environment variable `{0}` is empty; set it, or write a postgres:// URL")]
    Empty(String),
    /// A `${` without its `}`, or with something else than a name inside.
    #[error("`${{` opens no variable; write `${{NAME}}`, or `$${{` for a literal `${{`")]
    Malformed,
}

/// A value after substitution.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Substituted {
    pub(super) text: String,
    /// Whether any of it came from the environment, and so must not be shown.
    pub(super) from_environment: bool,
}

/// Looks a variable up.
pub(super) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// `raw` with its variables replaced.
pub(super) fn substitute(
    raw: &str,
    place: Place,
    environment: Environment<'_>,
) -> Result<Substituted, SubstituteError> {
    let mut text = String::with_capacity(raw.len());
    let mut from_environment = false;
    let mut rest = raw;
    while let Some(at) = rest.find("${") {
        let (before, tail) = rest.split_at(at);
        let tail = &tail[2..];
        if let Some(before) = before.strip_suffix('$') {
            text.push_str(before);
            text.push_str("${");
            rest = tail;
            continue;
        }
        let (name, tail) = tail.split_once('}').ok_or(SubstituteError::Malformed)?;
        if !is_variable_name(name) {
            return Err(SubstituteError::Malformed);
        }
        let value = environment(name).ok_or_else(|| SubstituteError::Unset(name.to_owned()))?;
        text.push_str(before);
        let whole = text.is_empty() && tail.is_empty();
        match place {
            Place::Connection if !whole && raw.contains("://") => percent_encode(&mut text, &value),
            Place::Connection if !whole && value.is_empty() => {
                return Err(SubstituteError::Empty(name.to_owned()));
            }
            Place::Connection if !whole => backslash_escape(&mut text, &value),
            Place::Connection | Place::Plain => text.push_str(&value),
        }
        from_environment = true;
        rest = tail;
    }
    text.push_str(rest);
    Ok(Substituted { text, from_environment })
}

fn is_variable_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn percent_encode(into: &mut String, value: &str) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            into.push(char::from(byte));
        } else {
            into.push('%');
            into.push(char::from(HEX[usize::from(byte >> 4)]));
            into.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

/// In a `key=value` string a backslash takes the next character literally, quoted or not.
fn backslash_escape(into: &mut String, value: &str) {
    for c in value.chars() {
        if c.is_whitespace() || matches!(c, '\\' | '\'') {
            into.push('\\');
        }
        into.push(c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(name: &str) -> Option<String> {
        match name {
            "PW" => Some("p@ss/w:rd 'x'\\".to_owned()),
            "URL" => Some("postgres://u:p@h/d".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    fn connection(raw: &str) -> Result<String, SubstituteError> {
        substitute(raw, Place::Connection, &environment).map(|done| done.text)
    }

    #[test]
    fn a_password_of_any_characters_survives_a_connection_string() {
        let url = connection("postgres://walcast:${PW}@db/shop").unwrap();
        assert_eq!(url, "postgres://walcast:p%40ss%2Fw%3Ard%20%27x%27%5C@db/shop");
        let config: tokio_postgres::Config = url.parse().unwrap();
        assert_eq!(config.get_password(), Some(environment("PW").unwrap().as_bytes()));
        for keyed in ["host=db password=${PW} user=u", "host=db password='${PW}' user=u"] {
            let config: tokio_postgres::Config = connection(keyed).unwrap().parse().unwrap();
            assert_eq!(config.get_password(), Some(environment("PW").unwrap().as_bytes()));
        }
    }

    #[test]
    fn a_variable_alone_is_the_whole_string() {
        assert_eq!(connection("${URL}").unwrap(), "postgres://u:p@h/d");
    }

    #[test]
    fn a_doubled_dollar_is_literal() {
        let plain = |raw| substitute(raw, Place::Plain, &environment);
        assert_eq!(plain("a$${PW}b").unwrap().text, "a${PW}b");
        assert_eq!(plain("5$ and $x").unwrap().text, "5$ and $x");
        assert!(!plain("a$${PW}b").unwrap().from_environment);
    }

    #[test]
    fn what_cannot_be_replaced_is_refused_by_name() {
        assert_eq!(connection("x${NOPE}"), Err(SubstituteError::Unset("NOPE".to_owned())));
        assert_eq!(
            connection("password=${EMPTY} user=u"),
            Err(SubstituteError::Empty("EMPTY".to_owned()))
        );
        for raw in ["${PW", "${}", "${1A}", "${PW:-x}"] {
            assert_eq!(connection(raw), Err(SubstituteError::Malformed), "{raw}");
        }
    }
}

//! The text of a connection URL or of a `key=value` string, taken apart.
//!
//! Both notations are libpq's
//! (<https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING>) and end as the
//! same list of named parameters. What a parameter means is for `config` to know.
//!
//! A password that was not quoted or percent-encoded can end up anywhere in the text: no error of
//! this file repeats a piece of it, but for a parameter's name where nothing secret can have
//! slipped into it.

use std::collections::BTreeMap;

use super::settings_error::SettingsError;

/// Parameters by name; a later one replaces an earlier one of the same name, as in libpq.
pub(super) type Parameters = BTreeMap<&'static str, String>;

/// Every parameter that is understood, with the environment variable that stands in for it.
pub(super) const KNOWN: &[(&str, Option<&str>)] = &[
    ("application_name", Some("PGAPPNAME")),
    ("channel_binding", Some("PGCHANNELBINDING")),
    ("client_encoding", None),
    ("connect_timeout", Some("PGCONNECT_TIMEOUT")),
    ("dbname", Some("PGDATABASE")),
    ("fallback_application_name", None),
    ("gssencmode", Some("PGGSSENCMODE")),
    ("host", Some("PGHOST")),
    ("hostaddr", Some("PGHOSTADDR")),
    ("keepalives", None),
    ("keepalives_count", None),
    ("keepalives_idle", None),
    ("keepalives_interval", None),
    ("keepalives_retries", None),
    ("load_balance_hosts", Some("PGLOADBALANCEHOSTS")),
    ("options", Some("PGOPTIONS")),
    // Looked up each time a password is needed, so that it can be renewed.
    ("passfile", None),
    ("password", None),
    ("port", Some("PGPORT")),
    ("require_auth", Some("PGREQUIREAUTH")),
    ("ssl_min_protocol_version", Some("PGSSLMINPROTOCOLVERSION")),
    ("sslcert", Some("PGSSLCERT")),
    ("sslkey", Some("PGSSLKEY")),
    ("sslmode", Some("PGSSLMODE")),
    ("sslnegotiation", Some("PGSSLNEGOTIATION")),
    ("sslrootcert", Some("PGSSLROOTCERT")),
    ("sslsni", Some("PGSSLSNI")),
    ("target_session_attrs", Some("PGTARGETSESSIONATTRS")),
    ("tcp_user_timeout", None),
    ("user", Some("PGUSER")),
];

/// Parameters of libpq that would change what is connected to, or how safely, and are not
/// understood: refused by name instead of being ignored.
const UNSUPPORTED: &[&str] = &[
    "gssdelegation",
    "gsslib",
    "krbsrvname",
    "oauth_client_id",
    "oauth_client_secret",
    "oauth_issuer",
    "oauth_scope",
    "replication",
    "requirepeer",
    "service",
    "servicefile",
    "ssl_max_protocol_version",
    "sslcertmode",
    "sslcrl",
    "sslcrldir",
    "sslkeylogfile",
    "sslpassword",
];

const BAD_URL: &str = "percent-encode '@', ':', '/', '?', '#' and '%' in user names and passwords";

/// Take `text` apart, in whichever notation it is.
pub(super) fn parse(text: &str) -> Result<Parameters, SettingsError> {
    match text.strip_prefix("postgresql://").or_else(|| text.strip_prefix("postgres://")) {
        Some(rest) => parse_url(rest),
        None if text.contains("://") && !text.contains([' ', '\'']) => {
            Err(SettingsError::Url { part: "scheme", fix: "write postgres:// or postgresql://" })
        }
        None => parse_pairs(text),
    }
}

fn insert(
    parameters: &mut Parameters,
    name: &str,
    value: String,
    name_may_be_secret: bool,
) -> Result<(), SettingsError> {
    if value.contains('\0') {
        return Err(SettingsError::Nul);
    }
    if let Some((known, _)) = KNOWN.iter().find(|(known, _)| *known == name) {
        parameters.insert(known, value);
        return Ok(());
    }
    if let Some(unsupported) = UNSUPPORTED.iter().find(|unsupported| **unsupported == name) {
        return Err(SettingsError::Unsupported { name: unsupported });
    }
    let shaped_like_a_name = !name.is_empty()
        && name.len() <= 40
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if shaped_like_a_name && !name_may_be_secret {
        Err(SettingsError::Unknown { name: name.to_owned() })
    } else {
        Err(SettingsError::UnknownHidden)
    }
}

fn parse_url(url: &str) -> Result<Parameters, SettingsError> {
    let mut parameters = Parameters::new();
    let before_path = url.find('/').unwrap_or(url.len());
    let (credentials, rest) = match url[..before_path].find('@') {
        Some(at) => (Some(&url[..at]), &url[at + 1..]),
        None => (None, url),
    };
    if let Some(credentials) = credentials {
        let (user, password) = match credentials.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (credentials, None),
        };
        if !user.is_empty() {
            insert(&mut parameters, "user", decode(user, "user name")?, false)?;
        }
        if let Some(password) = password.filter(|password| !password.is_empty()) {
            insert(&mut parameters, "password", decode(password, "password")?, false)?;
        }
    }
    let (place, query) = match rest.split_once('?') {
        Some((place, query)) => (place, Some(query)),
        None => (rest, None),
    };
    // An '@' out here means that the text before it was meant as a password.
    if place.contains('@') {
        return Err(SettingsError::Url { part: "host", fix: BAD_URL });
    }
    let (hosts, database) = match place.split_once('/') {
        Some((hosts, database)) => (hosts, database),
        None => (place, ""),
    };
    parse_url_hosts(hosts, &mut parameters)?;
    if !database.is_empty() {
        insert(&mut parameters, "dbname", decode(database, "database")?, false)?;
    }
    if let Some(query) = query {
        let name_may_be_secret = credentials.is_none() && query.contains('@');
        parse_url_query(query, name_may_be_secret, &mut parameters)?;
    }
    Ok(parameters)
}

fn parse_url_hosts(hosts: &str, parameters: &mut Parameters) -> Result<(), SettingsError> {
    if hosts.is_empty() {
        return Ok(());
    }
    let (mut names, mut ports) = (Vec::new(), Vec::new());
    for host in hosts.split(',') {
        let (name, port) = match host.strip_prefix('[') {
            Some(v6) => {
                let fix = "close an IPv6 address with ']', and follow it with ':port' or nothing";
                let bad = SettingsError::Url { part: "host", fix };
                let Some((address, after)) = v6.split_once(']') else { return Err(bad) };
                match after.strip_prefix(':') {
                    Some(port) => (address, port),
                    None if after.is_empty() => (address, ""),
                    None => return Err(bad),
                }
            }
            None => host.split_once(':').unwrap_or((host, "")),
        };
        let port = decode(port, "port")?;
        if !port.is_empty() && port.parse::<u16>().is_err() {
            return Err(SettingsError::Url { part: "port", fix: BAD_URL });
        }
        names.push(decode(name, "host")?);
        ports.push(port);
    }
    if names.iter().any(|name| !name.is_empty()) {
        insert(parameters, "host", names.join(","), false)?;
    }
    if ports.iter().any(|port| !port.is_empty()) {
        insert(parameters, "port", ports.join(","), false)?;
    }
    Ok(())
}

fn parse_url_query(
    query: &str,
    name_may_be_secret: bool,
    parameters: &mut Parameters,
) -> Result<(), SettingsError> {
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let Some((name, value)) = pair.split_once('=') else {
            return Err(SettingsError::Url { part: "query", fix: "write ?name=value&name=value" });
        };
        let (name, value) = (decode(name, "query")?, decode(value, "query")?);
        // JDBC's spelling, which libpq takes as well.
        if name == "ssl" && value == "true" {
            insert(parameters, "sslmode", "require".to_owned(), false)?;
        } else {
            insert(parameters, &name, value, name_may_be_secret)?;
        }
    }
    Ok(())
}

fn decode(text: &str, part: &'static str) -> Result<String, SettingsError> {
    let bad = SettingsError::Url { part, fix: BAD_URL };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = if *first == b'%' {
            let digits = tail.get(..2).and_then(|pair| std::str::from_utf8(pair).ok());
            let byte = digits
                .filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
                .and_then(|digits| u8::from_str_radix(digits, 16).ok());
            let Some(byte) = byte else { return Err(bad) };
            bytes.push(byte);
            &tail[2..]
        } else {
            bytes.push(*first);
            tail
        };
    }
    String::from_utf8(bytes).map_err(|_| bad)
}

fn parse_pairs(text: &str) -> Result<Parameters, SettingsError> {
    let mut parameters = Parameters::new();
    let mut cursor = Cursor { rest: text };
    let mut after_password = false;
    loop {
        cursor.skip_spaces();
        if cursor.rest.is_empty() {
            return Ok(parameters);
        }
        let name = cursor.take_name();
        cursor.skip_spaces();
        let at = text.len() - cursor.rest.len();
        if !cursor.eat('=') {
            return Err(SettingsError::Pairs { at, expected: "'=' after a parameter name" });
        }
        cursor.skip_spaces();
        let value = match cursor.eat('\'') {
            true => {
                cursor.take_quoted().ok_or(SettingsError::Pairs { at, expected: "a closing '" })
            }
            false => Ok(cursor.take_plain()),
        }?;
        insert(&mut parameters, name, value, after_password)?;
        after_password |= name == "password";
    }
}

struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    fn skip_spaces(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn eat(&mut self, wanted: char) -> bool {
        match self.rest.strip_prefix(wanted) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn take_name(&mut self) -> &'a str {
        let end = self.rest.find(|c: char| c == '=' || c.is_whitespace());
        let (name, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        name
    }

    fn take_plain(&mut self) -> String {
        self.take_until(char::is_whitespace).0
    }

    fn take_quoted(&mut self) -> Option<String> {
        let (value, ended) = self.take_until(|c| c == '\'');
        self.eat('\'');
        ended.then_some(value)
    }

    /// The text up to an unescaped character that ends it, and whether there was one.
    fn take_until(&mut self, ends: impl Fn(char) -> bool) -> (String, bool) {
        let mut value = String::new();
        let mut characters = self.rest.char_indices();
        while let Some((at, character)) = characters.next() {
            if ends(character) {
                self.rest = &self.rest[at..];
                return (value, true);
            }
            match character {
                '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
                _ => value.push(character),
            }
        }
        self.rest = "";
        (value, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(text: &str) -> Vec<(&'static str, String)> {
        parse(text).unwrap().into_iter().collect()
    }

    fn pairs(list: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
        list.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
    }

    #[test]
    fn urls_are_taken_apart() {
        assert_eq!(
            taken(
                "postgres://us%40er:p%3Aw@db1:5433,[::1],db3:1/my%2Fdb?sslmode=verify-full&ssl=true"
            ),
            pairs(&[
                ("dbname", "my/db"),
                ("host", "db1,::1,db3"),
                ("password", "p:w"),
                ("port", "5433,,1"),
                ("sslmode", "require"),
                ("user", "us@er"),
            ])
        );
        assert_eq!(taken("postgresql://"), pairs(&[]));
        assert_eq!(
            taken("postgres:///shop?host=/var/run/postgresql&user=a@b"),
            pairs(&[("dbname", "shop"), ("host", "/var/run/postgresql"), ("user", "a@b")])
        );
        assert_eq!(
            taken("postgres://%2Ftmp%2Fpg:5433/shop"),
            pairs(&[("dbname", "shop"), ("host", "/tmp/pg"), ("port", "5433")])
        );
    }

    #[test]
    fn pairs_are_taken_apart() {
        assert_eq!(
            taken(r"host = db1  user='it\'s'dbname='a b'  password=p\'w\\x"),
            pairs(&[("dbname", "a b"), ("host", "db1"), ("password", r"p'w\x"), ("user", "it's")])
        );
        assert_eq!(taken(""), pairs(&[]));
    }

    #[test]
    fn no_error_repeats_a_secret() {
        let secret = "hunter2";
        for text in [
            "postgres://u:hun/hunter2@host/db",
            "postgres://u:12/hunter2@host/db",
            "postgres://u:a@hunter2@host/db",
            "postgres://u:hunter2%zz@host/db",
            "postgres://u:1/?hunter2=@host/db",
            "postgres://u:1/x?hunter2@host",
            "postgresq://u:hunter2@host/db",
            "postgres:/u:hunter2@host/db?sslmode=disable",
            "password=my hunter2 user=x",
            "password=my hunter2=x",
            "user=x password='hunter2",
            "hunter2",
            "postgres://u:[hunter2@[::1/db",
            "postgres://u@[hunter2/db",
            "postgres://u:hunter2@h:port/db",
        ] {
            let error = parse(text).expect_err(text);
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains(secret), "{text}: {shown}");
        }
    }

    #[test]
    fn unknown_and_unsupported_names_are_told_apart() {
        let unknown = parse("postgres://h/d?sslmoed=require").unwrap_err();
        assert_eq!(unknown, SettingsError::Unknown { name: "sslmoed".into() });
        let unsupported = parse("host=h sslcrl=x").unwrap_err();
        assert_eq!(unsupported, SettingsError::Unsupported { name: "sslcrl" });
    }
}

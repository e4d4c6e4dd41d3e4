//! The command that gets someone past what is missing.

use walcast::Error;
use walcast::stream::StreamError;

use super::Args;

/// `error` with the command to run instead, where there is one.
pub(super) fn with_command(error: Error, args: &Args) -> Error {
    let fix = match error.downcast_ref() {
        Some(StreamError::PublicationMissing { server: None, .. }) if args.create => {
            format!("say which tables it shall have: {}", command(args))
        }
        Some(StreamError::PublicationMissing { server: None, .. }) => {
            format!("make it: {}", command(args))
        }
        Some(StreamError::SlotMissing { .. }) => format!(
            "make it, and drop it when it is not read any more, for it keeps WAL: {}",
            command(args)
        ),
        _ => return error,
    };
    error.with_fix(fix)
}

/// This call with what it lacks.
fn command(args: &Args) -> String {
    let mut words = vec!["walcast tail".to_owned(), shown_url(args.url.expose())];
    if let Some(slot) = &args.slot {
        words.push(format!("--slot {slot}"));
    }
    let names: Vec<&str> = args.publication.iter().map(|name| name.as_str()).collect();
    if names != ["walcast"] {
        words.push(format!("--publication {}", quoted(&names.join(","))));
    }
    let tables: Vec<String> = args.tables.iter().map(ToString::to_string).collect();
    let tables = if tables.is_empty() { "public.*".to_owned() } else { tables.join(",") };
    words.push(format!("--create --tables {}", quoted(&tables)));
    words.join(" ")
}

/// The URL as it was given, unless a password may be in it.
fn shown_url(url: &str) -> String {
    let user =
        url.split_once("://").and_then(|(_, rest)| rest.split_once('@')).map(|(user, _)| user);
    let secret = user.is_some_and(|user| user.contains(':'))
        || url.to_ascii_lowercase().contains("pass")
        || url.contains('%');
    if secret { "<URL>".to_owned() } else { quoted(url) }
}

/// `text` as a shell takes it.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@,=+".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_unless_it_may_hold_a_password() {
        assert_eq!(shown_url("postgres://u@h:5432/d"), "postgres://u@h:5432/d");
        assert_eq!(shown_url("host=h user=u"), "'host=h user=u'");
        for secret in [
            "postgres://u:pw@h/d",
            "postgres://h/d?password=pw",
            "host=h PASSWORD=pw",
            "postgres://h/d?%70assword=pw",
            "postgres://u:p@w@h/d",
        ] {
            assert_eq!(shown_url(secret), "<URL>", "{secret}");
        }
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}

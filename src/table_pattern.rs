//! Which tables are meant: one, or all of a schema.
//!
//! Written as people write tables, `public.orders` or `shop.*`, with double quotes around a name
//! that has a dot or a star in it. Letters count as they are: nothing is folded to lower case.
//! Whether such a table exists is for others to find out.

use std::fmt;
use std::str::FromStr;

/// A table, or all tables of a schema.
///
/// ```
/// use walcast::TablePattern;
/// let shop: TablePattern = "shop.*".parse()?;
/// assert!(shop.matches("shop", "orders") && !shop.matches("public", "orders"));
/// # Ok::<(), walcast::TablePatternError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TablePattern {
    /// The schema.
    pub schema: String,
    /// The table; `None` for all tables of the schema.
    pub table: Option<String>,
}

/// A text that is neither `schema.table` nor `schema.*`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a table; write it as \"public.orders\" or \"public.*\"")]
pub struct TablePatternError;

impl TablePattern {
    /// Whether the table `schema.table` is one of those meant.
    pub fn matches(&self, schema: &str, table: &str) -> bool {
        self.schema == schema && self.table.as_deref().is_none_or(|name| name == table)
    }
}

impl FromStr for TablePattern {
    type Err = TablePatternError;

    fn from_str(text: &str) -> Result<Self, TablePatternError> {
        let (schema, rest) = take_identifier(text).ok_or(TablePatternError)?;
        let rest = rest.strip_prefix('.').ok_or(TablePatternError)?;
        if rest == "*" {
            return Ok(Self { schema, table: None });
        }
        match take_identifier(rest) {
            Some((table, "")) => Ok(Self { schema, table: Some(table) }),
            _ => Err(TablePatternError),
        }
    }
}

impl fmt::Display for TablePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_identifier(f, &self.schema)?;
        match &self.table {
            Some(table) => {
                f.write_str(".")?;
                write_identifier(f, table)
            }
            None => f.write_str(".*"),
        }
    }
}

const SPECIAL: [char; 4] = ['.', '*', '"', '\0'];

/// A leading identifier, taken literally: bare up to the next dot, or in double quotes.
fn take_identifier(text: &str) -> Option<(String, &str)> {
    if let Some(mut rest) = text.strip_prefix('"') {
        let mut name = String::new();
        loop {
            let (part, tail) = rest.split_once('"')?;
            name.push_str(part);
            match tail.strip_prefix('"') {
                Some(tail) => {
                    name.push('"');
                    rest = tail;
                }
                None => return (!name.is_empty()).then_some((name, tail)),
            }
        }
    }
    let end = text.find(SPECIAL).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    (!name.is_empty()).then(|| (name.to_owned(), rest))
}

fn write_identifier(f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
    if name.contains(SPECIAL) {
        write!(f, "\"{}\"", name.replace('"', "\"\""))
    } else {
        f.write_str(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_named_with_their_schema() {
        let pattern = |text: &str| text.parse::<TablePattern>();
        let named = |schema: &str, table: Option<&str>| {
            Ok(TablePattern { schema: schema.to_owned(), table: table.map(str::to_owned) })
        };
        assert_eq!(pattern("public.orders"), named("public", Some("orders")));
        assert_eq!(pattern("shop.*"), named("shop", None));
        assert_eq!(pattern(r#""a.b"."c""d""#), named("a.b", Some("c\"d")));
        assert_eq!(pattern(r#"a."*""#), named("a", Some("*")));
        for refused in ["orders", "", ".", "a.", ".b", "a.b.c", "*.*", r#""a.b"#, "a.b*"] {
            assert_eq!(pattern(refused), Err(TablePatternError), "{refused}");
        }
    }

    #[test]
    fn what_is_shown_parses_back() {
        for text in ["public.orders", "shop.*", r#""a.b"."c""d""#, r#"a."*""#] {
            assert_eq!(text.parse::<TablePattern>().unwrap().to_string(), text);
        }
    }
}

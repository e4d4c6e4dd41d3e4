//! Colours, on a terminal that shows them.
//!
//! What came from elsewhere goes through [`clean`] first: a table's name must not be able to move
//! the cursor.

use std::borrow::Cow;
use std::fmt::{self, Display};
use std::io::IsTerminal;

/// Whether colours are shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paint {
    shown: bool,
}

/// What a colour stands for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ink {
    /// New, good.
    Green,
    /// Changed, doubtful.
    Yellow,
    /// Gone, bad.
    Red,
    /// A name.
    Bold,
    /// Beside the point.
    Dim,
}

impl Paint {
    /// For standard output: colours when it is a terminal, unless `NO_COLOR` is set.
    pub(crate) fn stdout() -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { shown: std::io::stdout().is_terminal() && !unwanted }
    }

    /// Colours when `shown`.
    pub(crate) fn when(shown: bool) -> Self {
        Self { shown }
    }

    /// Whether colours are shown.
    pub(crate) fn shows(self) -> bool {
        self.shown
    }

    /// No colours.
    #[cfg(test)]
    pub(crate) fn plain() -> Self {
        Self { shown: false }
    }

    /// `text` in this colour.
    pub(crate) fn ink<T: Display>(self, ink: Ink, text: T) -> Inked<T> {
        Inked { ink: self.shown.then_some(ink), text }
    }
}

/// A text with its colour.
pub(crate) struct Inked<T> {
    ink: Option<Ink>,
    text: T,
}

impl<T: Display> Display for Inked<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(ink) = self.ink else { return self.text.fmt(f) };
        let code = match ink {
            Ink::Green => "32",
            Ink::Yellow => "33",
            Ink::Red => "31",
            Ink::Bold => "1",
            Ink::Dim => "2",
        };
        write!(f, "\x1b[{code}m")?;
        self.text.fmt(f)?;
        f.write_str("\x1b[0m")
    }
}

/// `text` without what a terminal would act on or show in another order.
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    if !text.contains(is_active) {
        return Cow::Borrowed(text);
    }
    let mut cleaned = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_active(c) {
            cleaned.extend(c.escape_unicode());
        } else {
            cleaned.push(c);
        }
    }
    Cow::Owned(cleaned)
}

fn is_active(c: char) -> bool {
    let reorders =
        matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || reorders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_act_on_is_spelt_out() {
        assert_eq!(clean("orders → ok"), "orders → ok");
        assert_eq!(clean("a\u{1b}[2Jb\u{9b}c\u{202e}"), "a\\u{1b}[2Jb\\u{9b}c\\u{202e}");
    }

    #[test]
    fn colours_are_left_out_where_none_are_shown() {
        assert_eq!(Paint::plain().ink(Ink::Red, "x").to_string(), "x");
        assert_eq!(Paint { shown: true }.ink(Ink::Red, "x").to_string(), "\x1b[31mx\x1b[0m");
    }
}

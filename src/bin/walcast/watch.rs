//! A text that is drawn again and again in one place.
//!
//! On a terminal a frame overwrites the last one without flicker; anywhere else frames follow each
//! other, an empty line between them.

use std::io::{self, IsTerminal, Write};

/// Where frames are drawn.
pub(crate) struct Screen<W> {
    out: W,
    terminal: bool,
    frames: u64,
}

impl Screen<io::Stdout> {
    /// Standard output.
    pub(crate) fn stdout() -> Self {
        let out = io::stdout();
        let terminal = out.is_terminal();
        Self { out, terminal, frames: 0 }
    }
}

impl<W: Write> Screen<W> {
    /// Show `frame` instead of the last one.
    pub(crate) fn draw(&mut self, frame: &str) -> io::Result<()> {
        let first = self.frames == 0;
        self.frames += 1;
        let mut text = String::with_capacity(frame.len() + 64);
        match (self.terminal, first) {
            (true, true) => text.push_str("\x1b[2J\x1b[H"),
            (true, false) => text.push_str("\x1b[H"),
            (false, true) => {}
            (false, false) => text.push('\n'),
        }
        for line in frame.lines() {
            text.push_str(line);
            text.push_str(if self.terminal { "\x1b[K\n" } else { "\n" });
        }
        if self.terminal {
            text.push_str("\x1b[J");
        }
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(terminal: bool) -> String {
        let mut screen = Screen { out: Vec::new(), terminal, frames: 0 };
        screen.draw("a\nb\n").unwrap();
        screen.draw("c\n").unwrap();
        String::from_utf8(screen.out).unwrap()
    }

    #[test]
    fn a_frame_replaces_the_last_one_on_a_terminal_only() {
        assert_eq!(drawn(false), "a\nb\n\nc\n");
        assert_eq!(drawn(true), "\x1b[2J\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J\x1b[Hc\x1b[K\n\x1b[J");
    }
}

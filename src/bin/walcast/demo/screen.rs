//! What the demo shows: lines that stay, and on a terminal one line at the bottom that changes.

use std::io::{IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::paint::{Ink, Paint};

/// How often the line that changes is worth a line of its own where nothing can change.
const PLAIN_EVERY: Duration = Duration::from_secs(1);

/// Clones show on the same one.
#[derive(Debug, Clone)]
pub(super) struct Screen {
    live: Option<ProgressBar>,
    last: Arc<Mutex<Option<Instant>>>,
    paint: Paint,
    begun: Instant,
}

impl Screen {
    pub(super) fn new() -> Self {
        let live = std::io::stdout().is_terminal().then(|| {
            let target = ProgressDrawTarget::stdout_with_hz(10);
            let bar = ProgressBar::with_draw_target(None, target);
            // Without a style of our own a message is shown beside a spinner.
            match ProgressStyle::with_template("{wide_msg}") {
                Ok(style) => bar.with_style(style),
                Err(_) => bar,
            }
        });
        Self { live, last: Arc::default(), paint: Paint::stdout(), begun: Instant::now() }
    }

    pub(super) fn paint(&self) -> Paint {
        self.paint
    }

    /// A line that stays.
    pub(super) fn say(&self, line: &str) {
        match &self.live {
            Some(bar) => bar.suspend(|| print(line)),
            None => print(line),
        }
    }

    /// A line that says what the demo does now, with how long it has been shown.
    pub(super) fn scene(&self, text: &str) {
        let at = self.paint.ink(Ink::Dim, format!("{:5.1} s", self.begun.elapsed().as_secs_f64()));
        self.say(&format!("{at}  {}", self.paint.ink(Ink::Bold, text)));
    }

    /// The line that changes.
    pub(super) fn live(&self, line: &str) {
        if let Some(bar) = &self.live {
            bar.set_message(line.to_owned());
            bar.tick();
            return;
        }
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| last.elapsed() >= PLAIN_EVERY) {
            *last = Some(Instant::now());
            print(line);
        }
    }

    /// Nothing changes any more.
    pub(super) fn settle(&self) {
        if let Some(bar) = &self.live {
            bar.finish_and_clear();
        }
    }
}

/// A reader that has seen enough does not stop the demo: it has to clean up.
fn print(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

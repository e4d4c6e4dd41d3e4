//! One config file being read: its text, its surroundings and what was wrong with it so far.
//!
//! Places are byte offsets while reading and become lines and columns only in a problem.

use std::cell::RefCell;
use std::path::Path;

use super::error::{Problem, ProblemKind};
use super::substitute::Environment;

/// One file being read: its text, where it lies, and what was wrong with it so far.
pub(super) struct Reading<'a> {
    text: &'a str,
    /// Relative paths in the file start here.
    pub(super) directory: &'a Path,
    pub(super) environment: Environment<'a>,
    problems: RefCell<Vec<Problem>>,
}

/// A value and where it was written.
#[derive(Debug, Clone)]
pub(super) struct Written<T> {
    pub(super) value: T,
    pub(super) at: usize,
    /// Whether it must not be shown.
    pub(super) from_environment: bool,
}

impl<'a> Reading<'a> {
    pub(super) fn new(text: &'a str, directory: &'a Path, environment: Environment<'a>) -> Self {
        Self { text, directory, environment, problems: RefCell::default() }
    }

    pub(super) fn report(&self, at: usize, key: impl Into<String>, kind: ProblemKind) {
        let (line, column) = self.line_and_column(at);
        self.problems.borrow_mut().push(Problem { line, column, key: key.into(), kind });
    }

    /// Everything reported, in the file's order.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| (problem.line, problem.column));
        problems
    }

    pub(super) fn line(&self, at: usize) -> usize {
        self.line_and_column(at).0
    }

    fn line_and_column(&self, at: usize) -> (usize, usize) {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

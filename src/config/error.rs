//! Problems and warnings of a configuration, with file, line and column; all of them are collected before anyone is told.
//! Never holds a secret: a value is quoted only when its unit says it may be.
use std::collections::BTreeSet;
use std::fmt;

/// Why a configuration that isn't a file, or a change on top of one, is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text is no URL at all.
    #[error("the database URL can't be read: {0}; expected postgres://user:password@host:port/database")]
    NotAUrl(url::ParseError),
    /// The URL is for something else.
    #[error("the database URL must begin with postgres:// or postgresql://, not {0}://")]
    Scheme(String),
    /// The URL lacks a part that pgweir can't do without.
    #[error("the database URL has no {0}; expected postgres://user:password@host:port/database")]
    Missing(&'static str),
    /// A part of the URL says what can't be.
    #[error("the {part} in the database URL must be {allowed}")]
    Part {
        /// Which part.
        part: &'static str,
        /// What is allowed there.
        allowed: String,
    },
    /// A parameter after `?` that pgweir doesn't know.
    #[error("unknown parameter {name:?} in the database URL; known are {known}")]
    Parameter {
        /// As written.
        name: String,
        /// All known parameters.
        known: String,
    },
    /// Clients and metrics would share one port.
    #[error("clients and metrics can't both listen on port {0}")]
    SharedPort(u16),
}

/// One thing that is wrong with a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line and column, both from 1; `None` when it concerns the whole file.
    pub position: Option<(usize, usize)>,
    /// What is wrong and what would be right, on one line.
    pub message: String,
}

/// Everything that is wrong with a configuration file, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Errors {
    file: String,
    problems: Vec<Problem>,
}

impl Errors {
    pub(super) fn whole_file(file: &str, message: String) -> Self {
        Self { file: file.to_owned(), problems: vec![Problem { position: None, message }] }
    }

    /// The problems, in the order of the file; never empty.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            line(f, &self.file, problem)?;
            writeln!(f)?;
        }
        let count = self.problems.len();
        write!(f, "{count} problem{} in {}", if count == 1 { "" } else { "s" }, self.file)
    }
}

impl std::error::Error for Errors {}

/// Something that is allowed but probably not what was meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    file: String,
    problem: Problem,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        line(f, &self.file, &self.problem)
    }
}

fn line(f: &mut fmt::Formatter<'_>, file: &str, problem: &Problem) -> fmt::Result {
    match problem.position {
        Some((line, column)) => write!(f, "{file}:{line}:{column}: {}", problem.message),
        None => write!(f, "{file}: {}", problem.message),
    }
}

/// Collects what is wrong while one file is read.
pub(super) struct Report<'t> {
    file: &'t str,
    text: &'t str,
    line_starts: Vec<usize>,
    /// Lines TOML itself couldn't read; what else they seem to say is not worth telling.
    broken_lines: BTreeSet<usize>,
    /// The first of them that is a section's header: whose settings follow it is anyone's guess.
    broken_header: Option<usize>,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl<'t> Report<'t> {
    pub(super) fn new(file: &'t str, text: &'t str) -> Self {
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self {
            file,
            text,
            line_starts,
            broken_lines: BTreeSet::new(),
            broken_header: None,
            problems: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// A problem of TOML's own grammar at a byte offset.
    pub(super) fn syntax(&mut self, at: usize, message: String) {
        let position = self.position(at);
        self.broken_lines.insert(position.0);
        let line = self.text.get(self.line_starts[position.0 - 1]..).unwrap_or_default();
        if line.trim_start().starts_with('[') {
            self.broken_header = Some(self.broken_header.map_or(position.0, |first| first.min(position.0)));
        }
        self.problems.push(Problem { position: Some(position), message });
    }

    /// A problem at a byte offset.
    pub(super) fn problem(&mut self, at: usize, message: String) {
        let position = self.position(at);
        let lost = self.broken_header.is_some_and(|header| position.0 > header);
        if !lost && !self.broken_lines.contains(&position.0) {
            self.problems.push(Problem { position: Some(position), message });
        }
    }

    /// A problem of the whole file; not told when the file couldn't be read whole.
    pub(super) fn missing(&mut self, message: String) {
        if self.broken_lines.is_empty() {
            self.problems.push(Problem { position: None, message });
        }
    }

    /// A warning at a byte offset, or about the whole file.
    pub(super) fn warning(&mut self, at: Option<usize>, message: String) {
        let position = at.map(|at| self.position(at));
        self.warnings.push(Problem { position, message });
    }

    /// The text of a span; empty when it isn't one of this file.
    pub(super) fn quote(&self, span: std::ops::Range<usize>) -> &'t str {
        self.text.get(span).unwrap_or_default()
    }

    /// `value` with its warnings if nothing was wrong.
    pub(super) fn finish<T>(mut self, value: T) -> Result<(T, Vec<Warning>), Errors> {
        if self.problems.is_empty() {
            let file = self.file;
            self.warnings.sort_by_key(|warning| warning.position);
            let warning = |problem| Warning { file: file.to_owned(), problem };
            return Ok((value, self.warnings.into_iter().map(warning).collect()));
        }
        Err(self.refuse())
    }

    /// All that was wrong.
    pub(super) fn refuse(mut self) -> Errors {
        self.problems.sort_by_key(|problem| problem.position);
        self.problems.dedup();
        Errors { file: self.file.to_owned(), problems: self.problems }
    }

    /// Line and column (in characters) of a byte offset, both from 1.
    fn position(&self, at: usize) -> (usize, usize) {
        let line = self.line_starts.partition_point(|start| *start <= at).max(1);
        let start = self.line_starts[line - 1];
        let column =
            self.text.get(start..at).map_or(at.saturating_sub(start), |before| before.chars().count());
        (line, column + 1)
    }
}

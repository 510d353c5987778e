//! The lines of an authentication file and of all that it includes.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::{Place, Problem};
use super::token::{self, Field};

/// Most files within each other, as in PostgreSQL.
const DEEPEST: usize = 10;
/// Most lines in all: files that include others many times would have no end.
const MOST_LINES: usize = 100_000;

/// Where files come from. The rules themselves read none.
pub trait Files {
    /// All of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// The files in a directory, by their paths, in any order.
    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>>;
}

/// A line that says something.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) place: Place,
    pub(super) fields: Vec<Field>,
}

/// Collects lines, and what is wrong with them.
pub(super) struct Reader<'a> {
    files: &'a dyn Files,
    /// The files being read, each included by the one before.
    open: Vec<PathBuf>,
    /// There were too many lines: nothing more is read.
    is_full: bool,
    /// Files and directories that were looked for, there or not.
    pub(super) looked_for: BTreeSet<PathBuf>,
    pub(super) lines: Vec<Line>,
    pub(super) problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(files: &'a dyn Files) -> Self {
        let (lines, problems, looked_for) = (Vec::new(), Vec::new(), BTreeSet::new());
        Self { files, open: Vec::new(), is_full: false, looked_for, lines, problems }
    }

    /// Reads a file that a setting names.
    pub(super) fn read(&mut self, path: &Path) {
        let whole = Place { file: path.display().to_string().into(), line: 0 };
        match self.look(path) {
            Ok(bytes) => self.take(path, &bytes),
            Err(error) => self.refuse(&whole, format!("can't be read: {error}")),
        }
    }

    fn look(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        self.looked_for.insert(path.to_owned());
        self.files.read(path)
    }

    fn refuse(&mut self, place: &Place, what: impl Into<String>) {
        self.problems.push(Problem { place: place.clone(), what: what.into() });
    }

    fn take(&mut self, path: &Path, bytes: &[u8]) {
        self.open.push(path.to_owned());
        for (place, fields) in self.split(path, bytes) {
            let Some(fields) = self.expand(&place, fields) else { continue };
            if let Some(directive) = Directive::of(&fields) {
                self.include(&place, &directive);
            } else if self.lines.len() < MOST_LINES {
                self.lines.push(Line { place, fields });
            } else {
                if !std::mem::replace(&mut self.is_full, true) {
                    self.refuse(&place, format!("there are more than {MOST_LINES} lines in all"));
                }
                break;
            }
        }
        self.open.pop();
    }

    /// The lines of a file that have fields.
    fn split(&mut self, path: &Path, bytes: &[u8]) -> Vec<(Place, Vec<Field>)> {
        let file: Arc<str> = path.display().to_string().into();
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let before = &bytes[..error.valid_up_to()];
                let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
                self.refuse(&Place { file, line }, "is not UTF-8");
                return Vec::new();
            }
        };
        let mut all = Vec::new();
        for (line, text) in token::lines(text) {
            let place = Place { file: Arc::clone(&file), line };
            match token::fields(&text) {
                Ok(fields) if fields.is_empty() => {}
                Ok(_) if text.contains('\0') => self.refuse(&place, "has a zero byte"),
                Ok(fields) => all.push((place, fields)),
                Err(token::OpenQuote) => self.refuse(&place, "a closing quote is missing"),
            }
        }
        all
    }

    /// The fields with the words of each `@file` in its place. `None` if there is something wrong with one.
    fn expand(&mut self, place: &Place, fields: Vec<Field>) -> Option<Vec<Field>> {
        let before = self.problems.len();
        let expanded = fields
            .into_iter()
            .map(|field| {
                let mut words = Field::new();
                for token in field {
                    match token.behind('@') {
                        Some(name) => words.extend(self.words(place, name)),
                        None => words.push(token),
                    }
                }
                words
            })
            .collect();
        (self.problems.len() == before).then_some(expanded)
    }

    /// All words of a file that stands for a list.
    fn words(&mut self, place: &Place, name: &str) -> Field {
        let path = self.beside(name);
        if !self.may_open(place, &path) {
            return Field::new();
        }
        let bytes = match self.look(&path) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.refuse(place, format!("@{name}: {} can't be read: {error}", path.display()));
                return Field::new();
            }
        };
        let before = self.problems.len();
        self.open.push(path.clone());
        let mut words = Field::new();
        for (place, fields) in self.split(&path, &bytes) {
            words.extend(self.expand(&place, fields).into_iter().flatten().flatten());
        }
        self.open.pop();
        if words.is_empty() && self.problems.len() == before {
            // A list of nobody would leave the line with a field less.
            self.refuse(place, format!("@{name}: {} has no word in it", path.display()));
        }
        words
    }

    /// A path as the file being read means it.
    fn beside(&self, name: &str) -> PathBuf {
        let folder = self.open.last().and_then(|file| file.parent());
        folder.map_or_else(|| PathBuf::from(name), |folder| folder.join(name))
    }

    fn may_open(&mut self, place: &Place, path: &Path) -> bool {
        if self.open.iter().any(|open| open == path) {
            self.refuse(place, format!("{} includes itself", path.display()));
            return false;
        }
        if self.open.len() >= DEEPEST {
            self.refuse(place, format!("files are included more than {DEEPEST} deep"));
            return false;
        }
        !self.is_full
    }

    fn include(&mut self, place: &Place, directive: &Directive<'_>) {
        let path = self.beside(directive.name);
        if directive.kind == Include::Directory {
            self.looked_for.insert(path.clone());
            let mut files = match self.files.list(&path) {
                Ok(files) => files,
                Err(error) => {
                    return self.refuse(place, format!("{} can't be read: {error}", path.display()));
                }
            };
            let counts = |file: &Path| {
                let name = file.file_name().map(|name| name.to_string_lossy());
                name.is_some_and(|name| name.ends_with(".conf") && !name.starts_with('.'))
            };
            files.retain(|file| counts(file));
            files.sort();
            files.iter().for_each(|file| self.include_file(place, file, Include::File));
        } else {
            self.include_file(place, &path, directive.kind);
        }
    }

    fn include_file(&mut self, place: &Place, path: &Path, kind: Include) {
        if !self.may_open(place, path) {
            return;
        }
        match self.look(path) {
            Ok(bytes) => self.take(path, &bytes),
            Err(error) if kind == Include::IfExists && error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => self.refuse(place, format!("{} can't be read: {error}", path.display())),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Include {
    File,
    IfExists,
    Directory,
}

/// A line that names other files.
struct Directive<'f> {
    kind: Include,
    name: &'f str,
}

impl<'f> Directive<'f> {
    fn of(fields: &'f [Field]) -> Option<Self> {
        let [first, second] = fields else { return None };
        let kind = match &*first.first()?.text {
            "include" => Include::File,
            "include_if_exists" => Include::IfExists,
            "include_dir" => Include::Directory,
            _ => return None,
        };
        Some(Self { kind, name: &second.first()?.text })
    }
}

//! What a name has to be: a word, a regular expression, or one of the keywords.

use regex::bytes::{Regex, RegexBuilder};

use super::token::Token;

/// A word that stands for itself, or a regular expression.
#[derive(Clone, Debug)]
pub(super) enum Pattern {
    Exact(Box<str>),
    /// As in PostgreSQL it may match anywhere in the name, and goes by bytes: no letters, digits or spaces but ASCII's.
    Regex(Box<Regex>),
}

impl Pattern {
    /// A `/` begins a regular expression, in quotes, too.
    pub(super) fn parse(token: &Token) -> Result<Self, String> {
        match token.text.strip_prefix('/') {
            None => Ok(Self::Exact(token.text.as_str().into())),
            Some(expression) => compiled(expression)
                .map_err(|why| format!("{:?} is no regular expression: {why}", token.text)),
        }
    }

    pub(super) fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(word) => **word == *name,
            Self::Regex(expression) => expression.is_match(name.as_bytes()),
        }
    }
}

fn compiled(expression: &str) -> Result<Pattern, String> {
    // PostgreSQL's words for where a word begins and ends would be sets of characters here.
    if let Some(bounds) = ["[[:<:]]", "[[:>:]]"].into_iter().find(|bounds| expression.contains(bounds)) {
        return Err(format!("{bounds} isn't known here; \\b is where a word begins or ends"));
    }
    let built = RegexBuilder::new(expression).unicode(false).dot_matches_new_line(true).build();
    built.map(Box::new).map(Pattern::Regex).map_err(|error| {
        // Only the last line says what is wrong; those before it draw where.
        let why = error.to_string();
        why.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
    })
}

/// A user a line is for.
#[derive(Clone, Debug)]
pub(super) enum User {
    All,
    Named(Pattern),
}

impl User {
    pub(super) fn parse(token: &Token) -> Result<Self, String> {
        if token.is("all") {
            return Ok(Self::All);
        }
        match token.behind('+') {
            Some(role) => Err(format!(
                "+{role}: pgweir doesn't know who is a member of which role; name the users, list them in a file \
                 (@file), or use a regular expression (/…)"
            )),
            None => Pattern::parse(token).map(Self::Named),
        }
    }

    pub(super) fn matches(&self, user: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(pattern) => pattern.matches(user),
        }
    }
}

/// A database a line is for.
#[derive(Clone, Debug)]
pub(super) enum Database {
    All,
    SameUser,
    Replication,
    Named(Pattern),
}

impl Database {
    pub(super) fn parse(token: &Token) -> Result<Self, String> {
        let refused = ["samerole", "samegroup"].into_iter().find(|word| token.is(word));
        match refused {
            Some(word) => Err(format!(
                "{word}: pgweir doesn't know who is a member of which role; allowed are all, sameuser, replication, \
                 names, /regular expressions and @files"
            )),
            None if token.is("all") => Ok(Self::All),
            None if token.is("sameuser") => Ok(Self::SameUser),
            None if token.is("replication") => Ok(Self::Replication),
            None => Pattern::parse(token).map(Self::Named),
        }
    }
}

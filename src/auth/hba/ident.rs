//! Ident maps: which database users somebody may be who is known by another name, from a certificate or the system.

use regex::bytes::Regex;

use super::files::Line;
use super::name::{Pattern, User};
use super::token::Token;

/// What stands for the part of the other name that the expression captured.
const CAPTURED: &str = "\\1";

/// One line: within this map, who is known by this name may be this user.
#[derive(Clone, Debug)]
pub(super) struct Mapping {
    pub(super) map: Box<str>,
    known_as: KnownAs,
    user: User,
}

#[derive(Clone, Debug)]
enum KnownAs {
    Pattern(Pattern),
    /// The user's name is this, with what was captured in place of the first [`CAPTURED`].
    Captures(Box<Regex>, Box<str>),
}

impl Mapping {
    pub(super) fn parse(line: &Line) -> Result<Self, String> {
        let mut words = Vec::new();
        for field in &line.fields {
            match field.as_slice() {
                [word] => words.push(word),
                _ => return Err("a map's line has no lists: it is MAP SYSTEM-USER DATABASE-USER".to_owned()),
            }
        }
        let [map, known_as, user] = words[..] else {
            let count = words.len();
            return Err(format!("a map's line is MAP SYSTEM-USER DATABASE-USER; this one has {count} words"));
        };
        let (known_as, user) = pair(known_as, user)?;
        Ok(Self { map: map.text.as_str().into(), known_as, user })
    }

    /// Whether who is `known_as` may be `user`.
    pub(super) fn allows(&self, known_as: &str, user: &str) -> bool {
        match &self.known_as {
            KnownAs::Pattern(pattern) => pattern.matches(known_as) && self.user.matches(user),
            KnownAs::Captures(expression, form) => {
                let captured = expression.captures(known_as.as_bytes()).and_then(|found| found.get(1));
                // A part of a character is part of no name.
                let captured = captured.and_then(|part| std::str::from_utf8(part.as_bytes()).ok());
                captured.is_some_and(|part| form.replacen(CAPTURED, part, 1) == user)
            }
        }
    }
}

fn pair(known_as: &Token, user: &Token) -> Result<(KnownAs, User), String> {
    let (pattern, may_be) = (Pattern::parse(known_as)?, User::parse(user)?);
    match (pattern, &may_be) {
        (Pattern::Regex(expression), User::Named(Pattern::Exact(form))) if form.contains(CAPTURED) => {
            if expression.captures_len() < 2 {
                return Err(format!(
                    "{:?} has no part in parentheses that the \\1 in {:?} could stand for",
                    known_as.text, user.text
                ));
            }
            Ok((KnownAs::Captures(expression, form.clone()), may_be))
        }
        (pattern, _) => Ok((KnownAs::Pattern(pattern), may_be)),
    }
}

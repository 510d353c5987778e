//! WHERE: what holds of a row. Nothing is known of a null, as in SQL.

use crate::admin::table::Value;

/// Numbers are compared in millionths, so that a literal may have a fraction.
pub(super) const SCALE: i128 = 1_000_000;

/// What has to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Condition {
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    Not(Box<Self>),
    Compare(Operand, Comparison, Operand),
    /// A column and a pattern; whether case doesn't matter.
    Like(Operand, String, bool),
    In(Operand, Vec<Operand>),
    IsNull(Operand),
    Constant(Option<bool>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Operand {
    Column(usize),
    Text(String),
    /// In millionths.
    Number(i128),
    Null,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Scalar<'a> {
    Number(i128),
    Text(&'a str),
}

impl Operand {
    fn of<'a>(&'a self, row: &'a [Value]) -> Option<Scalar<'a>> {
        match self {
            Self::Text(text) => Some(Scalar::Text(text)),
            Self::Number(number) => Some(Scalar::Number(*number)),
            Self::Null => None,
            Self::Column(at) => match row.get(*at)? {
                Value::Text(text) => Some(Scalar::Text(text)),
                Value::Number(number) => Some(Scalar::Number(i128::from(*number) * SCALE)),
                Value::Ratio(sum, count) => {
                    Some(Scalar::Number(i128::from(*sum) * SCALE / i128::from(*count)))
                }
                Value::Null => None,
            },
        }
    }
}

impl Condition {
    pub(super) fn holds(&self, row: &[Value]) -> bool {
        self.of(row) == Some(true)
    }

    /// `None`: it isn't known.
    fn of(&self, row: &[Value]) -> Option<bool> {
        match self {
            Self::And(a, b) => match (a.of(row), b.of(row)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            },
            Self::Or(a, b) => match (a.of(row), b.of(row)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
            Self::Not(it) => it.of(row).map(|truth| !truth),
            Self::Compare(a, how, b) => {
                let (a, b) = (a.of(row)?, b.of(row)?);
                Some(match how {
                    Comparison::Equal => a == b,
                    Comparison::NotEqual => a != b,
                    Comparison::Less => a < b,
                    Comparison::LessOrEqual => a <= b,
                    Comparison::Greater => a > b,
                    Comparison::GreaterOrEqual => a >= b,
                })
            }
            Self::Like(it, pattern, any_case) => match it.of(row)? {
                Scalar::Text(text) if *any_case => {
                    Some(like(&letters(&text.to_lowercase()), &letters(&pattern.to_lowercase())))
                }
                Scalar::Text(text) => Some(like(&letters(text), &letters(pattern))),
                Scalar::Number(_) => None,
            },
            Self::In(it, list) => {
                let (it, mut unknown) = (it.of(row)?, false);
                let found = list.iter().any(|one| match one.of(row) {
                    Some(one) => one == it,
                    None => {
                        unknown = true;
                        false
                    }
                });
                if found || !unknown { Some(found) } else { None }
            }
            Self::IsNull(it) => Some(it.of(row).is_none()),
            Self::Constant(truth) => *truth,
        }
    }
}

fn letters(text: &str) -> Vec<char> {
    text.chars().collect()
}

/// `%` is anything, `_` one letter, `\` takes the next one as it is. At most text times pattern steps: of several `%` only
/// the last is tried again.
fn like(text: &[char], pattern: &[char]) -> bool {
    let (mut t, mut p, mut star) = (0, 0, None);
    while t < text.len() {
        let step = match pattern.get(p) {
            Some('%') => {
                star = Some((p, t));
                p += 1;
                continue;
            }
            Some('_') => Some(1),
            Some('\\') => (pattern.get(p + 1) == Some(&text[t])).then_some(2),
            Some(letter) => (*letter == text[t]).then_some(1),
            None => None,
        };
        match (step, star) {
            (Some(step), _) => (t, p) = (t + 1, p + step),
            (None, Some((at, from))) => {
                star = Some((at, from + 1));
                (t, p) = (from + 1, at + 1);
            }
            (None, None) => return false,
        }
    }
    pattern[p..].iter().all(|letter| *letter == '%')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (text, pattern, fits) in [
            ("", "", true),
            ("", "%", true),
            ("a", "", false),
            ("abc", "abc", true),
            ("abc", "a%", true),
            ("abc", "%c", true),
            ("abc", "%b%", true),
            ("abc", "a_c", true),
            ("abc", "a_", false),
            ("a%c", "a\\%c", true),
            ("abc", "a\\%c", false),
            ("aaab", "%aab", true),
            ("mississippi", "m%iss%pi", true),
            ("mississippi", "m%iss%px", false),
            ("é", "_", true),
        ] {
            assert_eq!(like(&letters(text), &letters(pattern)), fits, "{text} LIKE {pattern}");
        }
    }
}

//! Lines and fields of PostgreSQL's authentication files: quotes, commas, comments, backslashes at the end of a line.

/// A word, with what quotes took from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) text: String,
    /// Begins with a quote, and so is no keyword.
    pub(super) quoted: bool,
}

impl Token {
    /// Whether it is that keyword.
    pub(super) fn is(&self, keyword: &str) -> bool {
        !self.quoted && self.text == keyword
    }

    /// What is behind a sign that quotes would take the meaning from.
    pub(super) fn behind(&self, sign: char) -> Option<&str> {
        self.text.strip_prefix(sign).filter(|rest| !self.quoted && !rest.is_empty())
    }
}

/// Words with commas between them.
pub(super) type Field = Vec<Token>;

/// A quote has no end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OpenQuote;

/// Lines as they are read: one that ends in a backslash goes on in the next. With the number of the first, from 1.
pub(super) fn lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut unfinished: Option<(usize, String)> = None;
    for (at, line) in text.split('\n').enumerate() {
        let (number, mut whole) = unfinished.take().unwrap_or((at + 1, String::new()));
        let line = line.trim_end_matches('\r');
        match line.strip_suffix('\\') {
            Some(part) => {
                whole.push_str(part);
                unfinished = Some((number, whole));
            }
            None => {
                whole.push_str(line);
                lines.push((number, whole));
            }
        }
    }
    lines.extend(unfinished);
    lines
}

/// The fields of a line; none if there is nothing but a comment.
pub(super) fn fields(line: &str) -> Result<Vec<Field>, OpenQuote> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let mut field = Field::new();
        while let Some(next) = token(rest)? {
            rest = next.rest;
            field.push(next.token);
            if !next.goes_on {
                break;
            }
        }
        if field.is_empty() {
            return Ok(fields);
        }
        fields.push(field);
    }
}

struct Next<'t> {
    token: Token,
    /// A comma follows: the field has more.
    goes_on: bool,
    rest: &'t str,
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r')
}

fn token(line: &str) -> Result<Option<Next<'_>>, OpenQuote> {
    let line = line.trim_start_matches(|c| is_blank(c) || c == ',');
    let mut token = Token { text: String::new(), quoted: false };
    let (mut in_quote, mut was_quote, mut saw_quote) = (false, false, false);
    for (at, c) in line.char_indices() {
        match c {
            '#' | ',' if !in_quote => return Ok(finish(token, saw_quote, &line[at..])),
            c if is_blank(c) && !in_quote => return Ok(finish(token, saw_quote, &line[at..])),
            '"' => {
                if was_quote {
                    token.text.push('"');
                }
                was_quote = in_quote && !was_quote;
                in_quote = !in_quote;
                saw_quote = true;
                token.quoted |= token.text.is_empty();
            }
            c => {
                was_quote = false;
                token.text.push(c);
            }
        }
    }
    if in_quote { Err(OpenQuote) } else { Ok(finish(token, saw_quote, "")) }
}

fn finish(token: Token, saw_quote: bool, rest: &str) -> Option<Next<'_>> {
    let there = saw_quote || !token.text.is_empty();
    let goes_on = rest.starts_with(',');
    let rest = if rest.starts_with('#') { "" } else { rest };
    there.then_some(Next { token, goes_on, rest })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(line: &str) -> String {
        let show = |t: Token| if t.quoted { format!("\"{}\"", t.text) } else { t.text };
        let field = |f: Field| f.into_iter().map(show).collect::<Vec<_>>().join("|");
        fields(line).unwrap().into_iter().map(field).collect::<Vec<_>>().join("  ")
    }

    #[test]
    fn fields_are_postgresqls() {
        for (line, expected) in [
            ("", ""),
            (" \t\r ", ""),
            ("# host all", ""),
            ("host all\tall", "host  all  all"),
            ("a,b c", "a|b  c"),
            ("a, b ,c", "a|b  c"),
            (",,a,,b", "a|b"),
            ("a#b c", "a"),
            ("a,#b", "a"),
            ("\"a b\",c", "\"a b\"|c"),
            ("\"a,#b\" c", "\"a,#b\"  c"),
            ("\"a\"\"b\"", "\"a\"b\""),
            ("\"\"\"a\"", "\"\"a\""),
            ("a\"b c\"d", "ab cd"),
            ("map=\"x y\"", "map=x y"),
            ("\"\" x", "\"\"  x"),
            ("\"a\"b", "\"ab\""),
            ("/^a{1,2}$", "/^a{1|2}$"),
            ("\"/^a{1,2}$\"", "\"/^a{1,2}$\""),
        ] {
            assert_eq!(shown(line), expected, "{line:?}");
        }
        assert_eq!(fields("a \"b"), Err(OpenQuote));
        assert_eq!(fields("\"a\"\""), Err(OpenQuote));
    }

    #[test]
    fn a_backslash_joins_lines() {
        let joined = lines("a \\\nb\n# c\\\r\nd\r\n\\\n\\");
        let expected = [(1, "a b"), (3, "# cd"), (5, "")];
        assert_eq!(joined.iter().map(|(n, l)| (*n, &**l)).collect::<Vec<_>>(), expected);
        assert_eq!(lines("a\\\\\nb"), [(1, "a\\b".to_owned())]);
    }

    proptest! {
        #[test]
        fn any_line_is_survived(line in "[ab\",#\\\\ \t\r@/+]{0,40}") {
            let _ = fields(&line);
            let _ = lines(&line);
        }

        #[test]
        fn quoting_is_undone(text in "[^\n]{0,20}") {
            let quoted = format!("x \"{}\" y", text.replace('"', "\"\""));
            let found = fields(&quoted).unwrap();
            prop_assert_eq!(&found[1], &vec![Token { text, quoted: true }]);
        }
    }
}

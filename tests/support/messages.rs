//! Messages of the protocol: builders for what a client sends, readable words for what a server answers.

use std::fmt;

/// One message with its type byte; `body` is without the length.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    pub tag: u8,
    pub body: Vec<u8>,
}

impl Message {
    /// A field of an ErrorResponse or NoticeResponse.
    pub fn field(&self, code: u8) -> Option<String> {
        let text = |part: &[u8]| String::from_utf8_lossy(&part[1..]).into_owned();
        self.body.split(|b| *b == 0).find(|part| part.first() == Some(&code)).map(text)
    }

    pub fn sqlstate(&self) -> String {
        self.field(b'C').unwrap_or_default()
    }

    /// The columns of a DataRow, as text; of a Describe, which has the same tag, some or none.
    pub fn columns(&self) -> Vec<Option<String>> {
        let mut rest = self.body.get(2..).unwrap_or_default();
        let mut columns = Vec::new();
        while let Some((length, after)) = rest.split_first_chunk::<4>() {
            let length = usize::try_from(i32::from_be_bytes(*length)).ok();
            let Some((column, behind)) = after.split_at_checked(length.unwrap_or(0)) else { break };
            columns.push(length.map(|_| String::from_utf8_lossy(column).into_owned()));
            rest = behind;
        }
        columns
    }

    pub fn bytes(&self) -> Vec<u8> {
        message(self.tag, &self.body)
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tag = char::from(self.tag);
        let strings = || {
            let parts = self.body.split(|b| *b == 0).filter(|part| !part.is_empty());
            parts.map(String::from_utf8_lossy).collect::<Vec<_>>().join("|")
        };
        match self.tag {
            b'E' | b'N' | b'C' | b'S' | b'Z' => write!(f, "{tag} {}", strings()),
            b'D' if self.body.len() > 2000 => write!(f, "D {} bytes", self.body.len()),
            b'D' => write!(f, "D {:?}", self.columns()),
            _ if self.body.is_empty() => write!(f, "{tag}"),
            _ if self.body.len() > 2000 => write!(f, "{tag} {} bytes", self.body.len()),
            _ => write!(f, "{tag} {}", self.body.escape_ascii()),
        }
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Any message: type byte, length, body.
pub fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    out.extend(u32::try_from(body.len() + 4).expect("a message fits u32").to_be_bytes());
    out.extend(body);
    out
}

fn untagged(body: &[u8]) -> Vec<u8> {
    message(0, body).split_off(1)
}

fn joined(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

fn count(n: usize) -> [u8; 2] {
    u16::try_from(n).expect("fits").to_be_bytes()
}

/// A StartupMessage; `version` is `3 << 16` for 3.0.
pub fn startup(version: u32, parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = version.to_be_bytes().to_vec();
    for (name, value) in parameters {
        body.extend(joined(&[name.as_bytes(), b"\0", value.as_bytes(), b"\0"]));
    }
    body.push(0);
    untagged(&body)
}

pub fn ssl_request() -> Vec<u8> {
    untagged(&80_877_103u32.to_be_bytes())
}

pub fn gssenc_request() -> Vec<u8> {
    untagged(&80_877_104u32.to_be_bytes())
}

pub fn cancel_request(pid: u32, key: &[u8]) -> Vec<u8> {
    untagged(&joined(&[&80_877_102u32.to_be_bytes(), &pid.to_be_bytes(), key]))
}

pub fn password(text: &str) -> Vec<u8> {
    message(b'p', &joined(&[text.as_bytes(), b"\0"]))
}

pub fn query(sql: &str) -> Vec<u8> {
    message(b'Q', &joined(&[sql.as_bytes(), b"\0"]))
}

pub fn parse(name: &str, sql: &str) -> Vec<u8> {
    parse_typed(name, sql, &[])
}

pub fn parse_typed(name: &str, sql: &str, types: &[u32]) -> Vec<u8> {
    let mut body = joined(&[name.as_bytes(), b"\0", sql.as_bytes(), b"\0", &count(types.len())]);
    types.iter().for_each(|oid| body.extend(oid.to_be_bytes()));
    message(b'P', &body)
}

/// A Bind with text parameters and text results.
pub fn bind(portal: &str, statement: &str, parameters: &[Option<&str>]) -> Vec<u8> {
    let mut body =
        joined(&[portal.as_bytes(), b"\0", statement.as_bytes(), b"\0\0\0", &count(parameters.len())]);
    for parameter in parameters {
        match parameter {
            Some(text) => {
                body.extend(u32::try_from(text.len()).expect("fits").to_be_bytes());
                body.extend(text.as_bytes());
            }
            None => body.extend((-1i32).to_be_bytes()),
        }
    }
    body.extend([0, 0]);
    message(b'B', &body)
}

pub fn describe_statement(name: &str) -> Vec<u8> {
    message(b'D', &joined(&[b"S", name.as_bytes(), b"\0"]))
}

pub fn describe_portal(name: &str) -> Vec<u8> {
    message(b'D', &joined(&[b"P", name.as_bytes(), b"\0"]))
}

pub fn close_statement(name: &str) -> Vec<u8> {
    message(b'C', &joined(&[b"S", name.as_bytes(), b"\0"]))
}

pub fn close_portal(name: &str) -> Vec<u8> {
    message(b'C', &joined(&[b"P", name.as_bytes(), b"\0"]))
}

/// `max_rows` 0 means all.
pub fn execute(portal: &str, max_rows: u32) -> Vec<u8> {
    message(b'E', &joined(&[portal.as_bytes(), b"\0", &max_rows.to_be_bytes()]))
}

pub fn flush() -> Vec<u8> {
    message(b'H', &[])
}

pub fn sync() -> Vec<u8> {
    message(b'S', &[])
}

pub fn terminate() -> Vec<u8> {
    message(b'X', &[])
}

pub fn copy_data(data: &[u8]) -> Vec<u8> {
    message(b'd', data)
}

pub fn copy_done() -> Vec<u8> {
    message(b'c', &[])
}

pub fn copy_fail(why: &str) -> Vec<u8> {
    message(b'f', &joined(&[why.as_bytes(), b"\0"]))
}

/// A fastpath call with text arguments and a text result.
pub fn function_call(oid: u32, arguments: &[&str]) -> Vec<u8> {
    let mut body = joined(&[&oid.to_be_bytes(), &count(0), &count(arguments.len())]);
    for argument in arguments {
        body.extend(u32::try_from(argument.len()).expect("fits").to_be_bytes());
        body.extend(argument.as_bytes());
    }
    body.extend(count(0));
    message(b'F', &body)
}

/// What servers say, for scripted ones.
pub mod backend {
    use super::{count, joined, message};

    pub fn authentication_ok() -> Vec<u8> {
        message(b'R', &[0, 0, 0, 0])
    }

    pub fn parameter_status(name: &str, value: &str) -> Vec<u8> {
        message(b'S', &joined(&[name.as_bytes(), b"\0", value.as_bytes(), b"\0"]))
    }

    pub fn key_data(pid: u32, key: &[u8]) -> Vec<u8> {
        message(b'K', &joined(&[&pid.to_be_bytes(), key]))
    }

    pub fn ready(status: u8) -> Vec<u8> {
        message(b'Z', &[status])
    }

    pub fn command_complete(tag: &str) -> Vec<u8> {
        message(b'C', &joined(&[tag.as_bytes(), b"\0"]))
    }

    /// Text columns named `c0`, `c1`, …
    pub fn row_description(columns: usize) -> Vec<u8> {
        let mut body = count(columns).to_vec();
        for column in 0..columns {
            body.extend(format!("c{column}\0").as_bytes());
            body.extend(joined(&[
                &[0; 6],
                &25u32.to_be_bytes(),
                &(-1i16).to_be_bytes(),
                &(-1i32).to_be_bytes(),
            ]));
            body.extend(count(0));
        }
        message(b'T', &body)
    }

    pub fn data_row(columns: &[&str]) -> Vec<u8> {
        let mut body = count(columns.len()).to_vec();
        for column in columns {
            body.extend(u32::try_from(column.len()).expect("fits").to_be_bytes());
            body.extend(column.as_bytes());
        }
        message(b'D', &body)
    }

    pub fn error(severity: &str, sqlstate: &str, text: &str) -> Vec<u8> {
        message(b'E', format!("S{severity}\0V{severity}\0C{sqlstate}\0M{text}\0\0").as_bytes())
    }

    /// One row of one column, and ready.
    pub fn one_value(value: &str) -> Vec<u8> {
        joined(&[&row_description(1), &data_row(&[value]), &command_complete("SELECT 1"), &ready(b'I')])
    }
}

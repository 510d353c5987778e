//! One step's replies of both sides, and where they may differ.

use crate::play::Session;
use crate::script::Step;
use crate::support::messages::Message;
use crate::support::oracle::difference;

/// A difference that is known and accepted.
struct Deviation {
    what: &'static str,
    /// Why it can't or needn't be otherwise.
    reason: &'static str,
    /// Whether this pair of replies, PostgreSQL's first, is one; `None` where what is compared leaves it out already.
    excuse: Option<fn(&Step, &str, &str) -> bool>,
}

const DEVIATIONS: [Deviation; 11] = [
    Deviation {
        what: "a custom parameter is '' instead of NULL for a client that never set it",
        reason: "PostgreSQL never forgets a placeholder: on a server where somebody once set it, a reset makes it ''",
        excuse: Some(|step, expected, found| {
            step_mentions(step, "app.")
                && expected.replace("None", "Some(\"\")") == found.replace("None", "Some(\"\")")
        }),
    },
    Deviation {
        what: "another error about a statement's name in a failed transaction",
        reason: "a statement the server lacks can't be parsed there, so PostgreSQL complains of the transaction first",
        excuse: Some(|_, expected, found| {
            found.contains("|C25P02|") && (expected.contains("|C42P05|") || expected.contains("|C08P01|"))
        }),
    },
    Deviation {
        what: "which of its names of one text an error tells of a statement that SQL's EXECUTE runs",
        reason: "a server has each text once",
        excuse: Some(|step, expected, found| {
            let nameless = |message: &str| {
                let (front, rest) = message.split_once("parameters for prepared statement \"")?;
                Some([front, rest.split_once('"')?.1].concat())
            };
            step_mentions(step, "EXECUTE") && nameless(expected).is_some_and(|e| nameless(found) == Some(e))
        }),
    },
    Deviation {
        what: "whether pg_temp exists for a client that has nothing temporary, so that what is missing is the schema or the table",
        reason: "PostgreSQL makes a server's temporary schema once and never drops it; DISCARD leaves it empty",
        excuse: Some(|_, expected, found| {
            let (no_schema, no_table) = ("|C3F000|Mschema \"pg_temp\"", "|C42P01|");
            expected.contains(no_schema) && found.contains(no_table)
                || expected.contains(no_table) && found.contains(no_schema)
        }),
    },
    Deviation {
        what: "process ids: BackendKeyData's and a notification's sender",
        reason: "a client's server changes",
        excuse: None,
    },
    Deviation {
        what: "when ParameterStatus and NotificationResponse come among a step's replies, and how often the former",
        reason: "the protocol leaves it open; the values in force and the notifications of each sender are compared",
        excuse: None,
    },
    Deviation {
        what: "the order of notifications from different senders",
        reason: "they may come by different connections",
        excuse: None,
    },
    Deviation {
        what: "protocol-level statements in pg_prepared_statements",
        reason: "a server has them under pgweir's names, everybody's",
        excuse: None,
    },
    Deviation {
        what: "file, line and routine of an error",
        reason: "a missing statement is parsed ahead, and the same error comes from Parse instead of Bind",
        excuse: None,
    },
    Deviation {
        what: "whether a function's name in an error's context has its schema",
        reason: "PL/pgSQL compiles a function once a server, and names it as its first caller's search_path would",
        excuse: None,
    },
    Deviation {
        what: "the OID of a table in RowDescription, the number in pg_temp_3",
        reason: "both sides have a database of their own; a temporary schema's number is the server's",
        excuse: None,
    },
];

/// Whether it tells of a parameter by that prefix. What a prepared statement tells is not in the step that uses it.
fn step_mentions(step: &Step, word: &str) -> bool {
    let said = format!("{:?}", step.op);
    step.op.uses() || said.contains("EXECUTE") || said.contains(word)
}

/// A message in words, without what differs by nature.
pub(crate) fn comparable(message: &Message) -> String {
    let words = match message.tag {
        b'E' | b'N' => {
            let fields = message.body.split(|b| *b == 0).filter(|f| !f.is_empty() && !b"FLR".contains(&f[0]));
            let fields: Vec<_> = fields.map(String::from_utf8_lossy).collect();
            format!("{} {}", char::from(message.tag), fields.join("|"))
                .replace("function public.", "function ")
        }
        b'T' => row_description(&message.body[2..]),
        _ => message.to_string(),
    };
    let mut parts = words.split("pg_temp_");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str("pg_temp_N");
        out.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    out
}

/// Names and types.
fn row_description(mut rest: &[u8]) -> String {
    let mut words = String::from("T");
    while let Some(end) = rest.iter().position(|b| *b == 0) {
        let (name, after) = rest.split_at(end);
        let (fixed, next) = after[1..].split_at(18);
        let kind = u32::from_be_bytes(fixed[6..10].try_into().expect("four bytes"));
        words.push_str(&format!(" {}:{kind}:{}", name.escape_ascii(), fixed[10..].escape_ascii()));
        rest = next;
    }
    words.replace("\\xff\\xff\\xff\\xff\\x00\\x00", "")
}

/// Replies side by side, `None` when there is nothing but what is accepted.
pub(crate) fn replies(step: &Step, expected: &[String], found: &[String]) -> Option<String> {
    let excused = |(at, found): (usize, &String)| {
        let accepted = |expected: &&String| {
            DEVIATIONS.iter().filter_map(|d| d.excuse).any(|excuse| excuse(step, expected, found))
        };
        expected.get(at).filter(accepted).unwrap_or(found).clone()
    };
    let found: Vec<_> = found.iter().enumerate().map(excused).collect();
    difference(expected, &found)
}

/// Reported parameters and notifications side by side, `None` when they are the same.
pub(crate) fn sessions(expected: &Session, found: &Session) -> Option<String> {
    let reported = |s: &Session| s.reported.iter().map(|(k, v)| format!("S {k} {v}")).collect::<Vec<_>>();
    let changed = |mine: Vec<String>, theirs: &[String]| {
        mine.into_iter().filter(|line| !theirs.contains(line)).collect::<Vec<_>>()
    };
    let (all_expected, all_found) = (reported(expected), reported(found));
    let parameters =
        difference(&changed(all_expected.clone(), &all_found), &changed(all_found, &all_expected));
    parameters.or_else(|| difference(&by_sender(&expected.notified), &by_sender(&found.notified)))
}

/// Each payload begins with its sender's number, unless it is empty.
fn by_sender(notified: &[String]) -> Vec<String> {
    let sender = |words: &String| words.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut sorted: Vec<_> = notified.iter().map(|words| format!("A {words}")).collect();
    sorted.sort_by_key(|words| sender(&words[2..].to_owned()));
    sorted
}

/// For whoever reads a failure.
pub(crate) fn accepted() -> String {
    DEVIATIONS.iter().map(|d| format!("  {}: {}\n", d.what, d.reason)).collect()
}

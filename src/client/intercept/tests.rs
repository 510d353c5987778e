use super::*;
use crate::params::set::Sets;
use crate::prepared::registry::TAKEN;
use crate::wire::encode::message;
use crate::wire::frontend::Parse;
use std::num::NonZeroUsize;

/// A client and a server, and what went between them.
struct Scene {
    registry: Registry,
    scope: Arc<Scope>,
    scanner: Scanner,
    client: ClientStatements,
    server: Conversation,
}

impl Scene {
    fn new(limit: usize) -> Self {
        let server = Conversation::new(NonZeroUsize::new(limit).unwrap(), Sets::default().empty());
        Self {
            registry: Registry::default(),
            scope: Arc::default(),
            scanner: Scanner::default(),
            client: ClientStatements::default(),
            server,
        }
    }

    /// Sends messages in the short form of [`messages`]; returns what the server got, in the same form.
    fn send(&mut self, script: &str) -> String {
        let input = messages(script);
        let mut scratch = Vec::new();
        let mut out = Outgoing::new(&input, &mut scratch);
        let rules = Rules {
            registry: &self.registry,
            scope: &self.scope,
            looks: Looks {
                scanner: &self.scanner,
                routines: &Routines::nothing(),
                customs: &Customs::default(),
            },
            refuses: Refuses::Nothing,
            names: Names::Kept,
            client: 1,
            parse_context: b"",
        };
        let fed = feed(rules, &mut self.client, &mut self.server, &input, &mut out).unwrap();
        let mut sent = describe(out.bytes());
        if fed.pause == Pause::Stall {
            sent.push_str(" STALL");
        }
        sent
    }

    /// The server answers with these tags (`E26000` an error, `ZI` ready; `_` a space); returns what the client got.
    fn answer(&mut self, tags: &str) -> String {
        let mut bytes = Vec::new();
        for word in tags.split(' ') {
            match word.replace('_', " ").as_bytes() {
                [b'E', code @ ..] => message(&mut bytes, b'E', |v| {
                    v.extend_from_slice(b"SERROR\0VERROR\0C");
                    v.extend_from_slice(code);
                    v.extend_from_slice(b"\0Mx\0\0");
                }),
                [tag, body @ ..] => message(&mut bytes, *tag, |v| v.extend_from_slice(body)),
                [] => {}
            }
        }
        let mut scratch = Vec::new();
        let mut out = Outgoing::new(&bytes, &mut scratch);
        assert_eq!(self.server.receive(&bytes, &mut self.client, &mut out).unwrap(), bytes.len());
        let mut got = String::new();
        let (mut rest, mut first) = (out.bytes(), true);
        while let Some(header) = frame::header(rest).unwrap() {
            got.push_str(if first { "" } else { " " });
            got.push(header.tag as char);
            rest = &rest[header.size..];
            first = false;
        }
        got
    }
}

/// `Pname=text`, `Bname`, `Sname` (Describe), `D` (of the portal), `Cname` (Close), `E`, `Y` (Sync), `Qtext`, `H`.
fn messages(script: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for word in script.split(' ') {
        let (kind, rest) = word.split_at(1);
        match kind {
            "P" => {
                let (name, text) = rest.split_once('=').unwrap();
                Parse::encode(&mut out, name.as_bytes(), &[text.as_bytes(), b"\0\0\0"].concat());
            }
            "B" => {
                frontend::bind_names(&mut out, b"", rest.as_bytes(), 6);
                out.extend_from_slice(&[0; 6]);
            }
            "S" => frontend::describe_statement(&mut out, rest.as_bytes()),
            "C" => frontend::close_statement(&mut out, rest.as_bytes()),
            "D" => message(&mut out, f::DESCRIBE, |v| v.extend_from_slice(b"P\0")),
            "E" => message(&mut out, f::EXECUTE, |v| v.extend_from_slice(&[0; 5])),
            "Y" => message(&mut out, f::SYNC, |_| ()),
            "H" => message(&mut out, f::FLUSH, |_| ()),
            "Q" => frontend::query(&mut out, rest.as_bytes()),
            other => panic!("{other}"),
        }
    }
    out
}

/// The inverse of [`messages`].
fn describe(mut bytes: &[u8]) -> String {
    let mut words = Vec::new();
    let text = |b: &[u8]| String::from_utf8(b.split(|&b| b == 0).next().unwrap().to_vec()).unwrap();
    while let Some(header) = frame::header(bytes).unwrap() {
        let body = &bytes[HEADER..header.size];
        words.push(match header.tag {
            f::PARSE => {
                let parse = Parse::read(body).unwrap();
                format!("P{}={}", text(parse.name), text(parse.query))
            }
            f::BIND => format!("B{}", text(frontend::BindNames::read(body).unwrap().statement)),
            f::DESCRIBE if body[0] == b'P' => "D".to_owned(),
            f::DESCRIBE => format!("S{}", text(&body[1..])),
            f::CLOSE => format!("C{}", text(&body[1..])),
            f::EXECUTE => "E".to_owned(),
            f::SYNC => "Y".to_owned(),
            f::FLUSH => "H".to_owned(),
            f::QUERY => format!("Q{}", text(body)),
            other => panic!("{other}"),
        });
        bytes = &bytes[header.size..];
    }
    words.join(" ")
}

#[test]
fn a_statement_is_parsed_once_per_server() {
    let mut s = Scene::new(10);
    assert_eq!(s.send("Pa=one Ba E Y"), "Ppgweir_1=one Bpgweir_1 E Y");
    assert_eq!(s.answer("1 2 CSELECT_1\0 ZI"), "1 2 C Z");
    assert_eq!(s.send("Pb=one Bb E Y"), "Bpgweir_1 E Y");
    assert_eq!(s.answer("2 CSELECT_1\0 ZI"), "1 2 C Z");
    s.server = Scene::new(10).server;
    assert_eq!(s.send("Sa Ba E Y"), "Ppgweir_1=one Spgweir_1 Bpgweir_1 E Y");
    assert_eq!(s.answer("1 t n 2 CSELECT_1\0 ZI"), "t n 2 C Z");
    assert!(s.server.is_free());
}

#[test]
fn what_fails_leaves_nothing_behind() {
    let mut s = Scene::new(10);
    assert_eq!(s.send("Pa=bad Y"), "Ppgweir_1=bad Y");
    assert_eq!(s.answer("E42601 ZI"), "E Z");
    assert_eq!(s.send("Pa=good Y"), "Ppgweir_2=good Y");
    assert_eq!(s.answer("1 ZI"), "1 Z");
    assert_eq!(s.send("Pb=bad Pc=other Y"), "Ppgweir_3=bad Ppgweir_4=other Y");
    assert_eq!(s.answer("E42601 ZI"), "E Z");
    assert_eq!(s.send("Bc E Y"), "Bc E Y");
    assert_eq!(s.answer("E26000 ZI"), "E Z");
    assert_eq!(s.send("Pc=other Y"), "Ppgweir_5=other Y");
}

#[test]
fn a_name_that_is_taken_is_refused_by_the_server() {
    let mut s = Scene::new(10);
    s.send("Pa=one Y");
    s.answer("1 ZI");
    assert_eq!(s.send("Pa=two Y"), "Ppgweir_1=two Y");
    assert_eq!(s.answer("E42P05 ZI"), "E Z");
    s.server = Scene::new(10).server;
    let taken = str::from_utf8(TAKEN).expect("ASCII");
    assert_eq!(s.send("Pa=one Y"), format!("C{taken} P{taken}= P{taken}=one Y"));
    assert_eq!(s.answer("3 1 E42P05 ZI"), "E Z");
    assert_eq!(s.send("Ca Pa=two Y"), "Ppgweir_2=two Y");
    assert_eq!(s.answer("1 ZI"), "3 1 Z");
}

#[test]
fn eviction_keeps_the_batch_going() {
    let mut s = Scene::new(1);
    assert_eq!(
        s.send("Pa=one Ba Pb=two Ba E Y"),
        "Ppgweir_1=one Bpgweir_1 Ppgweir_2=two Cpgweir_1 Ppgweir_1=one Cpgweir_2 Bpgweir_1 E Y"
    );
    assert_eq!(s.answer("1 2 1 3 1 3 2 CSELECT_1\0 ZI"), "1 2 1 2 C Z");
    assert!(s.server.is_free() && s.server.exchange.doubt().is_none());
}

#[test]
fn what_an_earlier_batch_may_change_is_not_evicted() {
    let mut s = Scene::new(1);
    s.send("Pa=one Y");
    s.answer("1 ZI");
    assert_eq!(
        s.send("Pb=bad Ba Y Pc=two Y"),
        ["Ppgweir_2=bad Cpgweir_1 Ppgweir_1=one Cpgweir_2 Bpgweir_1 Y", "Ppgweir_3=two Y",].join(" ")
    );
    assert_eq!(s.answer("E42601 ZI 1 ZI"), "E Z 1 Z");
    assert_eq!(s.send("Ba Bc Y"), "Cpgweir_3 Bpgweir_1 Ppgweir_3=two Cpgweir_1 Bpgweir_3 Y");
}

#[test]
fn a_later_batch_waits_for_what_it_depends_on() {
    let mut s = Scene::new(10);
    assert_eq!(s.send("Pa=one Y Ba E Y"), "Ppgweir_1=one Y STALL");
    assert_eq!(s.answer("E42601 ZI"), "E Z");
    assert_eq!(s.send("Ba E Y"), "Ba E Y");
}

#[test]
fn a_parse_the_server_need_not_see_waits_for_the_transaction_status() {
    let mut s = Scene::new(10);
    s.send("Pa=one Y");
    s.answer("1 ZI");
    assert_eq!(s.send("Qbegin Qbad Pb=one Y"), "Qbegin Qbad STALL");
    assert_eq!(s.answer("CSELECT_1\0 ZT E42601 ZE"), "C Z E Z");
    assert_eq!(s.send("Pb=one Y"), "Ppgweir_1=one Y");
    assert_eq!(s.answer("E25P02 ZE"), "E Z");
}

#[test]
fn the_unnamed_statement_follows_its_client() {
    let mut s = Scene::new(10);
    assert_eq!(s.send("P=one S Y"), "P=one S Y");
    assert_eq!(s.answer("1 t n ZI"), "1 t n Z");
    assert_eq!(s.send("B E Y"), "B E Y");
    s.answer("2 CSELECT_1\0 ZI");
    s.server = Scene::new(10).server;
    s.server.unnamed = Some((9, 1));
    assert_eq!(s.send("B E Y"), "P=one B E Y");
    assert_eq!(s.answer("1 2 CSELECT_1\0 ZI"), "2 C Z");
    assert_eq!(s.send("Qx"), "Qx");
    assert_eq!(s.answer("CSELECT_1\0 ZI"), "C Z");
    s.server.unnamed = Some((9, 1));
    assert_eq!(s.send("B E Y"), "C B E Y");
    assert_eq!(s.answer("3 E26000 ZI"), "E Z");
}

#[test]
fn an_unnamed_statement_skipped_leaves_the_one_before() {
    let mut s = Scene::new(10);
    s.send("P=one Y");
    s.answer("1 ZI");
    assert_eq!(s.send("Bnone P=two Y"), "Bnone P=two Y");
    assert_eq!(s.answer("E26000 ZI"), "E Z");
    assert_eq!(s.send("B E Y"), "P=one B E Y");
    s.answer("1 2 CSELECT_1\0 ZI");
    s.send("P=bad Y");
    s.answer("E42601 ZI");
    assert_eq!(s.send("B E Y"), "B E Y");
}

#[test]
fn a_query_skipped_leaves_the_unnamed_statement() {
    let mut s = Scene::new(10);
    s.send("P=one Y");
    s.answer("1 ZI");
    assert_eq!(s.send("Bnone Qx Y"), "Bnone Qx Y");
    s.answer("E26000 ZI");
    assert_eq!(s.send("B E Y"), "P=one B E Y");
}

#[test]
fn a_query_ends_the_unnamed_statement_whose_close_was_skipped() {
    let mut s = Scene::new(10);
    s.send("P=one Y");
    s.answer("1 ZI");
    s.send("Bnone C Y Qx");
    s.answer("E26000 ZI CSELECT_1\0 ZI");
    assert_eq!(s.send("B E Y"), "B E Y");
}

#[test]
fn what_was_skipped_leaves_nobody_elses_unnamed_statement() {
    for skipped in ["P=two", "B", "Qx"] {
        let mut s = Scene::new(10);
        s.server.unnamed = Some((9, 1));
        s.send(&format!("Bnone {skipped} Y"));
        s.answer("E26000 ZI");
        assert_eq!(s.send("B E Y"), "C B E Y", "{skipped}");
    }
}

#[test]
fn an_unnamed_statement_outlives_the_failure_of_the_one_before() {
    let mut s = Scene::new(10);
    s.send("P=one Y");
    s.answer("1 ZI");
    s.send("P=bad Y Bnone P=good Y P=better Y");
    assert_eq!(s.answer("E42601 ZI E26000 ZI"), "E Z E Z");
    s.answer("1 ZI");
    s.server = Scene::new(10).server;
    assert_eq!(s.send("B E Y"), "P=better B E Y");
}

#[test]
fn batches_with_unnamed_statements_of_their_own_do_not_wait() {
    let mut s = Scene::new(10);
    assert_eq!(s.send("P=a B E Y P=b B E Y"), "P=a B E Y P=b B E Y");
    assert_eq!(s.send("B E Y"), " STALL");
}

#[test]
fn names_of_our_own_reach_nobody() {
    let mut s = Scene::new(10);
    s.send("Pa=one Y");
    s.answer("1 ZI");
    assert_eq!(s.send("Bpgweir_1 E Y"), "Bpgweir_0 E Y");
    assert_eq!(s.answer("E26000 ZI"), "E Z");
}

#[test]
fn while_skipping_nothing_is_expected() {
    let mut s = Scene::new(10);
    s.send("Bnone H");
    assert_eq!(s.answer("E26000"), "E");
    assert_eq!(s.send("Pa=one Qx Y"), "Pa=one Qx Y");
    assert_eq!(s.answer("ZI"), "Z");
    assert!(s.server.is_free() && s.client.names.is_empty());
}

#[test]
fn bytes_in_any_portions_come_out_the_same() {
    let input = messages("Pa=one Sa Ba E Ca Y Qselect P=x B E Y");
    for cut in 1..input.len() {
        let (mut s, mut whole) = (Scene::new(10), Scene::new(10));
        let mut sent = Vec::new();
        let mut carry = Vec::new();
        for part in [&input[..cut], &input[cut..]] {
            carry.extend_from_slice(part);
            let mut scratch = Vec::new();
            let mut out = Outgoing::new(&carry, &mut scratch);
            let rules = Rules {
                registry: &s.registry,
                scope: &s.scope,
                looks: Looks {
                    scanner: &s.scanner,
                    routines: &Routines::nothing(),
                    customs: &Customs::default(),
                },
                refuses: Refuses::Nothing,
                names: Names::Kept,
                client: 1,
                parse_context: b"",
            };
            let fed = feed(rules, &mut s.client, &mut s.server, &carry, &mut out).unwrap();
            sent.extend_from_slice(out.bytes());
            carry.drain(..fed.used);
        }
        assert!(carry.is_empty());
        assert_eq!(describe(&sent), whole.send("Pa=one Sa Ba E Ca Y Qselect P=x B E Y"), "cut at {cut}");
    }
}

/// What is too large to be kept passes through under its own name, without waiting for its end.
#[test]
fn a_huge_named_statement_is_streamed() {
    let mut s = Scene::new(10);
    let text = vec![b'x'; 2 * 1024 * 1024];
    let mut input = Vec::new();
    Parse::encode(&mut input, b"huge", &[&text[..], b"\0\0\0"].concat());
    let (mut scratch, part) = (Vec::new(), &input[..4096]);
    let mut out = Outgoing::new(part, &mut scratch);
    let rules = Rules {
        registry: &s.registry,
        scope: &s.scope,
        looks: Looks { scanner: &s.scanner, routines: &Routines::nothing(), customs: &Customs::default() },
        refuses: Refuses::Nothing,
        names: Names::Kept,
        client: 1,
        parse_context: b"",
    };
    let fed = feed(rules, &mut s.client, &mut s.server, part, &mut out).unwrap();
    assert_eq!((fed.used, out.bytes()), (part.len(), part));
    assert_eq!(s.server.sending, input.len() - part.len());
    assert!(s.server.dirty && s.client.names.is_empty());
    s.server.sending = 0;
    assert_eq!(s.send("Bhuge E Y"), "Bhuge E Y");
}

/// What a pipeline may change is looked through for each of its messages: there is a bound to how much that is.
#[test]
fn a_long_pipeline_waits_for_its_replies() {
    let mut s = Scene::new(10);
    let script: Vec<_> = (0..2_000).map(|i| format!("Ps{i}=text{i} Y")).collect();
    let sent = s.send(&script.join(" "));
    let parses = sent.split(' ').filter(|word| word.starts_with('P')).count();
    assert!(sent.ends_with("STALL") && (100..300).contains(&parses), "{parses} of them");
    let in_one: Vec<_> = (0..2_000).map(|i| format!("Po{i}=text{i}")).collect();
    let mut s = Scene::new(10_000);
    assert!(!s.send(&in_one.join(" ")).ends_with("STALL"), "nothing is answered before its Sync");
}

/// A table was altered past pgweir: the statement fails. Then it is parsed anew for whoever will be told of its new columns or
/// prepares it again, on every server; others get PostgreSQL's error.
#[test]
fn a_stale_plan_fails_once() {
    let mut s = Scene::new(10);
    s.send("Pa=one Y");
    s.answer("1 ZI");
    assert_eq!(s.send("Ba E Y"), "Bpgweir_1 E Y");
    let mut error = Vec::new();
    message(&mut error, b'E', |v| {
        v.extend_from_slice(
            b"SERROR\0VERROR\0C0A000\0Mcached plan must not change result type\0Fplancache.c\0RRevalidateCachedQuery\0\0",
        );
    });
    let mut scratch = Vec::new();
    let mut out = Outgoing::new(&error, &mut scratch);
    s.server.receive(&error, &mut s.client, &mut out).unwrap();
    s.answer("ZI");
    assert!(s.server.traces.has(Traces::RESHAPED));
    assert_eq!(s.send("Ba E Y"), "Bpgweir_0 E Y");
    let mut unknown = Vec::new();
    message(&mut unknown, b'E', |v| {
        v.extend_from_slice(b"SERROR\0VERROR\0C26000\0Mprepared statement \"pgweir_0\" does not exist\0\0");
    });
    let mut scratch = Vec::new();
    let mut out = Outgoing::new(&unknown, &mut scratch);
    s.server.receive(&unknown, &mut s.client, &mut out).unwrap();
    assert_eq!(out.bytes()[HEADER..], error[HEADER..]);
    s.answer("ZI");
    s.scope.reshaped();
    assert_eq!(s.send("Ba D E Y"), "Ppgweir_2=one Bpgweir_2 D E Y");
    assert_eq!(s.answer("1 2 n CSELECT_1\0 ZI"), "2 n C Z");
    assert_eq!(s.send("Pb=one Bb E Y"), "Bpgweir_2 E Y");
}

/// What a server makes of a statement is compared with what the first has made of it, before who goes by that executes it.
#[test]
fn a_server_that_makes_something_else_of_a_statement_is_not_asked_to_run_it() {
    const INT: &str = "t\0\0 Tv20";
    const FLOAT: &str = "t\0\0 Tv701";
    let mut s = Scene::new(10);
    assert_eq!(s.send("Pa=select Sa Y"), "Ppgweir_1=select Spgweir_1 Spgweir_1 Y");
    assert_eq!(s.answer(&format!("1 {INT} {INT} ZI")), "1 t T Z");
    assert_eq!(s.send("Ba E Y"), "Bpgweir_1 E Y");
    s.answer("2 CSELECT_1\0 ZI");

    s.server = another_server();
    assert_eq!(s.send("Ba E Y"), "Ppgweir_1=select Spgweir_1 H STALL");
    assert_eq!(s.answer("1"), "");
    assert_eq!(s.send("Ba E Y"), " STALL");
    assert_eq!(s.answer(INT), "");
    assert_eq!(s.send("Ba E Y"), "Bpgweir_1 E Y");
    assert_eq!(s.answer("2 CSELECT_1\0 ZI"), "2 C Z");

    s.server = another_server();
    assert_eq!(s.send("Ba E Y"), "Ppgweir_1=select Spgweir_1 H STALL");
    s.answer(&format!("1 {FLOAT}"));
    assert!(s.server.traces.has(Traces::RESHAPED));
    assert_eq!(s.send("Ba E Y"), "Bpgweir_0 E Y", "rather than be misread");
    s.answer("E26000 ZI");
    s.scope.reshaped();
    assert_eq!(s.send("Ba D E Y"), "Ppgweir_2=select Spgweir_2 Bpgweir_2 D E Y", "it will be told");
    assert_eq!(s.answer(&format!("1 {FLOAT} 2 Tv701 CSELECT_1\0 ZI")), "2 T C Z");

    s.server = another_server();
    assert_eq!(s.send("Ba E Y"), "Ppgweir_2=select Spgweir_2 H STALL");
    assert_eq!(s.answer("E42P01"), "E");
    assert_eq!(s.send("Ba E Y"), "Ba E Y", "it is skipped");
    assert_eq!(s.answer("ZI"), "Z");
    assert!(s.server.is_free());
}

/// The answer about another statement, earlier in the pipeline, isn't the one that is waited for.
#[test]
fn each_statement_waits_for_its_own_description() {
    const INT: &str = "t\0\0 Tv20";
    let mut s = Scene::new(10);
    s.send("Pa=select Y");
    s.answer(&format!("1 {INT} ZI"));
    s.server = another_server();
    let sent = "Ppgweir_2=values Spgweir_2 Y Ppgweir_1=select Spgweir_1 H STALL";
    assert_eq!(s.send("Px=values Y Ba E Y"), sent);
    assert_eq!(s.answer(&format!("1 {INT} ZI 1")), "1 Z");
    assert_eq!(s.send("Ba E Y"), " STALL");
    s.answer("t\0\0 Tv25");
    assert_eq!(s.send("Ba E Y"), "Bpgweir_0 E Y");
}

fn another_server() -> Conversation {
    Conversation::new(NonZeroUsize::new(10).unwrap(), Sets::default().empty())
}

/// Within a batch a name may come to stand for another statement: what was sent before fails under the client's own name for it all
/// the same.
#[test]
fn a_name_renewed_in_a_batch_is_told_as_the_client_s() {
    let mut s = Scene::new(10);
    s.send("Pa=one Y");
    s.answer("1 ZI");
    s.scope.reshaped();
    assert_eq!(s.send("Pa=two Sa Y"), "Ppgweir_1=two Ppgweir_2=one Spgweir_2 Y");
    let mut taken = Vec::new();
    message(&mut taken, b'E', |v| {
        v.extend_from_slice(b"SERROR\0VERROR\0C42P05\0Mprepared statement \"pgweir_1\" already exists\0\0");
    });
    let mut scratch = Vec::new();
    let mut out = Outgoing::new(&taken, &mut scratch);
    s.server.receive(&taken, &mut s.client, &mut out).unwrap();
    assert!(String::from_utf8_lossy(out.bytes()).contains("\"a\" already exists"));
}

/// A table was altered through pgweir: nothing fails that is told of its new columns, or is prepared from then on, also in the
/// transaction that altered it.
#[test]
fn statements_are_made_anew_for_an_altered_table() {
    let mut s = Scene::new(10);
    s.send("Pa=one Y");
    s.answer("1 ZI");
    s.send("Qalter");
    s.answer("CALTER_TABLE\0 ZT");
    assert_eq!(s.send("Pb=one Bb E Y"), "Ppgweir_2=one Bpgweir_2 E Y");
    assert_eq!(s.answer("1 2 CSELECT_1\0 ZI"), "1 2 C Z");
    // The look at what the transaction left behind does that.
    s.server.traces = Traces::NONE;
    s.scope.reshaped();
    assert_eq!(s.send("Ba E Y"), "Bpgweir_1 E Y");
    assert_eq!(s.answer("2 CSELECT_1\0 ZI"), "2 C Z");
    assert_eq!(s.send("Ba D E Y"), "Ppgweir_3=one Bpgweir_3 D E Y");
    assert_eq!(s.answer("1 2 n CSELECT_1\0 ZI"), "2 n C Z");
    assert_eq!(s.send("Pc=one Sc Bc D E Y"), "Spgweir_3 Bpgweir_3 D E Y");
}

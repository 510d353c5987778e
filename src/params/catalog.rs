//! What PostgreSQL's catalogs are asked about functions that leave session state, and how its rows are read.

use super::custom_names::{self, Where};
use super::inspection::from_hex;
use super::refusable;
use super::routines::{Names, Touch, of_source};
use super::traces::{self, Traces};
use crate::wire::cursor::Cursor;
use crate::wire::error::WireError;
use crate::wire::frame::{self, HEADER};
use crate::wire::tag::backend as b;
use std::collections::HashSet;

/// What every query begins with: no function of somebody's search_path is called, and none takes long.
const FRONT: &str = "/* pgweir routines */ SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL statement_timeout = '10s'; ";

/// Most rounds of looking for what uses what was found, in all.
pub const ROUNDS: usize = 16;

/// A row: what it is, its OID, a name and more.
type Row = [Vec<u8>; 4];

/// What the database's sessions begin with (ALTER ROLE … SET, ALTER DATABASE … SET), whoever they are.
const DEFAULTS: &str = "(SELECT count(*) || ':' || coalesce(sum(hashtext(concat_ws(' ', setdatabase, setrole, setconfig))), 0) \
    FROM pg_db_role_setting WHERE setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database())))";

/// Changes whenever a function, trigger, view, rule, policy or default of the database does.
pub fn fingerprint() -> String {
    const CATALOGS: [&str; 10] = [
        "pg_proc",
        "pg_trigger",
        "pg_rewrite",
        "pg_attrdef",
        "pg_policy",
        "pg_constraint",
        "pg_event_trigger",
        "pg_class",
        "pg_inherits",
        "pg_type",
    ];
    let all = CATALOGS.map(|catalog| {
        let own = match catalog {
            "pg_trigger" => "NOT tgisinternal",
            "pg_inherits" => "true",
            "pg_type" => "oid >= 16384 AND typtype = 'd'",
            "pg_class" => "oid >= 16384 AND relkind IN ('r', 'v', 'p', 'm', 'f', 'i') AND relpersistence <> 't'",
            _ => "oid >= 16384",
        };
        let key = if catalog == "pg_inherits" { "inhrelid" } else { "oid" };
        format!("(SELECT count(*) || ':' || coalesce(sum(hashtext({key} || '.' || xmin)), 0) FROM {catalog} WHERE {own})")
    });
    format!(
        "{FRONT}SELECT 'h', '0', encode(convert_to({DEFAULTS}, 'UTF8'), 'hex'), encode(convert_to(concat_ws(' ', {}), 'UTF8'), 'hex')",
        all.join(", ")
    )
}

/// Functions of users whose source may change session state, or take values from sequences if that matters; which of them do is
/// for [`of_source`] to say.
pub fn sources(sequences: bool) -> String {
    let advances = if sequences { "nextval|setval|insert|merge|copy|" } else { "" };
    format!(
        "{FRONT}SELECT lanname, oid::text, encode(convert_to(proname, 'UTF8'), 'hex'), encode(convert_to(src, 'UTF8'), 'hex') \
         FROM (SELECT p.oid, p.proname, l.lanname, CASE WHEN p.prosqlbody IS NULL THEN p.prosrc ELSE pg_get_function_sqlbody(p.oid) END \
         || coalesce(E'\\n' || pg_get_expr(p.proargdefaults, 0), '') AS src \
         FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang WHERE p.oid >= 16384 AND l.lanname <> 'internal' \
         AND NOT (l.lanname = 'c' AND EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'))) f \
         WHERE lanname = 'c' OR src ~* E'{advances}set_config|advisory|temp|dblink|setseed|pg_settings|replication_origin|currval|lastval|hold|spi_|\\\\m(execute|call|do|listen|unlisten|prepare|deallocate|load|reset)\\\\M|(^|;|\\\\*/|\\\\n|\\\\m(begin|then|else|loop)\\\\M)\\\\s*set\\\\s' LIMIT 20000"
    )
}

/// Relations whose rules, defaults, policies, checks or trigger conditions call a function of PostgreSQL's own that leaves session
/// state, and what they say. Dependencies don't tell: there are none on such functions. Definitions are kept as trees that name them by
/// OID.
pub fn direct() -> String {
    format!(
        "{FRONT}WITH b AS (SELECT ':funcid (' || string_agg(oid::text, '|') || ') ' AS calls FROM pg_proc WHERE oid < 16384 \
         AND proname ~ '^(set_config|currval|lastval|setseed|pg_(try_)?advisory_lock(_shared)?|pg_replication_origin_session_setup)$'), u(kind, id, said) AS (\
         SELECT 'r', ev_class, pg_get_ruledef(oid) FROM pg_rewrite, b WHERE oid >= 16384 AND concat(ev_action::text, ev_qual::text) ~ calls \
         UNION ALL SELECT 'r', adrelid, pg_get_expr(adbin, adrelid) FROM pg_attrdef, b WHERE oid >= 16384 AND adbin::text ~ calls \
         UNION ALL SELECT 'r', polrelid, concat_ws(' ', pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid)) FROM pg_policy, b WHERE concat(polqual::text, polwithcheck::text) ~ calls \
         UNION ALL SELECT 'r', conrelid, pg_get_constraintdef(oid) FROM pg_constraint, b WHERE oid >= 16384 AND conrelid <> 0 AND conbin::text ~ calls \
         UNION ALL SELECT 'r', attrelid, pg_get_constraintdef(x.oid) FROM pg_constraint x JOIN pg_attribute ON atttypid = contypid, b WHERE contypid >= 16384 AND conbin::text ~ calls \
         UNION ALL SELECT 'r', attrelid, pg_get_expr(typdefaultbin, 0) FROM pg_type y JOIN pg_attribute ON atttypid = y.oid, b WHERE y.oid >= 16384 AND typtype = 'd' AND typdefaultbin::text ~ calls \
         UNION ALL SELECT 'w', tgrelid, pg_get_triggerdef(oid) FROM pg_trigger, b WHERE NOT tgisinternal AND tgqual::text ~ calls) \
         SELECT kind, id::text, encode(convert_to(relname, 'UTF8'), 'hex'), encode(convert_to(said, 'UTF8'), 'hex') FROM u JOIN pg_class c ON c.oid = id LIMIT 20000"
    )
}

/// What uses these functions and relations: other functions, tables by triggers, defaults, policies and checks, views.
fn users(found: &Found) -> String {
    let list = |set: &HashSet<u32>| set.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    let (functions, relations, types) = (list(&found.functions), list(&found.relations), list(&found.types));
    let words = found.fresh.iter().map(|name| pattern(name)).collect::<Vec<_>>().join("|");
    let uses = |catalog: &str| {
        format!(
            "d.classid = '{catalog}'::regclass AND (d.refclassid = 'pg_proc'::regclass AND d.refobjid = ANY (f) OR d.refclassid = 'pg_class'::regclass AND d.refobjid = ANY (r))"
        )
    };
    let of = |catalog: &str, column: &str| {
        format!(
            " UNION SELECT 'r', x.{column} FROM {catalog} x, pg_depend d, k WHERE d.objid = x.oid AND {}",
            uses(catalog)
        )
    };
    format!(
        "{FRONT}WITH k AS (SELECT '{{{functions}}}'::oid[] f, '{{{relations}}}'::oid[] r, '{{{types}}}'::oid[] t), u(kind, id) AS (\
         SELECT 'w', tgrelid FROM pg_trigger, k WHERE tgfoid = ANY (f){}{}{}{}{} \
         UNION SELECT 'r', d.objid FROM pg_depend d, k WHERE {} \
         UNION SELECT 'r', indrelid FROM pg_index, pg_depend d, k WHERE d.objid = indexrelid AND {} \
         UNION SELECT 't', contypid FROM pg_constraint x, pg_depend d, k WHERE contypid <> 0 AND d.objid = x.oid AND {} \
         UNION SELECT 't', d.objid FROM pg_depend d, k WHERE {} \
         UNION SELECT 'r', attrelid FROM pg_attribute, k WHERE atttypid = ANY (t) AND NOT attisdropped \
         UNION SELECT 'e', x.oid FROM pg_event_trigger x, k WHERE evtfoid = ANY (f) \
         UNION SELECT 'w', confrelid FROM pg_constraint, k WHERE contype = 'f' AND conrelid = ANY (r) AND (confdeltype IN ('c', 'n', 'd') OR confupdtype IN ('c', 'n', 'd')) \
         UNION SELECT 'r', inhparent FROM pg_inherits, k WHERE inhrelid = ANY (r) \
         UNION SELECT 'f', d.objid FROM pg_depend d, k WHERE {} \
         UNION SELECT 'f', p.oid FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang WHERE p.oid >= 16384 AND l.lanname NOT IN ('c', 'internal') AND prosrc ~* E'\\\\m({words})\\\\M') \
         SELECT kind, id::text, encode(convert_to(coalesce(relname, proname, typname, evtname), 'UTF8'), 'hex'), '' FROM u \
         LEFT JOIN pg_class c ON c.oid = id AND kind IN ('r', 'w') LEFT JOIN pg_proc p ON p.oid = id AND kind = 'f' \
         LEFT JOIN pg_type y ON y.oid = id AND kind = 't' LEFT JOIN pg_event_trigger e ON e.oid = id AND kind = 'e' WHERE coalesce(relname, proname, typname, evtname) IS NOT NULL AND id >= 16384 LIMIT 20000",
        of("pg_trigger", "tgrelid"),
        of("pg_rewrite", "ev_class"),
        of("pg_attrdef", "adrelid"),
        of("pg_constraint", "conrelid"),
        of("pg_policy", "polrelid"),
        uses("pg_class"),
        uses("pg_class"),
        uses("pg_constraint"),
        uses("pg_type"),
        uses("pg_proc"),
    )
}

/// A regular expression within an E'' literal that matches a name.
fn pattern(name: &[u8]) -> String {
    let mut out = String::new();
    for c in String::from_utf8_lossy(name).chars() {
        match c {
            '\'' => out.push_str("''"),
            c if c.is_alphanumeric() || c == '_' => out.push(c),
            _ => out.push('.'),
        }
    }
    out
}

/// What has been found so far.
#[derive(Debug, Default)]
pub struct Found {
    functions: HashSet<u32>,
    relations: HashSet<u32>,
    types: HashSet<u32>,
    /// Names that were new in the last round.
    fresh: Vec<Vec<u8>>,
    /// What any of them may leave: what uses one may leave the same.
    leaves: Traces,
    /// What all of them surely leave.
    common: Option<Traces>,
    names: Names,
    /// The same of what keeps a client on its server to its end: what uses others mustn't count as that.
    lasting: Option<Box<Self>>,
}

impl Found {
    fn part(&mut self, leaves: Traces) -> &mut Self {
        if leaves.has(Traces::LASTING) { self.lasting.get_or_insert_default() } else { self }
    }

    /// Takes the reply to [`sources`].
    ///
    /// # Errors
    /// When a row isn't what was asked for.
    pub fn take_sources(&mut self, reply: &[u8], sequences: bool) -> Result<(), WireError> {
        for [language, oid, name, source] in rows(reply)? {
            let (name, source) = (from_hex(&name)?, from_hex(&source)?);
            let found = of_source(&language, &source);
            if sequences && found.has(Traces::ADVANCES) {
                // Of those that call it nothing is known: there may be many, and little depends on it.
                self.names.names.push((name.clone(), Traces::ADVANCES, Touch::Any));
            }
            let mut leaves = found.without(Traces::ADVANCES);
            if leaves.is_empty() {
                continue;
            }
            let names = &mut self.names.customs;
            if !custom_names::in_text(&source, Where::Source, |name| names.push(name.into())) {
                leaves = leaves.and(Traces::UNREAD);
            }
            let part = self.part(leaves);
            part.leaves = part.leaves.and(leaves);
            part.functions.insert(number(&oid)?);
            part.fresh.push(name.clone());
            let sure = match &*language {
                b"sql" | b"plpgsql" => refusable::of_code(&refusable::code_of_source(&source)),
                _ => Traces::NONE,
            };
            part.common = Some(part.common.map_or(sure, |common| common.within(sure)));
            part.names.sure.push((name.clone(), sure));
            part.names.names.push((name, leaves, Touch::Any));
        }
        self.names.customs.sort_unstable();
        self.names.customs.dedup();
        Ok(())
    }

    /// Takes the reply to [`direct`].
    ///
    /// # Errors
    /// When a row isn't what was asked for.
    pub fn take_direct(&mut self, reply: &[u8]) -> Result<(), WireError> {
        for [kind, oid, name, said] in rows(reply)? {
            let (name, said) = (from_hex(&name)?, from_hex(&said)?);
            let names = &mut self.names.customs;
            let all = custom_names::in_text(&said, Where::Quoted, |name| names.push(name.into()));
            let unread = if all { Traces::NONE } else { Traces::UNREAD };
            let leaves = traces::of_text(&said).without(Traces::ADVANCES).and(unread);
            let part = self.part(leaves);
            part.leaves = part.leaves.and(leaves);
            part.common = Some(Traces::NONE);
            part.relations.insert(number(&oid)?);
            part.fresh.push(name.clone());
            let touch = if kind == b"w" { Touch::Write } else { Touch::Any };
            part.names.names.push((name, leaves, touch));
        }
        self.names.customs.sort_unstable();
        self.names.customs.dedup();
        Ok(())
    }

    /// What to ask next; `None` when everything is found.
    pub fn next_query(&self) -> Option<String> {
        let own = (!self.fresh.is_empty()).then(|| users(self));
        own.or_else(|| self.lasting.as_ref()?.next_query())
    }

    /// Takes the reply to it.
    ///
    /// # Errors
    /// When a row isn't what was asked for.
    pub fn take_users(&mut self, reply: &[u8]) -> Result<(), WireError> {
        if self.fresh.is_empty()
            && let Some(lasting) = &mut self.lasting
        {
            return lasting.take_users(reply);
        }
        self.fresh.clear();
        for [kind, oid, name, _] in rows(reply)? {
            let (id, name) = (number(&oid)?, from_hex(&name)?);
            if kind == b"e" {
                self.take_event_trigger(id);
                continue;
            }
            let set = match &*kind {
                b"f" => &mut self.functions,
                b"t" => &mut self.types,
                _ => &mut self.relations,
            };
            let touch = if kind == b"w" { Touch::Write } else { Touch::Any };
            let seen = self.names.names.iter_mut().find(|(n, _, t)| *n == name && *t == Touch::Write);
            if let (Some((.., known)), Touch::Any) = (seen, touch) {
                *known = Touch::Any;
            }
            if set.insert(id) {
                if kind == b"f"
                    && let Some(common) = self.common
                {
                    self.names.sure.push((name.clone(), common));
                }
                self.fresh.push(name.clone());
                self.names.names.push((name, self.leaves, touch));
            }
        }
        Ok(())
    }

    /// What the trigger's function does is done by any command that defines something.
    fn take_event_trigger(&mut self, id: u32) {
        if self.relations.insert(id) {
            let words = [
                "create", "alter", "drop", "comment", "grant", "revoke", "security", "import", "refresh",
                "reindex",
            ];
            let leaves = self.leaves;
            self.names.names.extend(words.map(|word| (word.into(), leaves, Touch::Any)));
        }
    }

    /// All names.
    pub fn into_names(mut self) -> Names {
        if let Some(lasting) = self.lasting.take() {
            let Names { names, sure, customs } = lasting.into_names();
            self.names.names.extend(names);
            self.names.sure.extend(sure);
            self.names.customs.extend(customs);
        }
        let names = &mut self.names.names;
        names.sort_by(|a, b| (&a.0, a.2 == Touch::Write).cmp(&(&b.0, b.2 == Touch::Write)));
        names.dedup_by(|b, a| {
            let same = a.0 == b.0;
            a.1 = if same { a.1.and(b.1) } else { a.1 };
            same
        });
        self.names
    }
}

/// The one row of the reply to [`fingerprint`].
///
/// # Errors
/// When it isn't that.
pub fn read_fingerprint(reply: &[u8]) -> Result<Fingerprint, WireError> {
    let [.., defaults, catalogs] = rows(reply)?.pop().ok_or(WireError::Short)?;
    Ok(Fingerprint { defaults, catalogs })
}

/// How a database was at a moment.
#[derive(Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// What its sessions begin with.
    pub defaults: Vec<u8>,
    /// Functions, and what may call them.
    pub catalogs: Vec<u8>,
}

fn number(digits: &[u8]) -> Result<u32, WireError> {
    str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).ok_or(WireError::Trailing)
}

fn rows(mut reply: &[u8]) -> Result<Vec<Row>, WireError> {
    let mut rows = Vec::new();
    while let Some(header) = frame::header(reply)? {
        let (message, rest) = reply.split_at_checked(header.size).ok_or(WireError::Short)?;
        if header.tag == b::DATA_ROW {
            rows.push(row(&message[HEADER..])?);
        }
        reply = rest;
    }
    Ok(rows)
}

fn row(body: &[u8]) -> Result<Row, WireError> {
    let mut cursor = Cursor::new(body);
    if cursor.u16()? != 4 {
        return Err(WireError::Trailing);
    }
    let mut columns = Row::default();
    for column in &mut columns {
        let size = cursor.i32()?;
        *column = cursor.bytes(usize::try_from(size).map_err(|_| WireError::Short)?)?.to_vec();
    }
    Ok(columns)
}

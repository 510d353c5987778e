//! From SQL to a [`Select`]. What isn't understood is refused, never ignored: a query is compared with one that has nothing but
//! what is.

use super::condition::{Comparison, Condition, Operand, SCALE};
use super::literal::{comparison, literal, number, page, position, width};
use super::{Item, Key, Order, Select, is_number};
use crate::admin::command::Failure;
use crate::admin::show::Show;
use crate::admin::table::{Column, Columns, Type, Value};
use crate::wire::sqlstate::{self, SqlState};
use sqlparser::ast::{
    self, BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr,
    LimitClause, ObjectName, ObjectNamePart, OrderByKind, OrderBySort, Query, SelectItem, SetExpr, Statement,
    TableFactor, UnaryOperator,
};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

/// Longest text, and how deep it may nest: the stack is a worker's, and a chain of ORs is as deep as it is long.
const LONGEST: usize = 2048;
const DEEPEST: usize = 16;

const ALLOWED: &str = "The console takes SELECT of columns, count(*), count, sum, avg, min and max FROM one table, which is a \
     word of SHOW, with WHERE, GROUP BY, ORDER BY, LIMIT and OFFSET; in WHERE: = <> < <= > >=, AND, OR, NOT, LIKE, ILIKE, IN \
     (list), BETWEEN and IS NULL, over columns and constants. And SELECT of constants, version() and current_database().";

/// What stands for version().
const VERSION: &str = concat!("pgweir ", env!("CARGO_PKG_VERSION"), ", console of PgBouncer 1.26.1");

pub(super) type Outcome<T> = Result<T, Failure>;

pub(super) fn failure(code: SqlState, message: String) -> Failure {
    Failure { code, message, detail: None }
}

/// `what` is short: expressions may be as deep as they are long, so nothing here writes a whole one.
pub(super) fn unsupported(what: &str) -> Failure {
    let message = format!("not supported by the console: {what}");
    Failure { code: sqlstate::FEATURE_NOT_SUPPORTED, message, detail: Some(ALLOWED.to_owned()) }
}

/// An expression that isn't understood.
pub(super) fn strange(expr: &Expr) -> Failure {
    match expr {
        Expr::Function(function) => unsupported(&format!("function {}", function.name)),
        Expr::BinaryOp { op, .. } => unsupported(&format!("operator {op}")),
        Expr::Subquery(_) | Expr::InSubquery { .. } | Expr::Exists { .. } => unsupported("subqueries"),
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Value(_) => unsupported(&expr.to_string()),
        _ => unsupported("this kind of expression"),
    }
}

/// A SELECT as it can be run, or why it can't.
pub(in crate::admin) fn compile(text: &str) -> Outcome<Select> {
    if text.len() > LONGEST {
        let message = format!("a SELECT has {LONGEST} bytes at most here, not {}", text.len());
        return Err(failure(sqlstate::PROGRAM_LIMIT_EXCEEDED, message));
    }
    let (mut query, mut select) = parse(text)?;
    let parts = Parts {
        projection: std::mem::take(&mut select.projection),
        from: std::mem::take(&mut select.from),
        selection: select.selection.take(),
        group_by: std::mem::replace(&mut select.group_by, GroupByExpr::Expressions(Vec::new(), Vec::new())),
        order_by: query.order_by.take(),
        limit: query.limit_clause.take(),
    };
    let (known_query, mut known_select) = parse("SELECT 1")?;
    known_select.projection.clear();
    if known_query != query || known_select != select {
        return Err(unsupported("what is beside these clauses, as WITH, DISTINCT, HAVING or FOR UPDATE"));
    }
    Scope::of(&parts.from)?.select(&parts)
}

/// What is understood of a query.
struct Parts {
    projection: Vec<SelectItem>,
    from: Vec<ast::TableWithJoins>,
    selection: Option<Expr>,
    group_by: GroupByExpr,
    order_by: Option<ast::OrderBy>,
    limit: Option<LimitClause>,
}

/// The query without its SELECT, and that.
fn parse(text: &str) -> Outcome<(Query, ast::Select)> {
    let syntax = |message: String| failure("42601", message);
    let parser = Parser::new(&PostgreSqlDialect {}).with_recursion_limit(DEEPEST).try_with_sql(text);
    let parsed = parser.and_then(|mut parser| parser.parse_statements());
    let mut parsed = parsed.map_err(|error| syntax(error.to_string()))?;
    let (Some(Statement::Query(query)), true) = (parsed.pop(), parsed.is_empty()) else {
        return Err(syntax("one SELECT is expected".to_owned()));
    };
    let mut query = *query;
    let nothing = Box::new(SetExpr::Values(ast::Values {
        explicit_row: false,
        value_keyword: false,
        rows: Vec::new(),
    }));
    match *std::mem::replace(&mut query.body, nothing) {
        SetExpr::Select(select) => Ok((query, *select)),
        _ => Err(unsupported("UNION and the like")),
    }
}

/// The table that names are looked for in.
struct Scope {
    show: Option<Show>,
    alias: String,
    columns: &'static [Column],
}

/// A column of the result to be.
struct Named {
    item: Item,
    name: String,
    kind: Type,
}

fn part(name: &ObjectName) -> Option<String> {
    match &name.0[..] {
        [ObjectNamePart::Identifier(name)] => Some(folded(name)),
        _ => None,
    }
}

/// As PostgreSQL reads names: in lower case unless quoted.
fn folded(name: &ast::Ident) -> String {
    if name.quote_style.is_some() { name.value.clone() } else { name.value.to_lowercase() }
}

impl Scope {
    fn of(from: &[ast::TableWithJoins]) -> Outcome<Self> {
        let [from] = from else {
            let none = Self { show: None, alias: String::new(), columns: &[] };
            return if from.is_empty() { Ok(none) } else { Err(unsupported("FROM several tables")) };
        };
        let plain = match &from.relation {
            TableFactor::Table { with_hints, partitions, index_hints, with_ordinality: false, .. } => {
                from.joins.is_empty()
                    && with_hints.is_empty()
                    && partitions.is_empty()
                    && index_hints.is_empty()
            }
            _ => false,
        };
        let TableFactor::Table {
            name, alias, args: None, version: None, json_path: None, sample: None, ..
        } = &from.relation
        else {
            return Err(unsupported("FROM anything but a table"));
        };
        let table = part(name).ok_or_else(|| unsupported("names of tables with a schema"))?;
        if !plain || alias.as_ref().is_some_and(|alias| !alias.columns.is_empty()) {
            return Err(unsupported("FROM anything but a table"));
        }
        let found = Show::of(&table).and_then(|show| Some((show, show.columns()?)));
        let Some((show, columns)) = found else {
            return Err(failure("42P01", format!("relation \"{table}\" does not exist")));
        };
        let alias = alias.as_ref().map_or(table, |alias| folded(&alias.name));
        Ok(Self { show: Some(show), alias, columns })
    }

    fn select(&self, parts: &Parts) -> Outcome<Select> {
        let mut named = Vec::new();
        for item in &parts.projection {
            self.item(item, &mut named)?;
        }
        width(named.len())?;
        let filter = parts.selection.as_ref().map(|it| self.condition(it)).transpose()?;
        let groups = self.groups(&parts.group_by, &named)?;
        let (order, extra) = self.order(parts.order_by.as_ref(), &named)?;
        let is_grouped = groups.is_some() || named.iter().chain(&extra).any(|it| it.item.is_aggregate());
        let groups = is_grouped.then(|| groups.unwrap_or_default());
        if let Some(by) = &groups {
            let free = named.iter().find(|it| matches!(it.item, Item::Column(at) if !by.contains(&at)));
            let stray = order.iter().find(|it| matches!(it.key, Key::Input(at) if !by.contains(&at)));
            if free.is_some() || stray.is_some() {
                let name = free.map_or("", |it| &it.name);
                let words = "must appear in the GROUP BY clause or be used in an aggregate function";
                return Err(failure("42803", format!("column \"{name}\" {words}")));
            }
        }
        let columns: Vec<(String, Type)> = named.iter().map(|it| (it.name.clone(), it.kind)).collect();
        let (limit, offset) = page(parts.limit.as_ref())?;
        Ok(Select {
            show: self.show,
            columns: Columns::Own(columns.into()),
            items: named.into_iter().chain(extra).map(|it| it.item).collect(),
            filter,
            groups,
            order,
            limit,
            offset,
        })
    }

    fn column(&self, expr: &Expr) -> Outcome<usize> {
        let name = match expr {
            Expr::Nested(inner) => return self.column(inner),
            Expr::Identifier(name) => folded(name),
            Expr::CompoundIdentifier(parts) => match &parts[..] {
                [table, name] if folded(table) == self.alias => folded(name),
                [table, _] => {
                    let message = format!("missing FROM-clause entry for table \"{}\"", folded(table));
                    return Err(failure("42P01", message));
                }
                _ => return Err(strange(expr)),
            },
            // PostgreSQL's keyword, and a column here.
            Expr::Function(function) if function.to_string().eq_ignore_ascii_case("user") => {
                "user".to_owned()
            }
            _ => return Err(strange(expr)),
        };
        let found = self.columns.iter().position(|(column, _)| *column == name);
        found.ok_or_else(|| failure("42703", format!("column \"{name}\" does not exist")))
    }

    fn item(&self, item: &SelectItem, named: &mut Vec<Named>) -> Outcome<()> {
        match item {
            SelectItem::Wildcard(_) if item.to_string() == "*" && self.show.is_some() => {
                let all = self.columns.iter().enumerate();
                named.extend(all.map(|(at, (name, kind))| Named {
                    item: Item::Column(at),
                    name: (*name).to_owned(),
                    kind: *kind,
                }));
            }
            SelectItem::UnnamedExpr(expr) => named.push(self.named(expr)?),
            SelectItem::ExprWithAlias { expr, alias } => {
                named.push(Named { name: folded(alias), ..self.named(expr)? });
            }
            _ => return Err(unsupported("this kind of column")),
        }
        Ok(())
    }

    fn named(&self, expr: &Expr) -> Outcome<Named> {
        let constant = |value: Value, kind, name: &str| Named {
            item: Item::Constant(value),
            name: name.to_owned(),
            kind,
        };
        match expr {
            Expr::Function(function) if self.column(expr).is_err() => self.function(function),
            Expr::Value(_) => match literal(expr)? {
                Operand::Text(text) => Ok(constant(text.into(), Type::Text, "?column?")),
                Operand::Number(number) if number >= 0 && number % SCALE == 0 => {
                    let number = u64::try_from(number / SCALE).map_err(|_| strange(expr))?;
                    Ok(constant(number.into(), Type::Int4, "?column?"))
                }
                Operand::Null => Ok(constant(Value::Null, Type::Text, "?column?")),
                _ => Err(strange(expr)),
            },
            _ => {
                let at = self.column(expr)?;
                let (name, kind) = self.columns[at];
                Ok(Named { item: Item::Column(at), name: name.to_owned(), kind })
            }
        }
    }

    fn function(&self, function: &Function) -> Outcome<Named> {
        let refuse = || unsupported(&format!("function {}", function.name));
        let name = part(&function.name).ok_or_else(refuse)?;
        let FunctionArguments::List(list) = &function.args else { return Err(refuse()) };
        let at = match &list.args[..] {
            [] | [FunctionArg::Unnamed(FunctionArgExpr::Wildcard)] => None,
            [FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))] => {
                Some(self.column(expr).map_err(|_| refuse())?)
            }
            _ => return Err(refuse()),
        };
        // Nothing but a name and its argument, which is short.
        let argument = list.args.first().map(ToString::to_string).unwrap_or_default();
        if function.over.is_some() || function.filter.is_some() || !function.within_group.is_empty() {
            return Err(refuse());
        }
        if function.to_string() != format!("{}({argument})", function.name) {
            return Err(refuse());
        }
        let make = |item, kind| Ok(Named { item, name: name.clone(), kind });
        let Some(at) = at else {
            return match &*name {
                "version" if list.args.is_empty() => make(Item::Constant(VERSION.into()), Type::Text),
                "current_database" if list.args.is_empty() => {
                    make(Item::Constant(crate::admin::DATABASE.into()), Type::Text)
                }
                "count" if !list.args.is_empty() => make(Item::Count(None), Type::Int8),
                _ => Err(refuse()),
            };
        };
        let kind = self.columns[at].1;
        let total = if kind == Type::Int4 { Type::Int8 } else { Type::Numeric };
        match &*name {
            "count" => make(Item::Count(Some(at)), Type::Int8),
            "min" => make(Item::Least(at), kind),
            "max" => make(Item::Greatest(at), kind),
            "sum" | "avg" if !is_number(kind) => {
                Err(failure("42883", format!("function {name}(text) does not exist")))
            }
            "sum" => make(Item::Sum(at), total),
            "avg" => make(Item::Average(at), Type::Float8),
            _ => Err(refuse()),
        }
    }

    fn groups(&self, by: &GroupByExpr, named: &[Named]) -> Outcome<Option<Vec<usize>>> {
        let GroupByExpr::Expressions(all, modifiers) = by else { return Err(unsupported("ALL")) };
        if !modifiers.is_empty() {
            return Err(unsupported("modifiers of GROUP BY and ORDER BY"));
        }
        let of = |expr: &Expr| match position(expr, named.len())? {
            Some(at) => match named[at].item {
                Item::Column(at) => Ok(at),
                _ => Err(strange(expr)),
            },
            None => self.column(expr),
        };
        let columns: Vec<usize> = all.iter().map(of).collect::<Outcome<_>>()?;
        Ok((!all.is_empty()).then_some(columns))
    }

    /// The keys, and what has to be computed beside the result for them.
    fn order(&self, by: Option<&ast::OrderBy>, named: &[Named]) -> Outcome<(Vec<Order>, Vec<Named>)> {
        let Some(by) = by else { return Ok((Vec::new(), Vec::new())) };
        let OrderByKind::Expressions(all) = &by.kind else { return Err(unsupported("ALL")) };
        let (mut keys, mut extra) = (Vec::new(), Vec::new());
        for one in all {
            let descending = matches!(one.options.sort, Some(OrderBySort::Desc));
            let plain = matches!(one.options.sort, None | Some(OrderBySort::Asc | OrderBySort::Desc));
            if !plain || one.with_fill.is_some() || by.interpolate.is_some() {
                return Err(unsupported("modifiers of GROUP BY and ORDER BY"));
            }
            let alias = |expr: &Expr| match expr {
                Expr::Identifier(name) => named.iter().position(|it| it.name == folded(name)),
                _ => None,
            };
            let key = match position(&one.expr, named.len())?.or_else(|| alias(&one.expr)) {
                Some(at) => Key::Result(at),
                None => match self.named(&one.expr)? {
                    Named { item: Item::Column(at), .. } => Key::Input(at),
                    computed => {
                        extra.push(computed);
                        Key::Result(named.len() + extra.len() - 1)
                    }
                },
            };
            keys.push(Order { key, descending, nulls_first: one.options.nulls_first.unwrap_or(descending) });
        }
        Ok((keys, extra))
    }

    fn condition(&self, expr: &Expr) -> Outcome<Condition> {
        let boxed = |expr: &Expr| self.condition(expr).map(Box::new);
        let not = |negated: bool, it| if negated { Condition::Not(Box::new(it)) } else { it };
        Ok(match expr {
            Expr::Nested(inner) => self.condition(inner)?,
            Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
                Condition::And(boxed(left)?, boxed(right)?)
            }
            Expr::BinaryOp { left, op: BinaryOperator::Or, right } => {
                Condition::Or(boxed(left)?, boxed(right)?)
            }
            Expr::UnaryOp { op: UnaryOperator::Not, expr } => Condition::Not(boxed(expr)?),
            Expr::BinaryOp { left, op, right } => {
                let how = comparison(op).ok_or_else(|| strange(expr))?;
                let (left, right) = self.alike(left, right)?;
                Condition::Compare(left, how, right)
            }
            Expr::IsNull(it) => Condition::IsNull(self.operand(it)?),
            Expr::IsNotNull(it) => not(true, Condition::IsNull(self.operand(it)?)),
            Expr::InList { expr, list, negated } => {
                let list = list.iter().map(|one| self.alike(expr, one).map(|(_, one)| one));
                not(*negated, Condition::In(self.operand(expr)?, list.collect::<Outcome<_>>()?))
            }
            Expr::Between { expr, negated, low, high } => {
                let ((it, low), (again, high)) = (self.alike(expr, low)?, self.alike(expr, high)?);
                let low = Condition::Compare(it, Comparison::GreaterOrEqual, low);
                let high = Condition::Compare(again, Comparison::LessOrEqual, high);
                not(*negated, Condition::And(Box::new(low), Box::new(high)))
            }
            Expr::Like { negated, any: false, expr: it, pattern, escape_char: None } => {
                not(*negated, self.like(it, pattern, false)?)
            }
            Expr::ILike { negated, any: false, expr: it, pattern, escape_char: None } => {
                not(*negated, self.like(it, pattern, true)?)
            }
            Expr::Value(value) => match value.value {
                ast::Value::Boolean(truth) => Condition::Constant(Some(truth)),
                ast::Value::Null => Condition::Constant(None),
                _ => return Err(strange(expr)),
            },
            _ => return Err(strange(expr)),
        })
    }

    fn like(&self, it: &Expr, pattern: &Expr, any_case: bool) -> Outcome<Condition> {
        match (self.operand(it)?, literal(pattern)?) {
            (Operand::Column(at), _) if is_number(self.columns[at].1) => Err(failure(
                "42883",
                format!("operator does not exist: {} ~~ text", self.columns[at].1.name()),
            )),
            (it, Operand::Text(pattern)) => Ok(Condition::Like(it, pattern, any_case)),
            (_, Operand::Null) => Ok(Condition::Constant(None)),
            _ => Err(strange(pattern)),
        }
    }

    fn operand(&self, expr: &Expr) -> Outcome<Operand> {
        match expr {
            Expr::Nested(inner) => self.operand(inner),
            Expr::Value(_) | Expr::UnaryOp { .. } | Expr::Cast { .. } => literal(expr),
            _ => self.column(expr).map(Operand::Column),
        }
    }

    /// Both sides of a comparison, of one type: a text beside a number is read as one.
    fn alike(&self, left: &Expr, right: &Expr) -> Outcome<(Operand, Operand)> {
        let (left, right) = (self.operand(left)?, self.operand(right)?);
        let numeric = |it: &Operand| match it {
            Operand::Column(at) => Some(is_number(self.columns[*at].1)),
            Operand::Number(_) => Some(true),
            Operand::Text(_) => Some(false),
            Operand::Null => None,
        };
        let coerced = |it: Operand| match it {
            Operand::Text(text) => number(&text).ok_or_else(|| {
                failure("22P02", format!("invalid input syntax for type numeric: \"{text}\""))
            }),
            it => Ok(it),
        };
        let is_literal = |it: &Operand| matches!(it, Operand::Text(_));
        match (numeric(&left), numeric(&right)) {
            (Some(true), Some(false)) if is_literal(&right) => Ok((left, coerced(right)?)),
            (Some(false), Some(true)) if is_literal(&left) => Ok((coerced(left)?, right)),
            (Some(a), Some(b)) if a != b => {
                let message = "a text can't be compared with a number: put the number in quotes";
                Err(failure("42883", message.to_owned()))
            }
            _ => Ok((left, right)),
        }
    }
}

//! Constants of a SELECT: literals, and the numbers of ORDER BY, LIMIT and OFFSET.

use super::compile::{Outcome, failure, strange, unsupported};
use super::condition::{Comparison, Operand, SCALE};
use sqlparser::ast::{self, BinaryOperator, DataType, Expr, LimitClause, UnaryOperator};

pub(super) fn comparison(op: &BinaryOperator) -> Option<Comparison> {
    Some(match op {
        BinaryOperator::Eq => Comparison::Equal,
        BinaryOperator::NotEq => Comparison::NotEqual,
        BinaryOperator::Lt => Comparison::Less,
        BinaryOperator::LtEq => Comparison::LessOrEqual,
        BinaryOperator::Gt => Comparison::Greater,
        BinaryOperator::GtEq => Comparison::GreaterOrEqual,
        _ => return None,
    })
}

pub(super) fn literal(expr: &Expr) -> Outcome<Operand> {
    match expr {
        Expr::UnaryOp { op: UnaryOperator::Minus, expr: inner } => match literal(inner)? {
            Operand::Number(number) => Ok(Operand::Number(-number)),
            _ => Err(strange(expr)),
        },
        Expr::Value(value) => match &value.value {
            ast::Value::Number(text, false) => number(text).ok_or_else(|| strange(expr)),
            ast::Value::SingleQuotedString(text) => Ok(Operand::Text(text.clone())),
            ast::Value::Null => Ok(Operand::Null),
            _ => Err(strange(expr)),
        },
        Expr::Nested(inner) => literal(inner),
        Expr::Cast { expr: inner, data_type, .. } => cast(literal(inner)?, data_type),
        _ => Err(strange(expr)),
    }
}

/// As drivers write parameters that they put into the text themselves.
fn cast(value: Operand, kind: &DataType) -> Outcome<Operand> {
    let to_text = matches!(kind, DataType::Text | DataType::Varchar(_) | DataType::CharacterVarying(_));
    let to_number = matches!(
        kind,
        DataType::Int(_)
            | DataType::Integer(_)
            | DataType::BigInt(_)
            | DataType::SmallInt(_)
            | DataType::Int2(_)
            | DataType::Int4(_)
            | DataType::Int8(_)
            | DataType::Numeric(_)
    );
    match value {
        Operand::Null => Ok(Operand::Null),
        Operand::Number(_) if to_number => Ok(value),
        Operand::Text(text) if to_number => number(&text)
            .ok_or_else(|| failure("22P02", format!("invalid input syntax for type numeric: \"{text}\""))),
        Operand::Text(_) if to_text => Ok(value),
        _ => Err(unsupported("this cast")),
    }
}

/// A decimal number in millionths; more digits behind the point, or too many before it, are none.
pub(super) fn number(text: &str) -> Option<Operand> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let sound = all_digits(whole) && all_digits(fraction) && !digits.is_empty() && digits != ".";
    if !sound || whole.len() > 25 || fraction.len() > 6 {
        return None;
    }
    format!("{whole}{fraction:0<6}").parse::<i128>().ok().map(|number| Operand::Number(sign * number))
}

/// The place in the result that a whole number names.
pub(super) fn position(expr: &Expr, columns: usize) -> Outcome<Option<usize>> {
    let Expr::Value(_) = expr else { return Ok(None) };
    match literal(expr)? {
        Operand::Number(number) if number % SCALE == 0 => {
            let at = usize::try_from(number / SCALE).ok().and_then(|at| at.checked_sub(1));
            let message = || format!("position {expr} is not in select list");
            at.filter(|at| *at < columns).map(Some).ok_or_else(|| failure("42P10", message()))
        }
        _ => Err(strange(expr)),
    }
}

/// LIMIT and OFFSET.
pub(super) fn page(clause: Option<&LimitClause>) -> Outcome<(Option<usize>, usize)> {
    // A text is a number that is quoted, or a parameter.
    let of_text = |operand| match operand {
        Operand::Text(text) => number(&text).unwrap_or(Operand::Text(text)),
        other => other,
    };
    let count = |expr: &Expr| match of_text(literal(expr)?) {
        Operand::Null => Ok(None),
        Operand::Number(number) if number >= 0 && number % SCALE == 0 => {
            Ok(Some(usize::try_from(number / SCALE).unwrap_or(usize::MAX)))
        }
        _ => Err(strange(expr)),
    };
    match clause {
        None => Ok((None, 0)),
        Some(LimitClause::LimitOffset { limit, offset, limit_by }) if limit_by.is_empty() => {
            let limit = limit.as_ref().map(count).transpose()?.flatten();
            let offset = offset.as_ref().map(|it| count(&it.value)).transpose()?.flatten();
            Ok((limit, offset.unwrap_or(0)))
        }
        Some(_) => Err(unsupported("LIMIT offset, count")),
    }
}

/// Most columns of a result, as in PostgreSQL.
const MOST_COLUMNS: usize = 1664;

/// Refuses a result of so many columns, if they are too many.
pub(super) fn width(columns: usize) -> Outcome<()> {
    if columns <= MOST_COLUMNS {
        return Ok(());
    }
    Err(failure("54011", format!("target lists can have at most {MOST_COLUMNS} entries")))
}

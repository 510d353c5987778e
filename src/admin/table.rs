//! What a SHOW answers: columns with PostgreSQL's types and rows of values, as protocol messages in text or binary.

use crate::wire::encode::{cstr, message};
use crate::wire::tag::backend as b;
use std::sync::Arc;

/// A column's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Text,
    Int4,
    Int8,
    Numeric,
    Float8,
}

impl Type {
    fn oid(self) -> u32 {
        match self {
            Self::Text => 25,
            Self::Int4 => 23,
            Self::Int8 => 20,
            Self::Numeric => 1700,
            Self::Float8 => 701,
        }
    }

    fn size(self) -> i16 {
        match self {
            Self::Int4 => 4,
            Self::Int8 | Self::Float8 => 8,
            Self::Text | Self::Numeric => -1,
        }
    }
}

impl Type {
    /// As PostgreSQL calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Int4 => "integer",
            Self::Int8 => "bigint",
            Self::Numeric => "numeric",
            Self::Float8 => "double precision",
        }
    }
}

/// A column: its name and type.
pub(super) type Column = (&'static str, Type);

/// The columns of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Columns {
    /// A SHOW's.
    Fixed(&'static [Column]),
    /// A SELECT's.
    Own(Arc<[(String, Type)]>),
}

impl Columns {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Fixed(columns) => columns.len(),
            Self::Own(columns) => columns.len(),
        }
    }

    fn at(&self, at: usize) -> (&str, Type) {
        match self {
            Self::Fixed(columns) => columns[at],
            Self::Own(columns) => (&columns[at].0, columns[at].1),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, Type)> {
        (0..self.len()).map(|at| self.at(at))
    }
}

/// One value; a number too large for its column's type is the largest of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Value {
    Null,
    Text(String),
    Number(u64),
    /// A sum and of how many.
    Ratio(u64, u64),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::Number(number as u64)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Number(truth.into())
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// A row of anything that is a value.
macro_rules! row {
    ($($value:expr),+ $(,)?) => { vec![$($crate::admin::table::Value::from($value)),+] };
}
pub(super) use row;

/// Rows under columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) columns: Columns,
    pub(super) rows: Vec<Vec<Value>>,
}

impl Table {
    /// About how many bytes the rows take.
    pub(super) fn bytes(&self) -> usize {
        let value =
            |value: &Value| size_of::<Value>() + if let Value::Text(text) = value { text.len() } else { 0 };
        self.rows.iter().map(|row| size_of::<Vec<Value>>() + row.iter().map(value).sum::<usize>()).sum()
    }
}

/// How the columns of an answer are written: one format for all, or one each; none is text. 1 is binary.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Formats(pub(super) Vec<u16>);

impl Formats {
    fn of(&self, column: usize) -> u16 {
        let each = self.0.get(if self.0.len() == 1 { 0 } else { column });
        each.copied().unwrap_or(0)
    }

    /// Whether they can be used for so many columns.
    pub(super) fn fit(&self, columns: usize) -> bool {
        (self.0.len() <= 1 || self.0.len() == columns) && self.0.iter().all(|format| *format <= 1)
    }
}

/// Appends RowDescription.
pub(super) fn row_description(out: &mut Vec<u8>, columns: &Columns, formats: &Formats) {
    message(out, b::ROW_DESCRIPTION, |out| {
        out.extend_from_slice(&count(columns.len()));
        for (at, (name, kind)) in columns.iter().enumerate() {
            cstr(out, name.as_bytes());
            out.extend_from_slice(&[0; 6]);
            out.extend_from_slice(&kind.oid().to_be_bytes());
            out.extend_from_slice(&kind.size().to_be_bytes());
            out.extend_from_slice(&(-1_i32).to_be_bytes());
            out.extend_from_slice(&formats.of(at).to_be_bytes());
        }
    });
}

/// Appends DataRow.
pub(super) fn data_row(out: &mut Vec<u8>, columns: &Columns, row: &[Value], formats: &Formats) {
    message(out, b::DATA_ROW, |out| {
        out.extend_from_slice(&count(row.len()));
        for (at, (value, (_, kind))) in row.iter().zip(columns.iter()).enumerate() {
            let bytes = match value {
                Value::Null => {
                    out.extend_from_slice(&(-1_i32).to_be_bytes());
                    continue;
                }
                Value::Text(text) => text.clone().into_bytes(),
                Value::Number(number) => encode(*number, kind, formats.of(at) == 1),
                Value::Ratio(sum, count) => ratio(*sum, *count, formats.of(at) == 1),
            };
            let size = u32::try_from(bytes.len()).expect("a value here is some text of a few words");
            out.extend_from_slice(&size.to_be_bytes());
            out.extend_from_slice(&bytes);
        }
    });
}

fn count(columns: usize) -> [u8; 2] {
    u16::try_from(columns).expect("a table here has some dozens of columns").to_be_bytes()
}

fn encode(number: u64, kind: Type, binary: bool) -> Vec<u8> {
    let int4 = i32::try_from(number).unwrap_or(i32::MAX);
    let int8 = i64::try_from(number).unwrap_or(i64::MAX);
    match (kind, binary) {
        (Type::Int4, true) => int4.to_be_bytes().to_vec(),
        (Type::Int8, true) => int8.to_be_bytes().to_vec(),
        (Type::Numeric, true) => numeric(number),
        (Type::Float8, _) => ratio(number, 1, binary),
        (Type::Int4, false) => int4.to_string().into_bytes(),
        (Type::Int8, false) => int8.to_string().into_bytes(),
        (Type::Text, _) | (Type::Numeric, false) => number.to_string().into_bytes(),
    }
}

fn ratio(sum: u64, count: u64, binary: bool) -> Vec<u8> {
    let ratio = sum as f64 / count as f64;
    if binary { ratio.to_be_bytes().to_vec() } else { ratio.to_string().into_bytes() }
}

/// PostgreSQL's binary numeric: number of digits to base 10,000, weight of the first, sign, scale, digits.
fn numeric(mut number: u64) -> Vec<u8> {
    let mut digits = Vec::new();
    while number > 0 {
        digits.push((number % 10_000) as u16);
        number /= 10_000;
    }
    let size = digits.len() as u16;
    let head = [size, size.saturating_sub(1), 0, 0];
    head.into_iter().chain(digits.into_iter().rev()).flat_map(u16::to_be_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_both_formats() {
        for (number, kind, text, binary) in [
            (7, Type::Int4, "7", vec![0, 0, 0, 7]),
            (1 << 40, Type::Int4, "2147483647", vec![127, 255, 255, 255]),
            (7, Type::Int8, "7", vec![0, 0, 0, 0, 0, 0, 0, 7]),
            (0, Type::Numeric, "0", vec![0; 8]),
            (9_999, Type::Numeric, "9999", vec![0, 1, 0, 0, 0, 0, 0, 0, 0x27, 0x0f]),
            (20_001, Type::Numeric, "20001", vec![0, 2, 0, 1, 0, 0, 0, 0, 0, 2, 0, 1]),
            (12, Type::Text, "12", b"12".to_vec()),
        ] {
            assert_eq!(encode(number, kind, false), text.as_bytes(), "{number} {kind:?}");
            assert_eq!(encode(number, kind, true), binary, "{number} {kind:?}");
        }
    }

    #[test]
    fn formats_are_none_one_or_one_each() {
        let formats = |list: &[u16]| Formats(list.to_vec());
        assert_eq!((formats(&[]).of(1), formats(&[1]).of(1), formats(&[0, 1]).of(1)), (0, 1, 1));
        assert!(formats(&[]).fit(2) && formats(&[1]).fit(2) && formats(&[0, 1]).fit(2));
        assert!(!formats(&[0, 1]).fit(3) && !formats(&[2]).fit(1));
    }

    #[test]
    fn a_table_is_rows_of_values() {
        const COLUMNS: &[Column] = &[("name", Type::Text), ("n", Type::Int4), ("none", Type::Text)];
        let columns = Columns::Fixed(COLUMNS);
        let mut out = Vec::new();
        let row: Vec<Value> = row!["a", 3_u32, None::<String>];
        data_row(&mut out, &columns, &row, &Formats::default());
        assert_eq!(out, b"D\0\0\0\x14\0\x03\0\0\0\x01a\0\0\0\x013\xff\xff\xff\xff");
        out.clear();
        row_description(&mut out, &Columns::Fixed(&COLUMNS[1..2]), &Formats(vec![1]));
        assert_eq!(out, b"T\0\0\0\x1a\0\x01n\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\x01");
    }
}

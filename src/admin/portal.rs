//! A portal of a console session: a command that is bound, and the rows of it that wait. Pure.

use super::command::Command;
use super::replies::{complete, rows};
use super::table::{Columns, Formats, Table};
use crate::wire::encode::message;
use crate::wire::tag::backend as b;
use std::sync::Arc;

/// What Bind has made known, and how far it has been told.
#[derive(Debug)]
pub(super) struct Portal {
    pub(super) command: Command,
    /// Its text, for logs.
    pub(super) text: Arc<str>,
    pub(super) formats: Formats,
    /// Rows not told yet; `None`: it has not been run.
    pub(super) left: Option<Table>,
}

impl Portal {
    /// At most so many more rows; 0 is all.
    pub(super) fn tell(&mut self, limit: usize, out: &mut Vec<u8>) {
        let Some(table) = &mut self.left else { return };
        let rest =
            if limit == 0 || limit >= table.rows.len() { Vec::new() } else { table.rows.split_off(limit) };
        rows(out, table, &self.formats);
        let told = table.rows.len();
        if rest.is_empty() {
            complete(out, &self.command.rows_tag(told));
        } else {
            message(out, b::PORTAL_SUSPENDED, |_| ());
        }
        table.rows = rest;
    }
}

impl Command {
    /// The tag behind so many rows.
    pub(super) fn rows_tag(&self, rows: usize) -> String {
        if matches!(self, Self::Select(_)) { format!("SELECT {rows}") } else { "SHOW".to_owned() }
    }

    /// The columns of its answer, if it has rows.
    pub(super) fn columns(&self) -> Option<Columns> {
        match self {
            Self::Show(show) => show.columns().map(Columns::Fixed),
            Self::ShowSession(session) => Some(Columns::Fixed(&session.columns)),
            Self::Select(select) => Some(select.columns.clone()),
            _ => None,
        }
    }
}

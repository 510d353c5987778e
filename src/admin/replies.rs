//! How the outcome of a console command is told, in the protocol's messages. Pure.

use super::dialogue::{Notice, Reply};
use super::table::{Formats, Table, data_row};
use crate::wire::backend::{Report, Severity};
use crate::wire::encode::{cstr, message};
use crate::wire::sqlstate;
use crate::wire::tag::backend as b;

/// The rows of a table.
pub(super) fn rows(out: &mut Vec<u8>, table: &Table, formats: &Formats) {
    table.rows.iter().for_each(|row| data_row(out, &table.columns, row, formats));
}

/// CommandComplete.
pub(super) fn complete(out: &mut Vec<u8>, tag: &str) {
    message(out, b::COMMAND_COMPLETE, |out| cstr(out, tag.as_bytes()));
}

/// What a command without rows came to.
pub(super) fn told(out: &mut Vec<u8>, reply: &Reply) {
    match reply {
        Reply::Empty => message(out, b::EMPTY_QUERY, |_| ()),
        Reply::Rows(_) => {}
        Reply::Done(tag, notice) => {
            if let Some(Notice { message, detail }) = notice {
                let (severity, code) = (Severity::Notice, sqlstate::SUCCESSFUL_COMPLETION);
                let detail = detail.as_deref();
                Report { severity, code, message, detail, hint: None }.encode(out);
            }
            complete(out, tag);
        }
    }
}

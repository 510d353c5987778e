//! A batch that may be sent once more: a statement's columns have changed behind everybody's back, the client is about to be told
//! what they are, and nothing was done yet.

use crate::wire::frame::{self, HEADER};
use crate::wire::frontend::Parse;
use crate::wire::tag::{backend as b, frontend as f};

/// Longest batch that is kept, in bytes.
const LONGEST: usize = 8 * 1024;

/// The client's last batch, until the server has said something of it.
#[derive(Debug, Default)]
pub struct Retry {
    batch: Vec<u8>,
    stage: Stage,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing is kept: what is under way began earlier, or has been answered in part, or is the second try.
    #[default]
    Over,
    /// A batch begins, outside a transaction, at a server that owes nothing.
    Begun,
    /// It uses a statement whose columns its client will be told.
    Tells,
    /// It is kept.
    Kept,
    /// The server has refused it: the statement's columns are others now.
    Stale,
    /// It is about to be sent again.
    Again,
}

impl Retry {
    /// The client's next bytes are taken. Whether the server owes nothing and is in no transaction.
    #[inline]
    pub fn begin(&mut self, is_free: bool) {
        self.stage = if is_free && self.stage != Stage::Again { Stage::Begun } else { Stage::Over };
    }

    /// They use a statement of whose columns the client will be told.
    #[inline]
    pub fn tells(&mut self) {
        if self.stage == Stage::Begun {
            self.stage = Stage::Tells;
        }
    }

    /// They are these, and the server has got all of them. Whether they are kept.
    #[inline]
    pub fn keep(&mut self, batch: &[u8]) -> bool {
        if self.stage != Stage::Tells || batch.len() > LONGEST {
            return false;
        }
        self.batch.clear();
        self.batch.extend_from_slice(batch);
        self.stage = Stage::Kept;
        true
    }

    /// The server has said something. Whether the batch was kept until then.
    #[inline]
    pub fn end(&mut self) -> bool {
        std::mem::replace(&mut self.stage, Stage::Over) == Stage::Kept
    }

    /// What the server has said is that a statement's columns are others now.
    #[cold]
    pub fn found_stale(&mut self) {
        self.stage = Stage::Stale;
    }

    /// Whether it has.
    #[inline]
    pub fn is_stale(&self) -> bool {
        self.stage == Stage::Stale
    }

    /// The batch that was kept until then, if that is all it was and the server has said nothing of it but `said`: it comes next.
    #[cold]
    pub fn again(&mut self, said: &[u8]) -> Option<Vec<u8>> {
        if !is_one_batch(&self.batch) || !has_only_failed(said) {
            return None;
        }
        self.stage = Stage::Again;
        Some(std::mem::take(&mut self.batch))
    }
}

/// Whether these are messages of the extended protocol, with nothing behind the first Sync or Flush. All it prepares it prepares
/// first, so that whatever fails by the columns of a statement, that was done.
fn is_one_batch(mut batch: &[u8]) -> bool {
    let mut prepares = true;
    while let Ok(Some(header)) = frame::header(batch) {
        let Some(rest) = batch.get(header.size..) else { return false };
        match header.tag {
            f::PARSE if prepares => {}
            f::CLOSE => {}
            f::BIND | f::DESCRIBE | f::EXECUTE => prepares = false,
            f::SYNC | f::FLUSH => return rest.is_empty(),
            _ => return false,
        }
        batch = rest;
    }
    false
}

/// The names of the statements a batch prepares.
pub fn prepares(mut batch: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        while let Ok(Some(header)) = frame::header(batch) {
            let (message, rest) = batch.split_at_checked(header.size)?;
            batch = rest;
            if header.tag == f::PARSE {
                return Parse::read(&message[HEADER..]).ok().map(|parse| parse.name);
            }
        }
        None
    })
}

/// Whether a server that had a batch, perhaps behind a prelude, did nothing of it: no row, no notice, nothing completed but what
/// prepares for that.
fn has_only_failed(said: &[u8]) -> bool {
    let (mut rest, mut failed, mut silent) = (said, false, true);
    while !rest.is_empty() {
        let Ok(Some(header)) = frame::header(rest) else { return false };
        let Some(behind) = rest.get(header.size..) else { return false };
        match header.tag {
            b::PARSE_COMPLETE | b::BIND_COMPLETE | b::CLOSE_COMPLETE if !failed => {}
            b::PARAMETER_DESCRIPTION | b::ROW_DESCRIPTION | b::NO_DATA if !failed => {}
            b::ERROR if !failed => failed = true,
            b::READY if failed => return silent && behind.is_empty(),
            // The end of the prelude, which is nobody's.
            b::READY => silent = true,
            _ => silent = false,
        }
        rest = behind;
    }
    failed && silent
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::encode::message;

    fn messages(tags: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        tags.iter().for_each(|tag| {
            message(&mut bytes, *tag, |v| {
                v.extend_from_slice(if *tag == f::PARSE { b"s\0\0\0\0" } else { b"I" });
            });
        });
        bytes
    }

    fn kept(batch: &[u8]) -> Retry {
        let mut retry = Retry::default();
        retry.begin(true);
        retry.tells();
        assert!(retry.keep(batch) && retry.end() && !retry.end());
        retry
    }

    #[test]
    fn what_may_be_sent_again() {
        let failed = messages(b"tEZ");
        for (batch, again) in [
            (&b"BDES"[..], true),
            (b"PDH", true),
            (b"CPPBDES", true),
            (b"BDE", false),
            (b"BDESBDES", false),
            (b"BDEPS", false),
            (b"BDEHS", false),
            (b"PDQ", false),
        ] {
            let batch = messages(batch);
            assert_eq!(kept(&batch).again(&failed).is_some(), again, "{}", batch.escape_ascii());
            let cut = &batch[..batch.len() - 1];
            assert_eq!(kept(cut).again(&failed), None, "in part");
        }
        assert!(prepares(&messages(b"CPPBDES")).eq([b"s", b"s"]));
    }

    #[test]
    fn only_what_was_not_begun() {
        for (said, again) in [
            (&b"E"[..], true),
            (b"1tE", true),
            (b"12EZ", true),
            (b"12CSZ1EZ", true),
            (b"2DCEZ", false),
            (b"2TDE", false),
            (b"NE", false),
            (b"SEZ", false),
            (b"EZZ", false),
            (b"EZN", false),
            (b"EE", false),
            (b"1t", false),
            (b"", false),
        ] {
            let batch = messages(b"BDES");
            assert_eq!(kept(&batch).again(&messages(said)).is_some(), again, "{}", said.escape_ascii());
        }
    }

    #[test]
    fn once_only_and_from_the_beginning() {
        let batch = messages(b"BDES");
        let mut retry = kept(&batch);
        assert_eq!(retry.again(&messages(b"EZ")).as_deref(), Some(&batch[..]));
        retry.begin(true);
        retry.tells();
        assert!(!retry.keep(&batch), "the second try is the last");
        retry.begin(true);
        assert!(!retry.keep(&batch), "the client isn't told");
        retry.begin(false);
        retry.tells();
        assert!(!retry.keep(&batch), "it goes on");
        retry.begin(true);
        retry.tells();
        assert!(!retry.keep(&vec![0; LONGEST + 1]));
    }
}

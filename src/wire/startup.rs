//! The packets without a type byte that open a connection, and the `options` string inside.

use super::cursor::Cursor;
use super::error::WireError;

/// Largest startup packet in bytes, as in PostgreSQL (`MAX_STARTUP_PACKET_LENGTH`).
pub const MAX_STARTUP: usize = 10_000;

/// Asks for TLS.
pub const SSL_REQUEST: &[u8] = &[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// Newest protocol minor version spoken with clients.
pub const MINOR: u16 = 2;

/// First packet of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Startup<'a> {
    /// SSLRequest
    Ssl,
    /// GSSENCRequest
    Gss,
    /// CancelRequest with the key of the session to cancel; the secret has 4 to 256 bytes.
    Cancel {
        /// Process ID the session was told.
        pid: u32,
        /// Secret it was told.
        secret: &'a [u8],
    },
    /// StartupMessage of major version 3.
    Start {
        /// Minor version the client wants.
        minor: u16,
        /// Its parameters, in order.
        parameters: Vec<(&'a str, &'a str)>,
    },
}

/// Names and values, each with a zero byte behind it, as in the packet: not more bytes than it had.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Pairs(String);

impl Pairs {
    /// Adds a name and a value, neither of which has a zero byte.
    pub fn push(&mut self, name: &str, value: &str) {
        [name, "\0", value, "\0"].into_iter().for_each(|part| self.0.push_str(part));
    }

    /// Adds all of `others`.
    pub fn append(&mut self, others: &Self) {
        self.0.push_str(&others.0);
    }

    /// Gives back the memory that isn't needed.
    #[must_use]
    pub fn fit(mut self) -> Self {
        self.0.shrink_to_fit();
        self
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut parts = self.0.split_terminator('\0');
        std::iter::from_fn(move || Some((parts.next()?, parts.next()?)))
    }

    /// Bytes held.
    pub fn size(&self) -> usize {
        self.0.capacity()
    }
}

/// Why a startup packet is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StartupError {
    /// Length field below 8 or above [`MAX_STARTUP`].
    #[error("invalid length of startup packet")]
    Length,
    /// Not major version 3.
    #[error("unsupported frontend protocol {0}.{1}: server supports 3.0 to 3.2")]
    Version(u16, u16),
    /// Names and values aren't pairs of strings with a final zero byte.
    #[error("invalid startup packet layout: expected terminator as last byte")]
    Layout,
    /// A name or value isn't UTF-8.
    #[error("invalid byte sequence for encoding \"UTF8\" in startup packet")]
    Encoding,
    /// Bytes behind a request for encryption, before its answer: somebody could have put them there.
    #[error("received unencrypted data after {0} request")]
    Unencrypted(&'static str),
    /// No user name.
    #[error("no PostgreSQL user name specified in startup packet")]
    NoUser,
}

impl From<WireError> for StartupError {
    fn from(_: WireError) -> Self {
        Self::Layout
    }
}

/// Size of the packet at the front of `bytes`, `None` while the length field is incomplete.
pub fn size(bytes: &[u8]) -> Result<Option<usize>, StartupError> {
    let Some(len) = bytes.first_chunk::<4>() else { return Ok(None) };
    let len = u32::from_be_bytes(*len) as usize;
    if (8..=MAX_STARTUP).contains(&len) { Ok(Some(len)) } else { Err(StartupError::Length) }
}

impl<'a> Startup<'a> {
    /// Reads a whole packet, its length included.
    pub fn parse(packet: &'a [u8]) -> Result<Self, StartupError> {
        let mut c = Cursor::new(packet);
        c.bytes(4)?;
        let (major, minor) = (c.u16()?, c.u16()?);
        match (major, minor) {
            (1234, 5679) => Ok(Self::Ssl),
            (1234, 5680) => Ok(Self::Gss),
            (1234, 5678) => {
                let pid = u32::from_be_bytes(c.i32()?.to_be_bytes());
                let secret = c.rest();
                if (4..=256).contains(&secret.len()) {
                    Ok(Self::Cancel { pid, secret })
                } else {
                    Err(StartupError::Length)
                }
            }
            (3, _) => Ok(Self::Start { minor, parameters: pairs(c)? }),
            _ => Err(StartupError::Version(major, minor)),
        }
    }
}

fn pairs(mut c: Cursor<'_>) -> Result<Vec<(&str, &str)>, StartupError> {
    let mut pairs = Vec::new();
    loop {
        let name = text(c.cstr()?)?;
        if name.is_empty() {
            c.end()?;
            return Ok(pairs);
        }
        pairs.push((name, text(c.cstr()?)?));
    }
}

fn text(bytes: &[u8]) -> Result<&str, StartupError> {
    std::str::from_utf8(bytes).map_err(|_| StartupError::Encoding)
}

/// An `options` string that isn't a list of settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid command-line argument for server process: {0}")]
pub struct OptionsError(pub String);

/// Reads the `options` parameter: words split at white space that a backslash can escape (PostgreSQL's `pg_split_opts`), which are what
/// `postgres` takes on its command line: `-c name=value`, `--name=value` (dashes in the name stand for underscores), and letters that mean
/// settings (`-e`, `-fs`, `-S 5000`).
pub fn options(text: &str) -> Result<Vec<(String, String)>, OptionsError> {
    let mut words = split(text).into_iter();
    let mut settings = Vec::new();
    while let Some(word) = words.next() {
        let wrong = || OptionsError(word.clone());
        if let Some(setting) = word.strip_prefix("--").filter(|setting| !setting.is_empty()) {
            settings.push(long(setting)?);
            continue;
        }
        let flags = word.strip_prefix('-').filter(|flags| !flags.is_empty() && *flags != "-");
        let mut flags = flags.ok_or_else(wrong)?;
        while let Some(flag) = flags.chars().next() {
            flags = &flags[flag.len_utf8()..];
            let mut argument = String::new();
            if WITH_ARGUMENT.contains(flag) {
                let rest = std::mem::take(&mut flags);
                argument = if rest.is_empty() { words.next().ok_or_else(wrong)? } else { rest.to_owned() };
            }
            take_flag(flag, argument, &mut settings).ok_or_else(wrong)??;
        }
    }
    Ok(settings)
}

/// Letters of options that have an argument.
const WITH_ARGUMENT: &str = "BCcDdfhkNprStvW";

fn long(setting: &str) -> Result<(String, String), OptionsError> {
    match setting.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.replace('-', "_"), value.to_owned())),
        _ => Err(OptionsError(setting.to_owned())),
    }
}

/// What a letter means; `None`: PostgreSQL has none such, or not with this argument.
fn take_flag(
    flag: char,
    argument: String,
    settings: &mut Vec<(String, String)>,
) -> Option<Result<(), OptionsError>> {
    let first = argument.chars().next();
    let (name, value) = match flag {
        'c' => return Some(long(&argument).map(|setting| settings.push(setting))),
        'd' => {
            debug(&argument, settings);
            return Some(Ok(()));
        }
        // For single-user mode, or of no meaning any more.
        'b' | 'C' | 'D' | 'E' | 'j' | 'n' | 'r' | 'T' | 'v' => return Some(Ok(())),
        // How long a session waits as it begins, before it is one.
        'W' if argument.bytes().all(|b| b.is_ascii_digit()) => return Some(Ok(())),
        'B' => ("shared_buffers", argument),
        'e' => ("datestyle", "euro".to_owned()),
        'F' => ("fsync", "false".to_owned()),
        'f' => (plan_method(first?)?, "false".to_owned()),
        'h' => ("listen_addresses", argument),
        'i' => ("listen_addresses", "*".to_owned()),
        'k' => ("unix_socket_directories", argument),
        'l' => ("ssl", "true".to_owned()),
        'N' => ("max_connections", argument),
        'O' => ("allow_system_table_mods", "true".to_owned()),
        'P' => ("ignore_system_indexes", "true".to_owned()),
        'p' => ("port", argument),
        'S' => ("work_mem", argument),
        's' => ("log_statement_stats", "true".to_owned()),
        't' => (statistics(&argument)?, "true".to_owned()),
        'W' => ("post_auth_delay", argument),
        _ => return None,
    };
    settings.push((name.to_owned(), value));
    Some(Ok(()))
}

fn plan_method(letter: char) -> Option<&'static str> {
    Some(match letter {
        's' => "enable_seqscan",
        'i' => "enable_indexscan",
        'o' => "enable_indexonlyscan",
        'b' => "enable_bitmapscan",
        't' => "enable_tidscan",
        'n' => "enable_nestloop",
        'm' => "enable_mergejoin",
        'h' => "enable_hashjoin",
        _ => return None,
    })
}

fn statistics(letters: &str) -> Option<&'static str> {
    match letters.as_bytes() {
        [b'p', b'a', ..] => Some("log_parser_stats"),
        [b'p', b'l', ..] => Some("log_planner_stats"),
        [b'e', ..] => Some("log_executor_stats"),
        _ => None,
    }
}

/// `-d`, as `atoi` reads its number.
fn debug(level: &str, settings: &mut Vec<(String, String)>) {
    let digits = level.len() - level.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let level: u32 = level[..digits].parse().unwrap_or_default();
    let messages = if level > 0 { format!("debug{level}") } else { "notice".to_owned() };
    settings.push(("log_min_messages".to_owned(), messages));
    let more = [
        (2, "log_statement", "all"),
        (3, "debug_print_parse", "true"),
        (4, "debug_print_plan", "true"),
        (5, "debug_print_rewritten", "true"),
    ];
    let more = more.into_iter().filter(|(from, ..)| level >= *from);
    settings.extend(more.map(|(_, name, value)| (name.to_owned(), value.to_owned())));
}

fn split(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(ch) = chars.next() {
        if ch.is_ascii_whitespace() {
            words.extend(word.take());
        } else {
            let literal = if ch == '\\' { chars.next() } else { Some(ch) };
            word.get_or_insert_default().extend(literal);
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packet(version: u32, body: &[u8]) -> Vec<u8> {
        let mut p = (body.len() as u32 + 8).to_be_bytes().to_vec();
        p.extend_from_slice(&version.to_be_bytes());
        p.extend_from_slice(body);
        p
    }

    #[test]
    fn packets() {
        assert_eq!(Startup::parse(&packet(80_877_103, b"")), Ok(Startup::Ssl));
        assert_eq!(Startup::parse(&packet(80_877_104, b"")), Ok(Startup::Gss));
        let cancel = packet(80_877_102, b"\0\0\0\x07abcd");
        assert_eq!(Startup::parse(&cancel), Ok(Startup::Cancel { pid: 7, secret: b"abcd" }));
        assert_eq!(Startup::parse(&packet(80_877_102, b"\0\0\0\x07abc")), Err(StartupError::Length));
        let start = packet(0x0003_0002, b"user\0me\0database\0db\0\0");
        let parameters = vec![("user", "me"), ("database", "db")];
        assert_eq!(Startup::parse(&start), Ok(Startup::Start { minor: 2, parameters }));
        assert_eq!(Startup::parse(&packet(0x0002_0000, b"")), Err(StartupError::Version(2, 0)));
        for bad in [&b""[..], b"user", b"user\0", b"user\0me", b"user\0me\0", b"user\0me\0\0x"] {
            assert_eq!(Startup::parse(&packet(0x0003_0000, bad)), Err(StartupError::Layout), "{bad:?}");
        }
        assert_eq!(Startup::parse(&packet(0x0003_0000, b"user\0\xff\0\0")), Err(StartupError::Encoding));
    }

    #[test]
    fn sizes_at_their_limits() {
        for (len, want) in
            [(0, None), (7, None), (8, Some(8)), (10_000, Some(10_000)), (10_001, None), (u32::MAX, None)]
        {
            let got = size(&len.to_be_bytes());
            assert_eq!(got, want.map_or(Err(StartupError::Length), |n| Ok(Some(n))));
        }
        assert_eq!(size(b"\0\0\0"), Ok(None));
    }

    #[test]
    fn options_as_postgres_splits_them() {
        let ok = |text: &str| options(text).unwrap();
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(ok(""), []);
        assert_eq!(ok("-c a=b -cc=d --work-mem=1"), [pair("a", "b"), pair("c", "d"), pair("work_mem", "1")]);
        assert_eq!(ok(r"-c search_path=a,\ b\\c"), [pair("search_path", r"a, b\c")]);
        assert_eq!(
            ok("-e -fs -S 5000 -W1 -nEfhtpa -tplx -r file"),
            [
                pair("datestyle", "euro"),
                pair("enable_seqscan", "false"),
                pair("work_mem", "5000"),
                pair("enable_hashjoin", "false"),
                pair("log_planner_stats", "true"),
            ]
        );
        assert_eq!(ok("-d 2"), [pair("log_min_messages", "debug2"), pair("log_statement", "all")]);
        assert_eq!(ok("-dx"), [pair("log_min_messages", "notice")]);
        for bad in [
            "-c",
            "-c=",
            "--=x",
            "-x 1",
            "word",
            "-c novalue",
            "-c =v",
            "-",
            "--",
            "-S",
            "-fx",
            "-tq",
            "-z",
            "-e word",
        ] {
            assert!(options(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_packets_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..128)) {
            let _ = Startup::parse(&bytes);
        }

        /// CVE-2026-107349: settings without a name.
        #[test]
        fn options_always_end(text in "[-c=a \\\\]{0,40}") {
            if let Ok(settings) = options(&text) {
                prop_assert!(settings.iter().all(|(name, _)| !name.is_empty()));
            }
        }
    }
}

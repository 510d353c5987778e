//! Where log lines go: standard error, a file that is opened again at HUP, or syslog.

use crate::config::{Config, SyslogFacility};
use parking_lot::{Mutex, RwLock};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::Arc;
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

const SYSLOG: &str = "/dev/log";

/// Something to write a line to.
enum Place {
    Stderr,
    File(Mutex<LogFile>),
    Syslog(Syslog),
}

/// A file of lines.
struct LogFile {
    file: File,
    /// Lines that it hasn't taken since it took one, as on a full disk, and why not.
    missed: Option<(u64, io::Error)>,
}

impl LogFile {
    fn new(file: File) -> Self {
        Self { file, missed: None }
    }

    /// Writes a line, and before it how many are missing here.
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let notice = self.missed.as_ref().map(|(lines, why)| missing(*lines, why, line)).unwrap_or_default();
        let written = self.file.write_all(notice.as_bytes()).and_then(|()| {
            self.missed = None;
            self.file.write_all(line)
        });
        if let Err(why) = &written {
            let before = self.missed.take().map_or(0, |(lines, _)| lines);
            self.missed = Some((before + 1, io::Error::new(why.kind(), why.to_string())));
        }
        written
    }
}

/// A line in the form of that behind it; one may have been cut off before it.
fn missing(lines: u64, why: &io::Error, like: &[u8]) -> String {
    let text =
        format!("lines that are missing here went to standard error: {lines}; this file took none: {why}");
    match like.first() {
        Some(b'{') => format!("\n{}\n", serde_json::json!({ "level": "WARN", "message": text })),
        _ => format!("\n WARN {text}\n"),
    }
}

/// A syslog daemon.
struct Syslog {
    socket: UnixDatagram,
    /// Where it listens.
    path: PathBuf,
    facility: SyslogFacility,
    /// What stands before each line behind its priority.
    head: String,
}

impl Syslog {
    /// Sends a line. A daemon that has been started anew listens at the same place, but not to a socket connected to the old one.
    fn send(&self, line: &[u8]) -> io::Result<()> {
        match self.socket.send(line) {
            Ok(_) => Ok(()),
            // It is there, and stuck.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
            Err(_) => self.socket.connect(&self.path).and_then(|()| self.socket.send(line)).map(drop),
        }
    }
}

/// Where lines go now; changed by a reload, for everybody who logs.
#[derive(Clone)]
pub(super) struct Output(Arc<RwLock<Place>>);

/// A place that can be used, not in use yet.
pub(super) struct Prepared(Place);

impl Default for Output {
    fn default() -> Self {
        Self(Arc::new(RwLock::new(Place::Stderr)))
    }
}

/// Opens what the configuration asks for, a file anew though it may be open.
///
/// # Errors
/// Which place can't be used, and why.
pub(super) fn prepare(config: &Config) -> Result<Prepared, (String, io::Error)> {
    let general = &config.general;
    if general.syslog.is_on() {
        let connect = || {
            let socket = UnixDatagram::unbound()?;
            // With syslog stuck, lines are lost rather than clients held up.
            socket.set_nonblocking(true)?;
            socket.connect(SYSLOG)?;
            Ok(socket)
        };
        let socket = connect().map_err(|error| (format!("syslog at {SYSLOG}"), error))?;
        let head = format!("{}[{}]: ", general.syslog_ident, std::process::id());
        let (path, facility) = (SYSLOG.into(), general.syslog_facility);
        return Ok(Prepared(Place::Syslog(Syslog { socket, path, facility, head })));
    }
    let Some(path) = &general.logfile else { return Ok(Prepared(Place::Stderr)) };
    let file = OpenOptions::new().create(true).append(true).open(path);
    let file = file.map_err(|error| (format!("logfile {}", path.display()), error))?;
    Ok(Prepared(Place::File(Mutex::new(LogFile::new(file)))))
}

impl Output {
    /// From now on lines go there.
    pub(super) fn switch(&self, to: Prepared) {
        *self.0.write() = to.0;
    }

    /// Whether a person may be looking.
    pub(super) fn is_terminal(&self) -> bool {
        matches!(*self.0.read(), Place::Stderr) && io::IsTerminal::is_terminal(&io::stderr())
    }

    /// Whether lines get a date elsewhere.
    pub(super) fn is_syslog(&self) -> bool {
        matches!(*self.0.read(), Place::Syslog(_))
    }
}

/// A line under construction.
pub(super) struct Line<'a> {
    output: &'a Output,
    severity: u8,
    text: Vec<u8>,
}

impl<'a> MakeWriter<'a> for Output {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { output: self, severity: 6, text: Vec::new() }
    }

    fn make_writer_for(&'a self, about: &Metadata<'_>) -> Line<'a> {
        Line { output: self, severity: severity(*about.level()), text: Vec::new() }
    }
}

fn severity(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

impl Write for Line<'_> {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(part);
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A line is written at once, so that those of several threads don't mix. What a file can't take, or no syslog since there is none, goes to
/// standard error; one that can't be written there is lost: there is nobody to tell.
impl Drop for Line<'_> {
    fn drop(&mut self) {
        let _ = match &*self.output.0.read() {
            Place::Stderr => io::stderr().lock().write_all(&self.text),
            Place::File(file) => {
                let written = file.lock().write(&self.text);
                written.or_else(|_| io::stderr().lock().write_all(&self.text))
            }
            Place::Syslog(syslog) => {
                let text = self.text.trim_ascii_end();
                let priority = syslog.facility as u8 * 8 + self.severity;
                let line = [format!("<{priority}>{}", syslog.head).as_bytes(), text].concat();
                match syslog.send(&line) {
                    Err(e) if e.kind() != io::ErrorKind::WouldBlock => {
                        io::stderr().lock().write_all(&self.text)
                    }
                    sent => sent,
                }
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn to(socket: UnixDatagram, path: &Path) -> Output {
        let output = Output::default();
        let (facility, head) = (SyslogFacility::Local2, "pgweir[7]: ".to_owned());
        output.switch(Prepared(Place::Syslog(Syslog { socket, path: path.into(), facility, head })));
        output
    }

    fn said(output: &Output, syslog: &UnixDatagram) -> String {
        let mut line = Line { output, severity: severity(Level::WARN), text: Vec::new() };
        write!(line, "two words").and_then(|()| writeln!(line, " more")).unwrap();
        drop(line);
        let mut bytes = [0; 64];
        let n = syslog.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..n]).into_owned()
    }

    #[test]
    fn a_full_disk_is_told_of_when_it_is_full_no_more() {
        let full = OpenOptions::new().append(true).open("/dev/full").unwrap();
        for (lines, notice) in [
            (
                ["one\n", "two\n", "three\n"],
                "\n WARN lines that are missing here went to standard error: 2; this",
            ),
            (
                ["{}\n", "{}\n", "{}\n"],
                "\n{\"level\":\"WARN\",\"message\":\"lines that are missing here went to standard error: 2; this",
            ),
        ] {
            let mut file = LogFile::new(full.try_clone().unwrap());
            assert!(lines[..2].iter().all(|line| file.write(line.as_bytes()).is_err()));
            let mut kept = tempfile::NamedTempFile::new().unwrap();
            file.file = kept.reopen().unwrap();
            assert!((0..2).all(|_| file.write(lines[2].as_bytes()).is_ok()));
            let mut text = String::new();
            io::Read::read_to_string(&mut kept, &mut text).unwrap();
            assert!(text.starts_with(notice) && text.contains("No space left on device"), "{text}");
            assert!(text.ends_with(&lines[2].repeat(2)), "{text}");
        }
    }

    #[test]
    fn syslog_gets_one_message_a_line() {
        let (socket, syslog) = UnixDatagram::pair().unwrap();
        let output = to(socket, Path::new(SYSLOG));
        assert_eq!(said(&output, &syslog), "<148>pgweir[7]: two words more");
        assert!(output.is_syslog() && !output.is_terminal());
    }

    #[test]
    fn a_syslog_that_is_started_anew_gets_what_follows() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let start = || {
            let _ = std::fs::remove_file(&path);
            let syslog = UnixDatagram::bind(&path).unwrap();
            syslog.set_nonblocking(true).unwrap();
            syslog
        };
        let first = start();
        let socket = UnixDatagram::unbound().unwrap();
        socket.connect(&path).unwrap();
        let output = to(socket, &path);
        assert_eq!(said(&output, &first), "<148>pgweir[7]: two words more");
        drop(first);
        assert_eq!(said(&output, &start()), "<148>pgweir[7]: two words more");
    }
}

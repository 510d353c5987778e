//! A look as lines of text with colours. Pure: the terminal and the tests draw the same.

use super::report::{Figures, Pool, Report, Servers};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use std::collections::{HashMap, VecDeque};

/// How many looks the line of waits shows.
pub(super) const PAST: usize = 24;
/// How wide the bar of servers is.
const BAR: usize = 30;
const STEPS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The p99 of waits at the last looks, by database and user.
pub(super) type Past = HashMap<(String, String), VecDeque<f64>>;

fn dim() -> Style {
    Style::new().fg(Color::DarkGray)
}

fn time(seconds: f64) -> String {
    match seconds {
        s if s <= 0.0 => "0".to_owned(),
        s if s < 0.001 => format!("{:.0}µs", s * 1e6),
        s if s < 0.1 => format!("{:.1}ms", s * 1e3),
        s if s < 1.0 => format!("{:.0}ms", s * 1e3),
        s => format!("{s:.1}s"),
    }
}

/// What a name may do to a terminal is taken out of it.
fn plain(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// So many columns of it, with blanks behind.
fn fit(text: &str, wide: usize) -> String {
    let mut short: String = text.chars().take(wide).collect();
    if text.chars().count() > wide {
        short.pop();
        short.push('…');
    }
    format!("{short:<wide$}")
}

/// The two lines above all.
pub(super) fn head(report: &Report) -> Vec<Line<'static>> {
    let t = &report.totals;
    let state = match &report.reason {
        None => Span::styled(" running ", Style::new().fg(Color::Black).bg(Color::Green)),
        Some(why) => Span::styled(format!(" {} ", plain(why)), Style::new().fg(Color::White).bg(Color::Red)),
    };
    debug_assert_eq!(report.ready, report.reason.is_none());
    let about =
        format!("  up {:.0} s, {} pools   q leaves, arrows scroll", report.uptime, report.pools.len());
    let name = format!("pgweir {} ", plain(&report.version));
    let clients = t.clients.active + t.clients.waiting + t.clients.idle;
    let figures = format!(
        "{clients} clients: {} active, {} idle, {} pinned   {} servers: {} busy   {:.0} tx/s   {:.1} errors/s   wait p50 {} p99 {}",
        t.clients.active,
        t.clients.idle,
        t.clients.pinned,
        t.servers.all(),
        t.servers.active,
        t.transactions_per_second,
        t.errors_per_second,
        time(t.wait_p50),
        time(t.wait_p99),
    );
    vec![
        Line::from(vec![
            Span::styled(name, Style::new().add_modifier(Modifier::BOLD)),
            state,
            Span::raw(about),
        ]),
        Line::from(vec![waiting(t), Span::raw("   "), Span::raw(figures)]),
    ]
}

fn waiting(figures: &Figures) -> Span<'static> {
    match figures.clients.waiting {
        0 => Span::styled("  0 waiting        ", dim()),
        n => {
            let text = format!("{n:>3} waiting {:<7}", time(figures.max_wait));
            Span::styled(text, Style::new().fg(Color::White).bg(Color::Red))
        }
    }
}

/// Two lines a pool: those that need it most first.
pub(super) fn pools(report: &Report, past: &Past) -> Vec<Line<'static>> {
    let mut pools: Vec<_> = report.pools.iter().collect();
    let need = |pool: &Pool| (pool.figures.clients.waiting, pool.figures.servers.active);
    pools.sort_by(|a, b| {
        need(b).cmp(&need(a)).then_with(|| (&a.database, &a.user).cmp(&(&b.database, &b.user)))
    });
    pools.into_iter().flat_map(|pool| lines(pool, past)).collect()
}

fn lines(pool: &Pool, past: &Past) -> [Line<'static>; 2] {
    let figures = &pool.figures;
    let name = fit(&plain(&format!("{} / {}", pool.database, pool.user)), 26);
    let s = &figures.servers;
    let most = s.size.map_or_else(String::new, |size| format!("/{size}"));
    let more = if s.reserve_size > 0 { format!("+{}", s.reserve_size) } else { String::new() };
    let mut first = vec![Span::styled(name, Style::new().add_modifier(Modifier::BOLD)), Span::raw(" ")];
    first.extend(bar(s, figures.clients.pinned));
    first.push(Span::raw(format!(" {:<9}", format!("{}{most}{more}", s.active))));
    first.push(waiting(figures));
    let key = (pool.database.clone(), pool.user.clone());
    first.push(Span::styled(spark(past.get(&key)), Style::new().fg(Color::Red)));
    let times = format!(" {:>6} {:>6}", time(figures.wait_p50), time(figures.wait_p99));
    first.push(Span::raw(format!("{times}{:>8.0} tx/s ", figures.transactions_per_second)));
    let colour = match &*pool.advice.verdict {
        "too small" => Color::Red,
        "too big" => Color::Yellow,
        "right" => Color::Green,
        _ => Color::DarkGray,
    };
    let mut second = vec![Span::raw("  ")];
    if let Some(found) = &pool.in_the_way {
        let red = Style::new().fg(Color::Red);
        second.push(Span::styled(format!("{}  ", plain(found)), red));
    }
    second.extend([Span::styled(plain(&pool.advice.advice), Style::new().fg(colour))]);
    if !pool.pins.is_empty() {
        let pins: Vec<_> = pool.pins.iter().map(|(why, n)| format!("{n} {}", plain(why))).collect();
        second.push(Span::styled(format!("  pinned: {}", pins.join(", ")), Style::new().fg(Color::Magenta)));
    }
    if pool.paused && pool.in_the_way.is_none() {
        second.push(Span::styled("  paused", Style::new().fg(Color::Red)));
    }
    [Line::from(first), Line::from(second)]
}

/// Letters beside colours, for those who see none: `#` busy, `P` pinned, `R` reserve, `o` idle, `.` opening or to be reset.
fn bar(s: &Servers, pinned: usize) -> Vec<Span<'static>> {
    let room = s.size.map_or(0, |size| size + s.reserve_size).max(s.all()).max(1);
    let pinned = pinned.min(s.active);
    let reserve = s.reserve.min(s.active - pinned);
    let parts = [
        (pinned, 'P', Color::Magenta),
        (s.active - pinned - reserve, '#', Color::Blue),
        (reserve, 'R', Color::Yellow),
        (s.idle, 'o', Color::Cyan),
        (s.used + s.login + s.canceling, '.', Color::Gray),
    ];
    // Ends are rounded, not lengths: so parts add up to what they are.
    let (mut sum, mut at, mut spans) = (0, 0, vec![Span::raw("[")]);
    for (n, letter, colour) in parts {
        sum += n;
        let end = (sum * BAR).div_ceil(room).min(BAR);
        let text: String = std::iter::repeat_n(letter, end - at).collect();
        spans.push(Span::styled(text, Style::new().fg(colour)));
        at = end;
    }
    spans.push(Span::raw(format!("{}]", " ".repeat(BAR - at))));
    spans
}

fn spark(past: Option<&VecDeque<f64>>) -> String {
    let none = VecDeque::new();
    let past = past.unwrap_or(&none);
    let top = past.iter().copied().fold(0.001, f64::max);
    let line = past.iter().map(|p99| STEPS[((p99 / top * 7.0).round() as usize).min(7)]);
    let line: String = line.collect();
    format!(" {line:>PAST$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK: &str = r#"{"version":"1","uptime":5.2,"ready":true,"reason":null,"interval":1.0,
        "totals":{"clients":{"active":3,"waiting":2,"idle":5,"pinned":1},
            "servers":{"active":3,"idle":1,"used":0,"login":0,"canceling":0,"reserve":1,"size":4,"reserve_size":2},
            "max_wait":0.25,"transactions_per_second":100.0,"queries_per_second":1,"errors_per_second":0.5,
            "wait_p50":0.0,"wait_p99":0.2,"transaction_p50":0,"transaction_p99":0},
        "pools":[{"database":"quiet","user":"u","mode":"session","paused":true,"pins":{},
            "clients":{"active":0,"waiting":0,"idle":1,"pinned":0},
            "servers":{"active":0,"idle":0,"used":0,"login":0,"canceling":0,"reserve":0,"size":null,"reserve_size":0},
            "max_wait":0,"transactions_per_second":0,"queries_per_second":0,"errors_per_second":0,
            "wait_p50":0,"wait_p99":0,"transaction_p50":0,"transaction_p99":0,
            "advice":{"verdict":"unknown","recommended":null,"advice":"Nothing."}},
        {"database":"a\u001b[2Jb","user":"u","mode":"transaction","paused":false,"in_the_way":"all 4 servers are taken","pins":{"temp_table":1},
            "clients":{"active":3,"waiting":2,"idle":4,"pinned":1},
            "servers":{"active":3,"idle":1,"used":0,"login":0,"canceling":0,"reserve":1,"size":4,"reserve_size":2},
            "max_wait":0.25,"transactions_per_second":100.0,"queries_per_second":1,"errors_per_second":0,
            "wait_p50":0.0004,"wait_p99":0.2,"transaction_p50":0,"transaction_p99":0,
            "advice":{"verdict":"too small","recommended":8,"advice":"Too small."}}]}"#;

    #[test]
    fn a_look_as_lines() {
        let report: Report = serde_json::from_str(LOOK).unwrap();
        let key = ("a\u{1b}[2Jb".to_owned(), "u".to_owned());
        let past = Past::from([(key, VecDeque::from([0.0, 0.1, 0.2]))]);
        let text: Vec<_> = head(&report).iter().chain(&pools(&report, &past)).map(Line::to_string).collect();
        assert_eq!(text[0], "pgweir 1  running   up 5 s, 2 pools   q leaves, arrows scroll");
        assert!(
            text[1].starts_with(
                "  2 waiting 250ms     10 clients: 3 active, 5 idle, 1 pinned   4 servers: 3 busy"
            )
        );
        assert_eq!(
            text[2],
            "a?[2Jb / u                 [PPPPP#####RRRRRooooo          ] 3/4+2      2 waiting 250ms                        ▁▅█  \
             400µs  200ms     100 tx/s "
        );
        assert_eq!(text[3], "  all 4 servers are taken  Too small.  pinned: 1 temp_table");
        assert_eq!(text[5], "  Nothing.  paused");
        assert_eq!(fit("abcdef", 4), "abc…");
    }
}

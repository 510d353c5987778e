//! `pgweir top`: what the live page shows, in a terminal. Asks a running pgweir by HTTP, like a browser; knows nothing else of it.
mod draw;
mod fetch;
mod report;

use draw::{PAST, Past};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyModifiers};
use ratatui::text::{Line, Text};
use report::Report;
use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

/// Between two looks.
const PACE: Duration = Duration::from_secs(1);

/// What the terminal shows.
#[derive(Default)]
struct Screen {
    head: Vec<Line<'static>>,
    pools: Vec<Line<'static>>,
    past: Past,
    scrolled: usize,
}

/// Shows the pools of the pgweir with this metrics address until somebody leaves; once, as text, where there is no terminal.
///
/// # Errors
/// It doesn't answer at first, or the terminal fails.
pub fn run(address: &str) -> io::Result<()> {
    let mut screen = Screen::default();
    screen.look(address)?;
    if !io::stdout().is_terminal() {
        screen.head.iter().chain(&screen.pools).for_each(|line| println!("{line}"));
        return Ok(());
    }
    let mut terminal = ratatui::init();
    let outcome = screen.stay(&mut terminal, address);
    ratatui::restore();
    outcome
}

impl Screen {
    fn look(&mut self, address: &str) -> io::Result<()> {
        let body = fetch::get(address, "/pools.json")?;
        let report: Report = serde_json::from_str(&body).map_err(io::Error::other)?;
        let mut before = std::mem::take(&mut self.past);
        for pool in &report.pools {
            let key = (pool.database.clone(), pool.user.clone());
            let mut past = before.remove(&key).unwrap_or_default();
            past.push_back(pool.figures.wait_p99);
            while past.len() > PAST {
                past.pop_front();
            }
            self.past.insert(key, past);
        }
        self.head = draw::head(&report);
        self.pools = draw::pools(&report, &self.past);
        Ok(())
    }

    fn stay(&mut self, terminal: &mut DefaultTerminal, address: &str) -> io::Result<()> {
        let mut next = Instant::now() + PACE;
        loop {
            let text = |high| Text::from(self.visible(high));
            terminal.draw(|frame| frame.render_widget(text(frame.area().height), frame.area()))?;
            if event::poll(next.saturating_duration_since(Instant::now()))? {
                if let Event::Key(key) = event::read()?
                    && self.obey(key)
                {
                    return Ok(());
                }
                continue;
            }
            next = Instant::now() + PACE;
            if let Err(error) = self.look(address) {
                self.head = vec![Line::from(format!("no answer from {address}: {error}")), Line::default()];
            }
        }
    }

    /// Whether to leave.
    fn obey(&mut self, key: KeyEvent) -> bool {
        let most = self.pools.len().saturating_sub(1);
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return true,
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return true,
            KeyCode::Down => self.scrolled = (self.scrolled + 2).min(most),
            KeyCode::PageDown => self.scrolled = (self.scrolled + 20).min(most),
            KeyCode::Up => self.scrolled = self.scrolled.saturating_sub(2),
            KeyCode::PageUp => self.scrolled = self.scrolled.saturating_sub(20),
            _ => {}
        }
        false
    }

    fn visible(&self, high: u16) -> Vec<Line<'static>> {
        let pools = self.pools.iter().skip(self.scrolled);
        let gap = [Line::default()];
        self.head.iter().chain(&gap).chain(pools).take(high.into()).cloned().collect()
    }
}

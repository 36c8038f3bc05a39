//! Progress while a run lasts: one line that changes on a terminal, plain lines elsewhere.

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use super::{
    report::time,
    timeline::{Interval, Timeline},
};

/// How often a line changes on a terminal.
const TERMINAL_EVERY: Duration = Duration::from_secs(1);

/// How often there is a line elsewhere.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// Progress on standard error.
pub(super) struct Live {
    is_terminal: bool,
    is_quiet: bool,
    shown: Duration,
    what: String,
}

impl Live {
    pub(super) fn new(is_quiet: bool) -> Self {
        let is_terminal = io::stderr().is_terminal();
        Self { is_terminal, is_quiet, shown: Duration::ZERO, what: String::new() }
    }

    /// Begins a part of the run.
    pub(super) fn begin(&mut self, what: String) {
        (self.what, self.shown) = (what, Duration::ZERO);
    }

    /// Tells what happened lately, if it is time for it.
    pub(super) fn tell(&mut self, timeline: &Timeline, elapsed: Duration) {
        let every = if self.is_terminal { TERMINAL_EVERY } else { PLAIN_EVERY };
        if self.is_quiet || elapsed < self.shown + every {
            return;
        }
        let from = self.shown;
        self.shown = elapsed;
        let (seen, span) = lately(timeline, from, elapsed);
        #[expect(clippy::cast_precision_loss, reason = "counts of some seconds")]
        let rate = |count: u64| count as f64 / span.as_secs_f64().max(0.001);
        let text = format!(
            "{} {:>4.0} s: {:.0}/s begun, {:.0}/s succeeded, {:.0}/s failed, p50 {}, p99 {}",
            self.what,
            elapsed.as_secs_f64(),
            rate(seen.started),
            rate(seen.succeeded),
            rate(seen.failed),
            time(seen.latencies.percentile(50.0)),
            time(seen.latencies.percentile(99.0)),
        );
        self.write(&text);
    }

    /// Tells something at once.
    pub(super) fn say(&mut self, text: &str) {
        if !self.is_quiet {
            self.write(text);
            self.end();
        }
    }

    /// Ends the line that changes.
    pub(super) fn end(&mut self) {
        if self.is_terminal && !self.is_quiet {
            // Without standard error there is nobody to tell.
            let _ = writeln!(io::stderr());
        }
    }

    fn write(&self, text: &str) {
        let mut out = io::stderr();
        // As above.
        let _ =
            if self.is_terminal { write!(out, "\r\x1b[K{text}") } else { writeln!(out, "{text}") };
        let _ = out.flush();
    }
}

/// What happened between two times, by whole intervals that are over, and how long these are.
fn lately(timeline: &Timeline, from: Duration, to: Duration) -> (Interval, Duration) {
    let interval = timeline.interval();
    let number =
        |at: Duration| u64::try_from(at.as_nanos() / interval.as_nanos().max(1)).unwrap_or(0);
    // The last one may still be filled.
    let end = number(to);
    let first = number(from).min(end.saturating_sub(1));
    let mut seen = Interval::new();
    for at in first..end {
        if let Some(interval) = timeline.get(at) {
            seen.add(&interval);
        }
    }
    let count = u32::try_from(end - first).unwrap_or(u32::MAX);
    (seen, interval * count)
}

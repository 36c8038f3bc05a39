//! Draws a ladder for a terminal: one column for each party, one line for each message.

use std::{
    io::{self, Write},
    sync::Arc,
};

use super::{Entry, Protocol};
use crate::{node::metrics::Direction, time::Timestamp};

/// Width of one column, characters.
const COLUMN: usize = 10;

/// Width of a label and the space after it, characters: `XCFG-17`, `GRP-13a`.
const LABEL: usize = 8;

/// Colors, where the output is a terminal.
const STEP_COLOR: &str = "\x1b[1;36m";
const NOTE_COLOR: &str = "\x1b[2m";
const NO_COLOR: &str = "\x1b[0m";

/// Draws entries as they come.
pub struct Renderer {
    parties: Vec<Arc<str>>,
    colored: bool,
    started: Option<Timestamp>,
}

impl Renderer {
    /// Creates a renderer with one column for each of `parties`, left to right. Parties that turn up
    /// later get columns on the right.
    pub fn new(parties: &[&str], colored: bool) -> Self {
        Self {
            parties: parties.iter().map(|name| (*name).into()).collect(),
            colored,
            started: None,
        }
    }

    /// Writes the names of the columns.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub fn heading(&self, out: &mut dyn Write) -> io::Result<()> {
        write!(out, "{:9} {:LABEL$}", "ms", "step")?;
        for party in &self.parties {
            write!(out, "{:COLUMN$}", short(party))?;
        }
        writeln!(out)
    }

    /// Writes the name of a part of the drawing, in which time begins anew.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub fn title(&mut self, title: &str, out: &mut dyn Write) -> io::Result<()> {
        self.started = None;
        let (bold, plain) = if self.colored { (STEP_COLOR, NO_COLOR) } else { ("", "") };
        writeln!(out, "{bold}-- {title}{plain}")
    }

    /// Draws one entry.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub fn draw(&mut self, entry: &Entry, out: &mut dyn Write) -> io::Result<()> {
        let started = *self.started.get_or_insert(entry.at);
        let elapsed = entry.at.since(started).as_secs_f64() * 1_000.0;
        let step = entry.step.as_deref().unwrap_or_default();
        let (from, to) = (self.column(&entry.from), self.column(&entry.to));
        let (bold, dim, plain) =
            if self.colored { (STEP_COLOR, NOTE_COLOR, NO_COLOR) } else { ("", "", "") };
        write!(out, "{elapsed:<9.2} {bold}{step:LABEL$}{plain}{}", self.arrow(from, to))?;
        write!(out, "{}", entry.summary)?;
        match (entry.protocol, entry.octets) {
            (Protocol::Step, _) => writeln!(out),
            (protocol, 0) => writeln!(out, " {dim}({protocol}){plain}"),
            (protocol, octets) => {
                write!(out, " {dim}({protocol}")?;
                if let (Some(local), Some(remote)) = (entry.local, entry.remote) {
                    let (from, to) = match entry.direction {
                        Direction::Out => (local, remote),
                        Direction::In => (remote, local),
                    };
                    write!(out, ", {} > {}", from.port(), to.port())?;
                }
                writeln!(out, ", {octets} octets){plain}")
            }
        }
    }

    fn column(&mut self, party: &Arc<str>) -> usize {
        if let Some(column) = self.parties.iter().position(|known| known == party) {
            return column;
        }
        self.parties.push(Arc::clone(party));
        self.parties.len() - 1
    }

    /// The lifelines with an arrow between two of them, or a mark on one.
    fn arrow(&self, from: usize, to: usize) -> String {
        let mut line: Vec<char> = vec![' '; self.parties.len() * COLUMN];
        for cell in line.iter_mut().step_by(COLUMN) {
            *cell = '|';
        }
        let (left, right) = (from.min(to) * COLUMN, from.max(to) * COLUMN);
        for cell in line.iter_mut().take(right).skip(left + 1) {
            *cell = '-';
        }
        let head = if from < to { right.checked_sub(1) } else { Some(left + 1) };
        let (at, mark) = match from.cmp(&to) {
            std::cmp::Ordering::Less => (head, '>'),
            std::cmp::Ordering::Greater => (head, '<'),
            std::cmp::Ordering::Equal => (Some(left), '*'),
        };
        if let Some(cell) = at.and_then(|at| line.get_mut(at)) {
            *cell = mark;
        }
        line.into_iter().collect()
    }
}

/// The name of a party as it fits over its column: the first two labels, of which the second names the
/// system.
fn short(party: &str) -> String {
    let labels: Vec<&str> = party.splitn(3, '.').take(2).collect();
    labels.join(".").chars().take(COLUMN - 1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(from: &str, to: &str, direction: Direction) -> Entry {
        Entry {
            at: Timestamp::from_secs(1),
            step: Some("MIG-15".to_owned()),
            from: from.into(),
            to: to.into(),
            protocol: Protocol::SipUdp,
            direction,
            local: None,
            remote: None,
            summary: "REGISTER".to_owned(),
            octets: 400,
        }
    }

    fn drawn(entry: &Entry) -> String {
        let mut out = Vec::new();
        Renderer::new(&["UE", "core"], false).draw(entry, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_arrow_points_from_the_sender_to_the_receiver() {
        let there = drawn(&entry("UE", "core", Direction::Out));
        assert!(there.contains("MIG-15  |-------->|"), "{there}");
        let back = drawn(&entry("core", "UE", Direction::Out));
        assert!(back.contains("MIG-15  |<--------|"), "{back}");
        for label in ["XCFG-17", "GRP-13a"] {
            let longest =
                Entry { step: Some(label.to_owned()), ..entry("UE", "core", Direction::Out) };
            let drawn = drawn(&longest);
            assert!(drawn.contains(&format!("{label} |---")), "{drawn}");
        }
        assert!(there.ends_with("REGISTER (SIP/UDP, 400 octets)\n"), "{there}");
    }

    #[test]
    fn a_message_that_passed_a_socket_shows_its_ports() {
        let mut entry = entry("UE", "core", Direction::Out);
        entry.local = Some("127.0.0.1:40000".parse().unwrap());
        entry.remote = Some("127.0.0.1:5060".parse().unwrap());
        for (direction, ports) in
            [(Direction::Out, "40000 > 5060"), (Direction::In, "5060 > 40000")]
        {
            entry.direction = direction;
            let drawn = drawn(&entry);
            assert!(
                drawn.ends_with(&format!("REGISTER (SIP/UDP, {ports}, 400 octets)\n")),
                "{drawn}"
            );
        }
    }
}

//! Server-sent events (WHATWG HTML, 9.2), as far as ACM servers send them.

use bytes::Bytes;

/// Longest event, octets.
const EVENT_OCTETS_MAX: usize = 64 * 1_024;

/// The events of one connection, as they come.
pub(in crate::node) struct Events {
    answer: reqwest::Response,
    reader: EventReader,
}

/// An event.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(in crate::node) struct Event {
    /// What it is.
    pub(in crate::node) name: String,
    /// What to go on after.
    pub(in crate::node) id: Option<String>,
    /// What it says.
    pub(in crate::node) data: String,
}

/// Why there are no more events.
#[derive(Debug, thiserror::Error)]
pub(in crate::node) enum Ended {
    /// The server ended it, or is gone.
    #[error("the connection ended")]
    Closed,
    /// The connection broke, or nothing came for long.
    #[error("{0}")]
    Broken(reqwest::Error),
    /// An event that no ACM server sends.
    #[error("an event has more than {EVENT_OCTETS_MAX} octets")]
    TooLong,
}

impl Events {
    pub(super) fn new(answer: reqwest::Response) -> Self {
        Self { answer, reader: EventReader::default() }
    }

    /// The next event.
    pub(in crate::node) async fn next(&mut self) -> Result<Event, Ended> {
        loop {
            if let Some(event) = self.reader.next() {
                return Ok(event);
            }
            let chunk = self.answer.chunk().await;
            match chunk.map_err(|error| Ended::Broken(error.without_url()))? {
                Some(chunk) => self.reader.take(&chunk)?,
                None => return Err(Ended::Closed),
            }
        }
    }
}

/// Makes events of octets that come in pieces.
#[derive(Default)]
struct EventReader {
    octets: Vec<u8>,
    event: Event,
    has_data: bool,
}

impl EventReader {
    fn take(&mut self, chunk: &Bytes) -> Result<(), Ended> {
        self.octets.extend_from_slice(chunk);
        let held = self.octets.len() + self.event.data.len();
        if held > EVENT_OCTETS_MAX { Err(Ended::TooLong) } else { Ok(()) }
    }

    /// The next event that is whole.
    fn next(&mut self) -> Option<Event> {
        while let Some(end) = self.octets.iter().position(|octet| *octet == b'\n') {
            let line: Vec<u8> = self.octets.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\n', '\r']);
            if !line.is_empty() {
                self.take_line(line);
                continue;
            }
            let event = std::mem::take(&mut self.event);
            if std::mem::take(&mut self.has_data) {
                return Some(event);
            }
        }
        None
    }

    fn take_line(&mut self, line: &str) {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event.name),
            "id" => self.event.id = Some(value.to_owned()),
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            // Comments keep the connection alive; other fields are none of an ACM server.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, id: Option<&str>, data: &str) -> Event {
        Event { name: name.to_owned(), id: id.map(str::to_owned), data: data.to_owned() }
    }

    #[test]
    fn events_are_read_however_they_are_cut() {
        let text = b": here\n\nevent: pending\nid: 7\ndata: {\"a\":\ndata: 1}\n\nevent:x\r\n\r\nid: 8\r\ndata:\r\n\r\ndata: cut";
        let wanted = [event("pending", Some("7"), "{\"a\":\n1}"), event("", Some("8"), "")];
        for size in 1..=text.len() {
            let mut reader = EventReader::default();
            let mut events = Vec::new();
            for chunk in text.chunks(size) {
                reader.take(&Bytes::copy_from_slice(chunk)).unwrap();
                events.extend(std::iter::from_fn(|| reader.next()));
            }
            assert_eq!(events, wanted, "pieces of {size}");
        }
    }

    #[test]
    fn an_event_that_does_not_end_is_refused() {
        let mut reader = EventReader::default();
        let chunk = Bytes::from(vec![b'a'; EVENT_OCTETS_MAX]);
        assert!(reader.take(&chunk).is_ok());
        assert!(matches!(reader.take(&Bytes::from_static(b"a")), Err(Ended::TooLong)));
    }
}

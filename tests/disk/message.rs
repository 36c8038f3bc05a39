//! Messages in the shim's log, as far as the tests look at them.

use crate::log::{Event, Record};

/// Octets of a Diameter header, and the codes looked for (RFC 6733 clause 3, TS 29.229 clauses 6.1, 6.3).
const DIAMETER_HEADER: usize = 20;
const MULTIMEDIA_AUTH: u32 = 303;
const RESULT_CODE: u32 = 268;

/// A message, or the beginning of one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Message {
    /// A SIP request: method, topmost branch, whether it has a contact.
    SipRequest { method: String, branch: String, has_contact: bool },
    /// A SIP response: status, method in CSeq, topmost branch, whether it says when to try again.
    SipResponse { status: u16, method: String, branch: String, has_retry_after: bool },
    /// An HTTP request: method and path.
    HttpRequest { method: String, path: String },
    /// An HTTP response.
    HttpResponse { status: u16, has_retry_after: bool, body: String },
    /// A MAR or another request, by command and hop-by-hop identifier.
    DiameterRequest { command: u32, hop: u32 },
    /// Its answer with the Result-Code, if there is one.
    DiameterAnswer { command: u32, hop: u32, result: Option<u32> },
}

impl Message {
    pub fn is_vector_request(&self) -> bool {
        matches!(self, Self::DiameterRequest { command: MULTIMEDIA_AUTH, .. })
    }
}

/// The messages in a record of something received or sent; several Diameter messages may come together.
pub fn messages(record: &Record) -> Vec<Message> {
    let (Event::Received { data, .. } | Event::Sent { data, .. }) = &record.event else {
        return Vec::new();
    };
    if data.first() == Some(&1) {
        return diameter(data);
    }
    let text = String::from_utf8_lossy(data);
    text_message(&text).into_iter().collect()
}

fn text_message(text: &str) -> Option<Message> {
    let (first, rest) = text.split_once("\r\n")?;
    let (head, body) = rest.split_once("\r\n\r\n").unwrap_or((rest, ""));
    let header = |names: &[&str]| {
        head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            names
                .iter()
                .any(|it| name.trim().eq_ignore_ascii_case(it))
                .then(|| value.trim().to_owned())
        })
    };
    let branch = || {
        let via = header(&["Via", "v"])?;
        Some(via.split("branch=").nth(1)?.split([';', ',']).next()?.to_owned())
    };
    let has_retry_after = header(&["Retry-After"]).is_some();
    let words: Vec<_> = first.split(' ').collect();
    match words.as_slice() {
        ["SIP/2.0", status, ..] => Some(Message::SipResponse {
            status: status.parse().ok()?,
            method: header(&["CSeq"])?.split_whitespace().nth(1)?.to_owned(),
            branch: branch()?,
            has_retry_after,
        }),
        ["HTTP/1.1", status, ..] => Some(Message::HttpResponse {
            status: status.parse().ok()?,
            has_retry_after,
            body: body.to_owned(),
        }),
        [method, _, "SIP/2.0"] => Some(Message::SipRequest {
            method: (*method).to_owned(),
            branch: branch()?,
            has_contact: header(&["Contact", "m"]).is_some(),
        }),
        [method, path, "HTTP/1.1"] => {
            Some(Message::HttpRequest { method: (*method).to_owned(), path: (*path).to_owned() })
        }
        _ => None,
    }
}

fn diameter(mut octets: &[u8]) -> Vec<Message> {
    let mut messages = Vec::new();
    while octets.len() >= DIAMETER_HEADER && octets[0] == 1 {
        let length = (number(&octets[1..4]) as usize).max(DIAMETER_HEADER);
        // The log has the beginning of what is long.
        let Some((message, rest)) = octets.split_at_checked(length) else { break };
        let (command, hop) = (number(&message[5..8]), number(&message[12..16]));
        messages.push(if message[4] & 0x80 != 0 {
            Message::DiameterRequest { command, hop }
        } else {
            let result = result_code(&message[DIAMETER_HEADER..]);
            Message::DiameterAnswer { command, hop, result }
        });
        octets = rest;
    }
    messages
}

/// The value of the first Result-Code among AVPs.
fn result_code(mut avps: &[u8]) -> Option<u32> {
    while avps.len() >= 12 {
        let (code, length) = (number(&avps[..4]), number(&avps[5..8]) as usize);
        if code == RESULT_CODE {
            return Some(number(&avps[8..12]));
        }
        avps = avps.get(length.max(8).next_multiple_of(4)..)?;
    }
    None
}

fn number(octets: &[u8]) -> u32 {
    octets.iter().fold(0, |number, octet| number << 8 | u32::from(*octet))
}

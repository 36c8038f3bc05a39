//! The ladder: one entry for each message that passes, for people to follow a procedure.
//!
//! An entry never holds a user part of an identity, a key, or the octets of a message.

mod render;

use std::{fmt, net::SocketAddr, sync::Arc};

use tokio::sync::mpsc;

pub use render::Renderer;

use super::metrics::Direction;
use crate::{diameter::cx, outbox::Transport, step::Step, time::Timestamp, ue::warning_code};

/// Most entries that wait to be read; further ones are dropped.
pub const ENTRIES_MAX: usize = 65_536;

/// One message, or one step that is no message, as it passed.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Entry {
    /// When, microseconds since the Unix epoch.
    #[serde(with = "crate::time::micros")]
    pub at: Timestamp,
    /// Which step of the procedure it is, such as `MIG-15`.
    pub step: Option<String>,
    /// Who sent it.
    pub from: Arc<str>,
    /// Who is to receive it; the same as `from` for a step that is no message.
    pub to: Arc<str>,
    /// Over what.
    pub protocol: Protocol,
    /// Seen by the sender or by the receiver.
    pub direction: Direction,
    /// The address on our side.
    pub local: Option<SocketAddr>,
    /// The address on the other side.
    pub remote: Option<SocketAddr>,
    /// What it is, in a few words.
    pub summary: String,
    /// How long it is, octets: on the wire, of HTTP its content; zero for a value.
    pub octets: usize,
}

/// What a message went over.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Serialize)]
pub enum Protocol {
    /// SIP over UDP.
    #[serde(rename = "SIP/UDP")]
    SipUdp,
    /// SIP over TCP.
    #[serde(rename = "SIP/TCP")]
    SipTcp,
    /// SIP over TLS.
    #[serde(rename = "SIP/TLS")]
    SipTls,
    /// Diameter.
    Diameter,
    /// HTTP.
    #[serde(rename = "HTTP")]
    Http,
    /// A value between roles of one process.
    #[serde(rename = "value")]
    Value,
    /// No message: something a role did.
    #[serde(rename = "step")]
    Step,
}

impl From<Transport> for Protocol {
    fn from(transport: Transport) -> Self {
        match transport {
            Transport::Udp => Self::SipUdp,
            Transport::Tcp => Self::SipTcp,
            Transport::Tls => Self::SipTls,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SipUdp => "SIP/UDP",
            Self::SipTcp => "SIP/TCP",
            Self::SipTls => "SIP/TLS",
            Self::Diameter => "Diameter",
            Self::Http => "HTTP",
            Self::Value => "value",
            Self::Step => "step",
        })
    }
}

/// Where entries go.
#[derive(Clone, Debug)]
pub struct Tap(mpsc::Sender<Entry>);

impl Tap {
    /// Creates a tap and the end to read it at.
    pub fn new() -> (Self, mpsc::Receiver<Entry>) {
        let (sender, receiver) = mpsc::channel(ENTRIES_MAX);
        (Self(sender), receiver)
    }

    /// Whether somebody reads at the other end.
    pub fn is_read(&self) -> bool {
        !self.0.is_closed()
    }

    /// Hands an entry over, or drops it if nobody reads.
    pub fn record(&self, entry: Entry) {
        let _ = self.0.try_send(entry);
    }
}

/// Which step a REGISTER is, as its receiver sees it: 23 with an answer to a challenge, else 15.
pub fn step_of_request(octets: &[u8]) -> Option<Step> {
    if !octets.starts_with(b"REGISTER ") {
        return None;
    }
    let is_answer = describe_sip(octets).contains("Authorization with ");
    Some(Step::mig(if is_answer { 23 } else { 15 }))
}

/// Which step an answer to a REGISTER is, as the UE sees it: 22 with a challenge, 24 if it confirms.
pub fn step_of_answer(octets: &[u8]) -> Option<Step> {
    match octets.strip_prefix(b"SIP/2.0 ")?.get(..3)? {
        b"401" => Some(Step::mig(22)),
        [b'2', ..] => Some(Step::mig(24)),
        _ => None,
    }
}

/// Describes a SIP message in a few words, user parts left out, fit for a terminal.
pub fn describe_sip(octets: &[u8]) -> String {
    words_of_sip(octets).replace(char::is_control, " ")
}

fn words_of_sip(octets: &[u8]) -> String {
    let head = String::from_utf8_lossy(octets.get(..octets.len().min(4_096)).unwrap_or_default());
    let mut lines = head.lines();
    let first = lines.next().unwrap_or_default();
    let mut headers = lines.take_while(|line| !line.is_empty());
    if let Some(status) = first.strip_prefix("SIP/2.0 ") {
        return match headers.find_map(words_of_answer_line) {
            Some(more) => format!("{status}, {more}"),
            None => status.to_owned(),
        };
    }
    let mut words = first.split(' ');
    let (method, uri) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let request = format!("{method} {}", without_user(uri));
    if method != "REGISTER" {
        return request;
    }
    let authorization = headers.find_map(|line| header(line, "authorization"));
    let proof = match authorization {
        None => "no Authorization",
        Some(value) if parameter(value, "auts").is_some_and(|auts| !auts.is_empty()) => {
            "Authorization with auts"
        }
        Some(value) if parameter(value, "response").is_some_and(|proof| !proof.is_empty()) => {
            "Authorization with response"
        }
        Some(_) => "Authorization without response",
    };
    format!("{request}, {proof}")
}

/// What a header of an answer tells beside the status; of a warning the code alone, for its text may name somebody.
fn words_of_answer_line(line: &str) -> Option<String> {
    if let Some(challenge) = header(line, "www-authenticate") {
        return parameter(challenge, "algorithm").map(|it| format!("{it} challenge"));
    }
    warning_code(header(line, "warning")?).map(|code| format!("warning {code}"))
}

/// Describes a Cx request in a few words, identities left out.
pub const fn describe_request(request: &cx::Request) -> &'static str {
    match request {
        cx::Request::MultimediaAuth(request) if request.resync.is_some() => {
            "MAR, resynchronisation"
        }
        cx::Request::MultimediaAuth(_) => "MAR",
        cx::Request::ServerAssignment(request) => match request.assignment {
            cx::ServerAssignmentType::Registration => "SAR REGISTRATION",
            cx::ServerAssignmentType::ReRegistration => "SAR RE_REGISTRATION",
            cx::ServerAssignmentType::UserDeregistration => "SAR USER_DEREGISTRATION",
            cx::ServerAssignmentType::TimeoutDeregistration => "SAR TIMEOUT_DEREGISTRATION",
            cx::ServerAssignmentType::AuthenticationFailure => "SAR AUTHENTICATION_FAILURE",
            cx::ServerAssignmentType::AuthenticationTimeout => "SAR AUTHENTICATION_TIMEOUT",
            cx::ServerAssignmentType::NoAssignment
            | cx::ServerAssignmentType::UnregisteredUser
            | cx::ServerAssignmentType::TimeoutDeregistrationStoreServerName
            | cx::ServerAssignmentType::UserDeregistrationStoreServerName
            | cx::ServerAssignmentType::AdministrativeDeregistration
            | cx::ServerAssignmentType::DeregistrationTooMuchData
            | cx::ServerAssignmentType::AaaUserDataRequest
            | cx::ServerAssignmentType::PgwUpdate
            | cx::ServerAssignmentType::Restoration => "SAR",
        },
    }
}

/// The command code names of a request and of its answer.
pub const fn command_of_request(request: &cx::Request) -> &'static str {
    match request {
        cx::Request::MultimediaAuth(_) => "MAR",
        cx::Request::ServerAssignment(_) => "SAR",
    }
}

/// The command of an answer and its result.
pub const fn outcome_of_answer(
    answer: &cx::Answer,
) -> (&'static str, &'static str, cx::ResultCode) {
    match answer {
        cx::Answer::MultimediaAuth(answer) => ("MAR", "MAA", answer.result),
        cx::Answer::ServerAssignment(answer) => ("SAR", "SAA", answer.result),
    }
}

/// The value of a header line, if it is the header `name`, given in lower case.
fn header<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (found, value) = line.split_once(':')?;
    found.trim().eq_ignore_ascii_case(name).then(|| value.trim())
}

/// The value of a digest parameter, without its quotes.
fn parameter<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    let scheme_end = value.find(' ')?;
    let parameters = value.get(scheme_end..)?.split(',');
    let mut pairs = parameters.filter_map(|parameter| parameter.split_once('='));
    let (_, found) = pairs.find(|(key, _)| key.trim().eq_ignore_ascii_case(name))?;
    Some(found.trim().trim_matches('"'))
}

fn without_user(uri: &str) -> String {
    match uri.rsplit_once('@') {
        Some((user, host)) => {
            format!("{}..@{host}", user.split_inclusive(':').next().unwrap_or_default())
        }
        // A telephone number is all user.
        None => match uri.split_once(':') {
            Some((scheme, _)) if scheme.eq_ignore_ascii_case("tel") => "tel:..".to_owned(),
            Some(_) | None => uri.to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_described_without_the_user() {
        for (message, description) in [
            (
                "REGISTER sip:b.example SIP/2.0\r\nTo: <sip:eve@b.example>\r\nAuthorization: Digest username=\"eve@b.example\", response=\"\"\r\n\r\n",
                "REGISTER sip:b.example, Authorization without response",
            ),
            (
                "REGISTER sip:b.example SIP/2.0\r\nauthorization : Digest username=\"eve@b.example\",response=\"0123\"\r\n\r\n",
                "REGISTER sip:b.example, Authorization with response",
            ),
            (
                "REGISTER sip:b.example SIP/2.0\r\nAuthorization: Digest auts=\"aaa\",response=\"0123\"\r\n\r\n",
                "REGISTER sip:b.example, Authorization with auts",
            ),
            ("REGISTER sip:b.example SIP/2.0\r\n\r\n", "REGISTER sip:b.example, no Authorization"),
            (
                "SIP/2.0 401 Unauthorized\r\nWWW-Authenticate: Digest realm=\"b\", algorithm=AKAv1-MD5, nonce=\"x\"\r\n\r\n",
                "401 Unauthorized, AKAv1-MD5 challenge",
            ),
            (
                "SIP/2.0 403 Forbidden\r\nWarning: 399 mc.b.example \"101 service authorisation failed\"\r\n\r\n",
                "403 Forbidden, warning 101",
            ),
            ("SIP/2.0 403 Forbidden\r\nWarning: 399 mc.b.example \"eve\"\r\n\r\n", "403 Forbidden"),
            ("SIP/2.0 200 OK\r\n\r\n", "200 OK"),
            ("OPTIONS sip:eve@b.example SIP/2.0\r\n\r\n", "OPTIONS sip:..@b.example"),
            ("MESSAGE tel:+33123456789 SIP/2.0\r\n\r\n", "MESSAGE tel:.."),
            ("SIP/2.0 200 \x1b[2JOK\r\n\r\n", "200  [2JOK"),
            ("\r\n\r\n", " "),
        ] {
            assert_eq!(describe_sip(message.as_bytes()), description);
        }
    }
}

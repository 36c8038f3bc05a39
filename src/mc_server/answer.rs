//! What a SIP core is answered, and the one place that maps each reason to a SIP answer.

use std::time::Duration;

use bytes::Bytes;

use crate::{
    entropy::Entropy,
    mc_info::{InfoError, settings},
    sip::{ParseError, reply::ReplyHead, reply::reason_phrase},
};

/// An answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Answer {
    status: u16,
    reason: &'static str,
    fields: Vec<(&'static str, String)>,
    warning: Option<&'static str>,
}

/// The shortest publication, seconds; shorter ones are refused with 423.
pub(super) const EXPIRES_MIN: u32 = 60;

/// When to try again if the trouble is ours.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// Why a request is refused. All but the last group are the client's, or its core's, to mend.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Refusal {
    /// 400: malformed.
    Malformed(&'static str),
    /// 403: the sender is no SIP core of this system.
    Stranger,
    /// 403: nobody asserts who sends it.
    NoIdentity,
    /// 403 with warning 101: the token is not taken, for whatever reason.
    NotAuthorised,
    /// 404 with warning 141: no MC service ID is bound to who sends it.
    NotBound,
    /// 412: the publication is another one by now.
    OtherPublication,
    /// 415: nothing in the body is for this server.
    MediaType,
    /// 423: a publication that is too short.
    TooBrief,
    /// 486 with warning 164: the user is authorised too often.
    TooManyAuthorisations,
    /// 489: another event package.
    BadEvent,
    /// 500: CSeq below that of the same Call-ID.
    OutOfOrder,
    /// 503: no room, or no storage.
    Unavailable,
}

impl Answer {
    /// 200, with further header fields.
    pub(super) fn ok(fields: Vec<(&'static str, String)>) -> Self {
        Self { status: 200, reason: reason_phrase(200), fields, warning: None }
    }

    /// Renders it; `host` is who warns (RFC 3261 section 20.43, TS 24.379 clause 4.4.1).
    pub(super) fn render(&self, head: &ReplyHead, host: &str) -> Bytes {
        let mut reply = head.reply(self.status, self.reason);
        for (name, value) in &self.fields {
            reply = reply.header(name, value);
        }
        if let Some(text) = self.warning {
            reply = reply.header("Warning", ["399 ", host, " \"", text, "\""]);
        }
        reply.finish()
    }
}

impl Refusal {
    const fn status(self) -> (u16, &'static str) {
        match self {
            Self::Malformed(reason) => (400, reason),
            Self::Stranger => (403, "Not A SIP Core Of This System"),
            Self::NoIdentity => (403, "No Asserted Identity"),
            Self::NotAuthorised => (403, reason_phrase(403)),
            Self::NotBound => (404, reason_phrase(404)),
            Self::OtherPublication => (412, reason_phrase(412)),
            Self::MediaType => (415, reason_phrase(415)),
            Self::TooBrief => (423, reason_phrase(423)),
            Self::TooManyAuthorisations => (486, reason_phrase(486)),
            Self::BadEvent => (489, reason_phrase(489)),
            Self::OutOfOrder => (500, "CSeq Out Of Order"),
            Self::Unavailable => (503, reason_phrase(503)),
        }
    }

    /// The text of its warning (TS 24.379 clause 4.4.2).
    const fn warning(self) -> Option<&'static str> {
        match self {
            Self::NotAuthorised => Some("101 service authorisation failed"),
            Self::NotBound => Some("141 user unknown to the participating function"),
            Self::TooManyAuthorisations => Some("164 maximum number of service authorisations"),
            Self::Malformed(_)
            | Self::Stranger
            | Self::NoIdentity
            | Self::OtherPublication
            | Self::MediaType
            | Self::TooBrief
            | Self::BadEvent
            | Self::OutOfOrder
            | Self::Unavailable => None,
        }
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        let (status, reason) = refusal.status();
        let fields = match refusal {
            Refusal::MediaType => vec![("Accept", super::CAPABILITIES.media_types.join(", "))],
            Refusal::TooBrief => vec![("Min-Expires", EXPIRES_MIN.to_string())],
            Refusal::BadEvent => vec![("Allow-Events", settings::EVENT.to_owned())],
            Refusal::Unavailable => vec![("Retry-After", RETRY_AFTER.as_secs().to_string())],
            Refusal::Malformed(_)
            | Refusal::Stranger
            | Refusal::NoIdentity
            | Refusal::NotAuthorised
            | Refusal::NotBound
            | Refusal::OtherPublication
            | Refusal::TooManyAuthorisations
            | Refusal::OutOfOrder => Vec::new(),
        };
        Self { status, reason, fields, warning: refusal.warning() }
    }
}

impl From<ParseError> for Refusal {
    fn from(error: ParseError) -> Self {
        Self::Malformed(error.reason)
    }
}

impl From<InfoError> for Refusal {
    /// A token that cannot be read is one that is not taken.
    fn from(error: InfoError) -> Self {
        match error {
            InfoError::Malformed(reason) => Self::Malformed(reason),
            InfoError::Encrypted => Self::NotAuthorised,
        }
    }
}

/// A tag of To: 64 random bits.
pub(super) fn draw_tag(entropy: &mut dyn Entropy) -> String {
    format!("{:016x}", entropy.next_u64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_names_the_host_and_has_its_code_within_the_text() {
        let request = b"PUBLISH sip:p@b.example SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n\
            From: <sip:a@b.example>;tag=1\r\nTo: <sip:p@b.example>\r\nCall-ID: 1\r\nCSeq: 1 PUBLISH\r\n\r\n";
        let source = "192.0.2.1:5060".parse().unwrap();
        let head = ReplyHead::lenient(request, source, "t").unwrap();
        for (refusal, status, warning) in [
            (Refusal::NotAuthorised, 403, "\"101 service authorisation failed\""),
            (Refusal::NotBound, 404, "\"141 user unknown to the participating function\""),
            (
                Refusal::TooManyAuthorisations,
                486,
                "\"164 maximum number of service authorisations\"",
            ),
        ] {
            let octets = Answer::from(refusal).render(&head, "mc.b.example");
            let text = String::from_utf8(octets.to_vec()).unwrap();
            assert!(text.starts_with(&format!("SIP/2.0 {status} ")), "{text}");
            assert!(
                text.contains(&format!("\r\nWarning: 399 mc.b.example {warning}\r\n")),
                "{text}"
            );
        }
    }
}

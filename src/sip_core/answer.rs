//! Why a REGISTER is refused, and the one place that maps each reason to a SIP answer.

use std::time::Duration;

use bytes::Bytes;

use super::limiter::retry_after;
use crate::{
    diameter::cx::ResultCode,
    outbox::Undeliverable,
    sip::{
        ParseError,
        render::Chunk,
        reply::{ReplyHead, reason_phrase},
    },
    step::Step,
};

/// The step at which an answer to an initial REGISTER stands.
pub(super) const CHALLENGE_STEP: Step = Step::mig(22);

/// The step at which an answer to an answered challenge stands.
pub(super) const CONFIRM_STEP: Step = Step::mig(24);

/// How long a UE should wait at most before it tries again, when the trouble is ours or the home's.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(10);

/// Why a REGISTER is refused. The first group is the UE's to mend, the second the home's, the last ours.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum RegisterError {
    /// 400: not a well-formed REGISTER.
    Malformed(ParseError),
    /// 400: the Request-URI is no SIP or SIPS URI.
    MalformedRequestUri,
    /// 400: the To URI is no SIP or SIPS URI with a user part.
    MalformedTo,
    /// 400: a SIPS contact with a Request-URI or Path that is not SIPS (RFC 5630 clause 5.4).
    MixedSips,
    /// 400: `auts` is not 14 octets in base64.
    MalformedAuts,
    /// 403: unknown, expired, revoked or mismatched identity, wrong response; all alike, so that
    /// nobody can find out which identities exist.
    Forbidden,
    /// 403: more contacts than [`super::CONTACTS_MAX`].
    TooManyContacts,
    /// 404: Request-URI or To names a domain that is not ours.
    NotServed,
    /// 420: these option tags are not supported.
    UnsupportedExtensions(String),
    /// 423: the registration period is below the minimum, seconds.
    IntervalTooBrief(u32),
    /// 500: CSeq not above that of the same Call-ID (RFC 3261 clause 10.3 step 7).
    OutOfOrder,
    /// 504: the SIP database, ours or the home's, cannot be reached or did not answer in time.
    HomeUnreachable,
    /// 503: our own trouble.
    Busy,
    /// 503: over a limit of attempts.
    Limited,
    /// No answer: far over a limit of attempts.
    Ignored,
}

impl RegisterError {
    /// Renders the answer.
    pub(super) fn render(&self, head: &ReplyHead, to: &mut Chunk) -> Bytes {
        let (status, reason) = self.status();
        let reply = head.reply_in(to, status, reason);
        let reply = match self {
            Self::UnsupportedExtensions(tags) => reply.header("Unsupported", tags),
            Self::IntervalTooBrief(min) => reply.header("Min-Expires", min),
            Self::HomeUnreachable | Self::Busy | Self::Limited | Self::Ignored => {
                reply.header("Retry-After", retry_after(head.draw(), RETRY_AFTER_MAX))
            }
            Self::Malformed(_)
            | Self::MalformedRequestUri
            | Self::MalformedTo
            | Self::MixedSips
            | Self::MalformedAuts
            | Self::Forbidden
            | Self::TooManyContacts
            | Self::NotServed
            | Self::OutOfOrder => reply,
        };
        reply.finish_in(to)
    }

    fn status(&self) -> (u16, &'static str) {
        match self {
            Self::Malformed(error) => (error.status, error.reason),
            Self::MalformedRequestUri => (400, "Malformed Request-URI"),
            Self::MalformedTo => (400, "To Is No SIP Address Of Record"),
            Self::MixedSips => (400, "SIPS Contact Needs SIPS Request-URI And Path"),
            Self::MalformedAuts => (400, "Malformed auts"),
            Self::Forbidden => (403, reason_phrase(403)),
            Self::TooManyContacts => (403, "Too Many Contacts"),
            Self::NotServed => (404, reason_phrase(404)),
            Self::UnsupportedExtensions(_) => (420, reason_phrase(420)),
            Self::IntervalTooBrief(_) => (423, reason_phrase(423)),
            Self::OutOfOrder => (500, "CSeq Out Of Order"),
            Self::HomeUnreachable => (504, reason_phrase(504)),
            Self::Busy | Self::Limited | Self::Ignored => (503, reason_phrase(503)),
        }
    }
}

impl From<Undeliverable> for RegisterError {
    fn from(_: Undeliverable) -> Self {
        Self::HomeUnreachable
    }
}

/// What the UE is told when the SIP database answers `result` instead of success.
///
/// `resync` is set when the request carried AUTS: a refusal then means that AUTS did not verify.
pub(super) fn refusal(result: ResultCode, resync: bool) -> RegisterError {
    match result {
        ResultCode::USER_UNKNOWN
        | ResultCode::IDENTITIES_DONT_MATCH
        | ResultCode::IDENTITY_NOT_REGISTERED
        | ResultCode::ROAMING_NOT_ALLOWED
        | ResultCode::AUTHORIZATION_REJECTED => RegisterError::Forbidden,
        ResultCode::TOO_BUSY => RegisterError::Busy,
        ResultCode::Base(5000..=5999) | ResultCode::Experimental(5000..=5999) if resync => {
            RegisterError::Forbidden
        }
        ResultCode::Base(_) | ResultCode::Experimental(_) => RegisterError::HomeUnreachable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_by_the_database_is_403_and_trouble_on_the_way_is_not() {
        for (result, status) in [
            (ResultCode::USER_UNKNOWN, 403),
            (ResultCode::IDENTITIES_DONT_MATCH, 403),
            (ResultCode::ROAMING_NOT_ALLOWED, 403),
            (ResultCode::AUTHORIZATION_REJECTED, 403),
            (ResultCode::UNABLE_TO_DELIVER, 504),
            (ResultCode::UNABLE_TO_COMPLY, 504),
            (ResultCode::TOO_BUSY, 503),
        ] {
            assert_eq!(refusal(result, false).status().0, status, "{result:?}");
        }
        assert_eq!(refusal(ResultCode::UNABLE_TO_COMPLY, true).status().0, 403);
    }
}

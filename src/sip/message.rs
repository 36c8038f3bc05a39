//! The answers to everything that is not a REGISTER (RFC 3261 sections 8.2 and 11).
//!
//! The only file that names rsip. Its message model writes the answer; what goes in has passed our
//! own framing and checks, so that rsip never sees what arrived on the wire.

use std::{net::SocketAddr, str::FromStr};

use bytes::Bytes;
use rsip::headers::{Accept, Allow, ContentLength, Supported, Unsupported};

use super::{
    header::HeaderName,
    lexer::is_token,
    reply::{ReplyHead, reason_phrase},
    uri::{Scheme, Uri},
    view::{MessageView, StartLine},
};

/// What a server can do; tells its peers in Allow, Supported and Accept.
#[derive(Clone, Copy, Debug)]
pub struct Capabilities<'a> {
    /// The methods served, such as `REGISTER` and `OPTIONS`.
    pub methods: &'a [&'a str],
    /// The option tags understood in Require, such as `path`.
    pub option_tags: &'a [&'a str],
    /// The media types understood in bodies; perhaps none.
    pub media_types: &'a [&'a str],
}

/// Answers a request other than REGISTER: OPTIONS as RFC 3261 section 11.2 says, all others by
/// refusing them.
///
/// `None` for what is never answered: a response, an ACK. `None` too for REGISTER, which
/// [`super::register`] reads.
pub fn answer_other(
    message: &MessageView<'_>,
    source: SocketAddr,
    to_tag: &str,
    capabilities: &Capabilities<'_>,
) -> Option<Bytes> {
    let StartLine::Request { method, uri } = message.start_line() else { return None };
    let head = ReplyHead::new(message, source, to_tag);
    let allow = || Allow::from(capabilities.methods.join(", ")).into();
    match method {
        "ACK" | "REGISTER" => None,
        // No INVITE is served, so there is nothing to cancel.
        "CANCEL" => Some(write(&head, 481, vec![])),
        "OPTIONS" => {
            let scheme = Uri::parse(uri).map(|uri| uri.scheme);
            if scheme == Ok(Scheme::Other) {
                return Some(write(&head, 416, vec![]));
            }
            let Some(unsupported) = unsupported(message, capabilities) else {
                return Some(write(&head, 400, vec![]));
            };
            if !unsupported.is_empty() {
                let unsupported = Unsupported::from(unsupported.join(", "));
                return Some(write(&head, 420, vec![unsupported.into()]));
            }
            let mut headers = vec![allow()];
            headers.push(Accept::from(capabilities.media_types.join(", ")).into());
            headers.push(Supported::from(capabilities.option_tags.join(", ")).into());
            Some(write(&head, 200, headers))
        }
        _ if is_known_method(method) => Some(write(&head, 405, vec![allow()])),
        _ => Some(write(&head, 501, vec![allow()])),
    }
}

/// Whether `method` is one of RFC 3261 or its extensions. Methods compare with case.
pub(super) fn is_known_method(method: &str) -> bool {
    rsip::Method::from_str(method).is_ok_and(|known| known.to_string() == method)
}

/// The option tags of Require that we lack (RFC 3261 section 8.2.2.3); `None` if one is no token, and
/// so nothing that may be repeated.
fn unsupported<'a>(
    message: &MessageView<'a>,
    capabilities: &Capabilities<'_>,
) -> Option<Vec<&'a str>> {
    let required = || message.elements(HeaderName::Require).filter(|tag| !tag.is_empty());
    let lacking =
        |tag: &&str| !capabilities.option_tags.iter().any(|known| known.eq_ignore_ascii_case(tag));
    required().all(is_token).then(|| required().filter(lacking).collect())
}

fn write(head: &ReplyHead, status: u16, further: Vec<rsip::Header>) -> Bytes {
    let mut headers: Vec<rsip::Header> = head
        .fields()
        .map(|(name, value)| rsip::Header::Other(name.to_owned(), value.to_owned()))
        .collect();
    headers.extend(further);
    headers.push(ContentLength::default().into());
    let response = rsip::Response {
        status_code: rsip::StatusCode::Other(status, reason_phrase(status).to_owned()),
        version: rsip::Version::V2,
        headers: headers.into(),
        body: vec![],
    };
    Vec::from(response).into()
}

//! The answer to a REGISTER as a UE reads it (RFC 3261 section 10.2.4, TS 24.229 clause 5.1.1.2).

use std::fmt;

use super::{
    AuthenticationInfo, Framing, ParseError,
    auth_header::DigestChallenge,
    header::HeaderName,
    lexer::{number, trim},
    name_addr::{Contact, NameAddr},
    via::Via,
    view::{MessageView, StartLine},
};

/// A well-formed response.
#[derive(Clone)]
pub struct ResponseView<'a> {
    view: MessageView<'a>,
    status: u16,
}

impl<'a> ResponseView<'a> {
    /// Reads a message as response.
    ///
    /// # Errors
    ///
    /// What is wrong with the message; a response that is malformed is dropped, not answered.
    pub fn parse(octets: &'a [u8], framing: Framing) -> Result<Self, ParseError> {
        Self::from_view(MessageView::parse(octets, framing)?)
    }

    /// Takes a message as response.
    ///
    /// # Errors
    ///
    /// 400 if it is a request.
    pub const fn from_view(view: MessageView<'a>) -> Result<Self, ParseError> {
        match view.start_line() {
            StartLine::Response { status, .. } => Ok(Self { view, status }),
            StartLine::Request { .. } => Err(ParseError::bad_request("Not a response")),
        }
    }

    /// The status code, 100 to 699.
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// The message.
    pub const fn view(&self) -> &MessageView<'a> {
        &self.view
    }

    /// The sequence number of the request.
    pub const fn cseq(&self) -> u32 {
        self.view.cseq().number
    }

    /// The method of the request.
    pub const fn method(&self) -> &'a str {
        self.view.cseq().method
    }

    /// The Call-ID of the request.
    pub const fn call_id(&self) -> &'a str {
        self.view.call_id()
    }

    /// The topmost Via, which must be the UE's own.
    pub const fn top_via(&self) -> &Via<'a> {
        self.view.top_via()
    }

    /// The branch of the topmost Via: with the method it names the client transaction.
    pub const fn top_via_branch(&self) -> Option<&'a str> {
        self.view.top_via().branch
    }

    /// The Digest challenges, the network's preferred one first (RFC 8760 section 2.4).
    pub fn challenges(&self) -> impl Iterator<Item = DigestChallenge<'a>> + use<'a, '_> {
        self.view.values(HeaderName::WwwAuthenticate).filter_map(DigestChallenge::parse)
    }

    /// The contacts that are bound now, with what is left of each; malformed ones are left out.
    pub fn contacts(&self) -> impl Iterator<Item = Contact<'a>> + use<'a, '_> {
        self.view.elements(HeaderName::Contact).filter_map(Contact::parse)
    }

    /// The Expires header field, seconds.
    pub fn expires(&self) -> Option<u32> {
        self.view.header(HeaderName::Expires).map(super::name_addr::expires)
    }

    /// The Service-Route values as written, in order (RFC 3608).
    pub fn service_route(&self) -> impl Iterator<Item = &'a str> + use<'a, '_> {
        self.view.elements(HeaderName::ServiceRoute).filter(|route| !route.is_empty())
    }

    /// The URIs of P-Associated-URI, the default public identity first (RFC 7315 section 4.1).
    pub fn associated_uris(&self) -> impl Iterator<Item = &'a str> + use<'a, '_> {
        self.view
            .elements(HeaderName::PAssociatedUri)
            .filter_map(NameAddr::parse)
            .map(|address| address.uri)
    }

    /// Min-Expires of a 423, seconds.
    pub fn min_expires(&self) -> Option<u32> {
        number(self.view.header(HeaderName::MinExpires)?)
    }

    /// Retry-After, seconds; its comment and parameters are left out.
    pub fn retry_after(&self) -> Option<u32> {
        let value = self.view.header(HeaderName::RetryAfter)?;
        number(trim(value.split(['(', ';']).next()?))
    }

    /// Authentication-Info; `None` also if it is malformed.
    pub fn authentication_info(&self) -> Option<AuthenticationInfo<'a>> {
        AuthenticationInfo::parse(self.view.header(HeaderName::AuthenticationInfo)?)
    }

    /// The option tags of Unsupported (a 420).
    pub fn unsupported(&self) -> impl Iterator<Item = &'a str> + use<'a, '_> {
        self.view.elements(HeaderName::Unsupported).filter(|tag| !tag.is_empty())
    }
}

/// Shows the kind of response, not whose it is.
impl fmt::Debug for ResponseView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ResponseView({} {})", self.status, self.method())
    }
}

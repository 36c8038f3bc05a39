//! The REGISTER request as a registrar reads it (RFC 3261 section 10.3, TS 24.229 clause 5.4.1).
//!
//! Borrows from the message; allocates nothing unless a quoted value holds a quoted pair or a fold.

use std::fmt;

use super::{
    ParseError,
    auth_header::DigestCredentials,
    header::HeaderName,
    lexer::Elements,
    name_addr::{Contact, ContactList, Contacts},
    uri::{self, Scheme, Uri},
    via::Via,
    view::{MessageView, StartLine},
};
use crate::identity::{IdentityError, Impu};

/// A well-formed REGISTER.
#[derive(Clone)]
pub struct RegisterRequest<'a> {
    view: &'a MessageView<'a>,
    request_uri: &'a str,
    to_uri: Uri<'a>,
    contacts: Contacts<'a>,
    expires: Option<u32>,
}

impl<'a> RegisterRequest<'a> {
    /// Reads a message as REGISTER.
    ///
    /// # Errors
    ///
    /// 405 if it is no REGISTER request; 400 if To is no SIP, SIPS or tel URI, a Contact is malformed,
    /// or `Contact: *` does not stand alone with `Expires: 0` (RFC 3261 section 10.3 item 6).
    pub fn from_view(view: &'a MessageView<'a>) -> Result<Self, ParseError> {
        let StartLine::Request { method: "REGISTER", uri: request_uri } = view.start_line() else {
            return Err(ParseError { status: 405, reason: "Method Not Allowed" });
        };
        let to_uri = Uri::split(view.to_address().uri)
            .map_err(|_| ParseError::bad_request("Malformed To"))?;
        if to_uri.scheme == Scheme::Other {
            return Err(ParseError::bad_request("To is no SIP, SIPS or tel URI"));
        }
        let expires = view.header(HeaderName::Expires).map(super::name_addr::expires);
        let contacts = contacts(view)?;
        if matches!(contacts, Contacts::Wildcard) && expires != Some(0) {
            return Err(ParseError::bad_request("Contact * without Expires 0"));
        }
        Ok(Self { view, request_uri, to_uri, contacts, expires })
    }

    /// The message.
    pub const fn view(&self) -> &'a MessageView<'a> {
        self.view
    }

    /// The Request-URI as written.
    pub const fn request_uri(&self) -> &'a str {
        self.request_uri
    }

    /// The URI of To, which names the address of record.
    pub const fn to_uri(&self) -> &Uri<'a> {
        &self.to_uri
    }

    /// The address of record in canonical form.
    ///
    /// # Errors
    ///
    /// [`IdentityError`] if To names no public user identity.
    pub fn aor(&self) -> Result<Impu, IdentityError> {
        uri::aor(&self.to_uri)
    }

    /// The tag of To.
    pub const fn to_tag(&self) -> Option<&'a str> {
        self.view.to_tag()
    }

    /// The tag of From.
    pub const fn from_tag(&self) -> Option<&'a str> {
        self.view.from_tag()
    }

    /// Call-ID.
    pub const fn call_id(&self) -> &'a str {
        self.view.call_id()
    }

    /// The sequence number.
    pub const fn cseq(&self) -> u32 {
        self.view.cseq().number
    }

    /// The topmost Via.
    pub const fn top_via(&self) -> &Via<'a> {
        self.view.top_via()
    }

    /// All Via values as written, topmost first.
    pub fn vias(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.view.elements(HeaderName::Via)
    }

    /// The contacts to bind.
    pub const fn contacts(&self) -> Contacts<'a> {
        self.contacts
    }

    /// The Expires header field, seconds; it counts for contacts without `expires` of their own. A
    /// malformed or too large one is 3600 (RFC 3261 section 10.2.1.1).
    pub const fn expires(&self) -> Option<u32> {
        self.expires
    }

    /// The Path values as written, in order (RFC 3327 section 5.3).
    pub fn paths(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.tokens(HeaderName::Path)
    }

    /// Whether Supported names `option`, without case.
    pub fn supports(&self, option: &str) -> bool {
        self.tokens(HeaderName::Supported).any(|tag| tag.eq_ignore_ascii_case(option))
    }

    /// The option tags that Require names.
    pub fn requires(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.tokens(HeaderName::Require)
    }

    /// The option tags that Proxy-Require names.
    pub fn proxy_requires(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.tokens(HeaderName::ProxyRequire)
    }

    /// The first Digest credentials. Other schemes and malformed values are passed over: the UE is
    /// then challenged as if it had sent none (RFC 4475 section 3.3.7).
    pub fn credentials(&self) -> Option<DigestCredentials<'a>> {
        self.all_credentials().next()
    }

    /// The first Digest credentials for `realm`; realms compare with case.
    pub fn credentials_for(&self, realm: &str) -> Option<DigestCredentials<'a>> {
        self.all_credentials().find(|credentials| credentials.realm == realm)
    }

    /// The body.
    pub const fn body(&self) -> &'a [u8] {
        self.view.body()
    }

    fn all_credentials(&self) -> impl Iterator<Item = DigestCredentials<'a>> + use<'a> {
        self.view.values(HeaderName::Authorization).filter_map(DigestCredentials::parse)
    }

    fn tokens(&self, name: HeaderName) -> impl Iterator<Item = &'a str> + use<'a> {
        self.view.elements(name).filter(|element| !element.is_empty())
    }
}

/// Shows the kind of request, not whose it is.
impl fmt::Debug for RegisterRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegisterRequest")
            .field("to", &self.to_uri)
            .field("cseq", &self.cseq())
            .field("contacts", &self.contacts)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// Reads the contacts and checks them all.
fn contacts<'a>(view: &'a MessageView<'a>) -> Result<Contacts<'a>, ParseError> {
    let mut values = view.values(HeaderName::Contact);
    // As nearly all are sent: one value, which reads as one contact and so is no list.
    match (values.next(), values.next()) {
        (None, _) => Ok(Contacts::None),
        (Some(value), None) => match Contact::parse(value) {
            Some(first) => Ok(Contacts::List(ContactList { first, count: 1, view })),
            None => many_contacts(view),
        },
        _ => many_contacts(view),
    }
}

#[inline(never)]
fn many_contacts<'a>(view: &'a MessageView<'a>) -> Result<Contacts<'a>, ParseError> {
    let mut first = None;
    let mut count = 0;
    let mut wildcard = false;
    for value in view.values(HeaderName::Contact) {
        // A value that reads as one contact is no list.
        if let Some(contact) = Contact::parse(value) {
            count += 1;
            first.get_or_insert(contact);
            continue;
        }
        for element in Elements::new(value) {
            count += 1;
            if element == "*" {
                wildcard = true;
                continue;
            }
            let contact = Contact::parse(element);
            let contact = contact.ok_or(ParseError::bad_request("Malformed Contact"))?;
            first.get_or_insert(contact);
        }
    }
    match (first, wildcard, count) {
        (None, false, _) => Ok(Contacts::None),
        (None, true, 1) => Ok(Contacts::Wildcard),
        (_, true, _) => Err(ParseError::bad_request("Contact * beside other contacts")),
        (Some(first), false, _) => Ok(Contacts::List(ContactList { first, count, view })),
    }
}

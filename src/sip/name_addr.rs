//! Addresses in header fields: `name-addr` and `addr-spec` with parameters, and Contact
//! (RFC 3261 sections 20.10, 20.20, 20.39, 25.1).

use std::fmt;

use super::{
    header::HeaderName,
    lexer::{MalformedParam, Params, is_lws, is_token_octet, number, quoted_length, trim},
    scan,
    view::MessageView,
};

/// An address with the parameters of its header field.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct NameAddr<'a> {
    /// The whole URI as written, without `<>`.
    pub uri: &'a str,
    /// The header field's parameters as written, from the first `;`; folds may remain.
    pub params: &'a str,
}

impl<'a> NameAddr<'a> {
    /// Parses `"name" <uri>;params`, `name <uri>;params` or `uri;params`, without white space at its
    /// ends; `None` if malformed.
    ///
    /// Without `<>` a `;` begins the header field's parameters, and the URI may hold neither `?`
    /// nor `,` (RFC 3261 section 20). The URI is only checked for a scheme and for characters that
    /// no URI may hold; see [`super::uri::Uri`] for its parts.
    pub(crate) fn parse(value: &'a str) -> Option<Self> {
        if let Some(rest) = bracketed(value)? {
            // The first octet that no URI may hold must be the `>`.
            let octets = rest.as_bytes();
            let close = scan::uri_length(octets);
            let closed = octets.get(close) == Some(&b'>');
            let uri = rest.get(..close)?;
            let params = trim(rest.get(close + 1..)?);
            let separated = matches!(params.as_bytes(), [] | [b';', ..]);
            let well_formed = closed && separated && has_scheme(uri.as_bytes());
            return well_formed.then_some(Self { uri, params });
        }
        Self::without_brackets(value)
    }

    #[inline(never)]
    fn without_brackets(value: &'a str) -> Option<Self> {
        let octets = value.as_bytes();
        let ends = |octet: &u8| matches!(octet, b';' | b',');
        let end = octets.iter().position(ends).unwrap_or(octets.len());
        let (uri, params) = value.split_at_checked(end)?;
        let uri = trim(uri);
        let separated = !params.starts_with(',') && !uri.contains('?');
        (separated && is_uri(uri)).then_some(Self { uri, params })
    }

    /// The `tag` parameter; an error if a parameter is malformed.
    pub(crate) fn tag(&self) -> Result<Option<&'a str>, MalformedParam> {
        let mut tag = None;
        for param in Params::new(self.params) {
            let param = param?;
            if param.is(b"tag") {
                tag = Some(param.value.ok_or(MalformedParam)?);
            }
        }
        Ok(tag)
    }
}

/// Shows that there is an address, not whose it is.
impl fmt::Debug for NameAddr<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NameAddr({} octets)", self.uri.len())
    }
}

/// What follows the `<` behind a well-formed display name; `Some(None)` if there is no `<`.
#[expect(clippy::option_option, reason = "malformed, without brackets, with brackets")]
fn bracketed(value: &str) -> Option<Option<&str>> {
    match value.strip_prefix('<') {
        Some(rest) => Some(Some(rest)),
        None => behind_display_name(value),
    }
}

/// As [`bracketed`], of a value that does not begin with `<`.
#[expect(clippy::option_option, reason = "malformed, without brackets, with brackets")]
#[inline(never)]
fn behind_display_name(value: &str) -> Option<Option<&str>> {
    if value.starts_with('"') {
        let (_, rest) = value.split_at_checked(quoted_length(value.as_bytes())?)?;
        return trim(rest).strip_prefix('<').map(Some);
    }
    let Some(open) = scan::find(value.as_bytes(), b'<') else { return Some(None) };
    let (display, rest) = value.split_at_checked(open)?;
    if display.bytes().all(|octet| is_token_octet(octet) || is_lws(octet)) {
        return Some(rest.strip_prefix('<'));
    }
    None
}

/// Whether `text` may be an absolute URI: a scheme, then visible characters without `<>"`.
pub(crate) fn is_uri(text: &str) -> bool {
    scan::uri_length(text.as_bytes()) == text.len() && has_scheme(text.as_bytes())
}

/// Whether a scheme begins it, and something follows.
#[inline]
fn has_scheme(uri: &[u8]) -> bool {
    // As nearly all have it.
    matches!(uri, [b's', b'i', b'p', b':', _, ..]) || has_any_scheme(uri)
}

#[inline(never)]
fn has_any_scheme(uri: &[u8]) -> bool {
    let scheme_octet = |octet: &u8| octet.is_ascii_alphanumeric() || b"+-.".contains(octet);
    let length = uri.iter().position(|octet| !scheme_octet(octet)).unwrap_or(uri.len());
    uri.first().is_some_and(u8::is_ascii_alphabetic)
        && matches!(uri.get(length..), Some([b':', _, ..]))
}

/// One Contact of a REGISTER or of its answer.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Contact<'a> {
    /// The whole URI as written, its own parameters and headers included.
    pub uri: &'a str,
    /// The `expires` parameter, seconds. A malformed or too large one counts as
    /// [`EXPIRES_MALFORMED`] (RFC 3261 section 10.2.1.1).
    pub expires: Option<u32>,
    /// The `q` parameter, thousandths; `None` also if it is malformed.
    pub q: Option<u16>,
    /// The URN of `+sip.instance`, quotes and `<>` taken off (RFC 5626 section 4.1).
    pub instance: Option<&'a str>,
    /// The `reg-id` parameter (RFC 5626 section 4.2).
    pub reg_id: Option<u32>,
    /// All contact parameters as written, from the first `;`; folds may remain, which builders of
    /// messages write as spaces.
    pub params: &'a str,
}

impl<'a> Contact<'a> {
    /// The names of its parameters, those of media features among them.
    pub fn parameter_names(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        Params::new(self.params).flatten().filter_map(|param| std::str::from_utf8(param.name).ok())
    }
}

/// What a malformed or too large expiration counts as, seconds (RFC 3261 section 10.2.1.1).
pub const EXPIRES_MALFORMED: u32 = 3600;

impl<'a> Contact<'a> {
    /// Parses one Contact value; `None` if it is malformed.
    pub(crate) fn parse(value: &'a str) -> Option<Self> {
        let NameAddr { uri, params } = NameAddr::parse(value)?;
        let mut contact =
            Self { uri, expires: None, q: None, instance: None, reg_id: None, params };
        for param in Params::new(params) {
            let param = param.ok()?;
            if param.is(b"expires") {
                contact.expires = Some(param.value.map_or(EXPIRES_MALFORMED, expires));
            } else if param.is(b"q") {
                contact.q = param.value.and_then(thousandths);
            } else if param.is(b"+sip.instance") {
                contact.instance = param.value.and_then(instance_urn);
            } else if param.is(b"reg-id") {
                contact.reg_id = param.value.and_then(number);
            }
        }
        Some(contact)
    }
}

/// Shows that there is a contact, not whose it is.
impl fmt::Debug for Contact<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Contact({} octets, expires {:?})", self.uri.len(), self.expires)
    }
}

/// Seconds of an Expires field or parameter, with the tolerance of RFC 3261 section 10.2.1.1.
pub(crate) fn expires(text: &str) -> u32 {
    number(text).unwrap_or(EXPIRES_MALFORMED)
}

fn instance_urn(value: &str) -> Option<&str> {
    let inner = value.strip_prefix('"')?.strip_suffix('"')?;
    let urn = inner.strip_prefix('<').and_then(|urn| urn.strip_suffix('>')).unwrap_or(inner);
    (!urn.is_empty()).then_some(urn)
}

/// A qvalue: 0 to 1 with at most three decimals.
fn thousandths(value: &str) -> Option<u16> {
    let (whole, decimals) = value.split_once('.').unwrap_or((value, ""));
    let whole: u16 = if whole.is_empty() { 0 } else { number(whole)? };
    if decimals.len() > 3 || whole > 1 {
        return None;
    }
    let scale = [1000, 100, 10, 1].get(decimals.len())?;
    let decimals: u16 = if decimals.is_empty() { 0 } else { number(decimals)? };
    let thousandths = whole * 1000 + decimals * scale;
    (thousandths <= 1000).then_some(thousandths)
}

/// The contacts of a message, in order.
#[derive(Clone, Copy, Debug)]
pub enum Contacts<'a> {
    /// No Contact field: a query.
    None,
    /// `Contact: *`: all contacts of the address of record.
    Wildcard,
    /// One or more.
    List(ContactList<'a>),
}

/// One or more contacts, all well-formed.
#[derive(Clone, Copy)]
pub struct ContactList<'a> {
    pub(super) first: Contact<'a>,
    pub(super) count: usize,
    pub(super) view: &'a MessageView<'a>,
}

impl<'a> ContactList<'a> {
    /// The contacts, in order.
    pub fn iter(&self) -> impl Iterator<Item = Contact<'a>> + use<'a> {
        let others = (self.count > 1).then(|| self.view.elements(HeaderName::Contact).skip(1));
        let others = others.into_iter().flatten().filter_map(Contact::parse);
        std::iter::once(self.first).chain(others)
    }
}

impl fmt::Debug for ContactList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContactList({})", self.count)
    }
}

//! The identities of users and systems (TS 23.003 clause 13, TS 23.280 clause 8.1).
//!
//! Each is checked where it enters and stays valid afterwards. `Debug` redacts the user part: an
//! identity is personal data and must not reach a log by accident.

mod short_text;

use std::{borrow::Borrow, fmt, marker::PhantomData, sync::Arc};

use short_text::ShortText;
pub(crate) use short_text::{Ends, Pattern};

/// Longest identity, octets: a NAI is limited by RFC 4282 section 2.2, an IMPU by us to the same.
pub const IDENTITY_OCTETS_MAX: usize = 253;

/// SIP private user identity: a NAI `user@realm`, at most 253 octets (TS 23.003 clause 13.3).
///
/// Kept as given; the realm compares without case, so it is stored in lower case.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Impi(ShortText);

impl Impi {
    /// Whether `text` is one, as [`Impi::parse`] would keep it.
    pub(crate) fn is_canonical(text: &str) -> bool {
        check_length(text).is_ok()
            && text
                .rsplit_once('@')
                .is_some_and(|(user, realm)| check_user(user).is_ok() && is_lower_host(realm))
    }

    /// Takes a text that was one before.
    pub(crate) fn from_checked(text: &str) -> Self {
        Self(text.into())
    }

    /// Makes one of a pattern of which all are some.
    #[inline]
    pub(crate) fn made(pattern: &Pattern, ends: &Ends) -> Self {
        Self(pattern.with(ends))
    }

    /// What is as this one, but for `length` characters from the octet `place` on that could be any letters and digits.
    pub(crate) fn pattern(&self, place: usize, length: usize) -> Pattern {
        Pattern::new(&self.0, place, length)
    }

    /// Parses a NAI.
    ///
    /// # Errors
    ///
    /// [`IdentityError`] names the rule that `nai` breaks.
    pub fn parse(nai: &str) -> Result<Self, IdentityError> {
        if Self::is_canonical(nai) {
            return Ok(Self(nai.into()));
        }
        check_length(nai)?;
        let (user, realm) = nai.rsplit_once('@').ok_or(IdentityError::MissingRealm)?;
        check_user(user)?;
        check_host(realm)?;
        Ok(Self(format!("{user}@{}", realm.to_ascii_lowercase()).as_str().into()))
    }

    /// The whole NAI, for the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before the last `@`.
    pub fn user(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(user, _)| user)
    }

    /// The realm, in lower case.
    pub fn realm(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(_, realm)| realm)
    }
}

/// SIP public user identity in canonical form: `sip:user@host`, `sips:user@host` or `tel:+digits`,
/// without port and parameters, host in lower case (TS 23.003 clause 13.4, RFC 3261 section 10.3).
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Impu(ShortText);

impl Impu {
    /// Whether `text` is one, as [`Impu::parse`] would keep it.
    pub(crate) fn is_canonical(text: &str) -> bool {
        let sip = || {
            let (user, host) =
                text.strip_prefix("sip:").or(text.strip_prefix("sips:"))?.rsplit_once('@')?;
            Some(check_user(user).is_ok() && is_lower_host(host))
        };
        let tel = || text.strip_prefix("tel:+").map(is_digits);
        check_length(text).is_ok() && sip().or_else(tel).unwrap_or(false)
    }

    /// Takes a text that was one before.
    pub(crate) fn from_checked(text: &str) -> Self {
        Self(text.into())
    }

    /// Makes one of a pattern of which all are some.
    #[inline]
    pub(crate) fn made(pattern: &Pattern, ends: &Ends) -> Self {
        Self(pattern.with(ends))
    }

    /// What is as this one, but for `length` characters from the octet `place` on that could be any letters and digits.
    pub(crate) fn pattern(&self, place: usize, length: usize) -> Pattern {
        Pattern::new(&self.0, place, length)
    }

    /// Parses a URI and takes its canonical form: scheme and host lower case, no port, no
    /// parameters, no header part. Escapes in the user part stay as they are: the SIP layer
    /// resolves them before it compares (`sip::uri`).
    ///
    /// # Errors
    ///
    /// [`IdentityError`] names the rule that `uri` breaks.
    pub fn parse(uri: &str) -> Result<Self, IdentityError> {
        if Self::is_canonical(uri) {
            return Ok(Self(uri.into()));
        }
        check_length(uri)?;
        let (scheme, rest) = uri.split_once(':').ok_or(IdentityError::MissingScheme)?;
        let scheme = scheme.to_ascii_lowercase();
        match scheme.as_str() {
            "sip" | "sips" => {
                let (user, host) = rest.rsplit_once('@').ok_or(IdentityError::MissingUser)?;
                let host = host.split([';', '?']).next().unwrap_or_default();
                let host = without_port(host);
                check_user(user)?;
                check_host(host)?;
                Ok(Self(format!("{scheme}:{user}@{}", host.to_ascii_lowercase()).as_str().into()))
            }
            "tel" => {
                let number = rest.split(';').next().unwrap_or_default();
                let digits = number.strip_prefix('+').ok_or(IdentityError::NotGlobalNumber)?;
                if !is_digits(digits) {
                    return Err(IdentityError::NotGlobalNumber);
                }
                Ok(Self(format!("tel:{number}").as_str().into()))
            }
            _ => Err(IdentityError::UnknownScheme),
        }
    }

    /// The canonical URI, for the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host part in lower case; empty for a tel URI.
    pub fn host(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(_, host)| host)
    }
}

/// A private and a public identity that belong together: what is allocated, lent and bound.
#[derive(
    Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, serde::Deserialize, serde::Serialize,
)]
pub struct UserIdentity {
    /// The private identity: selects the subscriber.
    pub impi: Impi,
    /// The public identity: the address of record.
    pub impu: Impu,
}

/// Diameter identity of a SIP database, or of an SLF in front of one (TR 23.781 NOTE 2): an FQDN.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SipDatabaseId(Arc<str>);

impl SipDatabaseId {
    /// Whether `text` is one, as [`SipDatabaseId::parse`] would keep it.
    pub(crate) fn is_canonical(text: &str) -> bool {
        check_length(text).is_ok() && is_lower_host(text)
    }

    /// Takes a text that was one before.
    pub(crate) const fn from_checked(text: Arc<str>) -> Self {
        Self(text)
    }

    /// Parses an FQDN; Diameter identities compare without case, so it is stored in lower case.
    ///
    /// # Errors
    ///
    /// [`IdentityError`] names the rule that `fqdn` breaks.
    pub fn parse(fqdn: &str) -> Result<Self, IdentityError> {
        check_length(fqdn)?;
        check_host(fqdn)?;
        Ok(Self(fqdn.to_ascii_lowercase().into()))
    }

    /// The FQDN, for the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// MC service ID: what names a user towards the MC service and its servers (TS 23.280 10.1.4.1). A
/// `sip:`, `sips:` or `tel:` URI, canonical like an [`Impu`].
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct McServiceId(ShortText);

impl McServiceId {
    /// Parses and canonicalizes a URI, as [`Impu::parse`] does.
    ///
    /// # Errors
    ///
    /// [`IdentityError`] names the rule that `uri` breaks.
    pub fn parse(uri: &str) -> Result<Self, IdentityError> {
        Impu::parse(uri).map(|impu| Self(impu.0))
    }

    /// The URI, for the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The domain in lower case; empty for a tel URI.
    pub fn host(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(_, host)| host)
    }
}

/// MC system ID: what names a system (TS 24.484 types it `xs:anyURI`): here a URI with the system's
/// domain, such as `sip:b.example`.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct McSystemId(Arc<str>);

impl McSystemId {
    /// Parses an absolute URI of visible ASCII, and stores it in lower case.
    ///
    /// # Errors
    ///
    /// [`IdentityError`] names the rule that `uri` breaks.
    pub fn parse(uri: &str) -> Result<Self, IdentityError> {
        check_length(uri)?;
        let (scheme, rest) = uri.split_once(':').ok_or(IdentityError::NotAbsolute)?;
        let starts = scheme.starts_with(|first: char| first.is_ascii_alphabetic());
        let fits = |octet: u8| octet.is_ascii_alphanumeric() || b"+-.".contains(&octet);
        if !starts || !scheme.bytes().all(fits) || rest.is_empty() {
            return Err(IdentityError::NotAbsolute);
        }
        let forbidden = |octet: u8| !octet.is_ascii_graphic() || b"\"<>\\^`{|}".contains(&octet);
        if rest.bytes().any(forbidden) {
            return Err(IdentityError::ForbiddenCharacter);
        }
        Ok(Self(uri.to_ascii_lowercase().into()))
    }

    /// The URI, for the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// MC service group ID: a `sip:`, `sips:` or `tel:` URI, canonical like an [`Impu`]. The home of a group is the
/// system of its domain.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct McServiceGroupId(Arc<str>);

impl McServiceGroupId {
    /// Parses and canonicalizes a URI, as [`Impu::parse`] does.
    ///
    /// # Errors
    ///
    /// [`IdentityError`] names the rule that `uri` breaks.
    pub fn parse(uri: &str) -> Result<Self, IdentityError> {
        Impu::parse(uri).map(|impu| Self(impu.as_str().into()))
    }

    /// The URI, for the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The domain in lower case; empty for a tel URI.
    pub fn host(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(_, host)| host)
    }
}

/// Functional alias: a URI that names a duty, such as a train driver's, and with it whoever has it activated
/// (TS 23.280 8.1.5). Canonical like an [`Impu`].
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct FunctionalAlias(ShortText);

impl FunctionalAlias {
    /// Parses and canonicalizes a URI, as [`Impu::parse`] does.
    ///
    /// # Errors
    ///
    /// [`IdentityError`] names the rule that `uri` breaks.
    pub fn parse(uri: &str) -> Result<Self, IdentityError> {
        Impu::parse(uri).map(|impu| Self(impu.0))
    }

    /// The URI, for the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A PLMN identity: the three digits of the MCC, then the two or three of the MNC (TS 23.003 clause 2.2).
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Plmn(Box<str>);

impl Plmn {
    /// Parses 5 or 6 digits.
    ///
    /// # Errors
    ///
    /// [`IdentityError::NotPlmn`].
    pub fn parse(digits: &str) -> Result<Self, IdentityError> {
        let fits = matches!(digits.len(), 5 | 6) && digits.bytes().all(|it| it.is_ascii_digit());
        fits.then(|| Self(digits.into())).ok_or(IdentityError::NotPlmn)
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Which rule a would-be identity breaks. Always the fault of who supplied it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum IdentityError {
    /// Nothing there.
    #[error("is empty")]
    Empty,
    /// Longer than [`IDENTITY_OCTETS_MAX`].
    #[error("is longer than 253 octets")]
    TooLong,
    /// A private identity without `@realm`.
    #[error("has no realm: a private identity is user@realm")]
    MissingRealm,
    /// A public identity without a scheme.
    #[error("has no scheme: a public identity begins with sip:, sips: or tel:")]
    MissingScheme,
    /// A scheme that is none of `sip`, `sips`, `tel`.
    #[error("has an unknown scheme: use sip:, sips: or tel:")]
    UnknownScheme,
    /// A SIP URI without a user part.
    #[error("has no user part: a SIP public identity is sip:user@host")]
    MissingUser,
    /// A character that the user part may not hold.
    #[error("has a forbidden character in its user part")]
    ForbiddenCharacter,
    /// The realm or host is no host name or address.
    #[error("has a malformed realm or host")]
    MalformedHost,
    /// An MC system ID that is no absolute URI.
    #[error("is no absolute URI: write the system's own, such as sip:b.example")]
    NotAbsolute,
    /// What is no PLMN identity.
    #[error("is no PLMN identity: write MCC and MNC as 5 or 6 digits, such as 20801")]
    NotPlmn,
    /// A tel URI that is not `tel:+digits`.
    #[error("is no global number: write tel:+ and digits")]
    NotGlobalNumber,
}

fn check_length(text: &str) -> Result<(), IdentityError> {
    match text.len() {
        0 => Err(IdentityError::Empty),
        1..=IDENTITY_OCTETS_MAX => Ok(()),
        _ => Err(IdentityError::TooLong),
    }
}

/// Visible ASCII that needs no quoting in a NAI, a SIP URI or a digest user name.
fn check_user(user: &str) -> Result<(), IdentityError> {
    if user.is_empty() {
        return Err(IdentityError::MissingUser);
    }
    // Not `any`, which stops early: without branches it takes many octets at once.
    let forbidden = user.bytes().fold(0, |found, octet| {
        let delimiter = u8::from(octet == b'"') | u8::from(octet == b'<') | u8::from(octet == b'>');
        let quoting = u8::from(octet == b'@') | u8::from(octet == b'\\');
        found | delimiter | quoting | u8::from(octet <= b' ') | u8::from(octet >= 0x7f)
    });
    if forbidden != 0 { Err(IdentityError::ForbiddenCharacter) } else { Ok(()) }
}

fn check_host(host: &str) -> Result<(), IdentityError> {
    if let Some(inner) = host.strip_prefix('[') {
        let address = inner.strip_suffix(']').ok_or(IdentityError::MalformedHost)?;
        return address
            .parse::<std::net::Ipv6Addr>()
            .map(drop)
            .map_err(|_| IdentityError::MalformedHost);
    }
    let fits = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_');
    if is_host_name(host, fits) { Ok(()) } else { Err(IdentityError::MalformedHost) }
}

/// Whether it is a host in the form that compares by octets.
fn is_lower_host(host: &str) -> bool {
    if host.starts_with('[') {
        return check_host(host).is_ok() && !host.bytes().any(|octet| octet.is_ascii_uppercase());
    }
    is_host_name(host, |octet| matches!(octet, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
}

/// Whether it is labels of 1 to 63 octets that fit, with dots between them and perhaps one at the end.
fn is_host_name(host: &str, fits: impl Fn(u8) -> bool) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let mut label_octets = 0;
    for octet in host.bytes() {
        match octet {
            b'.' if label_octets > 0 => label_octets = 0,
            _ if label_octets < 63 && fits(octet) => label_octets += 1,
            _ => return false,
        }
    }
    label_octets > 0
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit())
}

fn without_port(host: &str) -> &str {
    match (host.find(']'), host.rfind(':')) {
        (Some(bracket), Some(colon)) if colon < bracket => host,
        (_, Some(colon)) => host.split_at(colon).0,
        (_, None) => host,
    }
}

/// Reads an identity from a text without a copy of it.
struct Text<T>(PhantomData<T>);

/// Checked parsing and (de)serialization as text.
macro_rules! serialized {
    ($name:ident) => {
        impl std::str::FromStr for $name {
            type Err = IdentityError;

            fn from_str(text: &str) -> Result<Self, IdentityError> {
                Self::parse(text)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(Text::<Self>(PhantomData))
            }
        }

        impl serde::de::Visitor<'_> for Text<$name> {
            type Value = $name;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($name))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$name, E> {
                <$name>::parse(text)
                    .map_err(|error| E::custom(format_args!("{} {error}", stringify!($name))))
            }
        }
    };
}

/// What every identity of a person has: text for the wire, look-up by `&str`, checked (de)serialization,
/// and a `Debug` that shows where it belongs but not whose it is.
macro_rules! textual {
    ($($name:ident),*) => {$(
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let host = self.0.rsplit_once('@').map_or("", |(_, host)| host);
                write!(f, concat!(stringify!($name), "(..@{})"), host)
            }
        }

        serialized!($name);
    )*};
}

textual!(Impi, Impu, McServiceId, FunctionalAlias);

/// A system or a group is no person: its identities print.
macro_rules! printing {
    ($($name:ident),*) => {$(
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        serialized!($name);
    )*};
}

printing!(SipDatabaseId, McSystemId, McServiceGroupId, Plmn);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plmn_has_five_or_six_digits() {
        for (text, valid) in [
            ("00101", true),
            ("310410", true),
            ("0010", false),
            ("0010101", false),
            ("001-01", false),
            ("0010\u{661}", false),
        ] {
            assert_eq!(Plmn::parse(text).is_ok(), valid, "{text}");
        }
    }

    #[test]
    fn a_private_identity_keeps_its_user_part_and_lowers_its_realm() {
        let impi = Impi::parse("Alice@IMS.Example").unwrap();
        assert_eq!(
            (impi.as_str(), impi.user(), impi.realm()),
            ("Alice@ims.example", "Alice", "ims.example")
        );
    }

    #[test]
    fn a_public_identity_loses_port_parameters_and_case_of_the_host() {
        for (given, canonical) in [
            ("sip:alice@Example.COM:5060;user=phone", "sip:alice@example.com"),
            ("SIP:al%00ice@example.com?x=y", "sip:al%00ice@example.com"),
            ("sip:bob@[2001:db8::1]:5070", "sip:bob@[2001:db8::1]"),
            ("tel:+390612345;x=y", "tel:+390612345"),
        ] {
            assert_eq!(Impu::parse(given).unwrap().as_str(), canonical);
        }
    }

    #[test]
    fn what_was_parsed_is_canonical_and_what_has_another_form_is_not() {
        let impis = ["Alice@IMS.Example", "alice@ims.example", "a@[2001:DB8::1]"];
        let impus = ["SIP:a@X.example:5060", "sips:a@x.example;b", "tel:+39;c", "sip:a@[::A]:1"];
        for given in impis {
            let impi = Impi::parse(given).unwrap();
            assert!(Impi::is_canonical(impi.as_str()));
            assert_eq!(Impi::is_canonical(given), given == impi.as_str(), "{given}");
        }
        for given in impus {
            assert!(Impu::is_canonical(Impu::parse(given).unwrap().as_str()), "{given}");
            assert!(!Impu::is_canonical(given), "{given}");
        }
        for broken in ["", "sip:a", "sip:@b", "tel:+", "tel:3", "tel:+3a", "sip:a@b..c", "a@b"] {
            assert!(!Impu::is_canonical(broken), "{broken}");
        }
    }

    #[test]
    fn a_broken_identity_names_the_rule_it_breaks() {
        assert_eq!(Impi::parse("alice"), Err(IdentityError::MissingRealm));
        assert_eq!(Impi::parse("a\"b@x"), Err(IdentityError::ForbiddenCharacter));
        assert_eq!(Impi::parse("a@x..y"), Err(IdentityError::MalformedHost));
        assert_eq!(Impu::parse("alice@x"), Err(IdentityError::MissingScheme));
        assert_eq!(Impu::parse("sip:x.example"), Err(IdentityError::MissingUser));
        assert_eq!(Impu::parse("http://x@y"), Err(IdentityError::UnknownScheme));
        assert_eq!(Impi::parse(&format!("{}@x", "a".repeat(300))), Err(IdentityError::TooLong));
    }

    #[test]
    fn an_identity_does_not_print_its_user_part() {
        let shown = format!("{:?}", Impu::parse("sip:alice@example.com").unwrap());
        assert_eq!(shown, "Impu(..@example.com)");
    }
}

//! HTTP Digest headers with the AKA extensions (RFC 3261 section 22, RFC 7616, RFC 3310, RFC 8760):
//! credentials and challenges, read and written.
//!
//! Names compare without case; a value may be a token or a quoted string; unknown parameters are
//! skipped, so `integrity-protected`, `ik` and `ck` of a P-CSCF do no harm and are not believed.
#![expect(clippy::inline_always, reason = "measured: a call costs as much as what it does")]

use std::{borrow::Cow, fmt};

use super::{
    lexer::{Cursor, Param, bare, is_token_name, trim, unescape},
    render::{self, Render, Writer},
};

/// The value of an Authorization field: what a UE answers a challenge with.
///
/// A field that is absent is empty where the grammar demands it; the initial REGISTER has an empty
/// nonce and response (TS 24.229 clause 5.1.1.2.2).
#[derive(Clone, Default, Eq, PartialEq)]
pub struct DigestCredentials<'a> {
    /// The private identity.
    pub username: Cow<'a, str>,
    /// The realm.
    pub realm: Cow<'a, str>,
    /// The nonce of the challenge, base64; empty before one.
    pub nonce: Cow<'a, str>,
    /// The digest-uri. Need not be the Request-URI (RFC 8760 section 2.6).
    pub uri: Cow<'a, str>,
    /// The response, 32 or 64 hexadecimal digits; empty before a challenge.
    pub response: Cow<'a, str>,
    /// The algorithm, such as `AKAv1-MD5`; absent means `MD5`.
    pub algorithm: Option<&'a str>,
    /// The client's nonce; present with a qop.
    pub cnonce: Option<Cow<'a, str>>,
    /// The nonce count, 8 hexadecimal digits as text; present with a qop.
    pub nc: Option<&'a str>,
    /// The quality of protection: `auth` or `auth-int`.
    pub qop: Option<&'a str>,
    /// AUTS in base64: the UE found SQN out of range (RFC 3310 section 3.4).
    pub auts: Option<Cow<'a, str>>,
    /// What the challenge gave to be returned.
    pub opaque: Option<Cow<'a, str>>,
}

impl<'a> DigestCredentials<'a> {
    /// Reads an Authorization value. `None` if the scheme is another one, or what follows is no
    /// comma-separated list of `name=value`.
    pub fn parse(value: &'a str) -> Option<Self> {
        let mut credentials = Self::default();
        read_params(digest_params(value)?, |param| {
            match param.name_length() {
                2 if param.is(b"nc") => credentials.nc = Some(param.value),
                3 if param.is(b"uri") => credentials.uri = param.text(),
                3 if param.is(b"qop") => credentials.qop = Some(param.value),
                4 if param.is(b"auts") => credentials.auts = Some(param.text()),
                5 if param.is(b"realm") => credentials.realm = param.text(),
                5 if param.is(b"nonce") => credentials.nonce = param.text(),
                6 if param.is(b"cnonce") => credentials.cnonce = Some(param.text()),
                6 if param.is(b"opaque") => credentials.opaque = Some(param.text()),
                8 if param.is(b"username") => credentials.username = param.text(),
                8 if param.is(b"response") => credentials.response = param.text(),
                9 if param.is(b"algorithm") => credentials.algorithm = Some(param.value),
                _ => return false,
            }
            true
        })?;
        Some(credentials)
    }
}

/// Writes an Authorization value.
impl Render for DigestCredentials<'_> {
    fn render(&self, to: &mut Writer) {
        to.verbatim(b"Digest username=");
        to.quoted(&self.username);
        to.quoted_param("realm", Some(&self.realm));
        to.quoted_param("nonce", Some(&self.nonce));
        to.quoted_param("uri", Some(&self.uri));
        to.quoted_param("response", Some(&self.response));
        to.token_param("algorithm", self.algorithm);
        to.quoted_param("cnonce", self.cnonce.as_deref());
        to.token_param("qop", self.qop);
        to.token_param("nc", self.nc);
        to.quoted_param("auts", self.auts.as_deref());
        to.quoted_param("opaque", self.opaque.as_deref());
    }
}

impl fmt::Display for DigestCredentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        render::display(self, f)
    }
}

/// Shows what kind of credentials they are, not whose.
impl fmt::Debug for DigestCredentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DigestCredentials")
            .field("realm", &self.realm)
            .field("algorithm", &self.algorithm)
            .field("qop", &self.qop)
            .field("nonce_empty", &self.nonce.is_empty())
            .field("auts", &self.auts.is_some())
            .finish_non_exhaustive()
    }
}

/// The value of a WWW-Authenticate field: what the network asks a UE.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct DigestChallenge<'a> {
    /// The realm.
    pub realm: Cow<'a, str>,
    /// The nonce: base64 of RAND || AUTN.
    pub nonce: Cow<'a, str>,
    /// The algorithm, such as `AKAv1-MD5`; absent means `MD5`.
    pub algorithm: Option<Cow<'a, str>>,
    /// The qualities of protection offered, comma-separated; see [`DigestChallenge::offers_qop`].
    pub qop: Option<Cow<'a, str>>,
    /// Whether the credentials were right but their nonce was too old.
    pub stale: bool,
    /// What the UE must return.
    pub opaque: Option<Cow<'a, str>>,
}

impl<'a> DigestChallenge<'a> {
    /// Reads a WWW-Authenticate value. `None` if the scheme is another one, or what follows is no
    /// comma-separated list of `name=value`.
    pub fn parse(value: &'a str) -> Option<Self> {
        let mut challenge = Self::default();
        read_params(digest_params(value)?, |param| {
            match param.name_length() {
                3 if param.is(b"qop") => challenge.qop = Some(param.text()),
                5 if param.is(b"realm") => challenge.realm = param.text(),
                5 if param.is(b"nonce") => challenge.nonce = param.text(),
                5 if param.is(b"stale") => {
                    challenge.stale = param.value.eq_ignore_ascii_case("true");
                }
                6 if param.is(b"opaque") => challenge.opaque = Some(param.text()),
                9 if param.is(b"algorithm") => challenge.algorithm = Some(param.text()),
                _ => return false,
            }
            true
        })?;
        Some(challenge)
    }

    /// Whether `qop` is among the qualities of protection offered, without case.
    pub fn offers_qop(&self, qop: &str) -> bool {
        let offered = self.qop.as_deref().unwrap_or_default();
        offered.split(',').any(|offer| trim(offer).eq_ignore_ascii_case(qop))
    }
}

/// Writes a WWW-Authenticate value.
impl Render for DigestChallenge<'_> {
    fn render(&self, to: &mut Writer) {
        to.verbatim(b"Digest realm=");
        to.quoted(&self.realm);
        to.quoted_param("nonce", Some(&self.nonce));
        to.token_param("algorithm", self.algorithm.as_deref());
        to.quoted_param("qop", self.qop.as_deref());
        to.token_param("stale", self.stale.then_some("true"));
        to.quoted_param("opaque", self.opaque.as_deref());
    }
}

impl fmt::Display for DigestChallenge<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        render::display(self, f)
    }
}

/// The parameters of a value whose scheme is Digest.
fn digest_params(value: &str) -> Option<&str> {
    // As nearly all are written.
    if let Some(params) = value.strip_prefix("Digest ") {
        return Some(params);
    }
    let mut cursor = Cursor::new(value);
    cursor.skip_lws();
    let scheme = cursor.token();
    let separated = cursor.skip_lws();
    (separated && scheme.eq_ignore_ascii_case("Digest")).then(|| cursor.rest())
}

/// A parameter of a list of `name=value`.
pub(super) struct AuthParam<'a> {
    param: Param<'a>,
    /// The value as written, but for its quotes.
    pub(super) value: &'a str,
    /// Whether the value may hold quoted pairs or folds.
    escaped: bool,
}

impl<'a> AuthParam<'a> {
    /// How long the name is.
    pub(super) const fn name_length(&self) -> usize {
        self.param.name.len()
    }

    /// Whether the name is `lower` without case.
    #[inline(always)]
    pub(super) fn is<const N: usize>(&self, lower: &[u8; N]) -> bool {
        self.param.is(lower)
    }

    /// The value with quoted pairs and folds resolved.
    #[inline(always)]
    pub(super) fn text(&self) -> Cow<'a, str> {
        if self.escaped { self.resolved() } else { Cow::Borrowed(self.value) }
    }

    #[cold]
    fn resolved(&self) -> Cow<'a, str> {
        unescape(self.value)
    }
}

/// Reads a comma-separated list of `name=value`; empty elements are skipped (RFC 7230 section 7).
/// `take` says of each parameter whether it knows the name; `None` if the list is malformed.
#[inline(always)]
pub(super) fn read_params<'a>(
    text: &'a str,
    mut take: impl FnMut(&AuthParam<'a>) -> bool,
) -> Option<()> {
    let mut cursor = Cursor::new(text);
    cursor.skip_separators();
    while cursor.peek().is_some() {
        let param = match cursor.usual_param() {
            Some(param) => AuthParam { param, value: param.value?, escaped: false },
            None => any_param(&mut cursor)?,
        };
        // Names that are known are tokens.
        let well_formed = take(&param) || is_token_name(param.param.name);
        (well_formed && cursor.end_element()).then_some(())?;
    }
    Some(())
}

#[inline(never)]
fn any_param<'a>(cursor: &mut Cursor<'a>) -> Option<AuthParam<'a>> {
    let param = cursor.param()?;
    let written = param.value?;
    let value = bare(written);
    Some(AuthParam { param, value, escaped: value.len() < written.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_initial_register_names_the_user_and_answers_nothing() {
        let value = r#"Digest username="u@home",realm="home", uri="sip:home", nonce="", response="",integrity-protected="no""#;
        let credentials = DigestCredentials::parse(value).unwrap();
        assert_eq!((credentials.username.as_ref(), credentials.realm.as_ref()), ("u@home", "home"));
        assert_eq!((credentials.nonce.as_ref(), credentials.response.as_ref()), ("", ""));
        assert_eq!((credentials.algorithm, credentials.auts), (None, None));
    }

    #[test]
    fn values_may_be_quoted_or_not_and_names_have_no_case() {
        let value = "dIgEsT USERNAME=\"a\\\"b\" ,\r\n Algorithm=\"AKAv1-MD5\",nc=0000000A, qop = auth ,CNONCE=\"c,d\",auts=\"AAAA\"";
        let credentials = DigestCredentials::parse(value).unwrap();
        assert_eq!(credentials.username, "a\"b");
        assert_eq!(credentials.algorithm, Some("AKAv1-MD5"));
        assert_eq!((credentials.nc, credentials.qop), (Some("0000000A"), Some("auth")));
        assert_eq!(credentials.cnonce.as_deref(), Some("c,d"));
        assert_eq!(credentials.auts.as_deref(), Some("AAAA"));
    }

    #[test]
    fn what_is_no_digest_is_no_credentials() {
        for value in [
            "",
            "Digest",
            "NoOneKnowsThisScheme opaque-data=here",
            "Basic QWxhZGRpbg==",
            "Digest username=\"open",
            "Digest username",
            "Digest =\"x\"",
            "Digest username=\"a\" realm=\"b\"",
            "Digest nc=1\"2\"",
        ] {
            assert_eq!(DigestCredentials::parse(value), None, "{value}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let credentials = DigestCredentials {
            username: "user@home".into(),
            realm: "a \"realm\"".into(),
            nonce: "bm9uY2U=".into(),
            uri: "sip:home".into(),
            response: "00ff".into(),
            algorithm: Some("AKAv2-SHA-256"),
            cnonce: Some("x\\y".into()),
            nc: Some("00000001"),
            qop: Some("auth-int"),
            auts: Some("QVVUUw==".into()),
            opaque: Some("o".into()),
        };
        let text = credentials.to_string();
        assert_eq!(DigestCredentials::parse(&text), Some(credentials));
        let challenge = DigestChallenge {
            realm: "home".into(),
            nonce: "bm9uY2U=".into(),
            algorithm: Some("AKAv1-MD5".into()),
            qop: Some("auth,auth-int".into()),
            stale: true,
            opaque: Some("o".into()),
        };
        let text = challenge.to_string();
        let parsed = DigestChallenge::parse(&text).unwrap();
        assert!(parsed.offers_qop("AUTH-int") && !parsed.offers_qop("int"));
        assert_eq!(parsed, challenge);
    }

    #[test]
    fn a_token_cannot_smuggle_a_parameter() {
        let credentials =
            DigestCredentials { algorithm: Some("x, realm=\"y\""), ..Default::default() };
        let text = credentials.to_string();
        assert_eq!(DigestCredentials::parse(&text).unwrap().realm, "");
    }
}

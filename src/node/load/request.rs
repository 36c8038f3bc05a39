//! The REGISTER of a UE, written into a buffer that is used again: nothing is allocated.
//!
//! All that is peculiar to one UE follows from its number and its counts, so that a request can be written
//! once more instead of being kept. The branch says whose answer an answer is.

use std::str::FromStr;

use memchr::memmem::Finder;

use super::subscribers::decimal;
use crate::sip::uri::Uri;

/// What the branches of a run begin with, cookie included.
pub(super) struct BranchPrefix {
    /// The cookie and the number of the run.
    text: String,
    finder: Finder<'static>,
}

/// Whose transaction a branch names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Branch {
    /// The UE, by its number in its thread.
    pub(super) ue: u32,
    /// The CSeq of the request.
    pub(super) cseq: u32,
}

/// What all requests of one socket have in common.
pub(super) struct Common {
    /// `UDP` or `TCP`.
    pub(super) transport: &'static str,
    /// Our address.
    pub(super) local: String,
    /// What contacts have behind the user, if not our address.
    pub(super) contact: Option<Contact>,
    /// The number of this run.
    pub(super) run: u32,
    /// The registration period to ask for, seconds.
    pub(super) expires: u32,
    /// What the contact has behind our address, such as `;transport=tcp`.
    pub(super) parameter: &'static str,
}

/// Where a UE says that it is: the host, port and parameters of its contact.
#[derive(Clone, Debug)]
pub(super) struct Contact(String);

/// What one request says.
pub(super) struct Request<'a> {
    pub(super) common: &'a Common,
    pub(super) branch: Branch,
    /// The number of the subscriber in the run.
    pub(super) subscriber: u32,
    /// Which Call-ID of this UE.
    pub(super) call: u32,
    pub(super) impi: &'a str,
    pub(super) impu: &'a str,
    pub(super) domain: &'a str,
    pub(super) authorization: Authorization<'a>,
}

/// The Authorization field.
pub(super) enum Authorization<'a> {
    /// Before a challenge.
    Initial {
        /// The algorithm to ask for.
        algorithm: Option<&'static str>,
    },
    /// The response to a challenge.
    Response(Response<'a>),
}

/// The response to a challenge.
pub(super) struct Response<'a> {
    pub(super) realm: &'a str,
    pub(super) nonce: &'a str,
    pub(super) digest: &'a str,
    pub(super) algorithm: &'static str,
    /// The name of the qop, and the cnonce.
    pub(super) qop: Option<(&'static str, &'a str)>,
    pub(super) auts: Option<&'a str>,
    pub(super) opaque: Option<&'a str>,
}

impl FromStr for Contact {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let uri = format!("sip:u@{text}");
        match Uri::parse(&uri) {
            Ok(uri) if uri.user == Some("u") && uri.headers.is_empty() => Ok(Self(text.to_owned())),
            _ => {
                Err("is not what a SIP URI has behind its user, such as 192.0.2.1:5060".to_owned())
            }
        }
    }
}

impl BranchPrefix {
    pub(super) fn new(run: u32) -> Self {
        let text = format!("z9hG4bK{run:08x}");
        Self { finder: Finder::new(&text).into_owned(), text }
    }

    /// Finds whose transaction an answer belongs to: the first branch in it that is one of this run.
    pub(super) fn find(&self, answer: &[u8]) -> Option<Branch> {
        let at = self.finder.find(answer)? + self.text.len();
        let (ue, rest) = answer.get(at..)?.split_first_chunk::<8>()?;
        Some(Branch { ue: from_hex(*ue)?, cseq: from_hex(*rest.first_chunk::<8>()?)? })
    }
}

impl Request<'_> {
    /// Writes the request behind what is in `out`.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let Common { transport, local, contact, run, expires, parameter } = self.common;
        let put = |out: &mut Vec<u8>, parts: &[&str]| {
            for part in parts {
                out.extend_from_slice(part.as_bytes());
            }
        };
        let mut digits = [0; 10];
        put(
            out,
            &["REGISTER sip:", self.domain, " SIP/2.0\r\nVia: SIP/2.0/", transport, " ", local],
        );
        put(out, &[";branch=z9hG4bK"]);
        for number in [*run, self.branch.ue, self.branch.cseq] {
            put_hex(out, number);
        }
        put(out, &[";rport\r\nMax-Forwards: 70\r\nFrom: <", self.impu, ">;tag="]);
        put_hex(out, self.subscriber);
        put(out, &["\r\nTo: <", self.impu, ">\r\nCall-ID: "]);
        for number in [*run, self.subscriber, self.call] {
            put_hex(out, number);
        }
        put(
            out,
            &["\r\nCSeq: ", decimal(self.branch.cseq, &mut digits), " REGISTER\r\nContact: <sip:u"],
        );
        put_hex(out, self.subscriber);
        match contact {
            Some(Contact(contact)) => put(out, &["@", contact]),
            None => put(out, &["@", local, parameter]),
        }
        put(out, &[">\r\nExpires: "]);
        put(
            out,
            &[
                decimal(*expires, &mut digits),
                "\r\nSupported: path\r\nAuthorization: Digest username=\"",
            ],
        );
        put_escaped(out, self.impi);
        put(out, &["\", uri=\"sip:", self.domain, "\""]);
        match &self.authorization {
            Authorization::Initial { algorithm } => {
                put(out, &[", realm=\"", self.domain, "\", nonce=\"\", response=\"\""]);
                if let Some(algorithm) = algorithm {
                    put(out, &[", algorithm=", algorithm]);
                }
            }
            Authorization::Response(response) => response.write(out),
        }
        out.extend_from_slice(b"\r\nContent-Length: 0\r\n\r\n");
    }
}

impl Response<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        let Self { realm, nonce, digest, algorithm, qop, auts, opaque } = self;
        for (name, value) in [(", realm=\"", realm), (", nonce=\"", nonce)] {
            out.extend_from_slice(name.as_bytes());
            put_escaped(out, value);
            out.push(b'"');
        }
        for part in [", response=\"", digest, "\", algorithm=", algorithm] {
            out.extend_from_slice(part.as_bytes());
        }
        if let Some((qop, cnonce)) = qop {
            for part in [", qop=", qop, ", nc=00000001, cnonce=\"", cnonce, "\""] {
                out.extend_from_slice(part.as_bytes());
            }
        }
        for (name, value) in [(", auts=\"", auts), (", opaque=\"", opaque)] {
            if let Some(value) = value {
                out.extend_from_slice(name.as_bytes());
                put_escaped(out, value);
                out.push(b'"');
            }
        }
    }
}

/// Writes the inside of a quoted string. What it stands for came from a peer or a file: no line end gets
/// through.
fn put_escaped(out: &mut Vec<u8>, text: &str) {
    if text.bytes().any(|octet| matches!(octet, b'"' | b'\\' | b'\r' | b'\n')) {
        for octet in text.bytes() {
            match octet {
                b'"' | b'\\' => out.extend_from_slice(&[b'\\', octet]),
                b'\r' | b'\n' => out.push(b' '),
                _ => out.push(octet),
            }
        }
    } else {
        out.extend_from_slice(text.as_bytes());
    }
}

/// Writes eight hexadecimal digits.
pub(super) fn put_hex(out: &mut Vec<u8>, number: u32) {
    out.extend_from_slice(&hex(number));
}

/// Eight hexadecimal digits.
pub(super) fn hex(number: u32) -> [u8; 8] {
    let mut digits = [0; 8];
    for (place, digit) in digits.iter_mut().enumerate() {
        let nibble = (number >> (28 - 4 * place)) & 15;
        // Below 16.
        let nibble = u8::try_from(nibble).unwrap_or_default();
        *digit = if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
    }
    digits
}

fn from_hex(digits: [u8; 8]) -> Option<u32> {
    digits.iter().try_fold(0, |number, digit| Some(number << 4 | char::from(*digit).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::{
        Framing, auth_header::DigestCredentials, header::HeaderName, register::RegisterRequest,
        view::MessageView,
    };

    #[test]
    fn a_registrar_reads_what_is_written_and_the_branch_names_the_ue() {
        let common = Common {
            transport: "TCP",
            local: "127.0.0.1:9".to_owned(),
            contact: None,
            run: 0xab,
            expires: 600_000,
            parameter: ";transport=tcp",
        };
        let branch = Branch { ue: 0x00ff_1234, cseq: 4_000_000_000 };
        let response = Response {
            realm: "a \"realm\"\r\nEvil: x",
            nonce: "bm9uY2U=",
            digest: "00ff",
            algorithm: "AKAv2-SHA-256",
            qop: Some(("auth", "0000abcd")),
            auts: Some("QVVUUw=="),
            opaque: Some("o"),
        };
        let mut out = Vec::new();
        let request = Request {
            common: &common,
            branch,
            subscriber: 7,
            call: 2,
            impi: "alice@a.example",
            impu: "sip:alice@a.example",
            domain: "a.example",
            authorization: Authorization::Response(response),
        };
        request.write(&mut out);
        assert_eq!(BranchPrefix::new(0xab).find(&out), Some(branch));
        assert_eq!(BranchPrefix::new(0xac).find(&out), None);
        let view = MessageView::parse(&out, Framing::Stream).unwrap();
        let register = RegisterRequest::from_view(&view).unwrap();
        assert_eq!(register.aor().unwrap().as_str(), "sip:alice@a.example");
        assert_eq!(view.cseq().number, branch.cseq);
        let value = view.header(HeaderName::Authorization).unwrap();
        let credentials = DigestCredentials::parse(value).unwrap();
        assert_eq!(credentials.realm, "a \"realm\"  Evil: x");
        assert_eq!(
            (credentials.nc, credentials.cnonce.as_deref()),
            (Some("00000001"), Some("0000abcd"))
        );
        assert_eq!(credentials.auts.as_deref(), Some("QVVUUw=="));
        assert!(view.header_named("Evil").is_none());
        assert_eq!(
            view.header(HeaderName::Contact),
            Some("<sip:u00000007@127.0.0.1:9;transport=tcp>")
        );
    }

    #[test]
    fn a_contact_that_was_asked_for_stands_instead_of_our_address() {
        let contact = Some("ue.example:5070;ob".parse().unwrap());
        let common = Common {
            transport: "UDP",
            local: "127.0.0.1:9".to_owned(),
            contact,
            run: 1,
            expires: 60,
            parameter: ";transport=tcp",
        };
        let request = Request {
            common: &common,
            branch: Branch { ue: 0, cseq: 1 },
            subscriber: 7,
            call: 1,
            impi: "alice@a.example",
            impu: "sip:alice@a.example",
            domain: "a.example",
            authorization: Authorization::Initial { algorithm: None },
        };
        let mut out = Vec::new();
        request.write(&mut out);
        let view = MessageView::parse(&out, Framing::Stream).unwrap();
        assert_eq!(view.header(HeaderName::Contact), Some("<sip:u00000007@ue.example:5070;ob>"));
        for wrong in ["", "a b", "x?Subject=1", "x>;q=1", "sip:x", "x:70000"] {
            assert!(wrong.parse::<Contact>().is_err(), "{wrong}");
        }
    }
}

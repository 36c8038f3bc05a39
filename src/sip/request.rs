//! Requests: the REGISTER that a UE sends (RFC 3261 section 10.2, TS 24.229 clause 5.1.1), and any other one.

use std::fmt;

use bytes::Bytes;

use super::{auth_header::DigestCredentials, render::Writer};

/// What a REGISTER says. [`RegisterBuilder::build`] writes it.
///
/// Values are written as they are but for line ends, which become spaces: URIs and tokens are the
/// caller's to choose.
#[derive(Clone, Default)]
pub struct RegisterBuilder<'a> {
    /// The Request-URI: the home network domain, such as `sip:home.example`.
    pub request_uri: &'a str,
    /// The transport in Via, such as `UDP`.
    pub transport: &'a str,
    /// The host and port in Via.
    pub sent_by: &'a str,
    /// The branch, its `z9hG4bK` included; new for each transaction.
    pub branch: &'a str,
    /// The address of record, From and To alike.
    pub aor: &'a str,
    /// The tag of From.
    pub from_tag: &'a str,
    /// Call-ID, the same for all REGISTERs of one boot.
    pub call_id: &'a str,
    /// The sequence number, one more for each request.
    pub cseq: u32,
    /// What to bind.
    pub contact: ContactToSend<'a>,
    /// The Expires header field, seconds.
    pub expires: Option<u32>,
    /// The option tags of Supported, comma-separated; no field if empty.
    pub supported: &'a str,
    /// Path values, for tests that stand in for a P-CSCF.
    pub path: &'a [&'a str],
    /// The Authorization field.
    pub credentials: Option<DigestCredentials<'a>>,
    /// Further header fields, name and value.
    pub extra: &'a [(&'a str, &'a str)],
    /// The body.
    pub body: &'a [u8],
}

/// What any request says, outside of dialogs. [`RequestBuilder::build`] writes it.
///
/// Values are written as they are but for line ends, which become spaces.
#[derive(Clone, Copy)]
pub struct RequestBuilder<'a> {
    /// The method.
    pub method: &'a str,
    /// The Request-URI.
    pub request_uri: &'a str,
    /// The transport in Via, such as `UDP`.
    pub transport: &'a str,
    /// The host, and perhaps the port, in Via.
    pub sent_by: &'a str,
    /// The branch, its `z9hG4bK` included; new for each transaction.
    pub branch: &'a str,
    /// The value of Max-Forwards.
    pub max_forwards: u8,
    /// The value of From, its tag included.
    pub from: &'a str,
    /// The value of To.
    pub to: &'a str,
    /// Call-ID.
    pub call_id: &'a str,
    /// The sequence number.
    pub cseq: u32,
    /// Further header fields, name and value.
    pub fields: &'a [(&'a str, &'a str)],
    /// The body; its type is among the fields.
    pub body: &'a [u8],
}

impl RequestBuilder<'_> {
    /// Writes the request.
    pub fn build(&self) -> Bytes {
        let mut writer = Writer::with_capacity(1024 + self.body.len());
        write_start_line(&mut writer, self.method, self.request_uri);
        write_via(&mut writer, self.transport, self.sent_by, self.branch);
        writer.field("Max-Forwards", u32::from(self.max_forwards));
        for (name, value) in [("From", self.from), ("To", self.to), ("Call-ID", self.call_id)] {
            writer.field(name, value);
        }
        write_cseq(&mut writer, self.cseq, self.method);
        for (name, value) in self.fields {
            writer.field(name, value);
        }
        finish(writer, self.body)
    }
}

/// Shows the kind of request, not whose it is.
impl fmt::Debug for RequestBuilder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBuilder")
            .field("method", &self.method)
            .field("cseq", &self.cseq)
            .finish_non_exhaustive()
    }
}

/// The Contact field of a REGISTER.
#[derive(Clone, Copy, Default)]
pub enum ContactToSend<'a> {
    /// None: asks which contacts are bound.
    #[default]
    None,
    /// `*`: removes all; needs `expires: Some(0)`.
    Wildcard,
    /// One contact.
    Uri {
        /// The URI, without `<>`.
        uri: &'a str,
        /// The `expires` parameter, seconds.
        expires: Option<u32>,
        /// Further contact parameters, from the first `;`; or empty.
        params: &'a str,
    },
}

impl RegisterBuilder<'_> {
    /// Writes the request.
    pub fn build(&self) -> Bytes {
        let mut writer = Writer::with_capacity(1024 + self.body.len());
        write_start_line(&mut writer, "REGISTER", self.request_uri);
        write_via(&mut writer, self.transport, self.sent_by, self.branch);
        writer.field("Max-Forwards", "70");
        writer.field("From", ["<", self.aor, ">;tag=", self.from_tag]);
        writer.field("To", ["<", self.aor, ">"]);
        writer.field("Call-ID", self.call_id);
        write_cseq(&mut writer, self.cseq, "REGISTER");
        self.write_contact(&mut writer);
        if let Some(expires) = self.expires {
            writer.field("Expires", expires);
        }
        if !self.supported.is_empty() {
            writer.field("Supported", self.supported);
        }
        for path in self.path {
            writer.field("Path", path);
        }
        if let Some(credentials) = &self.credentials {
            writer.field("Authorization", credentials);
        }
        for (name, value) in self.extra {
            writer.field(name, value);
        }
        finish(writer, self.body)
    }

    fn write_contact(&self, writer: &mut Writer) {
        match self.contact {
            ContactToSend::None => {}
            ContactToSend::Wildcard => writer.field("Contact", "*"),
            ContactToSend::Uri { uri, expires, params } => {
                for part in ["Contact: <", uri, ">", params] {
                    writer.text(part);
                }
                if let Some(expires) = expires {
                    writer.verbatim(b";expires=");
                    writer.number(expires);
                }
                writer.end_line();
            }
        }
    }
}

fn write_start_line(writer: &mut Writer, method: &str, request_uri: &str) {
    for part in [method, " ", request_uri, " ", super::VERSION] {
        writer.text(part);
    }
    writer.end_line();
}

fn write_via(writer: &mut Writer, transport: &str, sent_by: &str, branch: &str) {
    writer.field("Via", ["SIP/2.0/", transport, " ", sent_by, ";branch=", branch, ";rport"]);
}

fn write_cseq(writer: &mut Writer, number: u32, method: &str) {
    writer.verbatim(b"CSeq: ");
    writer.number(number);
    writer.text(" ");
    writer.text(method);
    writer.end_line();
}

/// Ends the header with the length of the body, and writes that.
fn finish(mut writer: Writer, body: &[u8]) -> Bytes {
    writer.verbatim(b"Content-Length: ");
    writer.number(body.len() as u64);
    writer.verbatim(b"\r\n\r\n");
    writer.verbatim(body);
    writer.finish()
}

/// Shows the kind of request, not whose it is.
impl fmt::Debug for RegisterBuilder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegisterBuilder")
            .field("cseq", &self.cseq)
            .field("expires", &self.expires)
            .field("credentials", &self.credentials)
            .finish_non_exhaustive()
    }
}

/// Shows which of the three it is.
impl fmt::Debug for ContactToSend<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Wildcard => "Wildcard",
            Self::Uri { .. } => "Uri",
        })
    }
}

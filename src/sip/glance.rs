//! A request at a glance: what sorts it and what refuses it, for a fraction of what reading it costs.
//!
//! Under overload most of what arrives is refused, so a refusal has to cost far less than an answer. One pass
//! finds the lines that a refusal repeats (RFC 3261 section 8.2.6) and the credentials; nothing is checked, no
//! state is made, and nothing is allocated but the refusal. Whoever misuses a glance, by odd white space or a
//! false response, changes only how soon the request has its turn: it is read properly then.

use std::net::SocketAddr;

use bytes::Bytes;
use memchr::{memchr, memmem};

use super::{
    header::HeaderName,
    lexer::{Elements, is_lws},
    render::Writer,
    reply::{destination, write_top_via},
    via::Via,
};

/// Most Via header fields of a request that is refused at a glance.
const VIAS_MAX: usize = 16;

/// Room for a refusal, octets: most fit.
const REFUSAL_OCTETS_TYPICAL: usize = 512;

/// The parts of a request that a glance finds, values as written.
#[derive(Clone)]
pub struct Glance<'a> {
    method: &'a [u8],
    vias: [&'a [u8]; VIAS_MAX],
    via_count: usize,
    from: &'a [u8],
    to: &'a [u8],
    call_id: &'a [u8],
    cseq: &'a [u8],
    authorization: &'a [u8],
}

impl<'a> Glance<'a> {
    /// Looks at a datagram. `None` for what is not answered at a glance: a response, an ACK, what has no Via or
    /// `CSeq` by which the sender would know the answer, and what has more than 16 Via.
    pub fn of(octets: &'a [u8]) -> Option<Self> {
        let octets = octets.trim_ascii_start();
        let (start_line, mut rest) = split_line(octets);
        let method = start_line.get(..memchr(b' ', start_line)?)?;
        if method == b"ACK" || method.get(..4).is_some_and(|it| it.eq_ignore_ascii_case(b"SIP/")) {
            return None;
        }
        let mut glance = Self {
            method,
            vias: [&[]; VIAS_MAX],
            via_count: 0,
            from: &[],
            to: &[],
            call_id: &[],
            cseq: &[],
            authorization: &[],
        };
        while !rest.is_empty() {
            let (line, after) = split_line(rest);
            if line.is_empty() {
                break;
            }
            glance.add(line)?;
            rest = after;
        }
        (glance.via_count > 0 && !glance.cseq.is_empty()).then_some(glance)
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the others neither sort nor are repeated")]
    fn add(&mut self, line: &'a [u8]) -> Option<()> {
        let Some(colon) = memchr(b':', line) else { return Some(()) };
        let (name, value) = line.split_at_checked(colon)?;
        let value = trim(value.get(1..)?);
        let field = match HeaderName::identify(name.trim_ascii_end()) {
            HeaderName::Via => {
                *self.vias.get_mut(self.via_count)? = value;
                self.via_count += 1;
                return Some(());
            }
            HeaderName::From => &mut self.from,
            HeaderName::To => &mut self.to,
            HeaderName::CallId => &mut self.call_id,
            HeaderName::CSeq => &mut self.cseq,
            HeaderName::Authorization => &mut self.authorization,
            _ => return Some(()),
        };
        if field.is_empty() {
            *field = value;
        }
        Some(())
    }

    /// Whether it answers a challenge: REGISTER with a response, or with `auts`, in its credentials.
    pub fn answers_challenge(&self) -> bool {
        self.is_register()
            && ["response=", "auts="].iter().any(|name| {
                let value = after(self.authorization, name.as_bytes());
                value.is_some_and(|value| !value.starts_with(b"\"\"") && !value.is_empty())
            })
    }

    /// The private identity of a REGISTER, if it is as simple as it mostly is: the user name of the credentials,
    /// or else what the URI of To has between scheme and parameters (TS 24.229 clause 5.4.1.1).
    pub fn private_identity(&self) -> Option<&'a str> {
        if !self.is_register() {
            return None;
        }
        let octets = match after(self.authorization, b"username=\"") {
            Some(name) => name.get(..memchr(b'"', name)?)?,
            None => {
                let uri = after(self.to, b"sip:")?;
                let ends = |octet: &u8| matches!(octet, b';' | b'>' | b':') || is_lws(*octet);
                uri.get(..uri.iter().position(ends).unwrap_or(uri.len()))?
            }
        };
        std::str::from_utf8(octets).ok()
    }

    /// 503 with Retry-After for the request, which came from `source`, and where it goes over UDP.
    ///
    /// `tag` becomes the tag of To where it has none. It should be the same for a repeated request, which is
    /// not remembered (RFC 3261 section 8.2.7).
    pub fn refusal(&self, source: SocketAddr, tag: u64, retry_after: u32) -> (SocketAddr, Bytes) {
        let mut writer = Writer::with_capacity(REFUSAL_OCTETS_TYPICAL);
        writer.verbatim(b"SIP/2.0 503 Service Unavailable\r\n");
        let mut vias = self.vias.iter().take(self.via_count);
        let top_field = vias.next().map_or("", |via| std::str::from_utf8(via).unwrap_or_default());
        let top = Elements::new(top_field).next().and_then(Via::parse);
        match &top {
            Some(top) => write_top_via(&mut writer, top, top_field, source),
            None => write_field(&mut writer, b"Via: ", top_field.as_bytes()),
        }
        for via in vias {
            write_field(&mut writer, b"Via: ", via);
        }
        write_field(&mut writer, b"From: ", self.from);
        if memmem::find(self.to, b"tag=").is_some() || self.to.is_empty() {
            write_field(&mut writer, b"To: ", self.to);
        } else {
            writer.verbatim(b"To: ");
            writer.octets(self.to);
            writer.verbatim(b";tag=");
            writer.number(tag);
            writer.end_line();
        }
        write_field(&mut writer, b"Call-ID: ", self.call_id);
        write_field(&mut writer, b"CSeq: ", self.cseq);
        writer.verbatim(b"Retry-After: ");
        writer.number(retry_after);
        writer.verbatim(b"\r\nContent-Length: 0\r\n\r\n");
        (top.map_or(source, |top| destination(&top, source)), writer.finish())
    }

    /// The topmost Via as written, by which a repeated request is like the first.
    pub const fn top_via(&self) -> &'a [u8] {
        let [top, ..] = self.vias;
        top
    }

    fn is_register(&self) -> bool {
        self.method == b"REGISTER"
    }
}

fn write_field(writer: &mut Writer, name: &[u8], value: &[u8]) {
    if !value.is_empty() {
        writer.verbatim(name);
        writer.octets(value);
        writer.end_line();
    }
}

/// What follows on `name` in `octets`.
fn after<'a>(octets: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    octets.get(memmem::find(octets, name)? + name.len()..)
}

/// Splits off a line with the lines folded into it.
fn split_line(octets: &[u8]) -> (&[u8], &[u8]) {
    let mut from = 0;
    while let Some(end) = memchr(b'\n', octets.get(from..).unwrap_or_default()) {
        let end = from + end;
        from = end + 1;
        if !matches!(octets.get(from), Some(b' ' | b'\t')) {
            let line = octets.get(..end).unwrap_or_default();
            let rest = octets.get(from..).unwrap_or_default();
            return (line.strip_suffix(b"\r").unwrap_or(line), rest);
        }
    }
    (octets, &[])
}

fn trim(value: &[u8]) -> &[u8] {
    let start = value.iter().position(|octet| !is_lws(*octet)).unwrap_or(value.len());
    let end = value.iter().rposition(|octet| !is_lws(*octet)).map_or(start, |last| last + 1);
    value.get(start..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::{Framing, response::ResponseView, view::MessageView};

    const SOURCE: &str = "192.0.2.9:5062";

    fn request(fields: &str) -> String {
        format!(
            "REGISTER sip:a.example SIP/2.0\r\n\
             Via: SIP/2.0/UDP 10.0.0.1:5070;branch=z9hG4bKa;rport\r\n\
             v: SIP/2.0/TCP p.a.example;branch=z9hG4bKb,\r\n SIP/2.0/UDP q.a.example\r\n\
             From: <sip:alice@a.example>;tag=1\r\nt: Alice <sip:alice@a.example>\r\n\
             Call-ID: c@10.0.0.1\r\nCSeq: 7 REGISTER\r\n{fields}Content-Length: 0\r\n\r\n"
        )
    }

    fn credentials(parameters: &str) -> String {
        request(&format!(
            "Authorization: Digest username=\"mig-1@a.example\", {parameters}, uri=\"sip:a.example\"\r\n"
        ))
    }

    #[test]
    fn a_refusal_repeats_what_an_answer_must() {
        let request = request("");
        let source = SOURCE.parse().unwrap();
        let (to, refusal) = Glance::of(request.as_bytes()).unwrap().refusal(source, 99, 7);
        assert_eq!(to, source);
        let text = String::from_utf8(refusal.to_vec()).unwrap();
        assert_eq!(
            text,
            "SIP/2.0 503 Service Unavailable\r\n\
             Via: SIP/2.0/UDP 10.0.0.1:5070;branch=z9hG4bKa;received=192.0.2.9;rport=5062\r\n\
             Via: SIP/2.0/TCP p.a.example;branch=z9hG4bKb,   SIP/2.0/UDP q.a.example\r\n\
             From: <sip:alice@a.example>;tag=1\r\nTo: Alice <sip:alice@a.example>;tag=99\r\n\
             Call-ID: c@10.0.0.1\r\nCSeq: 7 REGISTER\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n"
        );
        let view = MessageView::parse(&refusal, Framing::Stream).unwrap();
        assert!(ResponseView::from_view(view).is_ok(), "{text}");
    }

    #[test]
    fn a_refusal_goes_where_any_answer_goes() {
        let source: SocketAddr = SOURCE.parse().unwrap();
        let without_rport = request("").replace(";rport", "");
        let (to, _) = Glance::of(without_rport.as_bytes()).unwrap().refusal(source, 1, 1);
        assert_eq!(to, SocketAddr::new(source.ip(), 5070));
        let tagged = request("").replace("t: Alice <sip:alice@a.example>", "To: <sip:a@b>;tag=8");
        let (_, refusal) = Glance::of(tagged.as_bytes()).unwrap().refusal(source, 99, 1);
        assert!(String::from_utf8(refusal.to_vec()).unwrap().contains("To: <sip:a@b>;tag=8\r\n"));
    }

    #[test]
    fn an_answer_to_a_challenge_is_known_by_its_response() {
        for (request, answers) in [
            (request(""), false),
            (credentials("nonce=\"\", response=\"\""), false),
            (credentials("nonce=\"n\", response=\"0a\""), true),
            (credentials("nonce=\"n\", response=\"\", auts=\"x\""), true),
            (credentials("nonce=\"n\", response=\"0a\"").replace("REGISTER", "OPTIONS"), false),
        ] {
            let glance = Glance::of(request.as_bytes()).unwrap();
            assert_eq!(glance.answers_challenge(), answers, "{request}");
        }
    }

    #[test]
    fn the_private_identity_is_that_of_the_credentials_or_follows_from_to() {
        for (request, identity) in [
            (request(""), Some("alice@a.example")),
            (
                request("").replace("alice@a.example>\r\nC", "alice@a.example:5060;x>\r\nC"),
                Some("alice@a.example"),
            ),
            (credentials("response=\"\""), Some("mig-1@a.example")),
            (request("").replace("REGISTER", "OPTIONS"), None),
            (request("").replace("t: Alice <sip:", "t: <tel:"), None),
        ] {
            assert_eq!(Glance::of(request.as_bytes()).unwrap().private_identity(), identity);
        }
    }

    #[test]
    fn what_is_never_answered_is_not_refused() {
        let whole = request("");
        for other in [
            whole.replace("REGISTER", "ACK"),
            whole.replace("REGISTER sip:a.example SIP/2.0", "SIP/2.0 200 OK"),
            whole.replace("Via", "X").replace("v: ", "x: "),
            whole.replace("CSeq", "X"),
            whole.replace("Via:", &"Via: SIP/2.0/UDP h\r\n".repeat(20)),
            String::new(),
            "\r\n\r\n".to_owned(),
            "REGISTER".to_owned(),
        ] {
            assert!(Glance::of(other.as_bytes()).is_none(), "{other}");
        }
    }

    #[test]
    fn no_octets_make_it_panic_or_smuggle_a_line_into_the_refusal() {
        let whole =
            request("Authorization: Digest username=\"x\rX: y\r\n").replace("c@", "c\rX: y");
        let source = SOURCE.parse().unwrap();
        for cut in 0..whole.len() {
            for octet in [0, b'\r', b'\n', b' ', b':', b'"', 0xff] {
                let mut octets = whole.clone().into_bytes();
                octets[cut] = octet;
                for octets in [&octets[..], &octets[..cut]] {
                    let Some(glance) = Glance::of(octets) else { continue };
                    let _ = (glance.private_identity(), glance.answers_challenge());
                    let (_, refusal) = glance.refusal(source, 1, 1);
                    let breaks = refusal.iter().filter(|octet| matches!(octet, b'\r' | b'\n'));
                    assert_eq!(breaks.count() % 2, 0);
                    assert!(!refusal.windows(2).any(|it| it[0] == b'\r' && it[1] != b'\n'));
                }
            }
        }
    }
}

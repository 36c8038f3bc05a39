//! A request at a glance: what sorts it and what refuses it, for a fraction of what reading it costs.
//!
//! Under overload most of what arrives is refused, so a refusal has to cost far less than an answer. One pass
//! finds the header fields that every answer repeats (RFC 3261 section 8.2.6) and the credentials; nothing is
//! checked, and nothing allocated. Whoever misuses a glance, by odd white space or a false response, changes only
//! how soon the request has its turn: it is read properly then.

use std::net::SocketAddr;

use memchr::{memchr, memmem};

use super::{
    HEADERS_MAX, MESSAGE_OCTETS_MAX,
    header::HeaderName,
    lexer::{Elements, trim},
    render::Chunk,
    reply::{HEAD_OCTETS_TYPICAL, ReplyHead, destination, write_top_via},
    via::Via,
};

/// The parts of a request that a glance finds, values as written.
#[derive(Clone)]
pub struct Glance<'a> {
    method: &'a [u8],
    /// What follows on the start line.
    fields: &'a [u8],
    via: &'a str,
    cseq: &'a str,
    from: Option<&'a str>,
    to: Option<&'a str>,
    call_id: Option<&'a str>,
    authorization: &'a str,
}

impl<'a> Glance<'a> {
    /// Looks at a datagram. `None` for what is never answered: a response, an ACK, and what has no Via or `CSeq`,
    /// by which the sender would know the answer.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the others neither sort nor are repeated")]
    pub fn of(octets: &'a [u8]) -> Option<Self> {
        let octets = octets.get(..octets.len().min(MESSAGE_OCTETS_MAX))?;
        let (start_line, fields) = split_line(octets.trim_ascii_start());
        let method = start_line.split(|octet| *octet == b' ').next()?;
        if method == b"ACK" || method.get(..4).is_some_and(|it| it.eq_ignore_ascii_case(b"SIP/")) {
            return None;
        }
        let (mut via, mut cseq, mut from, mut to) = (None, None, None, None);
        let (mut call_id, mut authorization) = (None, None);
        for (name, value) in Fields(fields) {
            let field = match name {
                HeaderName::Via => &mut via,
                HeaderName::CSeq => &mut cseq,
                HeaderName::From => &mut from,
                HeaderName::To => &mut to,
                HeaderName::CallId => &mut call_id,
                HeaderName::Authorization => &mut authorization,
                _ => continue,
            };
            *field = field.or_else(|| text(value));
        }
        let (via, cseq) = (via?, cseq.filter(|cseq: &&str| !cseq.ends_with("ACK"))?);
        let authorization = authorization.unwrap_or_default();
        Some(Self { method, fields, via, cseq, from, to, call_id, authorization })
    }

    /// Whether it answers a challenge: REGISTER with a response, or with `auts`, in its credentials.
    pub fn answers_challenge(&self) -> bool {
        self.is_register()
            && ["response=", "auts="].iter().any(|name| {
                let value = after(self.authorization, name);
                value.is_some_and(|value| !value.is_empty() && !value.starts_with("\"\""))
            })
    }

    /// The private identity of a REGISTER, if it is as simple as it mostly is: the user name of the credentials,
    /// or else what the URI of To has between scheme and parameters (TS 24.229 clause 5.4.1.1).
    pub fn private_identity(&self) -> Option<&'a str> {
        if !self.is_register() {
            return None;
        }
        match after(self.authorization, "username=\"") {
            Some(name) => name.split('"').next(),
            None => after(self.to?, "sip:")?.split([';', '>', ':', ' ', '\t', '\r', '\n']).next(),
        }
    }

    /// The topmost Via as written: a repeated request has the same.
    pub const fn via(&self) -> &'a str {
        self.via
    }

    /// What the answer to the request, which came from `source`, begins with.
    pub fn head(&self, chunk: &mut Chunk, source: SocketAddr, to_tag: &str) -> ReplyHead {
        let mut writer = chunk.begin(HEAD_OCTETS_TYPICAL);
        let top = Elements::new(self.via).next().and_then(Via::parse);
        match &top {
            Some(top) => write_top_via(&mut writer, top, self.via, source),
            None => writer.field("Via", self.via),
        }
        let vias = Fields(self.fields).filter(|(name, _)| *name == HeaderName::Via);
        for via in vias.filter_map(|(_, value)| text(value)).take(HEADERS_MAX).skip(1) {
            writer.field("Via", via);
        }
        if let Some(from) = self.from {
            writer.field("From", from);
        }
        if let Some(to) = self.to {
            let has_tag = memmem::find(to.as_bytes(), b"tag=").is_some();
            writer.field("To", if has_tag { [to, "", ""] } else { [to, ";tag=", to_tag] });
        }
        if let Some(call_id) = self.call_id {
            writer.field("Call-ID", call_id);
        }
        writer.field("CSeq", self.cseq);
        let destination = top.map_or(source, |top| destination(&top, source));
        ReplyHead::of_lines(writer.finish_in(chunk), destination)
    }

    fn is_register(&self) -> bool {
        self.method == b"REGISTER"
    }
}

/// The header fields to the empty line: those whose name ends with a colon, values with their folds.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = (HeaderName, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (line, rest) = split_line(self.0);
            self.0 = rest;
            if line.is_empty() {
                return None;
            }
            if let Some((name, value)) = memchr(b':', line).and_then(|at| line.split_at_checked(at))
            {
                let value = value.get(1..).unwrap_or_default();
                return Some((HeaderName::identify(name.trim_ascii_end()), value));
            }
        }
    }
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

/// A value without the white space around it, if it is text.
fn text(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value).ok().map(trim)
}

/// What follows on `name` in `text`.
fn after<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.get(memmem::find(text.as_bytes(), name.as_bytes())? + name.len()..)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    use crate::sip::{Framing, reply::reason_phrase, response::ResponseView, view::MessageView};

    const SOURCE: &str = "192.0.2.9:5062";

    fn refusal(request: &[u8]) -> Option<(SocketAddr, Bytes)> {
        let head = Glance::of(request)?.head(&mut Chunk::default(), SOURCE.parse().unwrap(), "99");
        let refusal = head.reply(503, reason_phrase(503)).header("Retry-After", 7);
        Some((head.destination(), refusal.finish()))
    }

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
        let (to, refusal) = refusal(request.as_bytes()).unwrap();
        assert_eq!(to, SOURCE.parse().unwrap());
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
        let without_rport = request("").replace(";rport", "");
        let (to, _) = refusal(without_rport.as_bytes()).unwrap();
        assert_eq!(to, "192.0.2.9:5070".parse().unwrap());
        let tagged = request("").replace("t: Alice <sip:alice@a.example>", "To: <sip:a@b>;tag=8");
        let (_, refusal) = refusal(tagged.as_bytes()).unwrap();
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
        for cut in 0..whole.len() {
            for octet in [0, b'\r', b'\n', b' ', b':', b'"', 0xff] {
                let mut octets = whole.clone().into_bytes();
                octets[cut] = octet;
                for octets in [&octets[..], &octets[..cut]] {
                    let Some(glance) = Glance::of(octets) else { continue };
                    let _ = (glance.private_identity(), glance.answers_challenge());
                    let (_, refusal) = refusal(octets).unwrap();
                    let breaks = refusal.iter().filter(|octet| matches!(octet, b'\r' | b'\n'));
                    assert_eq!(breaks.count() % 2, 0);
                    assert!(!refusal.windows(2).any(|it| it[0] == b'\r' && it[1] != b'\n'));
                }
            }
        }
    }
}

//! The Via header field (RFC 3261 section 20.42, RFC 3581 section 3).

use super::{
    lexer::{Cursor, Params, is_token, number},
    uri::bracketed_length,
};

/// One Via value: who sent the message, over what, and where its answers go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Via<'a> {
    /// The transport as written, such as `UDP`.
    pub transport: &'a str,
    /// The host of sent-by: a name, an IPv4 address, or an IPv6 address in brackets.
    pub host: &'a str,
    /// The port of sent-by, if given.
    pub port: Option<u16>,
    /// The branch, if given; see [`Via::has_unique_branch`].
    pub branch: Option<&'a str>,
    /// The `rport` parameter.
    pub rport: Rport,
    /// The `received` parameter as text.
    pub received: Option<&'a str>,
    /// The `maddr` parameter as text.
    pub maddr: Option<&'a str>,
    /// All parameters as written, from the first `;`; folds may remain.
    pub(crate) params: &'a str,
}

/// The `rport` parameter of a Via (RFC 3581 section 3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Rport {
    /// None: the sender did not ask for answers at its source port.
    Absent,
    /// Without value, as a client sends it.
    Requested,
    /// Filled in by the server.
    Filled(u16),
}

/// How a branch begins that is unique for each transaction (RFC 3261 section 8.1.1.7).
const MAGIC_COOKIE: &str = "z9hG4bK";

impl<'a> Via<'a> {
    /// Parses one Via value without white space at its ends. White space may stand around each
    /// separator; `None` if it is malformed.
    pub(crate) fn parse(value: &'a str) -> Option<Self> {
        let mut cursor = Cursor::new(value);
        let transport = sent_protocol(&mut cursor)?;
        cursor.skip_lws().then_some(())?;
        let (host, port) = sent_by(&mut cursor)?;
        cursor.skip_lws();
        let mut via = Self {
            transport,
            host,
            port,
            branch: None,
            rport: Rport::Absent,
            received: None,
            maddr: None,
            params: cursor.rest(),
        };
        for param in Params::new(via.params) {
            let param = param.ok()?;
            if param.is(b"branch") {
                via.branch = param.value;
            } else if param.is(b"rport") {
                via.rport = match param.value {
                    None => Rport::Requested,
                    Some(port) => Rport::Filled(number(port)?),
                };
            } else if param.is(b"received") {
                via.received = param.value;
            } else if param.is(b"maddr") {
                via.maddr = param.value;
            }
        }
        Some(via)
    }

    /// Whether the branch is one of RFC 3261, which alone with sent-by and method names the
    /// transaction: it begins with `z9hG4bK` and has more than that.
    pub fn has_unique_branch(&self) -> bool {
        let split = |branch: &'a str| branch.split_at_checked(MAGIC_COOKIE.len());
        self.branch
            .and_then(split)
            .is_some_and(|(cookie, id)| cookie.eq_ignore_ascii_case(MAGIC_COOKIE) && !id.is_empty())
    }
}

fn sent_protocol<'a>(cursor: &mut Cursor<'a>) -> Option<&'a str> {
    // As all but tests write it.
    if cursor.rest().starts_with("SIP/2.0/") {
        cursor.take("SIP/2.0/".len())?;
        if ["UDP ", "TCP ", "TLS "].iter().any(|it| cursor.rest().starts_with(it)) {
            return cursor.take("UDP".len());
        }
        cursor.skip_lws();
        return Some(cursor.token()).filter(|transport| !transport.is_empty());
    }
    any_sent_protocol(cursor)
}

#[inline(never)]
fn any_sent_protocol<'a>(cursor: &mut Cursor<'a>) -> Option<&'a str> {
    let mut part = |last: bool| {
        let text = cursor.token();
        if !last {
            cursor.skip_lws();
            cursor.eat(b'/').then_some(())?;
            cursor.skip_lws();
        }
        Some(text)
    };
    let name = part(false)?;
    let version = part(false)?;
    let transport = part(true)?;
    (name.eq_ignore_ascii_case("SIP") && version == "2.0" && is_token(transport))
        .then_some(transport)
}

fn sent_by<'a>(cursor: &mut Cursor<'a>) -> Option<(&'a str, Option<u16>)> {
    let host = if cursor.peek() == Some(b'[') {
        cursor.take(bracketed_length(cursor.rest())?)?
    } else {
        cursor.host()
    };
    if host.is_empty() {
        return None;
    }
    let mut ahead = cursor.clone();
    ahead.skip_lws();
    if !ahead.eat(b':') {
        return Some((host, None));
    }
    ahead.skip_lws();
    let port = number(ahead.digits())?;
    *cursor = ahead;
    Some((host, Some(port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_via_gives_its_parts() {
        let via = Via::parse("SIP/2.0/UDP 10.0.0.1:5070;rport;branch=z9hG4bKa;keep").unwrap();
        assert_eq!((via.transport, via.host, via.port), ("UDP", "10.0.0.1", Some(5070)));
        assert_eq!((via.branch, via.rport), (Some("z9hG4bKa"), Rport::Requested));
        assert!(via.has_unique_branch());
    }

    #[test]
    fn white_space_and_folds_may_stand_between_all_parts() {
        let via =
            Via::parse("SIP  /    2.0\r\n /UDP\r\n    192.0.2.2 : 5060 ;\r\n  branch = 390skdjuw");
        let via = via.unwrap();
        assert_eq!((via.host, via.port, via.branch), ("192.0.2.2", Some(5060), Some("390skdjuw")));
        assert!(!via.has_unique_branch());
    }

    #[test]
    fn an_ipv6_address_stands_in_brackets() {
        let via = Via::parse("SIP/2.0/TLS [2001:db8::9:1]:6050;received=[::1];rport=7").unwrap();
        assert_eq!((via.host, via.port), ("[2001:db8::9:1]", Some(6050)));
        assert_eq!((via.received, via.rport), (Some("[::1]"), Rport::Filled(7)));
    }

    #[test]
    fn a_malformed_via_is_refused() {
        for value in [
            "",
            "SIP/2.0/UDP",
            "SIP/3.0/UDP h",
            "HTTP/2.0/UDP h",
            "SIP/2.0/UDP h:",
            "SIP/2.0/UDP h:65536",
            "SIP/2.0/UDP h:1x",
            "SIP/2.0/UDP h i",
            "SIP/2.0/UDP [h]",
            "SIP/2.0/UDP [::1",
            "SIP/2.0/UDPh",
            "SIP/2.0/UDP 192.0.2.15;;,;,,",
            "SIP/2.0/UDP h;rport=x",
        ] {
            assert_eq!(Via::parse(value), None, "{value}");
        }
    }

    #[test]
    fn the_bare_cookie_is_no_unique_branch() {
        for (branch, unique) in [("z9hG4bK", false), ("z9hg4bkx", true), ("x", false)] {
            let value = format!("SIP/2.0/UDP h;branch={branch}");
            assert_eq!(Via::parse(&value).unwrap().has_unique_branch(), unique, "{branch}");
        }
    }
}

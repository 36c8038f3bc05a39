//! Why a registration failed, in words: what is wrong, and what to look at.

use std::{borrow::Cow, fmt};

/// One part of a registration.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Step {
    /// The request for connection details until its answer (`MIG-1` to `MIG-13`).
    Details,
    /// REGISTER without a response until its 401 (`MIG-15` to `MIG-22`).
    Challenge,
    /// REGISTER with the response until its 200 (`MIG-23`, `MIG-24`).
    Response,
    /// The request for an inbound pair (`MIG-9` to `MIG-11`).
    Allocation,
    /// MAR until its MAA (`MIG-18`, `MIG-19`).
    Vector,
}

impl Step {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Details => "details",
            Self::Challenge => "challenge",
            Self::Response => "response",
            Self::Allocation => "allocation",
            Self::Vector => "vector",
        }
    }
}

/// Why a registration failed.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) enum Cause {
    /// No final answer within Timer F.
    Timeout(Step),
    /// Refused with this status.
    Refused(Step, u16),
    /// MAC-A is wrong, and no simple mistake explains it.
    Mac,
    /// MAC-A is right if the OPc given is taken as OP.
    OpcIsOp,
    /// MAC-A is right if the OP given is taken as OPc.
    OpIsOpc,
    /// MAC-A is right if K and OPc are exchanged.
    Exchanged,
    /// MAC-A is over another AMF than AUTN has.
    Amf,
    /// The SQN is out of range again, after an AUTS.
    Sqn,
    /// A 401 without a Digest challenge.
    NoChallenge,
    /// No challenge has an algorithm of AKA.
    Algorithm,
    /// The nonce is not RAND and AUTN.
    Nonce,
    /// The challenge has no realm.
    NoRealm,
    /// Refused, and the realm of the challenge is not the domain of the subscriber.
    Realm(u16),
    /// Neither `auth` nor no qop is offered.
    Qop,
    /// Challenged again and again.
    Challenged,
    /// The period asked for is too short.
    Period,
    /// 200, but the contact is not registered.
    NotGranted,
    /// An answer to this request that is no SIP.
    Malformed,
    /// The TCP connection ended.
    Broken,
    /// It was still under way when the run ended.
    CutOff,
    /// Refused by the configuration management server, which names this problem.
    NoDetails(&'static str),
    /// No HTTP connection, or it broke.
    NoHttp,
    /// An identity was lent twice.
    Collision,
    /// An MAA with this result.
    Cx(u16),
    /// A vector whose SQN was used before, or is out of range.
    SqnAgain,
    /// The subscriber is no user of a configuration management server.
    NoUser,
}

impl Cause {
    /// A short name that stays: for scripts.
    pub(super) fn name(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Refused(step, status) => {
                return format!("{status}-to-{}", step.name()).into();
            }
            Self::Timeout(step) => return format!("timeout-{}", step.name()).into(),
            Self::Realm(_) => "realm",
            Self::Mac => "mac",
            Self::OpcIsOp => "opc-is-op",
            Self::OpIsOpc => "op-is-opc",
            Self::Exchanged => "k-and-opc-exchanged",
            Self::Amf => "amf",
            Self::Sqn => "sqn",
            Self::NoChallenge => "no-challenge",
            Self::Algorithm => "algorithm",
            Self::Nonce => "nonce",
            Self::NoRealm => "no-realm",
            Self::Qop => "qop",
            Self::Challenged => "challenged-again",
            Self::Period => "period",
            Self::NotGranted => "not-granted",
            Self::Malformed => "malformed",
            Self::Broken => "broken",
            Self::CutOff => "cut-off",
            Self::NoDetails(problem) => problem,
            Self::NoHttp => "http",
            Self::NoUser => "no-user",
            Self::Collision => "collision",
            Self::Cx(code) => return format!("cx-{code}").into(),
            Self::SqnAgain => "sqn-again",
        })
    }

    /// What to look at.
    pub(super) fn advice(self) -> &'static str {
        match self {
            Self::Timeout(_) => {
                "it is overloaded, or datagrams are lost: look at drops, or lower the rate"
            }
            Self::CutOff => "it is overloaded, or went away when the run was stopped",
            Self::Refused(Step::Challenge, 403 | 404) => {
                "provision the pair, or check impi, impu and domain"
            }
            Self::Refused(Step::Response, 403) => {
                "K, OP and SQN are right, since the challenge was: look at username, digest-uri and qop there, \
                 whether its RES survives (SIPp before 3.7 cuts it at an octet 00), and whether the user has as \
                 many contacts as it takes: each run adds one until it expires, unless they have the same --contact"
            }
            Self::Refused(_, 420 | 421 | 494) => {
                "it demands an extension such as IPsec (sec-agree)"
            }
            Self::Refused(_, 503) => "it sheds load: lower the rate",
            Self::Refused(_, 504 | 480) => {
                "what it relies on (HSS, home system) does not answer it"
            }
            Self::Refused(_, 500..=599) => "its own trouble: see its log",
            Self::Cx(5001) => "provision the subscriber there",
            Self::Cx(5002) => "impi and impu are not of one subscriber there",
            Self::Cx(3002 | 3004) => "it is overloaded, or cut off from the home's database",
            Self::Refused(..) | Self::Cx(_) => "see its log",
            Self::Mac => "compare K and OP or OPc of the subscriber there and here",
            Self::OpcIsOp => "give the key as op, not as opc",
            Self::OpIsOpc => "give the key as opc, not as op",
            Self::Exchanged => "exchange k and opc",
            Self::Amf => "make the AMF in AUTN the one that MAC-A covers",
            Self::Sqn => {
                "the HSS does not take the SQN of AUTS over, or has another length of IND (--ind-bits)"
            }
            Self::NoChallenge | Self::Algorithm => {
                "set the authentication of the subscriber to Digest-AKA there"
            }
            Self::Nonce => "the nonce must be base64 of RAND and AUTN (RFC 3310)",
            Self::NoRealm => "configure a realm there",
            Self::Realm(_) => {
                "give the subscriber's realm there the domain of its private identity"
            }
            Self::Qop => "let it offer qop auth, or none",
            Self::Challenged => {
                "a nonce is not known any more when it is answered: look for a shared state there"
            }
            Self::NoDetails("exhausted") => {
                "a pool is empty, or a table is full: see migcore admin list pools"
            }
            Self::NoDetails("no-partner") => {
                "no partner serves the place where the UEs are: compare --plmn with the areas of its partners"
            }
            Self::NoDetails("not-authenticated") => "the tokens differ: provision the users anew",
            Self::NoDetails("partner-unreachable" | "unavailable") => {
                "a server is overloaded or cut off from another one: lower the rate, see its log"
            }
            Self::NoDetails(_) => "look at users, agreements, partners and UE configurations there",
            Self::NoHttp => "is it up, and is this its CSC-4 address?",
            Self::Collision => "the pool is broken: keep its store and see what lent it",
            Self::SqnAgain => {
                "vectors are used elsewhere too, or two instances do not share one SQN"
            }
            Self::NoUser => "add the columns mc_service_id and token",
            Self::Period => "ask for longer with --expires",
            Self::NotGranted => "look at its limits for Expires and contacts",
            Self::Malformed => "see what it sends with a capture",
            Self::Broken => "see its log: it closed the connection",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Timeout(step) => {
                return write!(f, "timeout: no answer to the {} (Timer F)", asked(*step));
            }
            Self::Refused(step, status) => {
                return write!(
                    f,
                    "refused with {status} {}after the {}",
                    phrase(*status),
                    asked(*step)
                );
            }
            Self::Realm(status) => {
                return write!(
                    f,
                    "realm: refused with {status}, and the realm of the challenge is not the subscriber's domain"
                );
            }
            Self::Mac => "K or OP: the challenge was not made with this K and OPc (MAC-A is wrong)",
            Self::OpcIsOp => "OP: the OPc given is an OP",
            Self::OpIsOpc => "OP: the OP given is an OPc",
            Self::Exchanged => "K: K and OPc are exchanged",
            Self::Amf => "AMF: MAC-A covers another AMF than AUTN has",
            Self::Sqn => "SQN: out of range again after a resynchronization",
            Self::NoChallenge => "401 without a Digest challenge",
            Self::Algorithm => "algorithm: no challenge is for AKAv1 or AKAv2",
            Self::Nonce => "nonce: it does not hold RAND and AUTN",
            Self::NoRealm => "realm: the challenge has none",
            Self::Qop => "qop: the challenge offers none that is known",
            Self::Challenged => "challenged again and again after right responses",
            Self::Period => "423: the registration period is too short",
            Self::NotGranted => "200, but the contact is not registered",
            Self::Malformed => "an answer that is no SIP",
            Self::Broken => "the TCP connection ended",
            Self::CutOff => "still under way when the run ended",
            Self::NoDetails(problem) => {
                return write!(
                    f,
                    "{problem}: no connection details, says the configuration server"
                );
            }
            Self::NoHttp => {
                "the configuration server cannot be reached, or broke the connection off"
            }
            Self::Collision => "an identity was lent twice",
            Self::Cx(code) => return write!(f, "MAA with result {code}{}", result_name(*code)),
            Self::SqnAgain => "SQN: a vector has one that was used before, or is out of range",
            Self::NoUser => "the file has no mc_service_id and token for it",
        };
        f.write_str(text)
    }
}

const fn asked(step: Step) -> &'static str {
    match step {
        Step::Details => "request for connection details",
        Step::Challenge => "first REGISTER",
        Step::Response => "response to the challenge",
        Step::Allocation => "request for a pair",
        Step::Vector => "request for a vector",
    }
}

const fn phrase(status: u16) -> &'static str {
    match status {
        400 => "Bad Request ",
        401 => "Unauthorized ",
        403 => "Forbidden ",
        404 => "Not Found ",
        405 => "Method Not Allowed ",
        420 => "Bad Extension ",
        421 => "Extension Required ",
        480 => "Temporarily Unavailable ",
        500 => "Server Internal Error ",
        503 => "Service Unavailable ",
        504 => "Server Time-out ",
        _ => "",
    }
}

/// The name of a Diameter result.
const fn result_name(code: u16) -> &'static str {
    match code {
        3002 => " (DIAMETER_UNABLE_TO_DELIVER)",
        3004 => " (DIAMETER_TOO_BUSY)",
        5001 => " (DIAMETER_ERROR_USER_UNKNOWN)",
        5002 => " (DIAMETER_ERROR_IDENTITIES_DONT_MATCH)",
        5006 => " (DIAMETER_ERROR_AUTH_SCHEME_NOT_SUPPORTED)",
        5012 => " (DIAMETER_UNABLE_TO_COMPLY)",
        _ => "",
    }
}

//! What a UE makes of a challenge: the response by its ISIM, an AUTS, or why neither is possible.

use crate::{
    aka::{
        Amf, Autn, Milenage, Rand,
        digest::{
            Algorithm, DigestInput, HexDigest, Qop, QopInput, decode_nonce, encode_auts, password,
            response,
        },
    },
    secret::Secret,
    sip::{auth_header::DigestChallenge, response::ResponseView},
};

use super::{
    cause::Cause,
    sqn_memory::SqnMemory,
    subscribers::{Keys, NameBuffers, Subscribers},
};

/// Challenges whose AMF is searched for by trying all: each takes some milliseconds.
const SEARCHES_MAX: u32 = 4;

/// The response to one challenge.
pub(super) struct Answer<'a> {
    pub(super) challenge: DigestChallenge<'a>,
    pub(super) algorithm: Algorithm,
    pub(super) qop: Option<Qop>,
    pub(super) response: HexDigest,
    /// The SQN was out of range: AUTS in base64.
    pub(super) auts: Option<String>,
}

/// Who answers.
pub(super) struct Answerer<'a> {
    pub(super) subscribers: &'a Subscribers,
    /// The number of the subscriber in the run.
    pub(super) subscriber: u32,
    pub(super) names: &'a NameBuffers,
    /// The digest-uri.
    pub(super) uri: &'a str,
    pub(super) cnonce: &'a str,
}

/// Why challenges are not authentic, as far as it was found out.
#[derive(Default)]
pub(super) struct Diagnosis {
    searches: u32,
    amf: Option<Amf>,
}

impl Answerer<'_> {
    /// Answers the challenge in `answer`.
    ///
    /// # Errors
    ///
    /// Why there is nothing to answer with.
    pub(super) fn answer<'m>(
        &self,
        answer: &ResponseView<'m>,
        sqn: (&mut SqnMemory, u32),
        diagnosis: &mut Diagnosis,
    ) -> Result<Answer<'m>, Cause> {
        let (challenge, algorithm, (rand, autn)) = usable_challenge(answer)?;
        let keys = self.subscribers.keys(self.subscriber).ok_or(Cause::Mac)?;
        let milenage = Milenage::new(&keys.k, &keys.opc);
        let Ok(ue) = milenage.verify_autn(&rand, &autn) else {
            return Err(diagnosis.of(keys, self.subscribers.op(self.subscriber), &rand, &autn));
        };
        let (memory, number) = sqn;
        let qop = chosen_qop(&challenge)?;
        let input = DigestInput {
            username: &self.names.impi,
            realm: &challenge.realm,
            method: "REGISTER",
            uri: self.uri,
            nonce: &challenge.nonce,
            qop: qop.map(|qop| QopInput { qop, nc: "00000001", cnonce: self.cnonce }),
            body: &[],
        };
        let (response, auts) = if memory.accept(number, ue.sqn).is_ok() {
            let password = password(algorithm, ue.res.expose(), ue.ck.expose(), ue.ik.expose());
            (response(algorithm, &input, password.expose()), None)
        } else {
            let auts = milenage.auts(&rand, memory.highest(number));
            (response(algorithm, &input, &[]), Some(encode_auts(&auts)))
        };
        Ok(Answer { challenge, algorithm, qop, response, auts })
    }
}

/// The first challenge of AKA. If none can be answered: what the one that came farthest lacks.
fn usable_challenge<'m>(
    answer: &ResponseView<'m>,
) -> Result<(DigestChallenge<'m>, Algorithm, (Rand, Autn)), Cause> {
    const LACKING: [Cause; 4] =
        [Cause::NoChallenge, Cause::Algorithm, Cause::Nonce, Cause::NoRealm];
    let mut farthest = 0;
    for challenge in answer.challenges() {
        let algorithm = challenge.algorithm.as_deref().and_then(Algorithm::parse);
        let lacks = match (algorithm, decode_nonce(&challenge.nonce)) {
            (None, _) => 1,
            (_, None) => 2,
            _ if challenge.realm.is_empty() => 3,
            (Some(algorithm), Some(nonce)) => return Ok((challenge, algorithm, nonce)),
        };
        farthest = farthest.max(lacks);
    }
    Err(LACKING.get(farthest).copied().unwrap_or(Cause::NoChallenge))
}

/// `auth`, else `auth-int`, else none where none is offered (RFC 2617 clause 3.2.1).
fn chosen_qop(challenge: &DigestChallenge<'_>) -> Result<Option<Qop>, Cause> {
    if challenge.qop.is_none() {
        return Ok(None);
    }
    let offered =
        [Qop::Auth, Qop::AuthInt].into_iter().find(|qop| challenge.offers_qop(qop.as_str()));
    offered.map(Some).ok_or(Cause::Qop)
}

impl Diagnosis {
    /// Finds out why a challenge is not authentic: tries what is often mistaken for something else.
    pub(super) fn of(
        &mut self,
        keys: &Keys,
        op: Option<&Secret<16>>,
        rand: &Rand,
        autn: &Autn,
    ) -> Cause {
        let Keys { k, opc } = keys;
        let fits = |k: &Secret<16>, opc: &Secret<16>, autn: &Autn| {
            Milenage::new(k, opc).verify_autn(rand, autn).is_ok()
        };
        let derived = crate::aka::opc_from_op(k, opc);
        if fits(k, &derived, autn) {
            return Cause::OpcIsOp;
        }
        if op.is_some_and(|op| fits(k, op, autn)) {
            return Cause::OpIsOpc;
        }
        if fits(opc, k, autn) {
            return Cause::Exchanged;
        }
        let with = |amf: Amf| {
            let mut other = *autn;
            let (_, rest) = other.split_at_mut(6);
            if let Some((field, _)) = rest.split_first_chunk_mut() {
                *field = amf;
            }
            other
        };
        if self.amf.is_none() && self.searches < SEARCHES_MAX {
            self.searches += 1;
            let milenage = Milenage::new(k, opc);
            let all = (0..=u16::MAX).map(u16::to_be_bytes);
            let mut right = all.filter(|amf| milenage.verify_autn(rand, &with(*amf)).is_ok());
            self.amf = right.next();
        }
        match self.amf {
            Some(amf) if fits(k, opc, &with(amf)) => Cause::Amf,
            _ => Cause::Mac,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        aka::{Sqn, opc_from_op},
        sip::Framing,
    };

    const NETWORK: ([u8; 16], [u8; 16]) = (*b"0123456789abcdef", *b"fedcba9876543210");

    /// A 401 of a network that has these keys.
    fn challenge(amf_shown: Amf, parameters: &str) -> String {
        let milenage = Milenage::new(&Secret::new(NETWORK.0), &Secret::new(NETWORK.1));
        let vector = milenage.vector(&[7; 16], Sqn::new(5, 0, 5), [0x80, 0]);
        let mut autn = vector.autn;
        autn[6..8].copy_from_slice(&amf_shown);
        let nonce = crate::aka::digest::encode_nonce(&vector.rand, &autn);
        let parameters = parameters.replace("NONCE", &nonce);
        format!(
            "SIP/2.0 401 Unauthorized\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\n\
             To: <sip:a@b>;tag=2\r\nCall-ID: c\r\nCSeq: 1 REGISTER\r\nWWW-Authenticate: Digest {parameters}\r\n\
             Content-Length: 0\r\n\r\n"
        )
    }

    fn answered(text: &str, line: &str, diagnosis: &mut Diagnosis) -> Result<Option<Qop>, Cause> {
        let path = std::env::temp_dir().join(format!(
            "{}-answer-{:x}.csv",
            std::process::id(),
            line.as_ptr() as usize
        ));
        std::fs::write(&path, line).unwrap();
        let subscribers = Subscribers::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let mut names = NameBuffers::default();
        subscribers.name(0, &mut names);
        let answerer = Answerer {
            subscribers: &subscribers,
            subscriber: 0,
            names: &names,
            uri: "sip:b",
            cnonce: "c",
        };
        let view = ResponseView::parse(text.as_bytes(), Framing::Datagram).unwrap();
        let answer = answerer.answer(&view, (&mut SqnMemory::new(1, 5), 0), diagnosis)?;
        Ok(answer.qop)
    }

    const GOOD: &str = "realm=\"b\", nonce=\"NONCE\", algorithm=AKAv1-MD5";

    fn table(column: &str, k: [u8; 16], operator: [u8; 16]) -> String {
        let hex = |key| Secret::new(key).to_hex().to_string();
        format!("impi,impu,k,{column}\na@b,sip:a@b,{},{}\n", hex(k), hex(operator))
    }

    #[test]
    fn a_challenge_that_is_not_authentic_is_told_by_what_is_wrong_with_the_keys() {
        let (k, opc) = NETWORK;
        let text = challenge([0x80, 0], GOOD);
        let mut said = Vec::new();
        for (column, k, operator) in [
            ("opc", k, opc),
            ("opc", opc, k),
            ("op", k, opc),
            ("opc", [9; 16], opc),
            ("opc", k, [9; 16]),
        ] {
            said.push(answered(&text, &table(column, k, operator), &mut Diagnosis::default()));
        }
        let wrong = [Cause::Exchanged, Cause::OpIsOpc, Cause::Mac, Cause::Mac];
        assert_eq!(said.remove(0), Ok(None));
        assert_eq!(said, wrong.map(Err));
    }

    #[test]
    fn an_op_given_as_opc_is_found() {
        // The network's OPc follows from this OP, which the file calls OPc.
        let (k, op) = ([3; 16], [4; 16]);
        let opc = opc_from_op(&Secret::new(k), &Secret::new(op));
        let vector =
            Milenage::new(&Secret::new(k), &opc).vector(&[1; 16], Sqn::new(1, 0, 5), [0; 2]);
        let keys = Keys { k: Secret::new(k), opc: Secret::new(op) };
        let cause = Diagnosis::default().of(&keys, None, &vector.rand, &vector.autn);
        assert_eq!(cause, Cause::OpcIsOp);
    }

    #[test]
    fn an_amf_that_mac_a_does_not_cover_is_found_once_and_then_known() {
        let (k, opc) = NETWORK;
        let text = challenge([0xb9, 0xb9], GOOD);
        let mut diagnosis = Diagnosis::default();
        for _ in 0..2 * SEARCHES_MAX {
            assert_eq!(answered(&text, &table("opc", k, opc), &mut diagnosis), Err(Cause::Amf));
        }
        assert_eq!(diagnosis.searches, 1);
    }

    #[test]
    fn a_challenge_that_cannot_be_answered_is_told_by_what_it_lacks() {
        let (k, opc) = NETWORK;
        for (parameters, wanted) in [
            ("realm=\"b\", nonce=\"NONCE\", algorithm=MD5", Err(Cause::Algorithm)),
            ("realm=\"b\", nonce=\"abcd\", algorithm=AKAv1-MD5", Err(Cause::Nonce)),
            ("nonce=\"NONCE\", algorithm=AKAv1-MD5", Err(Cause::NoRealm)),
            ("realm=\"b\", nonce=\"NONCE\", algorithm=AKAv1-MD5, qop=\"x\"", Err(Cause::Qop)),
            (
                "realm=\"b\", nonce=\"NONCE\", algorithm=AKAv2-MD5, qop=\"auth-int\"",
                Ok(Some(Qop::AuthInt)),
            ),
            (
                "realm=\"b\", nonce=\"NONCE\", algorithm=AKAv2-SHA-256, qop=\"auth-int,auth\"",
                Ok(Some(Qop::Auth)),
            ),
        ] {
            let text = challenge([0x80, 0], parameters);
            let outcome = answered(&text, &table("opc", k, opc), &mut Diagnosis::default());
            assert_eq!(outcome, wanted, "{parameters}");
        }
        let none = challenge([0x80, 0], GOOD).replace("WWW-Authenticate", "X");
        let outcome = answered(&none, &table("opc", k, opc), &mut Diagnosis::default());
        assert_eq!(outcome, Err(Cause::NoChallenge));
    }
}

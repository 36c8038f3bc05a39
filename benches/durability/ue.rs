//! A UE: what it sends, and what it makes of a challenge.

use migcore::{
    aka::{
        Milenage,
        digest::{Algorithm, DigestInput, Qop, QopInput, decode_nonce, password, response},
    },
    secret::Secret,
};

pub const DOMAIN: &str = "a.example";

/// All users have the same keys: what they cost is the same.
pub const K: [u8; 16] = *b"0123456789abcdef";
pub const OPC: [u8; 16] = *b"fedcba9876543210";

pub struct Ue {
    number: usize,
    cseq: u32,
    /// For how long it registers, seconds.
    pub expires: u32,
    milenage: Milenage,
}

impl Ue {
    pub fn new(number: usize) -> Self {
        let milenage = Milenage::new(&Secret::new(K), &Secret::new(OPC));
        Self { number, cseq: 0, expires: 3_600, milenage }
    }

    pub fn name(number: usize) -> String {
        format!("user-{number}")
    }

    /// A REGISTER without a response.
    pub fn ask(&mut self) -> String {
        let authorization = "nonce=\"\", response=\"\"".to_owned();
        self.register(&authorization)
    }

    /// A REGISTER with the response to the challenge in `answer`.
    pub fn respond(&mut self, answer: &str) -> String {
        let nonce = answer.split("nonce=\"").nth(1).unwrap().split('"').next().unwrap();
        let (rand, autn) = decode_nonce(nonce).expect("RAND and AUTN");
        let ue = self.milenage.verify_autn(&rand, &autn).expect("an authentic challenge");
        let (ck, ik) = (ue.ck.expose(), ue.ik.expose());
        let password = password(Algorithm::AkaV1Md5, ue.res.expose(), ck, ik);
        let username = format!("{}@{DOMAIN}", Self::name(self.number));
        let uri = format!("sip:{DOMAIN}");
        let qop = QopInput { qop: Qop::Auth, nc: "00000001", cnonce: "c" };
        let input = DigestInput {
            username: &username,
            realm: DOMAIN,
            uri: &uri,
            nonce,
            method: "REGISTER",
            qop: Some(qop),
            body: &[],
        };
        let digest = response(Algorithm::AkaV1Md5, &input, password.expose());
        let authorization = format!(
            "nonce=\"{nonce}\", response=\"{}\", algorithm=AKAv1-MD5, qop=auth, nc=00000001, cnonce=\"c\"",
            digest.as_str()
        );
        self.register(&authorization)
    }

    /// The number of the UE whose transaction an answer belongs to.
    pub fn number_in(answer: &str) -> Option<usize> {
        answer.split("branch=z9hG4bK").nth(1)?.split('-').next()?.parse().ok()
    }

    /// The same, and the sequence number of the request.
    #[allow(dead_code, reason = "not every bench repeats requests")]
    pub fn number_and_cseq_in(answer: &str) -> Option<(usize, u32)> {
        let mut branch = answer.split("branch=z9hG4bK").nth(1)?.split(['-', ';', '\r']);
        Some((branch.next()?.parse().ok()?, branch.next()?.parse().ok()?))
    }

    /// The sequence number of the last request.
    #[allow(dead_code, reason = "as above")]
    pub const fn cseq(&self) -> u32 {
        self.cseq
    }

    fn register(&mut self, authorization: &str) -> String {
        self.cseq += 1;
        let Self { number, cseq, expires, .. } = *self;
        let name = Self::name(number);
        format!(
            "REGISTER sip:{DOMAIN} SIP/2.0\r\n\
             Via: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bK{number}-{cseq};rport\r\n\
             Max-Forwards: 70\r\n\
             From: <sip:{name}@{DOMAIN}>;tag=1\r\n\
             To: <sip:{name}@{DOMAIN}>\r\n\
             Call-ID: call-{number}\r\n\
             CSeq: {cseq} REGISTER\r\n\
             Contact: <sip:{name}@127.0.0.1:9>\r\n\
             Expires: {expires}\r\n\
             Authorization: Digest username=\"{name}@{DOMAIN}\", realm=\"{DOMAIN}\", \
             uri=\"sip:{DOMAIN}\", {authorization}\r\n\
             Content-Length: 0\r\n\r\n"
        )
    }
}

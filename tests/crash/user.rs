//! A user of A with its UE in B, the administrators who lend and take back, and what all of them remember
//! of what they were told.

use std::{
    collections::{HashMap, VecDeque},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use migcore::{
    aka::{
        Milenage, SqnArray,
        digest::{Algorithm, DigestInput, Qop, QopInput, decode_nonce, password, response},
    },
    entropy::Entropy as _,
    secret::Secret,
    sip::{
        Framing,
        auth_header::{DigestChallenge, DigestCredentials},
        request::{ContactToSend, RegisterBuilder},
        response::ResponseView,
    },
};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::{
    common::Seeded,
    history::{Contact, ContactState, Held, History, Pair, Violation, now},
    load::Situation,
    server::hex,
    wire::SipLink,
};

/// The domains of the home and of the partner.
pub const HOME: &str = "a.example";
pub const PARTNER: &str = "b.example";

/// How many contacts one user has.
const CONTACTS: usize = 2;

/// How many challenges one REGISTER may get: each restart meanwhile makes one stale.
const CHALLENGES_MAX: u32 = 30;

/// How often something is tried while systems come and go.
const ATTEMPTS_MAX: u32 = 200;

/// How long to wait before something is tried again.
const PAUSE: Duration = Duration::from_millis(50);

/// Of 1,000 registrations so many end after a few seconds.
const SHORT_PER_MILLE: u64 = 20;

/// What one thread's users share.
#[derive(Clone)]
pub struct Surroundings {
    pub link: Rc<SipLink>,
    pub http: reqwest::Client,
    pub history: Arc<History>,
    /// The management interfaces of A and B.
    pub management: [String; 2],
    /// CSC-4 of A.
    pub csc4: String,
    pub situation: watch::Receiver<Situation>,
}

/// A user.
pub struct User {
    pub number: u64,
    k: Secret<16>,
    opc: Secret<16>,
    token: String,
    milenage: Milenage,
    /// What the ISIM accepted.
    accepted: SqnArray,
    /// Every SQN that came, with the nonce and the CSeq that it came with.
    pub sqns: HashMap<u64, (Vec<u8>, u32)>,
    /// The IND of the first vector: the partner keeps it.
    ind: Option<u8>,
    pub outbound: Held,
    pub inbound: Held,
    call_id: String,
    cseq: u32,
    pub contacts: [Contact; CONTACTS],
    /// Released pairs that may still be registered, with what is possible there.
    pub retired: Vec<(Pair, [Contact; CONTACTS])>,
    /// Pairs of B that were released, the last ones.
    released: VecDeque<Pair>,
}

/// What a REGISTER is to do.
#[derive(Clone, Copy)]
enum Wish {
    Bind { slot: usize, expires: u32 },
    Unbind { slot: usize },
    Fetch,
}

/// What a REGISTER that has been sent may do.
#[derive(Clone, Copy)]
struct Asked {
    slot: usize,
    state: ContactState,
    /// Whether the contact was bound before.
    was_bound: bool,
}

/// How a REGISTER ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Outcome {
    Done,
    /// A definite refusal with this status.
    Refused(u16),
    /// None, or that the system cannot serve now: it may or may not have been done.
    Unanswered,
}

impl User {
    /// The user of this number, with keys drawn from `entropy`.
    pub fn new(number: u64, entropy: &mut Seeded) -> Self {
        let mut draw = || {
            let mut octets = [0; 16];
            entropy.fill(&mut octets);
            octets
        };
        let (k, opc) = (Secret::new(draw()), Secret::new(draw()));
        Self {
            number,
            milenage: Milenage::new(&k, &opc),
            k,
            opc,
            token: hex(&draw()),
            accepted: SqnArray::default(),
            sqns: HashMap::new(),
            ind: None,
            outbound: Held::Nothing,
            inbound: Held::Nothing,
            call_id: hex(&draw()),
            cseq: 0,
            contacts: Default::default(),
            retired: Vec::new(),
            released: VecDeque::new(),
        }
    }

    /// The real pair.
    pub fn real(&self) -> Pair {
        let name = format!("user-{}@{HOME}", self.number);
        Pair { impu: format!("sip:{name}"), impi: name }
    }

    /// Makes the user known at home: a subscriber, and its name on CSC-4.
    pub async fn provision(&self, at: &Surroundings) {
        let Pair { impi, impu } = self.real();
        let (k, opc) = (hex(self.k.expose()), hex(self.opc.expose()));
        let subscriber = json!({ "impus": [impu], "k": k, "opc": opc });
        at.put(0, &format!("/v1/subscribers/{impi}"), &subscriber).await;
        let user = json!({ "impi": impi, "impu": impu, "token": self.token });
        at.put(0, &format!("/v1/users/sip:officer-{}@{HOME}", self.number), &user).await;
    }

    /// One thing that a user or an administrator may do, and until it is known what became of it.
    pub async fn act(&mut self, at: &mut Surroundings, entropy: &mut Seeded) {
        self.settle_bindings(at).await;
        match entropy.below(1_000) {
            0..=849 => self.bind(at, entropy).await,
            850..=929 => {
                let slot = (0..CONTACTS).find(|slot| self.contacts[*slot].is_bound());
                match slot {
                    Some(slot) => self.change(at, Wish::Unbind { slot }).await,
                    None => self.bind(at, entropy).await,
                }
            }
            930..=959 => self.fetch(at).await,
            960..=974 => self.ask_again(at).await,
            _ => self.leave_and_return(at, entropy).await,
        }
    }

    /// Compares everything that this user was told with what the systems say now.
    pub async fn compare(&mut self, at: &mut Surroundings) {
        self.settle_bindings(at).await;
        self.fetch(at).await;
        for (direction, held) in [("outbound", &self.outbound), ("inbound", &self.inbound)] {
            if let Held::Pair(pair) = held
                && let Some(false) = at.is_bound(direction, pair).await
            {
                let words = format!("{direction} {} of user {}", pair.impi, self.number);
                at.history.violation(Violation::Lost, words);
            }
        }
        for pair in &self.released {
            if let Some(true) = at.is_bound("inbound", pair).await {
                let words = format!("inbound {} was released by user {}", pair.impi, self.number);
                at.history.violation(Violation::Resurrected, words);
            }
        }
    }

    /// Registers or refreshes a contact.
    async fn bind(&mut self, at: &mut Surroundings, entropy: &mut Seeded) {
        let short = entropy.below(1_000) < SHORT_PER_MILLE;
        let expires = if short { 2 + entropy.below(4) } else { 3_600 + entropy.below(500_000) };
        let slot = usize::from(entropy.below(8) == 0);
        let expires = u32::try_from(expires).unwrap();
        self.change(at, Wish::Bind { slot, expires }).await;
    }

    /// Changes a contact, and if there is no definite answer finds out by asking.
    async fn change(&mut self, at: &mut Surroundings, wish: Wish) {
        match self.register(at, wish).await {
            Outcome::Done => {}
            Outcome::Refused(status) => self.refused(at, status),
            Outcome::Unanswered => {
                at.history.in_doubt.add();
                self.fetch(at).await;
            }
        }
    }

    /// Asks what is registered, as often as it takes to be told.
    async fn fetch(&mut self, at: &mut Surroundings) {
        for _ in 0..ATTEMPTS_MAX {
            match self.register(at, Wish::Fetch).await {
                Outcome::Done => return,
                Outcome::Refused(status) => return self.refused(at, status),
                Outcome::Unanswered => tokio::time::sleep(PAUSE).await,
            }
        }
        let words = format!("user {} got no answer for long", self.number);
        at.history.violation(Violation::Refused, words);
    }

    fn refused(&self, at: &Surroundings, status: u16) {
        let words = format!("REGISTER of user {} got {status}", self.number);
        at.history.violation(Violation::Refused, words);
    }

    /// Asks both administrators again, or the home's configuration server: the pairs stay.
    async fn ask_again(&mut self, at: &mut Surroundings) {
        if self.number.is_multiple_of(2) {
            self.allocate(at, true).await;
        } else {
            self.ask_for_details(at).await;
        }
    }

    /// An administrator takes both pairs back, of a user that has left or of one that has not, and lends
    /// others.
    async fn leave_and_return(&mut self, at: &mut Surroundings, entropy: &mut Seeded) {
        let revoked = entropy.below(2) == 0;
        if !revoked {
            for slot in 0..CONTACTS {
                if self.contacts[slot].is_bound() {
                    self.change(at, Wish::Unbind { slot }).await;
                }
            }
        }
        self.release(at, "inbound").await;
        if revoked && matches!(self.inbound, Held::Nothing) {
            self.expect_refusal(at).await;
        }
        self.release(at, "outbound").await;
        self.settle_bindings(at).await;
    }

    /// Registers with a pair that was revoked just now.
    async fn expect_refusal(&mut self, at: &mut Surroundings) {
        let Some((pair, _)) = self.retired.last().cloned() else { return };
        self.inbound = Held::Pair(pair);
        let kept = self.contacts.clone();
        let outcome = self.register(at, Wish::Bind { slot: 0, expires: 3_600 }).await;
        if outcome == Outcome::Done {
            let words = format!("user {} registered with a revoked pair", self.number);
            at.history.violation(Violation::Resurrected, words);
        }
        self.contacts = kept;
        self.inbound = Held::Nothing;
    }

    /// Until it is known which pairs the user holds, and it holds one of each.
    pub async fn settle_bindings(&mut self, at: &mut Surroundings) {
        for attempt in 0.. {
            if matches!((&self.outbound, &self.inbound), (Held::Pair(_), Held::Pair(_))) {
                return;
            }
            if attempt > 0 {
                tokio::time::sleep(PAUSE).await;
            }
            if attempt > ATTEMPTS_MAX {
                let words = format!("user {} gets no pairs", self.number);
                at.history.violation(Violation::Refused, words);
                return;
            }
            self.find_out(at, "inbound").await;
            self.find_out(at, "outbound").await;
            self.allocate(at, false).await;
        }
    }

    /// Whether a release without an answer was done.
    async fn find_out(&mut self, at: &mut Surroundings, direction: &str) {
        let Held::Releasing(pair) = self.held(direction) else { return };
        let pair = pair.clone();
        match at.is_bound(direction, &pair).await {
            Some(true) => *self.held(direction) = Held::Pair(pair),
            Some(false) => self.released(at, direction, pair),
            None => {}
        }
    }

    fn held(&mut self, direction: &str) -> &mut Held {
        if direction == "inbound" { &mut self.inbound } else { &mut self.outbound }
    }

    /// Takes down that `pair` is released for good.
    fn released(&mut self, at: &Surroundings, direction: &str, pair: Pair) {
        at.history.release(&pair);
        *self.held(direction) = Held::Nothing;
        if direction == "inbound" {
            let contacts = std::mem::take(&mut self.contacts);
            self.retired.push((pair.clone(), contacts));
            self.released.push_back(pair);
            self.released.truncate(2);
        }
    }

    async fn release(&mut self, at: &mut Surroundings, direction: &str) {
        let Held::Pair(pair) = self.held(direction).clone() else { return };
        *self.held(direction) = Held::Releasing(pair.clone());
        match at.release(direction, &pair).await {
            Some(204) => {
                at.history.releases.add();
                self.released(at, direction, pair);
            }
            Some(404) => {
                let words = format!("{direction} {} of user {}", pair.impi, self.number);
                at.history.violation(Violation::Lost, words);
                self.released(at, direction, pair);
            }
            Some(status) => {
                let words = format!("release of {direction} {} got {status}", pair.impi);
                at.history.violation(Violation::Refused, words);
            }
            None => at.history.in_doubt.add(),
        }
    }

    /// Asks for what the user has not, or `again` for both.
    async fn allocate(&mut self, at: &mut Surroundings, again: bool) {
        let Pair { impi, impu } = self.real();
        if again || matches!(self.outbound, Held::Nothing | Held::Asked) {
            let body = json!({ "impi": impi, "impu": impu, "partner": format!("sipdb.{PARTNER}") });
            self.ask_for_pair(at, "outbound", &body).await;
        }
        let Held::Pair(outbound) = &self.outbound else { return };
        if again || matches!(self.inbound, Held::Nothing | Held::Asked) {
            let body = json!({
                "database": format!("sipdb.{HOME}"), "impi": outbound.impi, "impu": outbound.impu,
                "server_name": format!("sip:migration.{HOME}"),
            });
            self.ask_for_pair(at, "inbound", &body).await;
        }
    }

    async fn ask_for_pair(&mut self, at: &mut Surroundings, direction: &str, body: &Value) {
        let held = self.held(direction);
        if *held == Held::Nothing {
            *held = Held::Asked;
        }
        match at.bind(direction, body).await {
            Some((200, pair)) => self.told(at, direction, pair.unwrap()),
            Some((status, _)) => {
                let words = format!("{direction} pair of user {}: {status}", self.number);
                at.history.violation(Violation::Refused, words);
            }
            None => at.history.in_doubt.add(),
        }
    }

    /// Takes down that a system says that the user holds `pair`.
    fn told(&mut self, at: &Surroundings, direction: &str, pair: Pair) {
        let number = self.number;
        at.history.lend(number, &pair);
        let held = self.held(direction);
        match held {
            Held::Pair(before) if *before == pair => at.history.repeats.add(),
            Held::Pair(before) => {
                let words = format!(
                    "user {number} holds {direction} {} and is told {}",
                    before.impi, pair.impi
                );
                at.history.violation(Violation::Lost, words);
            }
            _ => at.history.allocations.add(),
        }
        *held = Held::Pair(pair);
    }

    /// `MIG-1` to `MIG-13`: the home's configuration server asks A and B for pairs, and they are the ones
    /// that the user holds.
    async fn ask_for_details(&mut self, at: &mut Surroundings) {
        let body = json!({
            "mc_service_id": format!("sip:officer-{}@{HOME}", self.number),
            "partner": format!("sip:{PARTNER}"), "strict": true, "location": { "plmn": "00101" },
        });
        match at.details(&self.token, &body).await {
            Some((200, pair)) => {
                at.history.details.add();
                self.told(at, "inbound", pair.unwrap());
            }
            Some((status, _)) => {
                let words = format!("connection details of user {}: {status}", self.number);
                at.history.violation(Violation::Refused, words);
            }
            None => at.history.in_doubt.add(),
        }
    }
}

/// A REGISTER and what is made of its answers.
impl User {
    /// Performs the whole exchange: REGISTER, challenge, REGISTER with the response.
    async fn register(&mut self, at: &mut Surroundings, wish: Wish) -> Outcome {
        let asked = now();
        let mut credentials = None;
        let mut sent = None;
        for _ in 0..CHALLENGES_MAX {
            self.cseq += 1;
            let branch = at.link.next_branch();
            let answers = credentials.is_some();
            let request = self.request(at, branch, wish, credentials.take());
            let since = now();
            if answers {
                sent = self.ask(wish, since);
            }
            let Some(octets) = at.link.request(branch, &request, &mut at.situation).await else {
                return Outcome::Unanswered;
            };
            let Ok(answer) = ResponseView::parse(&octets, Framing::Datagram) else {
                at.history.violation(Violation::Refused, "an answer that is none".to_owned());
                return Outcome::Unanswered;
            };
            match answer.status() {
                200 => {
                    self.accepted(at, wish, sent, (asked, since), &answer);
                    return Outcome::Done;
                }
                401 => match self.answer(at, &answer) {
                    Some(response) => credentials = Some(response),
                    None => return Outcome::Refused(401),
                },
                500..=599 => {
                    at.history.unavailable.add();
                    tokio::time::sleep(PAUSE).await;
                    return Outcome::Unanswered;
                }
                status => return Outcome::Refused(status),
            }
        }
        Outcome::Unanswered
    }

    /// Takes down what the REGISTER about to be sent may do, and returns it.
    fn ask(&mut self, wish: Wish, since: u64) -> Option<Asked> {
        let (slot, state) = match wish {
            Wish::Fetch => return None,
            Wish::Unbind { slot } => (slot, ContactState::Absent),
            Wish::Bind { slot, expires } => {
                let period = u64::from(expires) * 1_000_000;
                // It may be repeated for as long as a request is, and more than that after a crash.
                let latest = since + period + 60_000_000;
                (slot, ContactState::Bound { cseq: self.cseq, ends: (since + period, latest) })
            }
        };
        let was_bound = self.contacts[slot].is_bound();
        self.contacts[slot].ask(state);
        Some(Asked { slot, state, was_bound })
    }

    /// A 200: what it says must be possible, and is so from now on.
    fn accepted(
        &mut self,
        at: &Surroundings,
        wish: Wish,
        sent: Option<Asked>,
        (asked, since): (u64, u64),
        answer: &ResponseView<'_>,
    ) {
        let answered = now();
        let history = &at.history;
        if let Some(Asked { slot, state, was_bound }) = sent {
            let state = match state {
                ContactState::Bound { cseq, ends: (from, _) } => {
                    let ends = (from, from + answered.saturating_sub(since));
                    ContactState::Bound { cseq, ends }
                }
                ContactState::Absent => state,
            };
            self.contacts[slot].acknowledge(state);
            match wish {
                Wish::Unbind { .. } => history.deregistrations.add(),
                _ if was_bound => history.refreshes.add(),
                _ => history.registrations.add(),
            }
        } else {
            history.fetches.add();
        }
        let mut listed = [None; CONTACTS];
        for contact in answer.contacts() {
            match (0..CONTACTS).find(|slot| contact.uri == self.contact_uri(at, *slot)) {
                Some(slot) => listed[slot] = contact.expires,
                None => {
                    let words = format!("user {} has contact {}", self.number, contact.uri);
                    history.violation(Violation::Doubled, words);
                }
            }
        }
        for (slot, left) in listed.into_iter().enumerate() {
            history.compared.add();
            if let Err((kind, words)) = self.contacts[slot].observe(left, (asked, answered)) {
                let words = format!("contact {slot} of user {}: {words}", self.number);
                history.violation(kind, words);
            }
        }
    }

    /// Checks a challenge as the ISIM does, takes its SQN down, and computes the response. `None` if the
    /// ISIM refuses it.
    fn answer(
        &mut self,
        at: &Surroundings,
        answer: &ResponseView<'_>,
    ) -> Option<DigestCredentials<'static>> {
        let challenge = answer.challenges().next()?;
        let (rand, autn) = decode_nonce(&challenge.nonce)?;
        let Ok(verified) = self.milenage.verify_autn(&rand, &autn) else {
            let words = format!("user {} got a challenge of somebody else", self.number);
            at.history.violation(Violation::Refused, words);
            return None;
        };
        self.check_sqn(at, &challenge, verified.sqn)?;
        let algorithm = Algorithm::AkaV1Md5;
        let secret =
            password(algorithm, verified.res.expose(), verified.ck.expose(), verified.ik.expose());
        let qop = challenge.offers_qop("auth");
        let (cnonce, nc) = ("0a4f113b", "00000001");
        let Held::Pair(identity) = &self.inbound else { return None };
        let uri = format!("sip:{PARTNER}");
        let input = DigestInput {
            username: &identity.impi,
            realm: &challenge.realm,
            method: "REGISTER",
            uri: &uri,
            nonce: &challenge.nonce,
            qop: qop.then_some(QopInput { qop: Qop::Auth, nc, cnonce }),
            body: &[],
        };
        let digest = response(algorithm, &input, secret.expose()).as_str().to_owned();
        Some(DigestCredentials {
            username: identity.impi.clone().into(),
            realm: challenge.realm.to_string().into(),
            nonce: challenge.nonce.to_string().into(),
            response: digest.into(),
            algorithm: Some(algorithm.as_str()),
            qop: qop.then_some(Qop::Auth.as_str()),
            nc: qop.then_some(nc),
            cnonce: qop.then(|| cnonce.into()),
            opaque: challenge.opaque.as_ref().map(|opaque| opaque.to_string().into()),
            uri: uri.into(),
            ..DigestCredentials::default()
        })
    }

    /// No SQN twice, none that the ISIM finds too old, and all with the IND of the partner.
    fn check_sqn(
        &mut self,
        at: &Surroundings,
        challenge: &DigestChallenge<'_>,
        sqn: migcore::aka::Sqn,
    ) -> Option<()> {
        let octets = sqn.to_octets();
        let number = octets.iter().fold(0, |number, octet| number << 8 | u64::from(*octet));
        let nonce = challenge.nonce.as_bytes().to_vec();
        at.history.vectors.add();
        if let Some((before, cseq)) = self.sqns.insert(number, (nonce.clone(), self.cseq)) {
            let same = if before == nonce { "the same" } else { "another" };
            let words = format!(
                "SQN {number:012x} of user {} with CSeq {cseq} and {}, {same} nonce",
                self.number, self.cseq
            );
            at.history.violation(Violation::Doubled, words);
            return None;
        }
        let ind = sqn.ind(self.accepted.ind_bits());
        if *self.ind.get_or_insert(ind) != ind {
            let words = format!("the IND of user {} is {ind} and was {:?}", self.number, self.ind);
            at.history.violation(Violation::Lost, words);
        }
        if self.accepted.accept(sqn).is_err() {
            let words = format!("SQN {number:012x} of user {} is too old", self.number);
            at.history.violation(Violation::Lost, words);
            return None;
        }
        Some(())
    }

    fn request(
        &self,
        at: &Surroundings,
        branch: u64,
        wish: Wish,
        credentials: Option<DigestCredentials<'static>>,
    ) -> Bytes {
        let Held::Pair(identity) = &self.inbound else { panic!("registers with a pair it holds") };
        let uri = format!("sip:{PARTNER}");
        let credentials = credentials.unwrap_or_else(|| DigestCredentials {
            username: identity.impi.clone().into(),
            realm: PARTNER.into(),
            uri: uri.clone().into(),
            ..DigestCredentials::default()
        });
        let contact;
        let (contact, expires) = match wish {
            Wish::Fetch => (ContactToSend::None, None),
            Wish::Bind { slot, .. } | Wish::Unbind { slot } => {
                let expires = if let Wish::Bind { expires, .. } = wish { expires } else { 0 };
                contact = self.contact_uri(at, slot);
                (ContactToSend::Uri { uri: &contact, expires: None, params: "" }, Some(expires))
            }
        };
        RegisterBuilder {
            request_uri: &uri,
            transport: "UDP",
            sent_by: &at.link.local.to_string(),
            branch: &format!("z9hG4bK{branch:x}"),
            aor: &identity.impu,
            from_tag: &self.call_id[..8],
            call_id: &self.call_id,
            cseq: self.cseq,
            contact,
            expires,
            supported: "path",
            path: &[],
            credentials: Some(credentials),
            extra: &[],
            body: &[],
        }
        .build()
    }

    pub fn contact_uri(&self, at: &Surroundings, slot: usize) -> String {
        format!("sip:u{}-{slot}@{}", self.number, at.link.local)
    }
}

/// What administrators ask over HTTP. `None` is no definite answer.
impl Surroundings {
    async fn put(&self, system: usize, path: &str, body: &Value) {
        let url = format!("{}{path}", self.management[system]);
        let response = self.http.put(url).json(body).send().await.unwrap();
        let status = response.status();
        assert!(status.is_success(), "{path}: {status} {}", response.text().await.unwrap());
    }

    fn binding(&self, direction: &str, pair: &Pair) -> String {
        let system = &self.management[usize::from(direction == "inbound")];
        format!("{system}/v1/bindings/{direction}/{}", pair.impi)
    }

    async fn bind(&self, direction: &str, body: &Value) -> Option<(u16, Option<Pair>)> {
        let system = &self.management[usize::from(direction == "inbound")];
        let url = format!("{system}/v1/bindings/{direction}");
        let (status, answer) = self.send(self.http.post(url).json(body)).await?;
        Some((status, pair_of(&answer)))
    }

    async fn details(&self, token: &str, body: &Value) -> Option<(u16, Option<Pair>)> {
        let url = format!("{}/csc-4/v1/connection-details", self.csc4);
        let request = self.http.post(url).bearer_auth(token).json(body);
        let (status, answer) = self.send(request).await?;
        Some((status, pair_of(&answer["identity"]).or_else(|| pair_of(&answer))))
    }

    async fn release(&self, direction: &str, pair: &Pair) -> Option<u16> {
        let request = self.http.delete(self.binding(direction, pair));
        self.send(request).await.map(|(status, _)| status)
    }

    /// Whether the system shows the pair as lent.
    async fn is_bound(&self, direction: &str, pair: &Pair) -> Option<bool> {
        self.history.compared.add();
        let (status, _) = self.send(self.http.get(self.binding(direction, pair))).await?;
        Some(status == 200)
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Option<(u16, Value)> {
        let Ok(response) = request.send().await else {
            tokio::time::sleep(PAUSE).await;
            return None;
        };
        let status = response.status().as_u16();
        if status >= 500 {
            self.history.unavailable.add();
            tokio::time::sleep(PAUSE).await;
            return None;
        }
        // A connection that ends within the body leaves the answer in doubt.
        let octets = response.bytes().await.ok()?;
        Some((status, serde_json::from_slice(&octets).unwrap_or(Value::Null)))
    }
}

fn pair_of(answer: &Value) -> Option<Pair> {
    let text = |field: &str| answer[field].as_str().map(str::to_owned);
    Some(Pair { impi: text("impi")?, impu: text("impu")? })
}

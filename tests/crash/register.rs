//! A REGISTER, its challenge, its response, and what is made of the answers.

use bytes::Bytes;
use migcore::{
    aka::{
        Sqn,
        digest::{Algorithm, DigestInput, Qop, QopInput, decode_nonce, password, response},
    },
    api::migration_identity::Direction,
    sim::ledger::{Change, Outcome, Ticket},
    sip::{
        Framing,
        auth_header::{DigestChallenge, DigestCredentials},
        request::{ContactToSend, RegisterBuilder},
        response::ResponseView,
    },
    time::Timestamp,
};

use crate::{
    history::{ContactState, Violation, now},
    user::{CONTACTS, PARTNER, PAUSE, Surroundings, User},
};

/// How many challenges one REGISTER may get: each restart meanwhile makes one stale.
const CHALLENGES_MAX: u32 = 30;

/// What a REGISTER is to do.
#[derive(Clone, Copy)]
pub enum Wish {
    Bind { slot: usize, expires: u32 },
    Unbind { slot: usize },
    Fetch,
}

/// How a REGISTER ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Answered {
    Done,
    /// A definite refusal with this status.
    Refused(u16),
    /// Not, or that the system cannot serve now: it may or may not have been done.
    Not,
}

/// What a REGISTER with a response may do, now that it leaves.
struct Asked {
    slot: usize,
    state: ContactState,
    /// Whether the contact was bound before.
    was_bound: bool,
    ticket: Ticket,
}

impl User {
    /// Performs the whole exchange: REGISTER, challenge, REGISTER with the response.
    pub async fn register(&mut self, at: &mut Surroundings, wish: Wish) -> Answered {
        let begun = now();
        let mut credentials = None;
        let mut asked: Option<Asked> = None;
        for _ in 0..CHALLENGES_MAX {
            self.cseq += 1;
            let branch = at.link.next_branch();
            let answers = credentials.is_some();
            let request = self.request(at, branch, wish, credentials.take());
            let since = now();
            if answers {
                let again = self.ask(at, wish, since);
                end(at, std::mem::replace(&mut asked, again), Outcome::Unknown);
            }
            let octets = at.link.request(branch, &request, &mut at.situation).await;
            let answer = octets.as_deref().map(|it| ResponseView::parse(it, Framing::Datagram));
            let answered = match &answer {
                Some(Ok(answer)) => match answer.status() {
                    200 => {
                        self.confirmed(at, wish, asked, (begun, since), answer);
                        return Answered::Done;
                    }
                    401 => {
                        credentials = self.answer(at, answer);
                        if credentials.is_some() {
                            continue;
                        }
                        Answered::Refused(401)
                    }
                    500..=599 => {
                        at.history.unavailable.add();
                        tokio::time::sleep(PAUSE).await;
                        Answered::Not
                    }
                    status => Answered::Refused(status),
                },
                Some(Err(error)) => {
                    self.violation(at, Violation::Refused, &format!("an answer is none: {error}"));
                    Answered::Not
                }
                None => Answered::Not,
            };
            end(at, asked, Outcome::Unknown);
            return answered;
        }
        end(at, asked, Outcome::Unknown);
        Answered::Not
    }

    /// Takes down what the REGISTER about to leave may do.
    fn ask(&mut self, at: &Surroundings, wish: Wish, since: u64) -> Option<Asked> {
        let impi = self.inbound()?.impi.clone();
        let (slot, state, change) = match wish {
            Wish::Fetch => return None,
            Wish::Unbind { slot } => {
                let contact = self.contact_uri(slot);
                (slot, ContactState::Absent, Change::Deregister { impi, contact })
            }
            Wish::Bind { slot, expires } => {
                let end = since + u64::from(expires) * 1_000_000;
                // Without an answer it may have been granted later, as long as it is repeated.
                let ends = (end, end + 60_000_000);
                let change = Change::Register {
                    impi,
                    contact: self.contact_uri(slot),
                    call_id: self.call_id.clone(),
                    cseq: self.cseq,
                    until: Timestamp::from_micros(end),
                };
                (slot, ContactState::Bound { cseq: self.cseq, ends }, change)
            }
        };
        let was_bound = self.contacts[slot].is_bound();
        self.contacts[slot].ask(state);
        let ticket = at.begin(Direction::Inbound, change);
        Some(Asked { slot, state, was_bound, ticket })
    }

    /// A 200: what it says must be possible, and is so from now on.
    fn confirmed(
        &mut self,
        at: &Surroundings,
        wish: Wish,
        asked: Option<Asked>,
        (begun, since): (u64, u64),
        answer: &ResponseView<'_>,
    ) {
        let answered = now();
        let history = &at.history;
        match (wish, &asked) {
            (Wish::Fetch, _) => history.fetches.add(),
            (Wish::Unbind { .. }, _) => history.deregistrations.add(),
            (_, Some(Asked { was_bound: true, .. })) => history.refreshes.add(),
            _ => history.registrations.add(),
        }
        if let Some(Asked { slot, state, .. }) = &asked {
            let state = match *state {
                ContactState::Bound { cseq, ends: (end, _) } => {
                    let ends = (end, end + answered.saturating_sub(since));
                    ContactState::Bound { cseq, ends }
                }
                ContactState::Absent => ContactState::Absent,
            };
            self.contacts[*slot].acknowledge(state);
        }
        end(at, asked, Outcome::Done);
        let mut listed = [None; CONTACTS];
        for contact in answer.contacts() {
            match (0..CONTACTS).find(|slot| contact.uri == self.contact_uri(*slot)) {
                Some(slot) => listed[slot] = contact.expires,
                None => {
                    let words = format!("has a contact of somebody else, {}", contact.uri);
                    self.violation(at, Violation::Doubled, &words);
                }
            }
        }
        for (slot, left) in listed.into_iter().enumerate() {
            history.compared.add();
            if let Err((kind, words)) = self.contacts[slot].observe(left, (begun, answered)) {
                self.violation(at, kind, &format!("contact {slot}: {words}"));
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
            self.violation(at, Violation::Refused, "a challenge of somebody else");
            return None;
        };
        at.vector_left(&self.real().impi, verified.sqn, &rand);
        self.check_sqn(at, verified.sqn)?;
        let algorithm = Algorithm::AkaV1Md5;
        let (res, ck, ik) = (verified.res.expose(), verified.ck.expose(), verified.ik.expose());
        self.respond(&challenge, algorithm, password(algorithm, res, ck, ik).expose())
    }

    fn respond(
        &self,
        challenge: &DigestChallenge<'_>,
        algorithm: Algorithm,
        secret: &[u8],
    ) -> Option<DigestCredentials<'static>> {
        let (cnonce, nc) = ("0a4f113b", "00000001");
        let with_qop = challenge.offers_qop("auth");
        let username = self.inbound()?.impi.as_str();
        let uri = format!("sip:{PARTNER}");
        let input = DigestInput {
            username,
            realm: &challenge.realm,
            method: "REGISTER",
            uri: &uri,
            nonce: &challenge.nonce,
            qop: with_qop.then_some(QopInput { qop: Qop::Auth, nc, cnonce }),
            body: &[],
        };
        Some(DigestCredentials {
            username: username.to_owned().into(),
            realm: challenge.realm.to_string().into(),
            nonce: challenge.nonce.to_string().into(),
            response: response(algorithm, &input, secret).as_str().to_owned().into(),
            algorithm: Some(algorithm.as_str()),
            qop: with_qop.then_some(Qop::Auth.as_str()),
            nc: with_qop.then_some(nc),
            cnonce: with_qop.then(|| cnonce.into()),
            opaque: challenge.opaque.as_ref().map(|opaque| opaque.to_string().into()),
            uri: uri.into(),
            ..DigestCredentials::default()
        })
    }

    /// None that the ISIM finds too old, and all with the IND of the partner.
    fn check_sqn(&mut self, at: &Surroundings, sqn: Sqn) -> Option<()> {
        let ind = |sqn: Sqn| sqn.ind(self.accepted.ind_bits());
        let before = self.last_sqn.map_or(ind(sqn), ind);
        if before != ind(sqn) {
            let words = format!("the IND was {before} and is {}", ind(sqn));
            self.violation(at, Violation::Lost, &words);
        }
        self.last_sqn = Some(sqn);
        if self.accepted.accept(sqn).is_err() {
            self.violation(at, Violation::Lost, &format!("{sqn:?} is too old"));
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
        let identity = self.inbound().expect("registers with a pair that it holds");
        let uri = format!("sip:{PARTNER}");
        let credentials = credentials.unwrap_or_else(|| DigestCredentials {
            username: identity.impi.as_str().to_owned().into(),
            realm: PARTNER.into(),
            uri: uri.clone().into(),
            ..DigestCredentials::default()
        });
        let contact_uri;
        let (contact, expires) = match wish {
            Wish::Fetch => (ContactToSend::None, None),
            Wish::Bind { slot, .. } | Wish::Unbind { slot } => {
                let expires = if let Wish::Bind { expires, .. } = wish { expires } else { 0 };
                contact_uri = self.contact_uri(slot);
                let uri = ContactToSend::Uri { uri: &contact_uri, expires: None, params: "" };
                (uri, Some(expires))
            }
        };
        RegisterBuilder {
            request_uri: &uri,
            transport: "UDP",
            sent_by: &at.link.local.to_string(),
            branch: &format!("z9hG4bK{branch:x}"),
            aor: identity.impu.as_str(),
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

    /// The URI of one of its contacts.
    pub fn contact_uri(&self, slot: usize) -> String {
        format!("sip:u{}-{slot}@{}", self.number, self.local)
    }
}

/// Takes down in the ledger what came of a REGISTER.
fn end(at: &Surroundings, asked: Option<Asked>, outcome: Outcome) {
    if let Some(Asked { ticket, .. }) = asked {
        at.end(Direction::Inbound, ticket, outcome);
    }
}

//! What must hold whenever a message leaves a system, checked against its storage and the world's own
//! memory, not against what the roles believe.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use memchr::memmem;

use crate::{
    aka::{AuthVector, IND_BITS_DEFAULT, Sqn},
    api::{
        connection_details::SystemConfiguration,
        migration_identity::{AgreementId, Allowance, Answer, Binding, Direction, Lent, Request},
        system_access,
    },
    diameter::cx,
    identity::{Impi, Impu, UserIdentity},
    outbox::{Message, ReplyTo, Transport},
    sip::{Framing, response::ResponseView},
    sip_core::Registration,
    store::{RecordKind, decode},
    time::Timestamp,
};

use super::{
    SystemId, World,
    engine::History,
    facts::{Cause, Facts, holder_of},
    http::Inquiry,
    ledger::Ledger,
    system::Parked,
    tables::{GrantRecord, OutboundRecord, SubscriberRecord},
    ue_host::UeHost,
};

/// Something that must never be, and was.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("it does not hold that {rule}: {detail}")]
pub struct Violation {
    /// What should hold.
    pub rule: &'static str,
    /// What was seen instead.
    pub detail: String,
}

impl Violation {
    pub(super) fn new(rule: &'static str, detail: &dyn fmt::Display) -> Self {
        Self { rule, detail: detail.to_string() }
    }
}

/// How the identities of provisioned pairs begin.
pub(super) const LISTED: &str = "listed";

/// The world's own memory of what has left the systems.
#[derive(Debug)]
pub(super) struct Checks {
    /// The ledgers of both systems.
    pub(super) facts: Facts,
    /// SQNs that left, by UE and epoch.
    issued: BTreeSet<(usize, u32, Sqn)>,
    /// Private identities whose use at a partner was withdrawn, and the withdrawal confirmed.
    withdrawn: BTreeSet<Impi>,
    /// Real private identities whose use was granted after it was last withdrawn.
    granted_again: BTreeSet<Impi>,
    /// Agreements that were withdrawn, and the withdrawal confirmed.
    pub(super) ended: BTreeSet<(SystemId, AgreementId)>,
    /// Primary-side pairs that users, not systems, wanted to be given back, by private identity.
    pub(super) given_up: BTreeSet<Impi>,
    /// What was found stored about systems.
    pub(super) configured: Vec<(SystemId, SystemConfiguration)>,
    /// Which UE was told each pair, and until when.
    pub(super) told_to: BTreeMap<Impi, (usize, Timestamp)>,
    /// What each UE was told last: its pair, and until when.
    pub(super) told: BTreeMap<usize, Told>,
    /// When each UE was told anything last.
    pub(super) told_at: BTreeMap<usize, Timestamp>,
    /// How each subscriber, by real private identity, came to have what it was lent for its partner last.
    pub(super) lent: BTreeMap<Impi, Lent>,
    /// What must not appear on the wire between the systems.
    real: Vec<Vec<u8>>,
    /// The last octets towards A and towards B, where a needle may have begun.
    tail_to_a: Vec<u8>,
    tail_to_b: Vec<u8>,
    exposed: bool,
}

/// What a UE was told last (A2).
#[derive(Debug)]
pub(super) struct Told {
    pub(super) real: Impi,
    pub(super) identity: UserIdentity,
    pub(super) until: Timestamp,
}

impl Checks {
    pub(super) fn new(ues: &[UeHost]) -> Self {
        Self {
            facts: Facts::default(),
            issued: BTreeSet::new(),
            withdrawn: BTreeSet::new(),
            granted_again: BTreeSet::new(),
            ended: BTreeSet::new(),
            given_up: BTreeSet::new(),
            configured: Vec::new(),
            told_to: BTreeMap::new(),
            told: BTreeMap::new(),
            told_at: BTreeMap::new(),
            lent: BTreeMap::new(),
            real: ues.iter().filter(|ue| ue.hidden).flat_map(needles).collect(),
            tail_to_a: Vec::new(),
            tail_to_b: Vec::new(),
            exposed: false,
        }
    }

    /// Takes note that a pair may end from now on, so that another may be given next.
    fn asked(&mut self, request: &Request) {
        if let Request::ReleaseOutbound(impi) | Request::ReleaseInbound(impi) = request {
            // whose outbound pair ends gets another inbound one
            let ledgers = [self.facts.ledger(SystemId::A), self.facts.ledger(SystemId::B)];
            let holder = |it: &Ledger| it.holder(Direction::Outbound, impi).cloned();
            let user = ledgers.into_iter().find_map(holder).map(|holder| holder.user.impi);
            self.told
                .retain(|_, told| told.identity.impi != *impi && Some(&told.real) != user.as_ref());
        } else if let Request::DeleteGrant { impi, .. } = request {
            self.granted_again.remove(impi);
            self.told.retain(|_, told| told.real != *impi);
        } else if let Request::EndVisits(impi) | Request::DeleteSubscriber(impi) = request {
            self.told.retain(|_, told| told.real != *impi);
        } else if let Request::PutGrant { user, .. } = request {
            self.granted_again.insert(user.impi.clone());
            self.withdrawn.remove(&user.impi);
        }
    }

    /// Takes note of what a user or a test asks of a SIP database.
    pub(super) fn asked_by_user(&mut self, request: &Request) {
        if let Request::ReleaseOutbound(impi) | Request::DeleteGrant { impi, .. } = request {
            self.given_up.insert(impi.clone());
        }
        self.asked(request);
    }

    /// Searches what `from` sends to the other system for identities that it must hide.
    pub(super) fn watch_wire(&mut self, from: SystemId, octets: &[u8]) {
        let tail = match from.other() {
            SystemId::A => &mut self.tail_to_a,
            SystemId::B => &mut self.tail_to_b,
        };
        tail.extend(octets.iter().map(u8::to_ascii_lowercase));
        self.exposed |= self.real.iter().any(|needle| memmem::find(tail, needle).is_some());
        let longest = self.real.iter().map(Vec::len).max().unwrap_or(0);
        tail.drain(..tail.len().saturating_sub(longest));
    }

    /// Searches a text that is sent to the other system for identities that it must hide.
    pub(super) fn watch_text(&mut self, text: &str) {
        let text = text.to_ascii_lowercase();
        let shows = |needle: &Vec<u8>| memmem::find(text.as_bytes(), needle).is_some();
        self.exposed |= self.real.iter().any(shows);
    }

    /// Whether a real identity was seen on the wire.
    pub(super) const fn exposed(&self) -> bool {
        self.exposed
    }
}

impl World {
    pub(super) fn check_departure(
        &mut self,
        id: SystemId,
        message: &Message,
    ) -> Result<(), Violation> {
        match message {
            Message::ManagementRequest { id: asked, request } => {
                self.checks.asked(request);
                self.enter_request(id, Cause::Role(id, *asked), request);
                Ok(())
            }
            Message::SystemAccessRequest { request, .. } => self.check_access_request(id, request),
            Message::SystemAccess { to, answer: system_access::Answer::Granted(access) } => {
                self.check_access(id, to, access)
            }
            Message::ConnectionDetails { to, answer } => self.check_details(id, to, answer),
            Message::Sip { flow, octets } => {
                let framing = match flow.transport {
                    Transport::Udp => Framing::Datagram,
                    Transport::Tcp => Framing::Stream,
                };
                let answer = ResponseView::parse(octets, framing)
                    .map_err(|error| Violation::new("a SIP core sends responses", &error))?;
                check_registered(self.system(id).engine.history(), &answer)?;
                self.enter_response(id, &answer);
                Ok(())
            }
            Message::CxAnswer { to, answer: cx::Answer::MultimediaAuth(answer) } => {
                match &answer.vector {
                    Some(vector) => self.check_vector(id, to, &answer.identity, vector),
                    None => Ok(()),
                }
            }
            Message::Management { to, answer } => self.check_management(id, to, answer),
            Message::CxRequest { .. }
            | Message::CxAnswer { .. }
            | Message::Configuration { .. }
            | Message::Registration { .. }
            | Message::SystemAccess { .. }
            | Message::ConnectionDetailsRequest(_) => Ok(()),
        }
    }

    /// What a SIP database answers is stored, and fits what it answered before.
    fn check_management(
        &mut self,
        id: SystemId,
        to: &ReplyTo,
        answer: &Answer,
    ) -> Result<(), Violation> {
        match answer {
            Answer::Binding(binding) => {
                self.enter_lent(id, to, binding.lent);
                self.check_binding(id, to, binding)?;
            }
            Answer::Granted { lent, .. } => self.enter_lent(id, to, *lent),
            Answer::Done => match self.question_of(id, to) {
                Some(Request::ReleaseOutbound(impi) | Request::DeleteGrant { impi, .. }) => {
                    let impi = impi.clone();
                    if !self.checks.granted_again.contains(&impi) {
                        self.checks.withdrawn.insert(impi);
                    }
                }
                Some(Request::WithdrawAgreement(agreement)) => {
                    let agreement = *agreement;
                    self.checks.ended.insert((id, agreement));
                }
                Some(_) | None => {}
            },
            Answer::Refused(_)
            | Answer::RowsRefused(_)
            | Answer::Subscriber { .. }
            | Answer::Pool { .. } => {}
        }
        self.enter_answer(id, to, answer)
    }

    /// Takes note of how a subscriber came to have what it is lent for its partner.
    fn enter_lent(&mut self, id: SystemId, to: &ReplyTo, lent: Lent) {
        if let Some(Request::BindOutbound { user, .. } | Request::PutGrant { user, .. }) =
            self.question_of(id, to)
        {
            let user = user.impi.clone();
            self.checks.lent.insert(user, lent);
        }
    }

    /// A vector that leaves its home: SQN is covered by the stored reservation and new, and the
    /// binding or grant that it was given for is stored.
    fn check_vector(
        &mut self,
        id: SystemId,
        to: &ReplyTo,
        asked_with: &UserIdentity,
        vector: &AuthVector,
    ) -> Result<(), Violation> {
        let abroad = matches!(to, ReplyTo::World(_));
        let found = self.ues.iter().find_map(|ue| {
            let answer = ue.milenage.verify_autn(&vector.rand, &vector.autn).ok()?;
            Some((ue, answer.sqn))
        });
        let Some((ue, sqn)) = found else {
            return Err(Violation::new("a vector is some UE's", &id.label()));
        };
        if ue.home != id {
            // the partner hands it on to its SIP core
            return if abroad {
                Err(Violation::new("a vector leaves its home alone", &id.label()))
            } else {
                Ok(())
            };
        }
        let history = self.system(id).engine.history();
        let (covered, epoch) = reserved_seq(history, &ue.real.impi)?;
        if sqn.seq(IND_BITS_DEFAULT) > covered {
            let detail = format_args!("{sqn:?} of ue{}, stored {covered}", ue.number);
            return Err(Violation::new("an SQN leaves after it is reserved in storage", &detail));
        }
        if abroad && !self.is_entitled(ue, asked_with) {
            let detail = format_args!("ue{} of {}", ue.number, id.label());
            return Err(Violation::new("a partner gets vectors for a stored binding", &detail));
        }
        if abroad && self.checks.withdrawn.contains(&asked_with.impi) {
            let detail = format_args!("ue{} of {}", ue.number, id.label());
            return Err(Violation::new("no vector leaves after a confirmed withdrawal", &detail));
        }
        let (number, impi) = (ue.number, ue.real.impi.clone());
        if !self.checks.issued.insert((number, epoch, sqn)) {
            let detail = format_args!("{sqn:?} of ue{number} in epoch {epoch}");
            return Err(Violation::new("no SQN leaves twice", &detail));
        }
        self.checks.facts.ledger_mut(id).vector_left(&impi, epoch, sqn, &vector.rand)
    }

    /// A pair that leaves: its binding is stored, and nobody else ever had it.
    fn check_binding(
        &mut self,
        id: SystemId,
        to: &ReplyTo,
        binding: &Binding,
    ) -> Result<(), Violation> {
        let Some(request) = self.question_of(id, to) else { return Ok(()) };
        let Some((direction, holder)) = holder_of(request) else { return Ok(()) };
        let kind = match direction {
            Direction::Outbound => RecordKind::OutboundBinding,
            Direction::Inbound => RecordKind::InboundBinding,
        };
        let pair = &binding.identity;
        let history = self.system(id).engine.history();
        let stored = history.values(kind, pair.impi.as_str());
        let impus = stored.map(decode::<(Impu,)>);
        if !impus.into_iter().any(|impu| impu.is_ok_and(|(impu,)| impu == pair.impu)) {
            let detail = format_args!("{}", pair.impi.as_str());
            return Err(Violation::new("a pair is told after it is stored", &detail));
        }
        self.checks.withdrawn.remove(&pair.impi);
        let last = self.checks.facts.ledger(id).holder(direction, &pair.impi);
        if last.is_some_and(|last| *last != holder) {
            // whether it may be is the ledger's to say
            self.checks.told_to.remove(&pair.impi);
        }
        Ok(())
    }

    /// Whether a binding or grant was stored, under no agreement that has ended, by which the partner may
    /// ask vectors of `ue`.
    fn is_entitled(&self, ue: &UeHost, asked_with: &UserIdentity) -> bool {
        let history = self.system(ue.home).engine.history();
        let partner = ue.home.other().database();
        let holds = |allowed: Option<Allowance>| {
            allowed.is_none_or(|it| !self.checks.ended.contains(&(ue.home, it.agreement)))
        };
        if *asked_with == ue.real {
            let key = format!("{} {}", ue.real.impi.as_str(), partner.as_str());
            return history
                .values(RecordKind::Grant, &key)
                .filter_map(|value| decode::<GrantRecord>(value).ok())
                .any(|(_, _, _, allowed)| holds(allowed));
        }
        history
            .values(RecordKind::OutboundBinding, asked_with.impi.as_str())
            .filter_map(|value| decode::<OutboundRecord>(value).ok())
            .any(|(impu, user, at, _, _, allowed)| {
                impu == asked_with.impu && user == ue.real && at == partner && holds(allowed)
            })
    }

    /// The question that a management answer belongs to.
    fn question_of(&self, id: SystemId, to: &ReplyTo) -> Option<&Request> {
        if let ReplyTo::Role(request) = to {
            return self.system(id).managed.get(request);
        }
        match self.inquiry_of(id, to)? {
            (_, Inquiry::Database(request)) => Some(request),
            (_, Inquiry::ConfigServer(_) | Inquiry::Details(..) | Inquiry::Access(..)) => None,
        }
    }

    /// The question that came over HTTP, with its number.
    pub(super) fn inquiry_of(&self, id: SystemId, to: &ReplyTo) -> Option<(u64, &Inquiry)> {
        let ReplyTo::World(handle) = to else { return None };
        match self.system(id).parked.get(handle)? {
            Parked::Http { question, .. } => {
                self.questions.get(question).map(|it| (*question, &it.inquiry))
            }
            Parked::Diameter(_) => None,
        }
    }
}

/// A 200 to a REGISTER tells what is stored: the contact with this `CSeq` if it lists contacts, no
/// older contact of the same Call-ID if it lists none.
fn check_registered(history: &History, answer: &ResponseView<'_>) -> Result<(), Violation> {
    if answer.status() != 200 || answer.method() != "REGISTER" {
        return Ok(());
    }
    let (call_id, cseq) = (answer.call_id(), answer.cseq());
    let registration = |value| {
        decode::<Registration>(value)
            .map_err(|error| Violation::new("what was stored can be read", &error))
    };
    let mut contacts = answer.contacts().peekable();
    if contacts.peek().is_none() {
        for (_, value) in history.all_current(RecordKind::Registration) {
            let stored = registration(value)?;
            if stored.contacts.iter().any(|it| it.call_id == call_id && it.cseq < cseq) {
                let detail = format_args!("CSeq {cseq}");
                return Err(Violation::new(
                    "a 200 without contacts follows their removal",
                    &detail,
                ));
            }
        }
        return Ok(());
    }
    let listed: Vec<&str> = contacts.map(|contact| contact.uri).collect();
    for (_, value) in history.all(RecordKind::Registration) {
        let stored = registration(value)?;
        let is_this = |uri: &str| {
            let same =
                |it: &&crate::sip_core::ContactBinding| it.call_id == call_id && it.uri == uri;
            stored.contacts.iter().find(same).is_some_and(|it| it.cseq == cseq)
        };
        let for_all = answer
            .associated_uris()
            .all(|uri| stored.impus.iter().any(|impu| impu.as_str() == uri));
        if for_all && listed.iter().any(|uri| is_this(uri)) {
            return Ok(());
        }
    }
    let detail = format_args!("CSeq {cseq}, {} contacts", listed.len());
    Err(Violation::new("a 200 tells of a stored registration", &detail))
}

/// The highest SEQ that the stored record lets leave, and in which epoch.
fn reserved_seq(history: &History, impi: &Impi) -> Result<(u64, u32), Violation> {
    let stored = history.current(RecordKind::Subscriber, impi.as_str());
    let Some(stored) = stored else {
        return Err(Violation::new("vectors are given for stored subscribers", &"none"));
    };
    let (_, _, _, _, reserved, epoch) = decode::<SubscriberRecord>(stored)
        .map_err(|error| Violation::new("what was stored can be read", &error))?;
    Ok((reserved, epoch))
}

/// What would give a UE's real identities away: their user parts, plain and percent-encoded, in lower
/// case. Whatever surrounds it, an identity contains its user part.
fn needles(ue: &UeHost) -> Vec<Vec<u8>> {
    let user_of = |identity: &str| {
        let user = identity.split('@').next().unwrap_or_default();
        user.trim_start_matches("sip:").to_ascii_lowercase()
    };
    [user_of(ue.real.impi.as_str()), user_of(ue.real.impu.as_str())]
        .iter()
        .flat_map(|user| [user.clone().into_bytes(), percent_encoded(user)])
        .collect()
}

fn percent_encoded(text: &str) -> Vec<u8> {
    text.bytes().flat_map(|octet| format!("%{octet:02x}").into_bytes()).collect()
}

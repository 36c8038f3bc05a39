//! What must hold whenever a message leaves a system, checked against its storage and the world's own
//! memory, not against what the roles believe.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use memchr::memmem;

use crate::{
    aka::Sqn,
    api::{
        connection_details::SystemConfiguration,
        migration_identity::{AgreementId, Lent, Request},
        system_access,
    },
    diameter::cx,
    identity::{Impi, UserIdentity},
    outbox::{Message, ReplyTo, Transport},
    sip::{Framing, response::ResponseView},
    store::{CommitSeq, RecordKind},
    time::Timestamp,
};

use super::{
    SystemId, World,
    facts::{Cause, Facts},
    http::Inquiry,
    system::Parked,
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
    pub(super) issued: BTreeSet<(usize, u32, Sqn)>,
    /// The last version of each binding and grant whose end was confirmed.
    pub(super) given_back: BTreeMap<(SystemId, RecordKind, String), CommitSeq>,
    /// Who is registered or not as the SIP core told its SIP database: no word of it was lost since.
    pub(super) assigned: BTreeSet<(SystemId, Impi)>,
    /// What administrators asked for that ends pairs, by the real private identity of whose pairs.
    pub(super) revocations: Vec<(Impi, Cause)>,
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
            given_back: BTreeMap::new(),
            assigned: BTreeSet::new(),
            revocations: Vec::new(),
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

    /// Takes note of what a user or a test asks of a SIP database.
    pub(super) fn asked_by_user(&mut self, request: &Request) {
        if let Request::ReleaseOutbound(impi) | Request::DeleteGrant { impi, .. } = request {
            self.given_up.insert(impi.clone());
        }
        self.asked(request);
    }

    /// Takes note of what an administrator asks of a SIP database, which ends pairs of `user`.
    pub(super) fn asked_by_administrator(&mut self, user: Impi, question: u64) {
        self.told.retain(|_, told| told.real != user);
        self.revocations.push((user, Cause::Question(question)));
    }

    /// Whether an administrator may have ended pairs of `user` at `since` or later.
    pub(super) fn may_be_revoked(&self, user: &Impi, since: Timestamp) -> bool {
        let mut revocations = self.revocations.iter().filter(|(of, _)| of == user);
        revocations.any(|(_, cause)| self.facts.may_happen_since(cause, since))
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
                    Transport::Tcp | Transport::Tls => Framing::Stream,
                };
                let answer = ResponseView::parse(octets, framing)
                    .map_err(|error| Violation::new("a SIP core sends responses", &error))?;
                self.check_registered(id, &answer)?;
                self.enter_response(id, &answer);
                Ok(())
            }
            Message::CxAnswer { to, answer: cx::Answer::MultimediaAuth(answer) } => {
                match &answer.vector {
                    Some(vector) => self.check_vector(id, to, &answer.identity, vector),
                    None => Ok(()),
                }
            }
            Message::CxAnswer { to, answer: cx::Answer::ServerAssignment(answer) } => {
                self.check_assignment(id, to, answer)
            }
            Message::Management { to, answer } => self.check_management(id, to, answer),
            Message::Configuration { to, answer } => self.check_configuration(id, to, answer),
            Message::Acm(message) => self.check_exchange(id, message),
            Message::CxRequest { .. }
            | Message::SipRequest { .. }
            | Message::Registration { .. }
            | Message::ConfigurationRequest { .. }
            | Message::Idms(_)
            | Message::SystemAccess { .. }
            | Message::ConnectionDetailsRequest(_) => Ok(()),
        }
    }

    /// The question that came over HTTP, with its number.
    pub(super) fn inquiry_of(&self, id: SystemId, to: &ReplyTo) -> Option<(u64, &Inquiry)> {
        let ReplyTo::World(handle) = to else { return None };
        match self.system(id).parked.get(handle)? {
            Parked::Http { question, .. } => {
                self.questions.get(question).map(|it| (*question, &it.inquiry))
            }
            Parked::Diameter { .. } => None,
        }
    }
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

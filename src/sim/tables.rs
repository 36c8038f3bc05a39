//! What one system's storage holds, decoded as a program would that knows the format only: the roles'
//! own types have no part in it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    api::migration_identity::{Allowance, Direction, PrimaryUser},
    identity::{Impi, Impu, SipDatabaseId, UserIdentity},
    sip_core::Registration,
    store::{Record, RecordError, RecordKind, decode},
    time::Timestamp,
};

use super::Violation;

/// An outbound binding as stored.
pub(super) type OutboundRecord =
    (Impu, UserIdentity, SipDatabaseId, LeaseRecord, OriginRecord, Option<Allowance>);

/// An inbound binding as stored.
pub(super) type InboundRecord = (Impu, PrimaryUser, LeaseRecord, OriginRecord, Option<Allowance>);

/// A grant as stored.
pub(super) type GrantRecord = (UserIdentity, SipDatabaseId, Timestamp, Option<Allowance>);

/// A subscriber as stored: identities, keys and AMF, SQN, who has which IND of how many, and who serves it.
pub(super) type SubscriberRecord = (
    Vec<Impu>,
    Vec<u8>,
    Vec<u8>,
    [u8; 2],
    u64,
    u32,
    u8,
    Vec<(SipDatabaseId, u8)>,
    Option<String>,
    bool,
);

/// A pool as stored.
pub(super) type PoolRecord = (Direction, SourceRecord);

/// Where a pool's pairs come from, within a record.
#[derive(Debug, serde::Deserialize)]
#[expect(dead_code, reason = "read past")]
pub(super) enum SourceRecord {
    Generated { impi_template: String, impu_template: String, key: Vec<u8>, reserved: u64 },
    Listed { quarantine: Duration },
}

/// A listed pair at rest as stored: the pair, the end of its rest, its place among those of that instant.
type EntryRecord = (UserIdentity, (Timestamp, u64));

/// A lease within a record.
#[derive(Clone, Copy, Debug, serde::Deserialize)]
pub(super) enum LeaseRecord {
    Reserved(Timestamp),
    Active(Timestamp),
    Mapped { active: bool },
}

impl LeaseRecord {
    /// When it ends; a mapping does not.
    pub(super) const fn end(self) -> Option<Timestamp> {
        match self {
            Self::Reserved(until) | Self::Active(until) => Some(until),
            Self::Mapped { .. } => None,
        }
    }

    /// Whether the user is registered.
    pub(super) const fn is_active(self) -> bool {
        matches!(self, Self::Active(_) | Self::Mapped { active: true })
    }
}

/// Where a pair came from, within a record.
#[derive(Debug, serde::Deserialize)]
#[expect(dead_code, reason = "read past")]
pub(super) enum OriginRecord {
    Generated { pool: Box<str>, n: u64 },
    Listed { pool: Box<str> },
}

/// Tables of one system, as far as invariants are about them.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    /// Subscribers by private identity.
    pub subscribers: BTreeMap<Impi, StoredSubscriber>,
    /// Lent pairs by direction and private identity.
    pub bindings: BTreeMap<(Direction, Impi), StoredBinding>,
    /// Until when real pairs may be used, by private identity and partner.
    pub grants: BTreeMap<(Impi, SipDatabaseId), (UserIdentity, Timestamp)>,
    /// Listed pairs in their pools by private identity: from when on each may be lent.
    pub resting: BTreeMap<Impi, Timestamp>,
    /// Registrations by private identity.
    pub registrations: BTreeMap<Impi, Registration>,
    /// Which SIP core each subscriber is registered with that is registered at home.
    pub serving: BTreeMap<Impi, String>,
    /// Every record that stays until somebody deletes it, or for an agreed time, by kind and key.
    pub names: BTreeSet<(RecordKind, String)>,
}

/// What is stored of a subscriber's SQN.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct StoredSubscriber {
    /// The highest SEQ that may have left in this epoch.
    pub reserved_seq: u64,
    /// How often SEQ was moved back.
    pub epoch: u32,
}

/// A lent pair.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoredBinding {
    /// The public half of the pair.
    pub impu: Impu,
    /// Who holds it.
    pub holder: Holder,
    /// The end of its lease; `None` for a mapping, which has none.
    pub until: Option<Timestamp>,
    /// Whether its holder is registered with it, as the SIP database knows it.
    pub active: bool,
}

/// Who holds a lent pair.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Holder {
    /// Of an outbound pair the subscriber, of an inbound one the pair by which the primary knows the user.
    pub user: UserIdentity,
    /// The other system: of an outbound pair the partner, of an inbound one the primary.
    pub other: SipDatabaseId,
}

impl Tables {
    /// Takes one stored record in, as an engine's replay gives it; kinds that no invariant is about are
    /// ignored.
    ///
    /// # Errors
    ///
    /// [`RecordError`] when it cannot be read.
    #[expect(clippy::wildcard_enum_match_arm, reason = "kinds that no invariant is about")]
    pub fn take(&mut self, record: &Record<'_>) -> Result<(), RecordError> {
        if is_named(record.kind) {
            self.names.insert((record.kind, text_of(record)?.to_owned()));
        }
        match record.kind {
            RecordKind::Subscriber => {
                let (_, _, _, _, reserved_seq, epoch, _, _, core, registered) =
                    decode::<SubscriberRecord>(record.value)?;
                let stored = StoredSubscriber { reserved_seq, epoch };
                let impi = impi_of(record)?;
                if let Some(core) = core.filter(|_| registered) {
                    self.serving.insert(impi.clone(), core);
                }
                self.subscribers.insert(impi, stored);
            }
            RecordKind::OutboundBinding => {
                let (impu, user, other, lease, ..) = decode::<OutboundRecord>(record.value)?;
                self.bind(Direction::Outbound, record, impu, Holder { user, other }, lease)?;
            }
            RecordKind::InboundBinding => {
                let (impu, primary, lease, ..) = decode::<InboundRecord>(record.value)?;
                let holder = Holder { user: primary.identity, other: primary.database };
                self.bind(Direction::Inbound, record, impu, holder, lease)?;
            }
            RecordKind::Grant => {
                let (user, partner, until, _) = decode::<GrantRecord>(record.value)?;
                self.grants.insert((user.impi.clone(), partner), (user, until));
            }
            RecordKind::PoolEntry => {
                let (pair, (available, _)) = decode::<EntryRecord>(record.value)?;
                self.resting.insert(pair.impi, available);
            }
            RecordKind::Registration => {
                self.registrations.insert(impi_of(record)?, decode(record.value)?);
            }
            _ => {}
        }
        Ok(())
    }

    fn bind(
        &mut self,
        direction: Direction,
        record: &Record<'_>,
        impu: Impu,
        holder: Holder,
        lease: LeaseRecord,
    ) -> Result<(), RecordError> {
        let (until, active) = (lease.end(), lease.is_active());
        let binding = StoredBinding { impu, holder, until, active };
        self.bindings.insert((direction, impi_of(record)?), binding);
        Ok(())
    }

    /// Checks what holds within one system's tables at any time.
    ///
    /// # Errors
    ///
    /// A [`Violation`]: of no two pairs of one holder, and as [`Self::check_identities`].
    pub fn check(&self) -> Result<(), Violation> {
        let mut holders = BTreeMap::new();
        for ((direction, impi), binding) in &self.bindings {
            if holders.insert((direction, &binding.holder), impi).is_some() {
                let rule = "a holder has one pair of a direction";
                return Err(Violation::new(rule, &impi.as_str()));
            }
        }
        self.check_identities()
    }

    /// Checks what holds even of a storage that keeps a later commit without an earlier one: it may hold a
    /// pair whose removal is lost beside the pair that came after it.
    ///
    /// # Errors
    ///
    /// A [`Violation`]: of no identity twice, no pair both lent and in its pool, no pair or grant of somebody
    /// who is no subscriber.
    pub fn check_identities(&self) -> Result<(), Violation> {
        let mut impus = BTreeMap::new();
        for ((direction, impi), binding) in &self.bindings {
            let name = impi.as_str();
            if impus.insert(&binding.impu, impi).is_some() {
                return Err(Violation::new("an identity has at most one holder", &name));
            }
            if self.resting.contains_key(impi) {
                return Err(Violation::new("a pair is lent or in its pool, not both", &name));
            }
            let outbound = *direction == Direction::Outbound;
            if outbound && !self.subscribers.contains_key(&binding.holder.user.impi) {
                return Err(Violation::new("an outbound pair is a subscriber's", &name));
            }
        }
        match self.grants.keys().find(|(impi, _)| !self.subscribers.contains_key(impi)) {
            Some((impi, _)) => Err(Violation::new("a grant is a subscriber's", &impi.as_str())),
            None => Ok(()),
        }
    }

    /// Checks that SIP core and SIP database agree who is registered, of those users that `told` is true of: no
    /// word of the SIP core about them was lost.
    ///
    /// # Errors
    ///
    /// A [`Violation`] of who is registered with a pair that is not active or, at home, with the SIP core `core`
    /// without the SIP database's knowledge, and of who is not registered and should be.
    pub fn check_assignments(
        &self,
        now: Timestamp,
        core: &str,
        told: impl Fn(&Impi) -> bool,
    ) -> Result<(), Violation> {
        for (impi, registration) in self.registrations.iter().filter(|(impi, _)| told(impi)) {
            let live = registration.contacts.iter().any(|contact| contact.expires_at > now);
            let known = match self.bindings.get(&(Direction::Inbound, impi.clone())) {
                Some(binding) => binding.active,
                None if self.subscribers.contains_key(impi) => {
                    self.serving.get(impi).is_some_and(|serving| serving == core)
                }
                None => continue, // that is for `check_agreement` to say
            };
            if live && !known {
                let rule = "a SIP database knows who is registered";
                return Err(Violation::new(rule, &impi.as_str()));
            }
        }
        let active = self.bindings.iter().filter(|(_, binding)| binding.active);
        let active = active.map(|((_, impi), _)| impi).chain(self.serving.keys());
        let mut gone = active.filter(|impi| told(impi) && !self.registrations.contains_key(*impi));
        match gone.next() {
            Some(impi) => {
                let rule = "a SIP database knows who is not registered any more";
                Err(Violation::new(rule, &impi.as_str()))
            }
            None => Ok(()),
        }
    }

    /// Whether this system stands behind `pair` at `partner`: by an outbound binding or a grant.
    pub fn stands_for(&self, pair: &UserIdentity, partner: &SipDatabaseId) -> bool {
        self.user_of(pair, partner).is_some()
    }

    /// Whose `pair` is that `partner` knows: the subscriber's real pair.
    pub fn user_of(&self, pair: &UserIdentity, partner: &SipDatabaseId) -> Option<&UserIdentity> {
        let key = (Direction::Outbound, pair.impi.clone());
        if let Some(lent) = self.bindings.get(&key) {
            let is_its = lent.impu == pair.impu && lent.holder.other == *partner;
            return is_its.then_some(&lent.holder.user);
        }
        let (user, _) = self.grants.get(&(pair.impi.clone(), partner.clone()))?;
        (user == pair).then_some(user)
    }

    /// The tables of the partner `database` as users of `primary` see them: each inbound pair is held by the
    /// subscriber himself, and those that the primary does not stand behind, of no use to anybody, are left
    /// out.
    #[must_use]
    pub fn as_users_see(&self, database: &SipDatabaseId, primary: &Self) -> Self {
        let mut seen = self.clone();
        seen.bindings.retain(|(direction, _), binding| {
            if *direction == Direction::Outbound {
                return true;
            }
            let user = primary.user_of(&binding.holder.user, database);
            user.is_some_and(|user| {
                binding.holder.user = user.clone();
                true
            })
        });
        seen
    }
}

/// Whether records of a kind stay until somebody deletes them, grants for an agreed time at most; pairs, pool
/// entries and registrations come and go by themselves.
const fn is_named(kind: RecordKind) -> bool {
    matches!(
        kind,
        RecordKind::Subscriber
            | RecordKind::Grant
            | RecordKind::Pool
            | RecordKind::WithdrawnAgreement
            | RecordKind::User
            | RecordKind::Agreement
            | RecordKind::SystemConfiguration
    )
}

fn text_of<'a>(record: &Record<'a>) -> Result<&'a str, RecordError> {
    std::str::from_utf8(record.key).map_err(|_| RecordError::Damaged)
}

fn impi_of(record: &Record<'_>) -> Result<Impi, RecordError> {
    Impi::parse(text_of(record)?).map_err(|_| RecordError::Damaged)
}

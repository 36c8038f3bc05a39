//! Subscribers with a password in place of a key (SIP Digest, TS 33.203 annex N): provisioned here, and checked by
//! this system alone. They are for users of another system who come without its help; HA1 goes to this system's own
//! SIP core and to nobody else.
//!
//! A private identity has a key or a password, never both. A new one of either kind is created while the entry of a
//! subscriber with a key is held, so that no two kinds of one name come to be at once.

use super::{
    Declined, Outcome, SipDatabase,
    bound::read,
    pool::Pools,
    provision::{FULL, NOT_FREE},
    stored_secret,
};
use crate::{
    aka::digest::Ha1,
    api::migration_identity::{self as api, Answer, Refusal},
    diameter::cx::{ResultCode, SipDigest},
    identity::{Impi, Impu, UserIdentity},
    outbox::{Context, Note},
    secret::Secret,
    store::{CommitSeq, Mutation, RecordKind},
};

/// Longest realm, octets: as long as a domain name.
pub(super) const REALM_OCTETS_MAX: usize = 255;

const HAS_A_KEY: Refusal = Refusal::Invalid("a subscriber with a key has the private identity");
const HAS_A_PASSWORD: Refusal =
    Refusal::Invalid("a subscriber with a password has the private identity");

/// A subscriber with a password, in memory.
#[derive(Debug)]
pub(super) struct DigestSubscriber {
    pub(super) record: DigestSubscriberRecord,
    /// The commit that wrote [`Self::record`].
    pub(super) version: CommitSeq,
    /// As that of a subscriber with a key.
    pub(super) authentication_pending: bool,
}

/// A subscriber with a password as stored, by IMPI.
#[derive(Clone, Debug, serde::Deserialize, serde::Serialize)]
pub(super) struct DigestSubscriberRecord {
    /// The implicit registration set, the default one first.
    pub(super) impus: Vec<Impu>,
    /// The realm that HA1 is for.
    pub(super) realm: String,
    /// What responses are checked with.
    #[serde(with = "StoredHa1")]
    pub(super) ha1: Ha1,
    /// The SIP core that serves the subscriber (Server-Name), if any.
    pub(super) server_name: Option<String>,
    /// Whether the subscriber is registered there.
    pub(super) registered: bool,
}

/// How [`Ha1`] is written into a record.
#[derive(serde::Deserialize, serde::Serialize)]
#[serde(remote = "Ha1", rename_all = "lowercase")]
enum StoredHa1 {
    Md5(#[serde(with = "stored_secret")] Secret<16>),
    Sha256(#[serde(with = "stored_secret")] Secret<32>),
}

impl DigestSubscriberRecord {
    /// The change that stores the record.
    pub(super) fn mutation(&self, impi: &Impi) -> Mutation {
        Mutation::put(RecordKind::DigestSubscriber, impi.as_str(), self)
    }
}

impl DigestSubscriber {
    /// A subscriber as read from or just written to the storage.
    pub(super) const fn stored(record: DigestSubscriberRecord, version: CommitSeq) -> Self {
        Self { record, version, authentication_pending: false }
    }

    /// Takes over what was provisioned anew. Who has another password is served by nobody yet.
    fn replace(&mut self, new: DigestSubscriberRecord) {
        let is_same = self.record.ha1 == new.ha1 && self.record.realm == new.realm;
        let old = std::mem::replace(&mut self.record, new);
        if is_same {
            self.record.server_name = old.server_name;
            self.record.registered = old.registered;
        } else {
            self.authentication_pending = false;
        }
    }
}

impl SipDatabase {
    /// Creates or replaces a subscriber with a password.
    pub(super) fn put_digest_subscriber(
        &self,
        ctx: &mut Context<'_>,
        subscriber: api::DigestSubscriber,
    ) -> Outcome {
        let _among_others = self.provision()?;
        let pools = read(&self.pools);
        self.check_digest_subscriber(&pools, &subscriber)?;
        let api::DigestSubscriber { impi, impus, realm, ha1 } = subscriber;
        let record =
            DigestSubscriberRecord { impus, realm, ha1, server_name: None, registered: false };
        self.provisioned.add(&impi, &record.impus);
        let dashmap::Entry::Vacant(_no_key) = self.subscribers.entry(impi.clone()) else {
            return Err(HAS_A_KEY);
        };
        match self.digest_subscribers.entry(impi.clone()) {
            dashmap::Entry::Occupied(mut held) => {
                self.claim(&impi, &record.impus)?;
                let subscriber = held.get_mut();
                let mut dropped = subscriber.record.impus.clone();
                subscriber.replace(record);
                dropped.retain(|impu| !subscriber.record.impus.contains(impu));
                let version = ctx.out.commit([subscriber.record.mutation(&impi)]);
                subscriber.version = version;
                if !dropped.is_empty() {
                    self.removed.raise(version);
                }
                self.unclaim(&dropped);
                Ok((Answer::Done, version))
            }
            dashmap::Entry::Vacant(free) => {
                if !self.subscribers_bound.take() {
                    ctx.out.note(Note::TableFull("subscribers"));
                    return Err(FULL);
                }
                if let Err(refusal) = self.claim(&impi, &record.impus) {
                    self.subscribers_bound.give();
                    return Err(refusal);
                }
                let version = ctx.out.commit([record.mutation(&impi)]);
                free.insert(DigestSubscriber::stored(record, version));
                Ok((Answer::Done, version))
            }
        }
    }

    /// Checks what [`Self::put_digest_subscriber`] would refuse.
    pub(super) fn check_put_digest_subscriber(
        &self,
        subscriber: &api::DigestSubscriber,
    ) -> Result<(), Refusal> {
        self.check_digest_subscriber(&read(&self.pools), subscriber)?;
        let api::DigestSubscriber { impi, impus, .. } = subscriber;
        if self.subscribers.contains_key(impi) {
            return Err(HAS_A_KEY);
        }
        if !self.digest_subscribers.contains_key(impi) && !self.subscribers_bound.has_room(1) {
            return Err(FULL);
        }
        let owned = |impu| self.public.get(impu).is_some_and(|owner| *owner != *impi);
        if impus.iter().any(owned) { Err(NOT_FREE) } else { Ok(()) }
    }

    fn check_digest_subscriber(
        &self,
        pools: &Pools,
        subscriber: &api::DigestSubscriber,
    ) -> Result<(), Refusal> {
        check_realm(&subscriber.realm)?;
        let is_known = self.digest_subscribers.contains_key(&subscriber.impi);
        self.check_identities(pools, (&subscriber.impi, is_known), &subscriber.impus)
    }

    /// Checks that no subscriber with a password has the private identity. The caller holds the entry of the
    /// subscriber with a key.
    pub(super) fn check_no_password(&self, impi: &Impi) -> Result<(), Refusal> {
        if self.digest_subscribers.contains_key(impi) { Err(HAS_A_PASSWORD) } else { Ok(()) }
    }

    /// Shows a subscriber with a password, without it.
    pub(super) fn get_digest_subscriber(&self, impi: &Impi) -> Outcome {
        let subscriber = self.digest_subscribers.get(impi);
        let subscriber = subscriber.ok_or(Refusal::NotFound("subscriber"))?;
        let DigestSubscriberRecord { impus, realm, ha1, .. } = &subscriber.record;
        let answer = Answer::DigestSubscriber {
            impi: impi.clone(),
            impus: impus.clone(),
            realm: realm.clone(),
            algorithm: ha1.algorithm(),
        };
        Ok((answer, subscriber.version))
    }

    /// Removes a subscriber with a password.
    pub(super) fn delete_digest_subscriber(&self, ctx: &mut Context<'_>, impi: &Impi) -> Outcome {
        let _among_others = self.provision()?;
        let _pools = read(&self.pools);
        let dashmap::Entry::Occupied(held) = self.digest_subscribers.entry(impi.clone()) else {
            return Err(Refusal::NotFound("subscriber"));
        };
        let deletion = Mutation::delete(RecordKind::DigestSubscriber, impi.as_str());
        let version = ctx.out.commit([deletion]);
        self.removed.raise(version);
        self.unclaim(&held.get().record.impus);
        held.remove();
        self.subscribers_bound.give();
        Ok((Answer::Done, version))
    }

    /// What the responses of this pair are checked with, for the SIP core `server_name`; `None` if the private
    /// identity has no password.
    pub(super) fn issue_digest(
        &self,
        ctx: &mut Context<'_>,
        asked: &UserIdentity,
        server_name: &str,
    ) -> Option<Result<(SipDigest, CommitSeq), Declined>> {
        let mut subscriber = self.digest_subscribers.get_mut(&asked.impi)?;
        if !subscriber.record.impus.contains(&asked.impu) {
            let why = ResultCode::IDENTITIES_DONT_MATCH;
            return Some(Err(Declined::by(subscriber.version, why)));
        }
        subscriber.authentication_pending = true;
        if subscriber.record.server_name.as_deref() != Some(server_name) {
            subscriber.record.server_name = Some(server_name.to_owned());
            subscriber.version = ctx.out.commit([subscriber.record.mutation(&asked.impi)]);
        }
        let DigestSubscriberRecord { realm, ha1, .. } = &subscriber.record;
        let digest = SipDigest { realm: realm.clone(), ha1: ha1.clone() };
        Some(Ok((digest, subscriber.version)))
    }
}

/// Checks a realm: it stands in quotes, and an HA1 is for one of exactly its characters.
pub(super) fn check_realm(realm: &str) -> Result<(), Refusal> {
    let is_plain = realm.bytes().all(|octet| octet.is_ascii_graphic() && !b"\"\\".contains(&octet));
    if (1..=REALM_OCTETS_MAX).contains(&realm.len()) && is_plain {
        return Ok(());
    }
    Err(Refusal::Invalid("a realm is 1 to 255 printable characters without spaces, quotes and \\"))
}

//! What an identity management server knows, and in what order it goes away.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    sync::Arc,
};

use super::{
    attempts::Attempts,
    keys::HeldKey,
    record::{
        FamilyId, FamilyRecord, IssuedRecord, IssuerRecord, PresentedRecord, UserRecord,
        VisitorRecord,
    },
};
use crate::{
    api::{
        identity_management::{Authorization, Client, ClientId, IssuerUrl, UserName},
        idms_management::Denied,
    },
    outbox::ReplyTo,
    secret::SecretText,
    time::Timestamp,
    token::{key::Thumbprint, pkce::Challenge, scope::Scopes},
};

/// Everything. Who changes it holds it.
pub(super) struct State {
    pub(super) clients: BTreeMap<ClientId, Client>,
    pub(super) users: BTreeMap<UserName, UserRecord>,
    /// The user of a `sub`.
    pub(super) subjects: BTreeMap<String, UserName>,
    /// By thumbprint.
    pub(super) keys: BTreeMap<Thumbprint, Arc<HeldKey>>,
    pub(super) families: BTreeMap<FamilyId, FamilyRecord>,
    /// Of each subject the families, the first to end first.
    pub(super) families_of: BTreeMap<String, BTreeSet<(Timestamp, FamilyId)>>,
    pub(super) issued: BTreeMap<String, IssuedRecord>,
    /// Of each subject the security tokens that are not expired.
    pub(super) issued_of: BTreeMap<String, usize>,
    pub(super) issuers: BTreeMap<IssuerUrl, IssuerRecord>,
    /// By issuer and subject.
    pub(super) visitors: BTreeMap<(IssuerUrl, String), VisitorRecord>,
    pub(super) denied: BTreeSet<Denied>,
    /// By issuer and `jti`.
    pub(super) presented: BTreeMap<(IssuerUrl, String), PresentedRecord>,
    /// When which of those goes away.
    pub(super) ends: BTreeSet<(Timestamp, End)>,
    /// For when the timer is armed.
    pub(super) armed: Option<Timestamp>,
    pub(super) codes: Passing<[u8; 32], Code>,
    /// Proofs of keys, and assertions of clients: each is taken once.
    pub(super) proofs: Passing<[u8; 32], ()>,
    /// Passwords being checked.
    pub(super) checks: BTreeMap<u64, Check>,
    pub(super) attempts: Attempts,
    /// Proofs from before then may have been here: what was taken was forgotten.
    pub(super) loaded: Timestamp,
}

/// What goes away at its time.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum End {
    Family(FamilyId),
    Issued(String),
    Presented(IssuerUrl, String),
}

/// A code that a user brings to a client.
#[derive(Clone)]
pub(super) struct Code {
    pub(super) client: ClientId,
    pub(super) redirect_uri: String,
    pub(super) challenge: Challenge,
    pub(super) subject: String,
    pub(super) scopes: Scopes,
    pub(super) nonce: Option<String>,
    pub(super) proof_key: Option<String>,
    pub(super) expires: Timestamp,
    /// What came of it: who redeems it again ends that.
    pub(super) redeemed: Option<FamilyId>,
}

/// A log-in whose password is being checked.
pub(super) struct Check {
    pub(super) to: ReplyTo,
    pub(super) parameters: Authorization,
    pub(super) visit: String,
    /// As typed.
    pub(super) user: SecretText,
    /// `None` for a user who does not exist, or may not log in.
    pub(super) subject: Option<String>,
    pub(super) source: Option<std::net::IpAddr>,
}

/// Entries that all live equally long, in memory alone: a restart makes them void.
pub(super) struct Passing<K, V> {
    entries: BTreeMap<K, V>,
    order: VecDeque<(Timestamp, K)>,
    max: usize,
}

impl<K: Clone + Ord, V> Passing<K, V> {
    pub(super) const fn new(max: usize) -> Self {
        Self { entries: BTreeMap::new(), order: VecDeque::new(), max }
    }

    /// Forgets what is over by `now`, and keeps one more until `until`. `false` if there is no room.
    pub(super) fn insert(&mut self, key: K, value: V, until: Timestamp, now: Timestamp) -> bool {
        while self.order.front().is_some_and(|(end, _)| *end <= now) {
            if let Some((_, old)) = self.order.pop_front() {
                self.entries.remove(&old);
            }
        }
        if self.order.len() >= self.max {
            return false;
        }
        self.order.push_back((until, key.clone()));
        self.entries.insert(key, value);
        true
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key)
    }

    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.entries.get_mut(key)
    }

    /// Takes an entry out; its place is free when its time is over.
    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        self.entries.remove(key)
    }
}

/// Shows nothing: it is full of people.
impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("State(..)")
    }
}

impl State {
    pub(super) fn new(attempts: Attempts) -> Self {
        Self {
            clients: BTreeMap::new(),
            users: BTreeMap::new(),
            subjects: BTreeMap::new(),
            keys: BTreeMap::new(),
            families: BTreeMap::new(),
            families_of: BTreeMap::new(),
            issued: BTreeMap::new(),
            issued_of: BTreeMap::new(),
            issuers: BTreeMap::new(),
            visitors: BTreeMap::new(),
            denied: BTreeSet::new(),
            presented: BTreeMap::new(),
            ends: BTreeSet::new(),
            armed: None,
            codes: Passing::new(super::config::CODES_MAX),
            proofs: Passing::new(super::config::PROOFS_MAX),
            checks: BTreeMap::new(),
            attempts,
            loaded: Timestamp::default(),
        }
    }

    /// Forgets everything but the attempts in vain, which are no records.
    pub(super) fn forget(&mut self) {
        let fresh = Self::new(self.attempts.clone());
        *self = fresh;
    }

    /// The user of a `sub`, if there is one who may have tokens.
    pub(super) fn user_of(&self, subject: &str) -> Option<&UserRecord> {
        let name = self.subjects.get(subject)?;
        self.users.get(name).filter(|user| user.is_enabled)
    }

    pub(super) fn insert_user(&mut self, user: UserRecord) {
        self.subjects.insert(user.subject.clone(), user.name.clone());
        self.users.insert(user.name.clone(), user);
    }

    pub(super) fn insert_family(&mut self, family: FamilyRecord) {
        self.ends.insert((family.expires, End::Family(family.id)));
        let of_subject = self.families_of.entry(family.subject.clone()).or_default();
        of_subject.insert((family.expires, family.id));
        self.families.insert(family.id, family);
    }

    pub(super) fn remove_family(&mut self, id: FamilyId) -> Option<FamilyRecord> {
        let family = self.families.remove(&id)?;
        self.ends.remove(&(family.expires, End::Family(id)));
        if let Some(of_subject) = self.families_of.get_mut(&family.subject) {
            of_subject.remove(&(family.expires, id));
            if of_subject.is_empty() {
                self.families_of.remove(&family.subject);
            }
        }
        Some(family)
    }

    pub(super) fn insert_issued(&mut self, issued: IssuedRecord) {
        self.ends.insert((issued.expires, End::Issued(issued.id.clone())));
        *self.issued_of.entry(issued.subject.clone()).or_default() += 1;
        self.issued.insert(issued.id.clone(), issued);
    }

    pub(super) fn remove_issued(&mut self, id: &str) -> Option<IssuedRecord> {
        let issued = self.issued.remove(id)?;
        self.ends.remove(&(issued.expires, End::Issued(id.to_owned())));
        if let Some(count) = self.issued_of.get_mut(&issued.subject) {
            *count -= 1;
            if *count == 0 {
                self.issued_of.remove(&issued.subject);
            }
        }
        Some(issued)
    }

    pub(super) fn insert_presented(&mut self, presented: PresentedRecord) {
        let key = (presented.issuer.clone(), presented.id.clone());
        self.ends.insert((presented.until, End::Presented(key.0.clone(), key.1.clone())));
        self.presented.insert(key, presented);
    }

    pub(super) fn remove_presented(
        &mut self,
        issuer: &IssuerUrl,
        id: &str,
    ) -> Option<PresentedRecord> {
        let presented = self.presented.remove(&(issuer.clone(), id.to_owned()))?;
        let end = End::Presented(issuer.clone(), id.to_owned());
        self.ends.remove(&(presented.until, end));
        Some(presented)
    }
}

//! What an ACM server keeps in order: queues of pending items, what is due, log-ons, aliases, groups. Whoever holds it
//! has the turn: all changes of the role are made one after the other, for a transaction touches several tables,
//! and administrators and partners are few.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{agreements::AgreementWork, alias::Aliases, migrants::MigrantKey, share::Shares};
use crate::{
    api::{
        acm_client::SessionId,
        acm_interconnection::{TransactionId, TransactionKey},
        acm_management::Stray,
        acm_payload::Kind,
    },
    identity::{FunctionalAlias, McServiceGroupId, McServiceId, McSystemId},
    time::Timestamp,
};

/// A list of pending items.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Queue {
    pub(super) audience: Audience,
    pub(super) kind: Kind,
    /// Whether responses to this system's requests are in it; else requests of partners.
    pub(super) is_response: bool,
}

/// Who sees a list.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Audience {
    /// One user.
    User(McServiceId),
    /// Whoever may decide such requests, or begin such transactions.
    Authorised,
}

/// A client that is logged on.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Session {
    pub(super) user: McServiceId,
    pub(super) since: Timestamp,
    /// Until when it lasts if nothing is heard of its user; a new one begins with each process.
    #[serde(skip)]
    pub(super) until: Timestamp,
    /// When that is looked at.
    #[serde(skip)]
    pub(super) due: Option<Timestamp>,
}

/// An interconnection group that is known here.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Group {
    pub(super) home: McSystemId,
    pub(super) id: McServiceGroupId,
    /// The revision of the transaction that told the latest.
    pub(super) revision: u64,
    /// When this system heard that it is no more.
    pub(super) withdrawn: Option<Timestamp>,
    /// The transaction that told the latest; of a group of this system, the user who put it there is not kept.
    pub(super) told_by: Option<TransactionKey>,
    /// Whom a group of this system has been offered to.
    pub(super) offered_to: BTreeSet<McSystemId>,
}

/// What is to be done at its time.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Due {
    /// A transaction: a repeat, its expiry, or its end.
    Transaction(TransactionKey),
    /// An agreement: it is tried again, or its answer has not come.
    Agreement(MigrantKey),
    /// A log-on: its lease ends.
    Session(SessionId),
    /// A group that is no more: it is forgotten.
    Group(GroupKey),
    /// An answer that belongs to nothing: it is forgotten.
    Stray(TransactionKey),
}

/// The home of a group, and its name there.
pub(super) type GroupKey = (McSystemId, McServiceGroupId);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ordered {
    pub(super) last_number: u64,
    queues: BTreeMap<Queue, BTreeMap<u64, TransactionKey>>,
    /// The numbers of the items of each list, by the partner that they are exchanged with.
    by_partner: BTreeMap<Queue, BTreeMap<McSystemId, BTreeSet<u64>>>,
    due: BTreeSet<(Timestamp, Due)>,
    /// The earliest timer that may not have come yet.
    pub(super) armed: Option<Timestamp>,
    pub(super) sessions: BTreeMap<SessionId, Session>,
    pub(super) aliases: Aliases,
    /// Undecided requests of partners that are for an alias.
    pub(super) for_alias: BTreeMap<FunctionalAlias, BTreeSet<TransactionKey>>,
    /// Undecided requests of partners.
    undecided: BTreeMap<(McSystemId, Kind), BTreeSet<TransactionKey>>,
    /// Offers of groups of this system that wait for their response, by who made them.
    pub(super) offers: BTreeSet<(McServiceId, TransactionId)>,
    /// Transactions of this system about users that wait for their response.
    pub(super) moves: BTreeSet<TransactionId>,
    pub(super) agreements: AgreementWork,
    pub(super) groups: BTreeMap<GroupKey, Group>,
    pub(super) strays: BTreeMap<TransactionKey, Stray>,
    pub(super) shares: Shares,
    /// Transactions that were loaded and are not taken up yet.
    pub(super) loaded: BTreeSet<TransactionKey>,
}

impl Ordered {
    pub(super) const fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// Moves an item, which is exchanged with `partner`, from one list to another.
    pub(super) fn move_item(
        &mut self,
        (number, key): (u64, &TransactionKey),
        partner: &McSystemId,
        from: Option<&Queue>,
        to: Option<&Queue>,
    ) {
        if from == to {
            return;
        }
        if let Some(from) = from {
            self.take_out(number, partner, from);
        }
        if let Some(to) = to {
            self.queues.entry(to.clone()).or_default().insert(number, key.clone());
            let of_partners = self.by_partner.entry(to.clone()).or_default();
            of_partners.entry(partner.clone()).or_default().insert(number);
        }
    }

    fn take_out(&mut self, number: u64, partner: &McSystemId, from: &Queue) {
        if let Some(items) = self.queues.get_mut(from) {
            items.remove(&number);
            if items.is_empty() {
                self.queues.remove(from);
            }
        }
        if let Some(of_partners) = self.by_partner.get_mut(from) {
            if let Some(numbers) = of_partners.get_mut(partner) {
                numbers.remove(&number);
            }
            of_partners.retain(|_, numbers| !numbers.is_empty());
            if of_partners.is_empty() {
                self.by_partner.remove(from);
            }
        }
    }

    /// Up to `limit` items of a list behind the number `after`, oldest first.
    pub(super) fn page(
        &self,
        queue: &Queue,
        after: u64,
        limit: usize,
    ) -> impl Iterator<Item = (u64, &TransactionKey)> {
        let items = self.queues.get(queue).into_iter();
        items
            .flat_map(move |items| items.range(after.saturating_add(1)..))
            .take(limit)
            .map(|(number, key)| (*number, key))
    }

    /// How many items a list has of the partners that `sees` is about, and the number of the last.
    pub(super) fn extent(&self, queue: &Queue, sees: impl Fn(&McSystemId) -> bool) -> (u64, u64) {
        let of_partners = self.by_partner.get(queue).into_iter().flatten();
        let seen = of_partners.filter(|(partner, _)| sees(partner));
        seen.fold((0, 0), |(count, last), (_, numbers)| {
            let newest = numbers.last().copied().unwrap_or(0);
            (count + numbers.len() as u64, newest.max(last))
        })
    }

    /// How many items wait for one user alone.
    pub(super) fn pending_of(&self, user: &McServiceId) -> u64 {
        let queues = own_queues(user);
        queues.map(|queue| self.queues.get(&queue).map_or(0, BTreeMap::len) as u64).sum()
    }

    /// Notes that something is due at `at` instead of `before`.
    pub(super) fn set_due(&mut self, what: &Due, before: Option<Timestamp>, at: Option<Timestamp>) {
        if let Some(before) = before {
            self.due.remove(&(before, what.clone()));
        }
        self.due.extend(at.map(|at| (at, what.clone())));
    }

    /// When the first of all is due.
    pub(super) fn first_due(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Takes out what is due now, if anything is.
    pub(super) fn take_due(&mut self, now: Timestamp) -> Option<Due> {
        let is_due = self.due.first().is_some_and(|(at, _)| *at <= now);
        is_due.then(|| self.due.pop_first()).flatten().map(|(_, what)| what)
    }

    /// Notes that a request of a partner is undecided, or is no longer.
    pub(super) fn set_undecided(&mut self, key: &TransactionKey, kind: Kind, is_undecided: bool) {
        let of = (key.origin.clone(), kind);
        if is_undecided {
            self.undecided.entry(of).or_default().insert(key.clone());
        } else if let Some(keys) = self.undecided.get_mut(&of) {
            keys.remove(key);
            if keys.is_empty() {
                self.undecided.remove(&of);
            }
        }
    }

    /// The undecided requests of a kind of a partner.
    pub(super) fn undecided(&self, origin: &McSystemId, kind: Kind) -> Vec<TransactionKey> {
        let keys = self.undecided.get(&(origin.clone(), kind));
        keys.into_iter().flatten().cloned().collect()
    }

    /// How many undecided requests of a kind a partner has.
    pub(super) fn undecided_count(&self, origin: &McSystemId, kind: Kind) -> usize {
        self.undecided.get(&(origin.clone(), kind)).map_or(0, BTreeSet::len)
    }

    /// Whether a user has made an offer of groups that waits for its response.
    pub(super) fn has_offer(&self, user: &McServiceId) -> bool {
        self.offers.iter().any(|(of, _)| of == user)
    }

    /// Since when a user is logged on.
    pub(super) fn logged_on_since(&self, user: &McServiceId) -> Option<Timestamp> {
        let sessions = self.sessions.values().filter(|session| session.user == *user);
        sessions.map(|session| session.since).min()
    }
}

/// The lists that one user alone sees.
pub(super) fn own_queues(user: &McServiceId) -> impl Iterator<Item = Queue> {
    let of = |is_response: bool| {
        Kind::ALL.into_iter().map(move |kind| Queue {
            audience: Audience::User(user.clone()),
            kind,
            is_response,
        })
    };
    of(false).chain(of(true))
}

/// The lists that whoever is authorised sees.
pub(super) fn shared_queues() -> impl Iterator<Item = Queue> {
    let of = |is_response: bool| {
        Kind::ALL.into_iter().map(move |kind| Queue {
            audience: Audience::Authorised,
            kind,
            is_response,
        })
    };
    of(false).chain(of(true))
}

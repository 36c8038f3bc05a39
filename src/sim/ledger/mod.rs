//! What was asked of one system and what came of it, as its clients know it, and whether the system's
//! storage agrees: nothing acknowledged is lost, doubled or resurrected.
//!
//! Plain facts, no roles: the simulated world and clients of real processes keep the same ledger. Clients
//! may work at the same time, and some answers are lost in a crash: a change that was not acknowledged may
//! or may not have happened. So each change has a span, from when it was asked for until it could no
//! longer happen; what is stored must be explained by a change that no acknowledged one came after.
//!
//! Covered are: registered contacts, with Call-ID and `CSeq` (`contacts`); lent pairs, with holder and
//! rest (`pairs`); that subscribers, grants, pools, withdrawals of agreements, users, agreements and
//! descriptions of systems are there or not (`records`), but not what is in them; the highest SEQ that
//! left. What two systems have stored about each other is compared in `systems`.

mod contacts;
mod pairs;
mod records;
mod systems;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, time::Duration};

use crate::{
    aka::{Rand, Sqn},
    api::migration_identity::Direction,
    identity::{Impi, UserIdentity},
    store::RecordKind,
    time::Timestamp,
};

use super::Violation;

pub use self::{
    records::grant_key,
    systems::{Side, check_agreement},
};
pub use super::tables::{Holder, StoredBinding, StoredSubscriber, Tables};

/// What the clients of one system know.
#[derive(Debug)]
pub struct Ledger {
    ind_bits: u8,
    last_ticket: u64,
    /// Changes asked for, not answered.
    open: BTreeMap<u64, Asked>,
    contacts: Contacts,
    /// What each holder was lent; `None` where no answer came.
    lent: BTreeMap<(Direction, Holder), Changes<Option<Lending>>>,
    released: BTreeMap<(Direction, Impi), Vec<Span>>,
    /// When all outbound pairs of a subscriber were to be given back.
    released_all: BTreeMap<Impi, Vec<Span>>,
    /// Whose each identity, private or public, was last.
    held: BTreeMap<(Direction, String), Held>,
    /// How long listed pairs rest. All others are never lent again.
    quarantine: BTreeMap<(Direction, Impi), Duration>,
    /// Whether each record of other kinds was stored or deleted.
    records: BTreeMap<(RecordKind, String), Changes<Presence>>,
    vectors: BTreeMap<(Impi, u32, Sqn), Rand>,
    /// The highest SEQ that left, and in which epoch.
    highest: BTreeMap<Impi, (u32, u64)>,
}

/// Names a change that was begun. Consumed by what comes of it.
#[derive(Debug)]
pub struct Ticket(u64);

/// What a client asks for.
#[derive(Clone, Debug)]
pub enum Change {
    /// A REGISTER for one contact, `until` at the earliest. Several contacts are several changes.
    Register {
        /// The user.
        impi: Impi,
        /// The contact URI.
        contact: String,
        /// Call-ID of the REGISTER.
        call_id: String,
        /// CSeq of the REGISTER that answered the challenge.
        cseq: u32,
        /// Until when the registration holds at least: when it was asked for, and the period asked for.
        until: Timestamp,
    },
    /// A REGISTER that ends the registration of one contact.
    Deregister {
        /// The user.
        impi: Impi,
        /// The contact URI.
        contact: String,
    },
    /// A pair is to be lent, or the one shown that is held already.
    Lend {
        /// In which direction.
        direction: Direction,
        /// To whom.
        holder: Holder,
    },
    /// A lent pair is to be given back.
    Release {
        /// In which direction it was lent.
        direction: Direction,
        /// Its private identity.
        impi: Impi,
    },
    /// All outbound pairs of a subscriber are to be given back.
    ReleaseAll {
        /// The real private identity.
        user: Impi,
    },
    /// A record of another kind than the above is to be stored, or stored anew.
    Put {
        /// Its kind.
        kind: RecordKind,
        /// Its key.
        key: String,
    },
    /// It is to be deleted.
    Delete {
        /// Its kind.
        kind: RecordKind,
        /// Its key.
        key: String,
    },
}

/// What comes of a change.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It was acknowledged.
    Done,
    /// The acknowledgment of [`Change::Lend`].
    Lent {
        /// The pair.
        identity: UserIdentity,
        /// Until when it is kept at least.
        until: Timestamp,
    },
    /// The acknowledgment of [`Change::Put`] of a record that goes by itself.
    Kept {
        /// Not before this.
        until: Timestamp,
    },
    /// It was refused for good: it did not happen and will not.
    Refused,
    /// Nobody knows whether it happened; it will not happen any more. A 503 is this, and a connection lost
    /// in a crash. A request that may still be under way has no outcome yet.
    Unknown,
}

/// From when to when a change may have happened.
#[derive(Clone, Copy, Debug)]
struct Span {
    begun: Timestamp,
    /// `None` while it may still happen.
    ended: Option<Timestamp>,
    done: bool,
}

#[derive(Debug)]
struct Asked {
    at: Timestamp,
    change: Change,
}

/// The changes of one key, each with its span, that no acknowledged one came after.
type Changes<T> = Vec<(Span, T)>;

/// The changes of contacts, by user and contact URI.
type Contacts = BTreeMap<(Impi, String), Changes<Contact>>;

/// What a change makes of a contact; no registration if `None`.
type Contact = Option<Registered>;

#[derive(Clone, Debug)]
struct Registered {
    call_id: String,
    cseq: u32,
    until: Timestamp,
}

#[derive(Clone, Debug)]
struct Lending {
    identity: UserIdentity,
    until: Timestamp,
}

/// What a change makes of a record of another kind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Presence {
    Gone,
    /// It may go by itself from then on.
    There {
        until: Timestamp,
    },
}

#[derive(Debug)]
struct Held {
    holder: Holder,
    /// When it was asked for, and when that was answered.
    begun: Timestamp,
    ended: Timestamp,
    /// The end of the lease.
    until: Timestamp,
}

impl Span {
    /// Whether all of this came before any of `later`.
    fn is_before(&self, later: &Self) -> bool {
        self.ended.is_some_and(|ended| ended < later.begun)
    }
}

impl Ledger {
    /// Creates a ledger of a system whose SQNs have `ind_bits` bits of IND.
    pub const fn new(ind_bits: u8) -> Self {
        Self {
            ind_bits,
            last_ticket: 0,
            open: BTreeMap::new(),
            contacts: BTreeMap::new(),
            lent: BTreeMap::new(),
            released: BTreeMap::new(),
            released_all: BTreeMap::new(),
            held: BTreeMap::new(),
            quarantine: BTreeMap::new(),
            records: BTreeMap::new(),
            vectors: BTreeMap::new(),
            highest: BTreeMap::new(),
        }
    }

    /// Takes note of a listed pair, which rests for `quarantine` before it is lent again. Identities that
    /// are not noted are never lent again once they were given back.
    pub fn provisioned(&mut self, direction: Direction, impi: Impi, quarantine: Duration) {
        self.quarantine.insert((direction, impi), quarantine);
    }

    /// Takes note that a change is asked for.
    pub fn begin(&mut self, at: Timestamp, change: Change) -> Ticket {
        self.last_ticket += 1;
        self.open.insert(self.last_ticket, Asked { at, change });
        Ticket(self.last_ticket)
    }

    /// Takes note of what came of a change.
    ///
    /// # Errors
    ///
    /// A [`Violation`] if a pair was lent that may not be.
    pub fn end(
        &mut self,
        at: Timestamp,
        Ticket(number): Ticket,
        outcome: Outcome,
    ) -> Result<(), Violation> {
        let Some(Asked { at: begun, change }) = self.open.remove(&number) else { return Ok(()) };
        let done = match outcome {
            Outcome::Refused => return Ok(()),
            Outcome::Done | Outcome::Lent { .. } | Outcome::Kept { .. } => true,
            Outcome::Unknown => false,
        };
        let span = Span { begun, ended: Some(at), done };
        match (change, outcome) {
            (Change::Lend { direction, holder }, Outcome::Lent { identity, until }) => {
                let lending = Lending { identity, until };
                self.check_lending(span, (direction, &holder), &lending, at)?;
                add(self.lent.entry((direction, holder)).or_default(), span, Some(lending));
            }
            (Change::Put { kind, key }, Outcome::Kept { until }) => {
                let there = Presence::There { until };
                add(self.records.entry((kind, key)).or_default(), span, there);
            }
            (change, _) => self.add(span, change),
        }
        Ok(())
    }

    /// Takes note that the process crashed: what has no outcome yet happened before or never will.
    pub fn crashed(&mut self, at: Timestamp) {
        for Asked { at: begun, change } in std::mem::take(&mut self.open).into_values() {
            self.add(Span { begun, ended: Some(at), done: false }, change);
        }
    }

    /// Takes note of a vector that was seen, in the epoch that its home was in: `0` unless SEQ was moved
    /// back. The same vector may be seen again.
    ///
    /// # Errors
    ///
    /// A [`Violation`] if another vector has this SQN.
    pub fn vector_left(
        &mut self,
        impi: &Impi,
        epoch: u32,
        sqn: Sqn,
        rand: &Rand,
    ) -> Result<(), Violation> {
        let seen = self.vectors.insert((impi.clone(), epoch, sqn), *rand);
        if seen.is_some_and(|seen| seen != *rand) {
            let detail = format_args!("{sqn:?} of {} in epoch {epoch}", impi.as_str());
            return Err(Violation::new("no SQN leaves twice", &detail));
        }
        let highest = self.highest.entry(impi.clone()).or_default();
        *highest = (*highest).max((epoch, sqn.seq(self.ind_bits)));
        Ok(())
    }

    /// Checks that the storage of a system that is quiet holds what was acknowledged, and nothing that was
    /// acknowledged to have ended.
    ///
    /// # Errors
    ///
    /// The first [`Violation`].
    pub fn check(&self, now: Timestamp, stored: &Tables) -> Result<(), Violation> {
        self.check_contacts(now, stored)?;
        self.check_lent(now, stored)?;
        self.check_released(stored)?;
        self.check_records(now, stored)?;
        self.check_sqn(stored)
    }

    fn add(&mut self, span: Span, change: Change) {
        match change {
            Change::Register { impi, contact, call_id, cseq, until } => {
                let registered = Registered { call_id, cseq, until };
                add(self.contacts.entry((impi, contact)).or_default(), span, Some(registered));
            }
            Change::Deregister { impi, contact } => {
                add(self.contacts.entry((impi, contact)).or_default(), span, None);
            }
            Change::Lend { direction, holder } => {
                self.lent.entry((direction, holder)).or_default().push((span, None));
            }
            Change::Release { direction, impi } => {
                self.released.entry((direction, impi)).or_default().push(span);
            }
            Change::ReleaseAll { user } => self.released_all.entry(user).or_default().push(span),
            Change::Put { kind, key } => {
                let there = Presence::There { until: Timestamp::MAX };
                add(self.records.entry((kind, key)).or_default(), span, there);
            }
            Change::Delete { kind, key } => {
                add(self.records.entry((kind, key)).or_default(), span, Presence::Gone);
            }
        }
    }

    fn check_sqn(&self, stored: &Tables) -> Result<(), Violation> {
        for (impi, (epoch, seq)) in &self.highest {
            let Some(found) = stored.subscribers.get(impi) else {
                if self.may_be_deleted(RecordKind::Subscriber, impi.as_str()) {
                    continue;
                }
                let rule = "a subscriber whose vectors left is stored";
                return Err(Violation::new(rule, &impi.as_str()));
            };
            if (found.epoch, found.reserved_seq) < (*epoch, *seq) {
                let detail = format_args!("{}: {found:?}, {seq} left", impi.as_str());
                let rule = "an SQN leaves after it is reserved in storage";
                return Err(Violation::new(rule, &detail));
            }
        }
        Ok(())
    }
}

/// Adds a change to those of one key. What an acknowledged one came after says nothing any more.
fn add<T>(changes: &mut Changes<T>, span: Span, what: T) {
    if span.done {
        changes.retain(|(earlier, _)| !earlier.is_before(&span));
    }
    changes.push((span, what));
}

//! What was asked of one system and what came of it, as its clients know it, and whether the system's
//! storage agrees: nothing acknowledged is lost, doubled or resurrected.
//!
//! Plain facts, no roles: the simulated world and clients of real processes keep the same ledger. Clients
//! may work at the same time, and some answers are lost in a crash: a change that was not acknowledged may
//! or may not have happened. So each change has a span, from when it was asked for until it could no
//! longer happen; what is stored must be explained by a change that no acknowledged one came after.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    aka::{Rand, Sqn},
    api::migration_identity::Direction,
    identity::{Impi, SipDatabaseId, UserIdentity},
    time::Timestamp,
};

use super::Violation;

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
    /// Whose each identity, private or public, was last.
    held: BTreeMap<(Direction, String), Held>,
    /// How long listed pairs rest. All others are never lent again.
    quarantine: BTreeMap<(Direction, Impi), Duration>,
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
    /// A lent pair is to be given back, or a grant withdrawn: an outbound release of the real identity.
    Release {
        /// In which direction it was lent.
        direction: Direction,
        /// Its private identity.
        impi: Impi,
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

#[derive(Debug)]
struct Held {
    holder: Holder,
    begun: Timestamp,
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
            held: BTreeMap::new(),
            quarantine: BTreeMap::new(),
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
            Outcome::Done | Outcome::Lent { .. } => true,
            Outcome::Unknown => false,
        };
        let span = Span { begun, ended: Some(at), done };
        match (change, outcome) {
            (Change::Lend { direction, holder }, Outcome::Lent { identity, until }) => {
                let lending = Lending { identity, until };
                self.check_lending(span, (direction, &holder), &lending, at)?;
                add(self.lent.entry((direction, holder)).or_default(), span, Some(lending));
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

    /// Whom a pair was lent to last, by its private identity.
    pub fn holder(&self, direction: Direction, impi: &Impi) -> Option<&Holder> {
        self.held.get(&(direction, impi.as_str().to_owned())).map(|held| &held.holder)
    }

    /// Whether a pair may have been given back.
    pub fn may_be_released(&self, direction: Direction, impi: &Impi) -> bool {
        self.released.contains_key(&(direction, impi.clone()))
            || self.open.values().any(|asked| asked.releases(direction, impi))
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
        }
    }

    /// A pair that is lent has no other holder, is not at rest, and is the one that its holder had.
    fn check_lending(
        &mut self,
        span: Span,
        (direction, holder): (Direction, &Holder),
        lending: &Lending,
        at: Timestamp,
    ) -> Result<(), Violation> {
        let impi = &lending.identity.impi;
        let name = impi.as_str();
        let quarantine = self.quarantine.get(&(direction, impi.clone())).copied();
        for identity in [name, lending.identity.impu.as_str()] {
            let held = self.held.get(&(direction, identity.to_owned()));
            if let Some(held) = held.filter(|held| held.holder != *holder) {
                let Some(quarantine) = quarantine else {
                    return Err(Violation::new("an identity has at most one holder", &identity));
                };
                let end = self.earliest_end(direction, impi, held);
                if end.is_none_or(|end| at < end + quarantine) {
                    let rule = "an identity at rest is lent to nobody";
                    return Err(Violation::new(rule, &identity));
                }
            }
        }
        let releases = self.released.get(&(direction, impi.clone()));
        for release in releases.into_iter().flatten().filter(|it| it.done && it.is_before(&span)) {
            if quarantine.is_none_or(|quarantine| at < release.begun + quarantine) {
                return Err(Violation::new("what was given back is not lent again", &name));
            }
        }
        let earlier = self.lent.get(&(direction, holder.clone()));
        for (before, earlier) in earlier.into_iter().flatten() {
            if let Some(earlier) = earlier
                && earlier.identity != lending.identity
                && before.is_before(&span)
                && at < earlier.until
                && !self.may_end(direction, &earlier.identity.impi, before)
            {
                let detail = format_args!("{name} after {}", earlier.identity.impi.as_str());
                return Err(Violation::new("asking again gives the same pair", &detail));
            }
        }
        for identity in [name, lending.identity.impu.as_str()] {
            let (holder, begun) = (holder.clone(), span.begun);
            let held = Held { holder, begun, until: lending.until };
            self.held.insert((direction, identity.to_owned()), held);
        }
        Ok(())
    }

    /// When a pair may have come back from its holder at the earliest.
    fn earliest_end(&self, direction: Direction, impi: &Impi, held: &Held) -> Option<Timestamp> {
        let closed = self.released.get(&(direction, impi.clone())).into_iter().flatten();
        let closed = closed.filter(|it| it.ended.is_none_or(|ended| ended >= held.begun));
        let open = self.open.values().filter(|asked| asked.releases(direction, impi));
        let begun = closed.map(|span| span.begun).chain(open.map(|asked| asked.at));
        begun.chain([held.until]).min()
    }

    /// Whether a release may have come after the lending at `span`.
    fn may_end(&self, direction: Direction, impi: &Impi, span: &Span) -> bool {
        let closed = self.released.get(&(direction, impi.clone())).into_iter().flatten();
        closed.into_iter().any(|release| !release.is_before(span))
            || self.open.values().any(|asked| asked.releases(direction, impi))
    }

    fn check_contacts(&self, now: Timestamp, stored: &Tables) -> Result<(), Violation> {
        let mut open = Contacts::new();
        for Asked { at, change } in self.open.values() {
            let span = Span { begun: *at, ended: None, done: false };
            if let Change::Register { impi, contact, call_id, cseq, until } = change.clone() {
                let registered = Registered { call_id, cseq, until };
                open.entry((impi, contact)).or_default().push((span, Some(registered)));
            } else if let Change::Deregister { impi, contact } = change.clone() {
                open.entry((impi, contact)).or_default().push((span, None));
            }
        }
        for (key, closed) in &self.contacts {
            let (impi, uri) = key;
            let changes: Vec<_> =
                closed.iter().chain(open.get(key).into_iter().flatten()).collect();
            let last = |span: &Span| !changes.iter().any(|(it, _)| it.done && span.is_before(it));
            let possible = || changes.iter().filter(|(span, _)| last(span)).map(|(_, it)| it);
            let found = stored.registrations.get(impi);
            let found = found.and_then(|it| it.contacts.iter().find(|it| it.uri == *uri));
            let Some(found) = found else {
                let untouched = !changes.iter().any(|(span, _)| span.done);
                let may_be_gone = |it: &Contact| it.as_ref().is_none_or(|it| it.until <= now);
                if untouched || possible().any(may_be_gone) {
                    continue;
                }
                let rule = "an acknowledged registration is stored";
                return Err(Violation::new(rule, &impi.as_str()));
            };
            let is_it = |it: &Registered| it.call_id == found.call_id && it.cseq == found.cseq;
            if !possible().flatten().any(is_it) {
                let gone = possible().any(Option::is_none);
                let rule = if gone {
                    "a registration that has ended is not resurrected"
                } else {
                    "a stored registration is the latest that was acknowledged"
                };
                let detail = format_args!("{} has CSeq {}", impi.as_str(), found.cseq);
                return Err(Violation::new(rule, &detail));
            }
        }
        Ok(())
    }

    fn check_lent(&self, now: Timestamp, stored: &Tables) -> Result<(), Violation> {
        for ((direction, holder), changes) in &self.lent {
            for (span, lending) in changes {
                let Some(Lending { identity, until }) = lending else { continue };
                let UserIdentity { impi, impu } = identity;
                let later = |it: &(Span, _)| it.0.done && span.is_before(&it.0);
                if *until <= now
                    || changes.iter().any(later)
                    || self.may_end(*direction, impi, span)
                {
                    continue;
                }
                let found = stored.bindings.get(&(*direction, impi.clone()));
                if found.is_none_or(|it| it.holder != *holder || it.impu != *impu) {
                    let rule = "an acknowledged binding is stored";
                    return Err(Violation::new(rule, &impi.as_str()));
                }
            }
        }
        Ok(())
    }

    fn check_released(&self, stored: &Tables) -> Result<(), Violation> {
        for ((direction, impi), releases) in &self.released {
            let key = (*direction, impi.clone());
            let Some(found) = stored.bindings.get(&key) else {
                let must_rest = self.quarantine.contains_key(&key)
                    && releases.iter().any(|it| it.done)
                    && !stored.resting.contains_key(impi);
                if must_rest {
                    let rule = "a listed pair that was given back is in its pool";
                    return Err(Violation::new(rule, &impi.as_str()));
                }
                continue;
            };
            let lent = self.lent.get(&(*direction, found.holder.clone()));
            let lends = lent.into_iter().flatten().filter(|(_, lending)| {
                lending.as_ref().is_none_or(|lending| lending.identity.impi == *impi)
            });
            let last = |span: &Span| {
                !releases.iter().any(|release| release.done && span.is_before(release))
            };
            let under_way = self.open.values().any(|asked| {
                matches!(&asked.change, Change::Lend { direction: to, holder }
                    if to == direction && *holder == found.holder)
            });
            let released = releases.iter().any(|release| release.done);
            if released && !under_way && !lends.into_iter().any(|(span, _)| last(span)) {
                let rule = "what was given back is not resurrected";
                return Err(Violation::new(rule, &impi.as_str()));
            }
        }
        Ok(())
    }

    fn check_sqn(&self, stored: &Tables) -> Result<(), Violation> {
        for (impi, (epoch, seq)) in &self.highest {
            let found = stored.subscribers.get(impi);
            if found.is_some_and(|it| (it.epoch, it.reserved_seq) < (*epoch, *seq)) {
                let detail = format_args!("{}: {found:?}, {seq} left", impi.as_str());
                let rule = "an SQN leaves after it is reserved in storage";
                return Err(Violation::new(rule, &detail));
            }
        }
        Ok(())
    }
}

impl Asked {
    fn releases(&self, direction: Direction, impi: &Impi) -> bool {
        matches!(&self.change, Change::Release { direction: of, impi: it }
            if *of == direction && it == impi)
    }
}

/// Adds a change to those of one key. What an acknowledged one came after says nothing any more.
fn add<T>(changes: &mut Changes<T>, span: Span, what: T) {
    if span.done {
        changes.retain(|(earlier, _)| !earlier.is_before(&span));
    }
    changes.push((span, what));
}

/// One of two systems that are compared.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// Its SIP database.
    pub database: &'a SipDatabaseId,
    /// What it has stored.
    pub tables: &'a Tables,
    /// What its clients know.
    pub ledger: &'a Ledger,
}

/// Checks that the tables of two quiet systems fit together, seen from the partner's side: call it both ways.
///
/// # Errors
///
/// A [`Violation`] if an inbound pair stands for nothing that its primary ever lent or for what it lent and
/// was never asked to take back, or if a registration belongs to no binding.
pub fn check_agreement(primary: Side<'_>, partner: Side<'_>) -> Result<(), Violation> {
    for ((direction, impi), binding) in &partner.tables.bindings {
        let Holder { user, other } = &binding.holder;
        if *direction != Direction::Inbound || other != primary.database {
            continue;
        }
        let stands = primary.tables.stands_for(user, partner.database)
            || primary.ledger.may_be_released(Direction::Outbound, &user.impi);
        if !stands {
            let rule = "an inbound pair stands for one that its primary lent";
            return Err(Violation::new(rule, &impi.as_str()));
        }
    }
    for impi in partner.tables.registrations.keys() {
        let inbound = (Direction::Inbound, impi.clone());
        let known = partner.tables.bindings.contains_key(&inbound)
            || partner.tables.subscribers.contains_key(impi)
            || partner.ledger.may_be_released(Direction::Inbound, impi);
        if !known {
            return Err(Violation::new("a registration belongs to a binding", &impi.as_str()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        sip_core::{ContactBinding, Registration},
        store::CommitSeq,
    };

    const CONTACT: &str = "sip:ue@192.0.2.7";

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_secs(seconds)
    }

    fn impi(name: &str) -> Impi {
        format!("{name}@b.example").parse().unwrap()
    }

    fn pair(name: &str) -> UserIdentity {
        UserIdentity { impi: impi(name), impu: format!("sip:{name}@b.example").parse().unwrap() }
    }

    fn holder(name: &str) -> Holder {
        Holder { user: pair(name), other: "hss.a.example".parse().unwrap() }
    }

    fn register(cseq: u32) -> Change {
        let (contact, call_id) = (CONTACT.to_owned(), "call".to_owned());
        Change::Register { impi: impi("ue"), contact, call_id, cseq, until: at(1_000) }
    }

    fn deregister() -> Change {
        Change::Deregister { impi: impi("ue"), contact: CONTACT.to_owned() }
    }

    fn lend(to: &str) -> Change {
        Change::Lend { direction: Direction::Inbound, holder: holder(to) }
    }

    fn release(name: &str) -> Change {
        Change::Release { direction: Direction::Inbound, impi: impi(name) }
    }

    fn lent(name: &str) -> Outcome {
        Outcome::Lent { identity: pair(name), until: at(1_000) }
    }

    /// What is stored: the CSeq of the registration, and who holds which pair.
    fn tables(registered: Option<u32>, bound: &[(&str, &str)]) -> Tables {
        let mut tables = Tables::default();
        if let Some(cseq) = registered {
            let contact = ContactBinding {
                uri: CONTACT.to_owned(),
                parameters: String::new(),
                paths: Vec::new(),
                call_id: "call".to_owned(),
                cseq,
                expires_at: at(1_000),
            };
            let registration = Registration { impus: Vec::new(), contacts: vec![contact] };
            tables.registrations.insert(impi("ue"), registration);
        }
        for (name, to) in bound {
            let binding =
                StoredBinding { impu: pair(name).impu, holder: holder(to), until: Some(at(1_000)) };
            tables.bindings.insert((Direction::Inbound, impi(name)), binding);
        }
        tables
    }

    /// When a change began, which, and when it ended how, if it did.
    type Told = (u64, Change, Option<(u64, Outcome)>);

    /// A ledger of changes, each with its span and outcome.
    fn ledger(changes: &[Told]) -> Result<Ledger, &'static str> {
        let mut ledger = Ledger::new(5);
        ledger.provisioned(Direction::Inbound, impi("listed"), Duration::from_secs(30));
        for (begun, change, end) in changes {
            let ticket = ledger.begin(at(*begun), change.clone());
            if let Some((ended, outcome)) = end {
                ledger.end(at(*ended), ticket, outcome.clone()).map_err(|it| it.rule)?;
            }
        }
        Ok(ledger)
    }

    /// Which rule is violated, if any, by what is stored after the changes.
    fn broken(changes: &[Told], stored: &Tables) -> Option<&'static str> {
        match ledger(changes) {
            Ok(ledger) => ledger.check(at(500), stored).err().map(|violation| violation.rule),
            Err(rule) => Some(rule),
        }
    }

    #[test]
    fn an_acknowledged_registration_must_be_stored_until_it_ends() {
        let acknowledged = [(10, register(2), Some((11, Outcome::Done)))];
        assert_eq!(broken(&acknowledged, &tables(Some(2), &[])), None);
        let lost = Some("an acknowledged registration is stored");
        assert_eq!(broken(&acknowledged, &tables(None, &[])), lost);
        let over = ledger(&acknowledged).unwrap().check(at(1_000), &tables(None, &[]));
        assert_eq!(over, Ok(()), "its time is over");
    }

    #[test]
    fn an_unacknowledged_change_may_or_may_not_have_happened() {
        for outcome in [None, Some((21, Outcome::Unknown))] {
            let changes =
                [(10, register(2), Some((11, Outcome::Done))), (20, deregister(), outcome)];
            assert_eq!(broken(&changes, &tables(Some(2), &[])), None);
            assert_eq!(broken(&changes, &tables(None, &[])), None);
        }
    }

    #[test]
    fn what_an_acknowledged_change_came_after_counts_no_more() {
        let (done, unknown) = (|at| Some((at, Outcome::Done)), |at| Some((at, Outcome::Unknown)));
        let ended = [(10, register(2), done(11)), (20, deregister(), done(21))];
        let resurrected = Some("a registration that has ended is not resurrected");
        assert_eq!(broken(&ended, &tables(Some(2), &[])), resurrected);
        assert_eq!(broken(&ended, &tables(None, &[])), None);
        let renewed = [(10, register(2), unknown(11)), (20, register(4), done(21))];
        let old = Some("a stored registration is the latest that was acknowledged");
        assert_eq!(broken(&renewed, &tables(Some(2), &[])), old);
        let overlapping = [(10, register(2), done(25)), (20, register(4), done(21))];
        assert_eq!(
            broken(&overlapping, &tables(Some(2), &[])),
            None,
            "either may be the later one"
        );
    }

    #[test]
    fn a_crash_ends_what_was_under_way() {
        let mut ledger = ledger(&[(10, register(2), None)]).unwrap();
        ledger.crashed(at(15));
        let ticket = ledger.begin(at(20), deregister());
        ledger.end(at(21), ticket, Outcome::Done).unwrap();
        let rule = ledger.check(at(500), &tables(Some(2), &[])).unwrap_err().rule;
        assert_eq!(rule, "a registration that has ended is not resurrected");
    }

    #[test]
    fn an_acknowledged_binding_must_be_stored_until_it_is_released() {
        let bound = (10, lend("alice"), Some((11, lent("p"))));
        let stored = tables(None, &[("p", "alice")]);
        assert_eq!(broken(std::slice::from_ref(&bound), &stored), None);
        let lost = Some("an acknowledged binding is stored");
        assert_eq!(broken(std::slice::from_ref(&bound), &tables(None, &[])), lost);
        assert_eq!(broken(std::slice::from_ref(&bound), &tables(None, &[("p", "bob")])), lost);
        let maybe = [bound.clone(), (20, release("p"), Some((21, Outcome::Unknown)))];
        assert_eq!(broken(&maybe, &stored), None);
        assert_eq!(broken(&maybe, &tables(None, &[])), None);
        let released = [bound, (20, release("p"), Some((21, Outcome::Done)))];
        assert_eq!(broken(&released, &tables(None, &[])), None);
        let resurrected = Some("what was given back is not resurrected");
        assert_eq!(broken(&released, &stored), resurrected);
    }

    #[test]
    fn an_identity_is_lent_to_one_and_after_a_release_only_if_it_is_listed_and_has_rested() {
        let twice = |name, release_of: Option<u64>, again| {
            let first = [(10, lend("alice"), Some((11, lent(name))))];
            let second = [(again, lend("bob"), Some((again + 1, lent(name))))];
            let release = release_of.map(|at| (at, release(name), Some((at + 1, Outcome::Done))));
            let changes = first.into_iter().chain(release).chain(second);
            ledger(&changes.collect::<Vec<_>>()).err()
        };
        let (one, rests) =
            ("an identity has at most one holder", "an identity at rest is lent to nobody");
        assert_eq!(twice("p", None, 60), Some(one));
        assert_eq!(twice("p", Some(20), 60), Some(one));
        assert_eq!(twice("listed", None, 60), Some(rests));
        assert_eq!(twice("listed", Some(20), 40), Some(rests));
        assert_eq!(twice("listed", Some(20), 60), None);
    }

    #[test]
    fn an_sqn_is_one_vectors_in_one_epoch_and_is_reserved() {
        let mut ledger = Ledger::new(5);
        let (user, sqn) = (impi("ue"), Sqn::new(7, 4, 5));
        ledger.vector_left(&user, 0, sqn, &[1; 16]).unwrap();
        ledger.vector_left(&user, 0, sqn, &[1; 16]).unwrap();
        ledger.vector_left(&user, 1, sqn, &[2; 16]).unwrap();
        let twice = ledger.vector_left(&user, 0, sqn, &[2; 16]).unwrap_err();
        assert_eq!(twice.rule, "no SQN leaves twice");
        let mut stored = Tables::default();
        for (epoch, reserved_seq, holds) in [(1, 7, true), (0, 9, false), (1, 6, false)] {
            let subscriber = StoredSubscriber { reserved_seq, epoch };
            stored.subscribers.insert(user.clone(), subscriber);
            assert_eq!(ledger.check(at(1), &stored).is_ok(), holds, "{subscriber:?}");
        }
    }

    #[test]
    fn tables_that_disagree_are_noticed() {
        let (a, b) = ("hss.a.example".parse().unwrap(), "hss.b.example".parse().unwrap());
        let mut lender = Tables::default();
        let binding = StoredBinding {
            impu: pair("out").impu,
            holder: Holder { user: pair("real"), other: "hss.b.example".parse().unwrap() },
            until: None,
        };
        lender.bindings.insert((Direction::Outbound, impi("out")), binding);
        let agree = |lender: &Tables, partner: &Tables, known: &Ledger| {
            let primary = Side { database: &a, tables: lender, ledger: known };
            let partner = Side { database: &b, tables: partner, ledger: known };
            check_agreement(primary, partner).map_err(|violation| violation.rule)
        };
        let known = Ledger::new(5);
        assert_eq!(agree(&lender, &tables(None, &[("ue", "out")]), &known), Ok(()));
        assert_eq!(agree(&lender, &tables(Some(2), &[("ue", "out")]), &known), Ok(()));
        let orphan = Err("an inbound pair stands for one that its primary lent");
        assert_eq!(agree(&Tables::default(), &tables(None, &[("ue", "out")]), &known), orphan);
        let unbound = Err("a registration belongs to a binding");
        assert_eq!(agree(&lender, &tables(Some(2), &[]), &known), unbound);
        let seen = tables(None, &[("ue", "out"), ("dead", "gone")]).as_users_see(&b, &lender);
        let holders: Vec<&UserIdentity> =
            seen.bindings.values().map(|it| &it.holder.user).collect();
        assert_eq!(holders, [&pair("real")]);
    }

    #[test]
    fn stored_records_are_read() {
        use crate::store::{Record, RecordKind, encode};
        let until = at(77);
        let grant = encode(&(pair("real"), holder("x").other, until, None::<()>));
        let key = b"real@b.example hss.a.example";
        let version = CommitSeq::from_u64(1);
        let record = Record { kind: RecordKind::Grant, key, version, value: &grant };
        let mut tables = Tables::default();
        tables.take(&record).unwrap();
        assert!(tables.stands_for(&pair("real"), &holder("x").other));
        assert_eq!(tables.check().unwrap_err().rule, "a grant is a subscriber's");
    }
}

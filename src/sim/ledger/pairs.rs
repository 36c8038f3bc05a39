//! What is lent to whom, whether it may be, and whether what is stored is what was acknowledged.

use super::{Asked, Change, Held, Holder, Ledger, Lending, Span, Tables, Violation};
use crate::{
    api::migration_identity::Direction,
    identity::{Impi, UserIdentity},
    time::Timestamp,
};

impl Ledger {
    /// Whom a pair was lent to last, by its private identity.
    pub fn holder(&self, direction: Direction, impi: &Impi) -> Option<&Holder> {
        self.held(direction, impi).map(|held| &held.holder)
    }

    /// Whether a pair may have been given back.
    pub fn may_be_released(&self, direction: Direction, impi: &Impi) -> bool {
        let holder = self.holder(direction, impi);
        self.releases(direction, impi, holder).next().is_some()
            || self.open.values().any(|asked| asked.releases(direction, impi, holder))
    }

    fn held(&self, direction: Direction, impi: &Impi) -> Option<&Held> {
        self.held.get(&(direction, impi.as_str().to_owned()))
    }

    /// When a pair may have been given back: on its own, or with all of its holder's.
    fn releases(
        &self,
        direction: Direction,
        impi: &Impi,
        holder: Option<&Holder>,
    ) -> impl Iterator<Item = &Span> {
        let holder = holder.filter(|_| direction == Direction::Outbound);
        let all = holder.and_then(|holder| self.released_all.get(&holder.user.impi));
        let own = self.released.get(&(direction, impi.clone()));
        own.into_iter().chain(all).flatten()
    }

    /// The releases of a pair, and those of all of its last holder's pairs after it was lent it.
    fn releases_of_lent(&self, direction: Direction, impi: &Impi) -> impl Iterator<Item = &Span> {
        let held = self.held(direction, impi).filter(|_| direction == Direction::Outbound);
        let all = held.and_then(|held| {
            let all = self.released_all.get(&held.holder.user.impi)?;
            Some(all.iter().filter(|span| held.ended < span.begun))
        });
        let own = self.released.get(&(direction, impi.clone()));
        own.into_iter().flatten().chain(all.into_iter().flatten())
    }

    /// A pair that is lent has no other holder, is not at rest, and is the one that its holder had.
    pub(super) fn check_lending(
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
        let mut releases = self.releases_of_lent(direction, impi);
        if releases.any(|release| {
            let rested = quarantine.is_some_and(|quarantine| at >= release.begun + quarantine);
            release.done && release.is_before(&span) && !rested
        }) {
            return Err(Violation::new("what was given back is not lent again", &name));
        }
        drop(releases);
        let earlier = self.lent.get(&(direction, holder.clone()));
        for (before, earlier) in earlier.into_iter().flatten() {
            if let Some(earlier) = earlier
                && earlier.identity != lending.identity
                && before.is_before(&span)
                && at < earlier.until
                && !self.may_end(direction, &earlier.identity.impi, holder, before)
            {
                let detail = format_args!("{name} after {}", earlier.identity.impi.as_str());
                return Err(Violation::new("asking again gives the same pair", &detail));
            }
        }
        for identity in [name, lending.identity.impu.as_str()] {
            let (holder, begun, until) = (holder.clone(), span.begun, lending.until);
            let held = Held { holder, begun, ended: at, until };
            self.held.insert((direction, identity.to_owned()), held);
        }
        Ok(())
    }

    /// When a pair may have come back from its holder at the earliest.
    fn earliest_end(&self, direction: Direction, impi: &Impi, held: &Held) -> Option<Timestamp> {
        let holder = Some(&held.holder);
        let closed = self.releases(direction, impi, holder);
        let closed = closed.filter(|it| it.ended.is_none_or(|ended| ended >= held.begun));
        let open = self.open.values().filter(|asked| asked.releases(direction, impi, holder));
        let begun = closed.map(|span| span.begun).chain(open.map(|asked| asked.at));
        begun.chain([held.until]).min()
    }

    /// Whether a release may have come after the lending at `span`.
    fn may_end(&self, direction: Direction, impi: &Impi, holder: &Holder, span: &Span) -> bool {
        let holder = Some(holder);
        self.releases(direction, impi, holder).any(|release| !release.is_before(span))
            || self.open.values().any(|asked| asked.releases(direction, impi, holder))
    }

    pub(super) fn check_lent(&self, now: Timestamp, stored: &Tables) -> Result<(), Violation> {
        for ((direction, holder), changes) in &self.lent {
            for (span, lending) in changes {
                let Some(Lending { identity, until }) = lending else { continue };
                let UserIdentity { impi, impu } = identity;
                let later = |it: &(Span, _)| it.0.done && span.is_before(&it.0);
                if *until <= now
                    || changes.iter().any(later)
                    || self.may_end(*direction, impi, holder, span)
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

    pub(super) fn check_released(&self, stored: &Tables) -> Result<(), Violation> {
        for (direction, impi) in self.quarantine.keys() {
            let key = (*direction, impi.clone());
            let given_back = self.releases_of_lent(*direction, impi).any(|release| release.done);
            let found = stored.bindings.contains_key(&key) || stored.resting.contains_key(impi);
            if given_back && !found {
                let rule = "a listed pair that was given back is in its pool";
                return Err(Violation::new(rule, &impi.as_str()));
            }
        }
        for ((direction, impi), found) in &stored.bindings {
            let done = |release: &&Span| release.done;
            let releases: Vec<&Span> =
                self.releases_of_lent(*direction, impi).filter(done).collect();
            let lent = self.lent.get(&(*direction, found.holder.clone()));
            let mut lends = lent.into_iter().flatten().filter(|(_, lending)| {
                lending.as_ref().is_none_or(|lending| lending.identity.impi == *impi)
            });
            let last = |span: &Span| !releases.iter().any(|release| span.is_before(release));
            let under_way = self.open.values().any(|asked| {
                matches!(&asked.change, Change::Lend { direction: to, holder }
                    if to == direction && *holder == found.holder)
            });
            if !releases.is_empty() && !under_way && !lends.any(|(span, _)| last(span)) {
                let rule = "what was given back is not resurrected";
                return Err(Violation::new(rule, &impi.as_str()));
            }
        }
        Ok(())
    }
}

impl Asked {
    fn releases(&self, direction: Direction, impi: &Impi, holder: Option<&Holder>) -> bool {
        match &self.change {
            Change::Release { direction: of, impi: it } => *of == direction && it == impi,
            Change::ReleaseAll { user } => {
                direction == Direction::Outbound
                    && holder.is_some_and(|holder| holder.user.impi == *user)
            }
            Change::Register { .. }
            | Change::Deregister { .. }
            | Change::Lend { .. }
            | Change::Put { .. }
            | Change::Delete { .. } => false,
        }
    }
}

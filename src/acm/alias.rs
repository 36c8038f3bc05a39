//! Functional aliases in this system: who has which one activated, and which holder gets a request
//! (TS 23.280 10.17.6, step 4).

use std::collections::BTreeMap;

use super::{
    AcmServer, AliasChoice,
    ordered::{Ordered, Queue},
};
use crate::{
    api::{
        acm_payload::Kind,
        functional_alias::{ALIASES_MAX, Event, HOLDERS_MAX},
    },
    identity::{FunctionalAlias, McServiceId, McSystemId},
    outbox::{AcmMessage, Context, Note},
};

/// What the feed told. While it is down, nothing is active.
#[derive(Debug, Default)]
pub(super) struct Aliases {
    is_up: bool,
    holders: BTreeMap<FunctionalAlias, Vec<McServiceId>>,
}

impl Aliases {
    /// Who has an alias activated, in the order of activation.
    pub(super) fn holders(&self, alias: &FunctionalAlias) -> &[McServiceId] {
        self.holders.get(alias).map_or(&[], Vec::as_slice)
    }

    /// The aliases of a user.
    pub(super) fn of(&self, user: &McServiceId) -> Vec<FunctionalAlias> {
        let held = self.holders.iter().filter(|(_, holders)| holders.contains(user));
        held.map(|(alias, _)| alias.clone()).collect()
    }

    /// Takes an event in; returns the aliases that it is about. `None` if there is no room for it.
    fn take(&mut self, event: Event) -> Option<Vec<FunctionalAlias>> {
        let mut touched: Vec<FunctionalAlias> = Vec::new();
        match event {
            Event::Up(active) => {
                touched.extend(self.holders.keys().cloned());
                touched.extend(active.iter().map(|(alias, _)| alias.clone()));
                let fits = active.len() <= ALIASES_MAX
                    && active.iter().all(|(_, holders)| holders.len() <= HOLDERS_MAX);
                self.is_up = fits;
                self.holders = if fits { active.into_iter().collect() } else { BTreeMap::new() };
                if !fits {
                    return None;
                }
            }
            Event::Down => {
                touched.extend(self.holders.keys().cloned());
                *self = Self::default();
            }
            // Before the feed is up, a change says nothing about the rest.
            Event::Activated(..) | Event::Deactivated(..) | Event::TakenOver(..) if !self.is_up => {
            }
            Event::Activated(alias, user) => {
                let has_room =
                    self.holders.len() < ALIASES_MAX || self.holders.contains_key(&alias);
                let holders = has_room.then(|| self.holders.entry(alias.clone()).or_default())?;
                if !holders.contains(&user) {
                    (holders.len() < HOLDERS_MAX).then(|| holders.push(user))?;
                }
                touched.push(alias);
            }
            Event::Deactivated(alias, user) => {
                if let Some(holders) = self.holders.get_mut(&alias) {
                    holders.retain(|holder| *holder != user);
                    if holders.is_empty() {
                        self.holders.remove(&alias);
                    }
                }
                touched.push(alias);
            }
            Event::TakenOver(alias, user) => {
                let has_room =
                    self.holders.len() < ALIASES_MAX || self.holders.contains_key(&alias);
                has_room.then(|| self.holders.insert(alias.clone(), vec![user]))?;
                touched.push(alias);
            }
        }
        Some(touched)
    }
}

impl AcmServer {
    /// Takes what the controlling server tells, and assigns anew what it is about.
    pub(super) fn take_alias_event(&self, ctx: &mut Context<'_>, turn: &mut Ordered, event: Event) {
        let is_down = matches!(event, Event::Down);
        let touched = turn.aliases.take(event);
        if touched.is_none() {
            ctx.out.note(Note::TableFull("functional aliases"));
        }
        for alias in touched.unwrap_or_default() {
            for queue in self.assign_for_alias(turn, &alias) {
                self.notify(ctx, turn, &queue);
            }
        }
        if is_down {
            self.send(ctx, None, AcmMessage::SubscribeAliases);
        }
    }

    /// Assigns anew what is for the aliases of a user, who has logged on or off. Returns the lists that have more.
    pub(super) fn assign_for_user(&self, turn: &mut Ordered, user: &McServiceId) -> Vec<Queue> {
        let aliases = turn.aliases.of(user);
        aliases.iter().flat_map(|alias| self.assign_for_alias(turn, alias)).collect()
    }

    /// Assigns anew what is for an alias. Returns the lists that have more.
    fn assign_for_alias(&self, turn: &mut Ordered, alias: &FunctionalAlias) -> Vec<Queue> {
        let keys: Vec<_> = turn.for_alias.get(alias).into_iter().flatten().cloned().collect();
        let mut placed: Vec<Queue> = Vec::new();
        for key in keys {
            let queue = self.place_incoming(turn, &key);
            placed.extend(queue.filter(|queue| !placed.contains(queue)));
        }
        placed
    }

    /// Who gets a request that is for an alias: whoever has it now, as long as they hold the alias, are logged on and
    /// may decide; else one of the holders who are and may.
    pub(super) fn choose_holder(
        &self,
        turn: &Ordered,
        alias: &FunctionalAlias,
        (kind, partner): (Kind, &McSystemId),
        now_with: Option<&McServiceId>,
    ) -> Option<McServiceId> {
        let holders = turn.aliases.holders(alias);
        let logged_on = holders
            .iter()
            .filter(|holder| self.may_decide(holder, kind, partner))
            .filter_map(|holder| turn.logged_on_since(holder).map(|since| (since, holder)));
        if let Some(user) = now_with
            && logged_on.clone().any(|(_, holder)| holder == user)
        {
            return Some(user.clone());
        }
        let chosen = match self.config.alias_choice {
            AliasChoice::LongestLoggedOn => logged_on.min(),
            AliasChoice::FewestPending => {
                logged_on.min_by_key(|(since, holder)| (turn.pending_of(holder), *since))
            }
        };
        chosen.map(|(_, holder)| holder.clone())
    }
}

//! Functional aliases in this system: who has which one activated, and which holder gets a request
//! (TS 23.280 10.17.6, step 4).

use std::collections::BTreeMap;

use super::{
    AcmServer, AliasChoice,
    ordered::{Ordered, Queue},
};
use crate::{
    api::{
        acm_interconnection::{Refusal, ResultCode},
        acm_payload::{Kind, Parties},
        functional_alias::{ALIASES_MAX, Change, Event, HOLDERS_MAX},
    },
    identity::{FunctionalAlias, McServiceId, McSystemId},
    outbox::{AcmMessage, Context, Note},
};

/// What the feed told. While it is down, nothing is active.
#[derive(Debug, Default)]
pub(super) struct Aliases {
    is_up: bool,
    /// The latest change that is in `holders`.
    number: u64,
    /// The latest change heard of.
    heard: u64,
    /// Whether the controlling server has been asked for everything, because a change was missing.
    is_asked: bool,
    holders: BTreeMap<FunctionalAlias, Vec<McServiceId>>,
}

/// What an event means.
enum Taken {
    /// These aliases may have other holders.
    Touched(Vec<FunctionalAlias>),
    /// There is no room for it, and these aliases may have other holders.
    Full(Vec<FunctionalAlias>),
}

impl Aliases {
    /// Who has an alias activated, in the order of activation.
    pub(super) fn holders(&self, alias: &FunctionalAlias) -> &[McServiceId] {
        self.holders.get(alias).map_or(&[], Vec::as_slice)
    }

    /// Whether a user has an alias activated; `None` while nobody knows.
    pub(super) fn has(&self, user: &McServiceId, alias: &FunctionalAlias) -> Option<bool> {
        self.is_up.then(|| self.holders(alias).contains(user))
    }

    /// The aliases of a user.
    pub(super) fn of(&self, user: &McServiceId) -> Vec<FunctionalAlias> {
        let held = self.holders.iter().filter(|(_, holders)| holders.contains(user));
        held.map(|(alias, _)| alias.clone()).collect()
    }

    /// Takes an event in.
    fn take(&mut self, event: Event) -> Taken {
        match event {
            // Overtaken by later changes.
            Event::Up { number, .. } if self.is_up && number < self.number => {
                self.is_asked = false;
                Taken::Touched(Vec::new())
            }
            Event::Up { number, active } => {
                let mut touched: Vec<FunctionalAlias> = self.holders.keys().cloned().collect();
                touched.extend(active.iter().map(|(alias, _)| alias.clone()));
                let fits = active.len() <= ALIASES_MAX
                    && active.iter().all(|(_, holders)| holders.len() <= HOLDERS_MAX);
                *self = Self { is_up: fits, number, heard: self.heard, ..Self::default() };
                if !fits {
                    return Taken::Full(touched);
                }
                self.holders = active.into_iter().collect();
                Taken::Touched(touched)
            }
            Event::Down => {
                let touched = self.holders.keys().cloned().collect();
                *self = Self::default();
                Taken::Touched(touched)
            }
            Event::Changed { number, follows, change } => {
                self.heard = self.heard.max(number);
                // Before the feed is up, a change says nothing about the rest.
                if !self.is_up || follows != self.number {
                    return Taken::Touched(Vec::new());
                }
                self.number = number;
                match self.change(change) {
                    Some(alias) => Taken::Touched(vec![alias]),
                    None => Taken::Full(Vec::new()),
                }
            }
        }
    }

    /// Whether the controlling server has to be asked for everything: a change is missing, or comes late.
    fn has_to_ask(&mut self) -> bool {
        let is_behind = self.is_up && self.number < self.heard;
        is_behind && !std::mem::replace(&mut self.is_asked, true)
    }

    /// Makes a change; returns the alias that it is about. `None` if there is no room for it.
    fn change(&mut self, change: Change) -> Option<FunctionalAlias> {
        match change {
            Change::Activated(alias, user) => {
                let has_room =
                    self.holders.len() < ALIASES_MAX || self.holders.contains_key(&alias);
                let holders = has_room.then(|| self.holders.entry(alias.clone()).or_default())?;
                if !holders.contains(&user) {
                    (holders.len() < HOLDERS_MAX).then(|| holders.push(user))?;
                }
                Some(alias)
            }
            Change::Deactivated(alias, user) => {
                if let Some(holders) = self.holders.get_mut(&alias) {
                    holders.retain(|holder| *holder != user);
                    if holders.is_empty() {
                        self.holders.remove(&alias);
                    }
                }
                Some(alias)
            }
            Change::TakenOver(alias, user) => {
                let has_room =
                    self.holders.len() < ALIASES_MAX || self.holders.contains_key(&alias);
                has_room.then(|| self.holders.insert(alias.clone(), vec![user]))?;
                Some(alias)
            }
        }
    }
}

impl AcmServer {
    /// Checks that a user of this system may speak under an alias: it has it activated. `element` names the alias in what
    /// the user asked for.
    pub(super) fn check_own_alias(
        turn: &Ordered,
        user: &McServiceId,
        alias: Option<&FunctionalAlias>,
        element: &'static str,
    ) -> Result<(), Refusal> {
        match alias.map(|alias| turn.aliases.has(user, alias)) {
            None | Some(Some(true)) => Ok(()),
            Some(Some(false)) => {
                let text = "this user has not activated the functional alias";
                Err(Refusal::of(ResultCode::NotAuthorised, text, [element]))
            }
            Some(None) => {
                let text = "who has which functional alias is not known now: try again, or leave the alias out";
                Err(Refusal::of(ResultCode::Busy, text, [element]))
            }
        }
    }

    /// Tells of a request that names a user of this system and an alias which that user has not activated. The user gets
    /// it all the same: the ID routes.
    pub(super) fn note_alias_mismatch(
        ctx: &mut Context<'_>,
        turn: &Ordered,
        partner: &McSystemId,
        parties: &Parties,
    ) {
        if let Parties { target_id: Some(target), target_alias: Some(alias), .. } = parties
            && turn.aliases.has(target, alias) == Some(false)
        {
            ctx.out.note(Note::AliasMismatch { partner: partner.clone() });
        }
    }

    /// Takes what the controlling server tells, and assigns anew what it is about.
    pub(super) fn take_alias_event(&self, ctx: &mut Context<'_>, turn: &mut Ordered, event: Event) {
        let is_down = matches!(event, Event::Down);
        let touched = match turn.aliases.take(event) {
            Taken::Touched(touched) => touched,
            Taken::Full(touched) => {
                ctx.out.note(Note::TableFull("functional aliases"));
                touched
            }
        };
        for alias in touched {
            for queue in self.assign_for_alias(turn, &alias) {
                self.notify(ctx, turn, &queue);
            }
        }
        if is_down || turn.aliases.has_to_ask() {
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

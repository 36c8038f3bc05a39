//! What is active, and how it changes.

use std::collections::BTreeMap;

use super::{AliasServer, stored::HolderRecord};
use crate::{
    api::{
        alias_management::{Activation, Answer, Holder, Refusal},
        functional_alias::Change,
    },
    identity::{FunctionalAlias, McServiceId},
    outbox::{Context, Note},
    store::CommitSeq,
};

/// The aliases that somebody holds.
#[derive(Debug, Default)]
pub(super) struct Active {
    /// Of each alias its holders, in the order of their places. None is without.
    pub(super) aliases: BTreeMap<FunctionalAlias, Vec<Held>>,
    /// Holders of all aliases together.
    pub(super) activations: usize,
    /// The highest place so far.
    pub(super) latest_place: u64,
    /// The latest change of who holds what.
    pub(super) latest_change: CommitSeq,
    /// Whether changes are told.
    pub(super) is_subscribed: bool,
}

/// A holder of an alias.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) holder: Holder,
    /// Later activations have higher ones.
    pub(super) place: u64,
}

impl Active {
    /// Every alias with its holders.
    pub(super) fn holders(&self) -> Vec<(FunctionalAlias, Vec<McServiceId>)> {
        let users = |held: &[Held]| held.iter().map(|held| held.holder.user.clone()).collect();
        self.aliases.iter().map(|(alias, held)| (alias.clone(), users(held))).collect()
    }

    /// Puts a holder where its place is.
    pub(super) fn insert(&mut self, alias: FunctionalAlias, held: Held) {
        self.latest_place = self.latest_place.max(held.place);
        let all = self.aliases.entry(alias).or_default();
        if let Some(same) = all.iter_mut().find(|other| other.holder.user == held.holder.user) {
            *same = held;
            return;
        }
        self.activations += 1;
        let index = all.partition_point(|other| other.place < held.place);
        all.insert(index, held);
    }

    /// Removes the holders of an alias that `goes` names.
    fn remove(&mut self, alias: &FunctionalAlias, goes: impl Fn(&McServiceId) -> bool) {
        let Some(all) = self.aliases.get_mut(alias) else { return };
        let before = all.len();
        all.retain(|held| !goes(&held.holder.user));
        self.activations -= before - all.len();
        if all.is_empty() {
            self.aliases.remove(alias);
        }
    }
}

impl AliasServer {
    /// Lets a user hold an alias; with `takes_over` nobody else does then. Who holds it already keeps the place.
    pub(super) fn activate(
        &self,
        ctx: &mut Context<'_>,
        active: &mut Active,
        Activation { alias, user, shared }: Activation,
        takes_over: bool,
    ) -> Result<Answer, Refusal> {
        if !self.config.domains.iter().any(|domain| domain == user.host()) {
            return Err(Refusal::ForeignUser);
        }
        let all = active.aliases.get(&alias).map_or(&[][..], Vec::as_slice);
        let own = all.iter().find(|held| held.holder.user == user).cloned();
        let mut others = all.iter().map(|held| &held.holder).filter(|other| other.user != user);
        let displaced: Vec<McServiceId> = if takes_over {
            others.map(|other| other.user.clone()).collect()
        } else if others.any(|other| !shared || !other.shared) {
            return Err(Refusal::Held);
        } else {
            Vec::new()
        };
        let stays = own.as_ref().is_some_and(|held| held.holder.shared == shared);
        if stays && displaced.is_empty() {
            return Ok(Answer::Active { displaced });
        }
        let is_new = own.is_none();
        if is_new {
            self.check_room(active, &alias, displaced.len()).inspect_err(|_| {
                ctx.out.note(Note::TableFull("functional aliases"));
            })?;
        }
        let held = match own {
            Some(Held { holder, place }) => Held { holder: Holder { shared, ..holder }, place },
            None => Held {
                holder: Holder { user: user.clone(), shared, since: ctx.now },
                place: active.latest_place + 1,
            },
        };
        let put = (!stays).then(|| HolderRecord::new(&alias, &held).put());
        let gone = displaced.iter().map(|other| HolderRecord::delete(&alias, other));
        let seq = self.commit(ctx, gone.chain(put))?;
        active.remove(&alias, |holder| displaced.contains(holder));
        active.insert(alias.clone(), held);
        if !displaced.is_empty() {
            self.tell(ctx, active, seq, Change::TakenOver(alias, user));
        } else if is_new {
            self.tell(ctx, active, seq, Change::Activated(alias, user));
        }
        Ok(Answer::Active { displaced })
    }

    /// Lets a user not hold an alias any more.
    pub(super) fn deactivate(
        &self,
        ctx: &mut Context<'_>,
        active: &mut Active,
        alias: FunctionalAlias,
        user: McServiceId,
    ) -> Result<Answer, Refusal> {
        let all = active.aliases.get(&alias).map_or(&[][..], Vec::as_slice);
        if all.iter().any(|held| held.holder.user == user) {
            let seq = self.commit(ctx, [HolderRecord::delete(&alias, &user)])?;
            active.remove(&alias, |holder| *holder == user);
            self.tell(ctx, active, seq, Change::Deactivated(alias, user));
        }
        Ok(Answer::Inactive)
    }

    /// Checks that an alias may have one more holder after `freed` ones have gone.
    fn check_room(
        &self,
        active: &Active,
        alias: &FunctionalAlias,
        freed: usize,
    ) -> Result<(), Refusal> {
        let holders = active.aliases.get(alias).map_or(0, Vec::len);
        if holders == 0 && active.aliases.len() >= self.config.aliases_max {
            return Err(Refusal::TooManyAliases);
        }
        if holders - freed >= self.config.holders_max {
            return Err(Refusal::TooManyHolders);
        }
        if active.activations - freed >= self.config.activations_max {
            return Err(Refusal::TooManyActivations);
        }
        Ok(())
    }
}

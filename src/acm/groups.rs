//! Interconnection groups: those at home here, and those that partners have told of (TS 23.280 10.17.4.2). That a group
//! is known is information: it changes no user profile.

use std::sync::Arc;

use super::{
    AcmServer,
    check::EXPIRES_AFTER_MAX,
    client::{Served, not_authorised},
    decision::Outcome,
    ordered::{Due, Group, GroupKey, Ordered},
    share::Shared,
};
use crate::{
    api::{
        acm_client::{Answer, GroupPage, GroupState, PAGE_ITEMS_MAX},
        acm_interconnection::{
            Envelope, Refusal, ResultCode, Submission, TransactionId, TransactionKey,
        },
        acm_payload::{ContentDigest, Kind, Parties, Payload},
    },
    identity::{McServiceGroupId, McServiceId, McSystemId},
    outbox::Context,
    store::{Mutation, RecordKind},
    time::Timestamp,
};

/// What a withdrawal of one group takes of the room for payloads, octets at most: it names the group and who says so.
const WITHDRAWAL_OCTETS_MAX: usize = 4_096;

/// An interconnection group of a partner, as this system knows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KnownGroup {
    /// The group.
    pub group: McServiceGroupId,
    /// Whether it is no more.
    pub withdrawn: bool,
    /// The transaction that told the latest.
    pub told_by: Option<TransactionKey>,
}

impl AcmServer {
    /// The interconnection groups at home in a system, as far as they are known here, in their order.
    pub fn known_groups(&self, home: &McSystemId) -> Vec<KnownGroup> {
        let turn = self.turn();
        let known = turn.groups.values().filter(|group| group.home == *home);
        let shown = known.map(|group| KnownGroup {
            group: group.id.clone(),
            withdrawn: group.withdrawn.is_some(),
            told_by: group.told_by.clone(),
        });
        shown.collect()
    }

    /// Lists the groups that are known of a system, for its administrators: whoever may begin or decide anything.
    pub(super) fn list_groups(
        &self,
        turn: &Ordered,
        user: &McServiceId,
        (home, after): (Option<McSystemId>, Option<&McServiceGroupId>),
        limit: usize,
    ) -> Served {
        if !self.is_administrator(user) {
            return Err(not_authorised("this user is no administrator"));
        }
        let limit = limit.clamp(1, PAGE_ITEMS_MAX);
        let home = home.unwrap_or_else(|| self.config.system.clone());
        // The last of the page before may be gone; no group is before the first.
        let known = turn.groups.iter().filter(|((of, _), _)| *of == home);
        let known = known.filter(|((_, group), _)| after.is_none_or(|it| group > it));
        let mut known = known.map(|(_, group)| GroupState {
            group: group.id.clone(),
            withdrawn: group.withdrawn.is_some(),
        });
        let items: Vec<GroupState> = known.by_ref().take(limit).collect();
        let has_more = known.next().is_some();
        let next = items.last().filter(|_| has_more).map(|last| last.group.clone());
        Ok((None, Answer::Groups(GroupPage { items, next })))
    }

    /// Says that a group is at home here.
    pub(super) fn put_group(
        &self,
        ctx: &mut Context<'_>,
        turn: &mut Ordered,
        user: &McServiceId,
        group: McServiceGroupId,
    ) -> Served {
        self.check_may_keep_groups(user)?;
        if !self.config.domains.iter().any(|domain| domain == group.host()) {
            let text = "is at home in no domain of this system";
            return Err(Refusal::of(ResultCode::NotGroupHome, text, [&group]));
        }
        let home = self.config.system.clone();
        let known = turn.groups.get(&(home.clone(), group.clone())).cloned();
        if known.is_none() && turn.groups.len() >= self.config.groups_max {
            return Err(Refusal::new(ResultCode::Busy, "no more groups are kept here"));
        }
        let revision = ctx.now.as_micros();
        let offered_to = known.map(|known| known.offered_to).unwrap_or_default();
        let put = Group { home, id: group, revision, withdrawn: None, told_by: None, offered_to };
        self.commit(ctx, [put.put()]);
        self.keep_group(turn, put);
        Ok((None, Answer::Done))
    }

    /// Says that a group of this system is no more. Each partner who has been offered it is told, by a transaction of
    /// its own that nobody has to decide.
    pub(super) fn withdraw_group(
        &self,
        ctx: &mut Context<'_>,
        turn: &mut Ordered,
        user: &McServiceId,
        group: &McServiceGroupId,
    ) -> Served {
        self.check_may_keep_groups(user)?;
        let key = (self.config.system.clone(), group.clone());
        let unknown =
            || Refusal::of(ResultCode::UnknownGroup, "there is no such group here", [group]);
        let mut held = turn.groups.get(&key).cloned().ok_or_else(unknown)?;
        if held.withdrawn.is_some() {
            return Ok((None, Answer::Done));
        }
        let octets = held.offered_to.len().saturating_mul(WITHDRAWAL_OCTETS_MAX);
        if !self.outgoing_bound.has_room(held.offered_to.len())
            || !self.payloads_bound.has_room(octets)
        {
            return Err(Refusal::new(ResultCode::Busy, "too many transactions are open"));
        }
        held.withdrawn = Some(ctx.now);
        held.revision = ctx.now.as_micros();
        let offered_to = std::mem::take(&mut held.offered_to);
        let mut mutations = vec![held.put()];
        self.keep_group(turn, held);
        let mut begun = Vec::new();
        for partner in offered_to {
            let payload = Payload::GroupsWithdrawn(vec![group.clone()]);
            let (submission, octets) = self.own_submission(ctx, user, partner, payload);
            let transaction = submission.envelope.transaction;
            // There is room for them: all that adds something does so in turn.
            if let Ok(added) = self.add_outgoing(ctx, turn, submission, octets) {
                mutations.extend(added);
                begun.push(transaction);
            }
        }
        self.commit(ctx, mutations);
        for transaction in begun {
            self.send_outgoing(ctx, turn, transaction);
        }
        Ok((None, Answer::Done))
    }

    /// Puts the envelope around what this server begins by itself, in the name of a user.
    pub(super) fn own_submission(
        &self,
        ctx: &mut Context<'_>,
        user: &McServiceId,
        destination: McSystemId,
        payload: Payload,
    ) -> (Submission, u64) {
        let revision = match payload.configuration() {
            Some(configuration) => configuration.revision,
            None => self.next_revision(ctx, payload.kind(), &destination),
        };
        // Nobody would begin a withdrawal again that the partner did not get.
        let is_withdrawal = payload.kind() == Kind::GroupsWithdrawn;
        let expires_after =
            if is_withdrawal { EXPIRES_AFTER_MAX } else { self.config.expires_after };
        let parties = Parties::default();
        let measured = ContentDigest::of(user, &parties, revision, &payload);
        let envelope = Envelope {
            transaction: TransactionId::draw(ctx.entropy),
            origin: self.config.system.clone(),
            destination,
            originator: user.clone(),
            created: ctx.now,
            expires: ctx.now + expires_after,
            revision,
            digest: measured.digest,
        };
        (Submission { envelope, parties, payload: Arc::new(payload) }, measured.octets)
    }

    /// Checks that groups to be offered are at home here and have not been withdrawn.
    pub(super) fn check_groups_are_home(
        &self,
        turn: &Ordered,
        groups: &[McServiceGroupId],
    ) -> Result<(), Refusal> {
        let is_missing = |group: &&McServiceGroupId| {
            let held = turn.groups.get(&(self.config.system.clone(), (*group).clone()));
            held.is_none_or(|held| held.withdrawn.is_some())
        };
        let mut missing = groups.iter().filter(is_missing).peekable();
        if missing.peek().is_some() {
            let text = "is no interconnection group of this system";
            return Err(Refusal::of(ResultCode::UnknownGroup, text, missing));
        }
        Ok(())
    }

    /// Notes whom groups are offered to, and returns what makes that durable.
    pub(super) fn note_offered(
        &self,
        turn: &mut Ordered,
        partner: &McSystemId,
        payload: &Payload,
    ) -> Vec<Mutation> {
        let Payload::Groups(groups) = payload else { return Vec::new() };
        let mut mutations = Vec::new();
        for group in groups {
            let key = (self.config.system.clone(), group.clone());
            if let Some(held) = turn.groups.get_mut(&key)
                && held.offered_to.insert(partner.clone())
            {
                mutations.push(held.put());
            }
        }
        mutations
    }

    /// Takes over what a partner told of its groups, unless something newer is known of one; `withdrawn` is now, if
    /// they are no more.
    pub(super) fn tell_groups(
        &self,
        turn: &mut Ordered,
        envelope: &Envelope,
        groups: &[McServiceGroupId],
        withdrawn: Option<Timestamp>,
    ) -> Result<Vec<Mutation>, Outcome> {
        let home = &envelope.origin;
        let is_new = |group: &&McServiceGroupId| {
            !turn.groups.contains_key(&(home.clone(), (*group).clone()))
        };
        let new = groups.iter().filter(is_new).count();
        if turn.groups.len().saturating_add(new) > self.config.groups_max {
            return Err(Outcome::new(ResultCode::Internal, "no more groups are kept here"));
        }
        if !self.has_share(turn, home, Shared::Groups, new) {
            let text = "groups of this system take up its share here (partner_share)";
            return Err(Outcome::new(ResultCode::Internal, text));
        }
        let mut mutations = Vec::new();
        for group in groups {
            let told = Group {
                home: home.clone(),
                id: group.clone(),
                revision: envelope.revision,
                withdrawn,
                told_by: Some(envelope.key()),
                offered_to: std::collections::BTreeSet::new(),
            };
            let key = (home.clone(), group.clone());
            let is_newer = turn.groups.get(&key).is_none_or(|known| known.revision < told.revision);
            if is_newer {
                mutations.push(told.put());
                self.keep_group(turn, told);
            }
        }
        Ok(mutations)
    }

    /// Keeps what is known of a group.
    pub(super) fn keep_group(&self, turn: &mut Ordered, group: Group) {
        let key = (group.home.clone(), group.id.clone());
        let forgotten_at = |group: &Group| group.withdrawn.map(|at| at + EXPIRES_AFTER_MAX);
        let before = turn.groups.get(&key);
        let due = before.and_then(forgotten_at);
        if before.is_none() && !self.is_own(&group.home) {
            turn.shares.take(&group.home, Shared::Groups, 1);
        }
        turn.set_due(&Due::Group(key.clone()), due, forgotten_at(&group));
        turn.groups.insert(key, group);
    }

    /// Forgets a group that has been no more for so long that no offer from before that can come any more.
    pub(super) fn forget_group(&self, ctx: &mut Context<'_>, turn: &mut Ordered, key: &GroupKey) {
        let Some(group) = turn.groups.remove(key) else { return };
        if !self.is_own(&group.home) {
            turn.shares.give(&group.home, Shared::Groups, 1);
        }
        self.commit(ctx, [Mutation::delete(RecordKind::AcmGroup, &group.stored_key())]);
    }

    fn check_may_keep_groups(&self, user: &McServiceId) -> Result<(), Refusal> {
        let has_right = |held: &super::user::HeldUser| held.0.may_request.contains(&Kind::Groups);
        if self.users.get(user).is_some_and(|held| has_right(&held)) {
            Ok(())
        } else {
            Err(not_authorised("this user may not keep interconnection groups"))
        }
    }
}

impl Group {
    pub(super) fn put(&self) -> Mutation {
        Mutation::put(RecordKind::AcmGroup, &self.stored_key(), self)
    }

    pub(super) fn stored_key(&self) -> String {
        format!("{} {}", self.home, self.id)
    }
}

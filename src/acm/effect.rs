//! What an accepted request brings into force here, in one commit with its response.

use super::{AcmServer, begin::revision_key, decision::Outcome, migrants::Move, ordered::Ordered};
use crate::{
    api::{
        acm_interconnection::{ELEMENTS_MAX, Envelope, ResultCode, TransactionKey},
        acm_payload::{Kind, Payload},
        migration_identity::Direction,
    },
    store::Mutation,
    time::Timestamp,
};

impl AcmServer {
    /// Brings a request into force: all of it, or what policy allows to be left out.
    ///
    /// # Errors
    ///
    /// The outcome, if nothing of it can be.
    pub(super) fn take_effect(
        &self,
        now: Timestamp,
        turn: &mut Ordered,
        key: &TransactionKey,
        payload: &Payload,
    ) -> Result<(Outcome, Vec<Mutation>), Outcome> {
        let envelope = self.envelope_of(key).ok_or_else(|| internal("the request is gone"))?;
        match payload {
            Payload::Groups(groups) | Payload::GroupsWithdrawn(groups) => {
                let withdrawn = (payload.kind() == Kind::GroupsWithdrawn).then_some(now);
                let mutations = self.tell_groups(turn, &envelope, groups, withdrawn)?;
                let is_told = withdrawn.is_none();
                let result = if is_told { ResultCode::Received } else { ResultCode::Ok };
                Ok((Outcome::bare(result), mutations))
            }
            Payload::AddUsers { .. } | Payload::RemoveUsers { .. } | Payload::Update { .. } => {
                self.change_migrants(turn, key, payload)
            }
            Payload::Configuration(_) | Payload::PleaseSend => {
                Err(internal("the configuration server has a part in it"))
            }
        }
    }

    fn change_migrants(
        &self,
        turn: &mut Ordered,
        key: &TransactionKey,
        payload: &Payload,
    ) -> Result<(Outcome, Vec<Mutation>), Outcome> {
        let change =
            Move { way: Direction::Inbound, other: &key.origin, key: key.clone(), payload };
        if let Some(refused) = self.users_refused(&change) {
            let policy = self.policy_for(key, payload.kind());
            let accepts_part = policy.is_some_and(|policy| policy.accepts_part);
            let (text, names) = refused.left_out();
            // Whoever asked has to know of each that is left out.
            let can_be_named = names.len() <= ELEMENTS_MAX && names.len() < payload.users().len();
            if !accepts_part || !can_be_named {
                let (result, text, names) = refused.reason();
                return Err(Outcome::of(result, text, names.into_iter().collect()));
            }
            let mutations = self.change_users_except(turn, &change, &names);
            let names = names.into_iter().collect();
            return Ok((Outcome::of(ResultCode::OkPartial, text, names), mutations));
        }
        if let Some(lack) = self.lack_of_room_for_users(turn, &change) {
            return Err(internal(lack));
        }
        Ok((Outcome::bare(ResultCode::Ok), self.change_users_except(turn, &change, &[])))
    }

    /// The outcome of an undecided request that can no longer come into force, if so.
    pub(super) fn is_superseded(&self, key: &TransactionKey) -> Option<Outcome> {
        let payload = self.payloads.get(key).map(|payload| payload.clone())?;
        let envelope = self.envelope_of(key)?;
        let stale = || Outcome::new(ResultCode::StaleRevision, "something newer is in force");
        match &*payload {
            Payload::Configuration(_) => {
                let revision_key = revision_key(false, &key.origin, Kind::Configuration);
                let in_force = self.revisions.get(&revision_key).map(|in_force| *in_force);
                in_force.is_some_and(|in_force| envelope.revision <= in_force).then(stale)
            }
            Payload::Update { .. } => {
                let way = Direction::Inbound;
                let payload = &*payload;
                let change = Move { way, other: &key.origin, key: key.clone(), payload };
                self.has_stale_user(&change).then(stale)
            }
            Payload::Groups(_)
            | Payload::AddUsers { .. }
            | Payload::RemoveUsers { .. }
            | Payload::GroupsWithdrawn(_)
            | Payload::PleaseSend => None,
        }
    }

    pub(super) fn envelope_of(&self, key: &TransactionKey) -> Option<Envelope> {
        self.incoming.get(key).map(|held| held.record.subject.envelope.clone())
    }
}

fn internal(text: &str) -> Outcome {
    Outcome::new(ResultCode::Internal, text)
}

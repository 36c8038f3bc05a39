//! The management interface: administrators and their rights, and answers that belong to nothing.

use super::{
    AcmServer,
    ordered::{Audience, Ordered, Queue},
    user::HeldUser,
};
use crate::{
    api::{
        acm_interconnection::TransactionId,
        acm_management::{Answer, Request, User},
        acm_payload::Kind,
        migration_identity::Refusal,
    },
    identity::McServiceId,
    outbox::{Context, Note},
    store::{Mutation, RecordKind},
};

const NO_USER: Refusal = Refusal::NotFound("user of ACM clients");

impl AcmServer {
    /// Does what a management request says.
    pub(super) fn manage(
        &self,
        ctx: &mut Context<'_>,
        turn: &mut Ordered,
        request: &Request,
    ) -> Result<Answer, Refusal> {
        if !ctx.out.storage_available() {
            return Err(Refusal::Unavailable);
        }
        match request {
            Request::PutUser(user) => self.put_user(ctx, turn, user),
            Request::Check(request) => match &**request {
                Request::PutUser(user) => self.check_user(user).map(|()| Answer::Done),
                Request::Check(_)
                | Request::GetUser(_)
                | Request::DeleteUser(_)
                | Request::ListStrays { .. } => {
                    Err(Refusal::Invalid("only what puts something can be tried"))
                }
            },
            Request::GetUser(name) => {
                let held = self.users.get(name).ok_or(NO_USER)?;
                let User { mc_service_id, may_request, may_decide, .. } = held.0.clone();
                Ok(Answer::User { mc_service_id, may_request, may_decide })
            }
            Request::DeleteUser(name) => self.delete_user(ctx, turn, name),
            Request::ListStrays { limit } => {
                Ok(Answer::Strays(turn.strays.values().take(*limit).cloned().collect()))
            }
        }
    }

    fn put_user(
        &self,
        ctx: &mut Context<'_>,
        turn: &mut Ordered,
        user: &User,
    ) -> Result<Answer, Refusal> {
        let name = &user.mc_service_id;
        self.check_user(user).inspect_err(|refusal| {
            if let Refusal::Full(table) = refusal {
                ctx.out.note(Note::TableFull(table));
            }
        })?;
        if !self.users.contains_key(name) {
            // There is room: users come only in turn.
            self.users_bound.take();
        }
        self.commit(ctx, [Mutation::put(RecordKind::AcmUser, name.as_str(), user)]);
        self.users.insert(name.clone(), HeldUser(user.clone()));
        self.rights_changed(ctx, turn, name);
        Ok(Answer::Done)
    }

    /// Whether a user could be put.
    fn check_user(&self, user: &User) -> Result<(), Refusal> {
        for kinds in [&user.may_request, &user.may_decide] {
            if kinds.len() > Kind::ALL.len() {
                return Err(Refusal::Invalid("a kind is in a list of rights twice"));
            }
        }
        if !self.users.contains_key(&user.mc_service_id) && !self.users_bound.has_room(1) {
            return Err(Refusal::Full("users of ACM clients"));
        }
        Ok(())
    }

    fn delete_user(
        &self,
        ctx: &mut Context<'_>,
        turn: &mut Ordered,
        name: &McServiceId,
    ) -> Result<Answer, Refusal> {
        self.users.remove(name).ok_or(NO_USER)?;
        self.users_bound.give();
        self.commit(ctx, [Mutation::delete(RecordKind::AcmUser, name.as_str())]);
        self.end_sessions(ctx, turn, name);
        self.rights_changed(ctx, turn, name);
        Ok(Answer::Done)
    }

    /// Hands what a user may no longer see to others who may, and tells them.
    fn rights_changed(&self, ctx: &mut Context<'_>, turn: &mut Ordered, user: &McServiceId) {
        for kind in Kind::ALL {
            let audience = Audience::User(user.clone());
            let own = Queue { audience, kind, is_response: true };
            let shared = Queue { audience: Audience::Authorised, kind, is_response: true };
            let queues = [&own, &shared];
            let responses: Vec<TransactionId> = queues
                .into_iter()
                .flat_map(|queue| turn.page(queue, 0, usize::MAX))
                .map(|(_, key)| key.transaction)
                .collect();
            let mut told: Vec<Queue> = Vec::new();
            for transaction in responses {
                let placed = self.place_outgoing(turn, transaction);
                told.extend(placed.filter(|queue| !told.contains(queue)));
            }
            for queue in told {
                self.notify(ctx, turn, &queue);
            }
        }
        // An alias may lead to the user now, or no longer.
        for queue in self.assign_for_user(turn, user) {
            self.notify(ctx, turn, &queue);
        }
    }
}

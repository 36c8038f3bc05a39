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
        let seen = self.pending_queues(turn, name);
        self.commit(ctx, [Mutation::put(RecordKind::AcmUser, name.as_str(), user)]);
        self.users.insert(name.clone(), HeldUser(user.clone()));
        self.rights_changed(ctx, turn, name, &seen);
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
        let mut deletions = turn.remove_sessions(name);
        deletions.push(Mutation::delete(RecordKind::AcmUser, name.as_str()));
        self.commit(ctx, deletions);
        self.rights_changed(ctx, turn, name, &[]);
        Ok(Answer::Done)
    }

    /// Hands what a user may no longer see to others who may, and tells them; the user is told what else there is now
    /// than the lists `seen` before.
    fn rights_changed(
        &self,
        ctx: &mut Context<'_>,
        turn: &mut Ordered,
        user: &McServiceId,
        seen: &[Queue],
    ) {
        let mut told_all: Vec<Queue> = Vec::new();
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
            told_all.append(&mut told);
        }
        // An alias may lead to the user now, or no longer.
        told_all.extend(self.assign_for_user(turn, user));
        for queue in &told_all {
            self.notify(ctx, turn, queue);
        }
        let sees = self.pending_queues(turn, user);
        let gained = sees.iter().filter(|it| !seen.contains(it) && !told_all.contains(it));
        let lost = seen.iter().filter(|it| !sees.contains(it));
        let sessions = turn.sessions.iter().filter(|(_, session)| session.user == *user);
        for (id, _) in sessions {
            for queue in gained.clone() {
                self.notify_session(ctx, turn, *id, user, queue);
            }
            for queue in lost.clone() {
                self.tell_nothing_is_left(ctx, *id, user, queue);
            }
        }
    }
}

//! Clients log on and off. A log-on outlives a restart of the server: whoever was told before is told again.

use std::collections::BTreeSet;

use super::{
    AcmServer, SESSIONS_OF_USER_MAX,
    client::{Served, report},
    ordered::{Ordered, Queue, Session, own_queues, shared_queues},
};
use crate::{
    api::{
        acm_client::{Answer, NO_SUCH_LOG_ON, SessionId},
        acm_interconnection::{Refusal, ResultCode},
        acm_payload::Kind,
    },
    identity::McServiceId,
    outbox::Context,
    store::{Mutation, RecordKind},
};

impl AcmServer {
    /// Logs a client on (`XCFG-6`, `XCFG-14`, `GRP-6`, `GRP-12`), and tells it what is pending.
    pub(super) fn log_on(
        &self,
        ctx: &mut Context<'_>,
        turn: &mut Ordered,
        user: &McServiceId,
    ) -> Served {
        if turn.sessions.len() >= self.config.sessions_max {
            return Err(Refusal::new(ResultCode::Busy, "too many clients are logged on"));
        }
        self.end_oldest(ctx, turn, user);
        let mut id = draw(ctx);
        while turn.sessions.contains_key(&id) {
            id = draw(ctx);
        }
        let session = Session { user: user.clone(), since: ctx.now };
        self.commit(ctx, [Mutation::put(RecordKind::AcmSession, &session_key(id), &session)]);
        turn.sessions.insert(id, session);
        // What nobody else could get is this user's now: told below with the rest.
        self.assign_for_user(turn, user);
        let queues = self.pending_queues(turn, user);
        let steps: BTreeSet<_> = queues
            .iter()
            .filter_map(|queue| {
                let (xcfg, grp) = if queue.is_response { (14, 12) } else { (6, 6) };
                queue.kind.step(xcfg, (grp, None), 0)
            })
            .collect();
        for step in steps {
            report(ctx, Some(step), "a user logs on");
        }
        for queue in &queues {
            self.notify_session(ctx, turn, id, user, queue);
        }
        Ok((None, Answer::LoggedOn(id)))
    }

    /// Logs a client off (`GRP-5`). What was assigned to its user by an alias goes to another holder.
    pub(super) fn log_off(
        &self,
        ctx: &mut Context<'_>,
        turn: &mut Ordered,
        user: &McServiceId,
        id: SessionId,
    ) -> Served {
        if turn.sessions.get(&id).is_none_or(|session| session.user != *user) {
            return Err(Refusal::new(ResultCode::InvalidData, NO_SUCH_LOG_ON));
        }
        self.commit(ctx, [Mutation::delete(RecordKind::AcmSession, &session_key(id))]);
        turn.sessions.remove(&id);
        if turn.has_offer(user) {
            report(ctx, Kind::Groups.step(0, (5, None), 0), "a user logs off");
        }
        for queue in self.assign_for_user(turn, user) {
            self.notify(ctx, turn, &queue);
        }
        Ok((None, Answer::Done))
    }

    /// The lists that a user sees and that are not empty, requests first.
    pub(super) fn pending_queues(&self, turn: &Ordered, user: &McServiceId) -> Vec<Queue> {
        let own = own_queues(user);
        let shared = shared_queues().filter(|queue| self.sees(user, queue));
        own.chain(shared).filter(|queue| turn.extent(queue).0 > 0).collect()
    }
}

impl AcmServer {
    /// Whose log-on it is, for the world, which keeps the connection to the client.
    pub fn user_of(&self, session: SessionId) -> Option<McServiceId> {
        self.turn().sessions.get(&session).map(|session| session.user.clone())
    }

    /// Ends the oldest log-on of a user who has as many as one may have: of clients that vanished without a word nobody
    /// else would.
    fn end_oldest(&self, ctx: &mut Context<'_>, turn: &mut Ordered, user: &McServiceId) {
        let of_user = turn.sessions.iter().filter(|(_, session)| session.user == *user);
        let mut of_user: Vec<_> = of_user.map(|(id, session)| (session.since, *id)).collect();
        if of_user.len() < SESSIONS_OF_USER_MAX {
            return;
        }
        of_user.sort_unstable();
        if let Some((_, oldest)) = of_user.first() {
            self.commit(ctx, [Mutation::delete(RecordKind::AcmSession, &session_key(*oldest))]);
            turn.sessions.remove(oldest);
        }
    }

    /// Ends the log-ons of a user who is no more.
    pub(super) fn end_sessions(
        &self,
        ctx: &mut Context<'_>,
        turn: &mut Ordered,
        user: &McServiceId,
    ) {
        let of_user = turn.sessions.iter().filter(|(_, session)| session.user == *user);
        let ended: Vec<SessionId> = of_user.map(|(id, _)| *id).collect();
        for id in ended {
            turn.sessions.remove(&id);
            self.commit(ctx, [Mutation::delete(RecordKind::AcmSession, &session_key(id))]);
        }
    }
}

/// A name of 53 bits: every client reads it in JSON as it is.
fn draw(ctx: &mut Context<'_>) -> SessionId {
    SessionId(ctx.entropy.next_u64() >> 11)
}

pub(super) fn session_key(id: SessionId) -> String {
    format!("{:016x}", id.0)
}

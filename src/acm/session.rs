//! Clients log on and off. A log-on outlives a restart of the server: whoever was told before is told again. It ends by
//! itself when nothing is heard of its user for the length of its lease: a client that died logs nobody off.

use std::collections::BTreeSet;

use super::{
    AcmServer, SESSIONS_OF_USER_MAX,
    client::{Served, report},
    ordered::{Due, Ordered, Queue, Session, own_queues, shared_queues},
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
    time::Timestamp,
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
        let oldest = oldest_too_many(turn, user).map(|oldest| turn.remove_session(oldest));
        let mut id = draw(ctx);
        while turn.sessions.contains_key(&id) {
            id = draw(ctx);
        }
        let session = Session::new(user.clone(), ctx.now);
        let put = Mutation::put(RecordKind::AcmSession, &session_key(id), &session);
        self.commit(ctx, oldest.into_iter().chain([put]));
        turn.sessions.insert(id, session);
        turn.lease(id, ctx.now + self.config.session_lease);
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
        self.end_log_on(ctx, turn, user, id);
        Ok((None, Answer::Done))
    }

    fn end_log_on(
        &self,
        ctx: &mut Context<'_>,
        turn: &mut Ordered,
        user: &McServiceId,
        id: SessionId,
    ) {
        let deletion = turn.remove_session(id);
        self.commit(ctx, [deletion]);
        if turn.has_offer(user) {
            report(ctx, Kind::Groups.step(0, (5, None), 0), "a user logs off");
        }
        for queue in self.assign_for_user(turn, user) {
            self.notify(ctx, turn, &queue);
        }
    }

    /// Ends a log-on whose lease has ended (`GRP-5`), unless something has been heard of its user since.
    pub(super) fn lease_is_due(&self, ctx: &mut Context<'_>, turn: &mut Ordered, id: SessionId) {
        let Some(Session { user, until, .. }) = turn.sessions.get(&id).cloned() else { return };
        if ctx.now < until {
            turn.lease(id, until);
        } else {
            self.end_log_on(ctx, turn, &user, id);
        }
    }

    /// Something is heard of a user: all of the user's log-ons go on.
    pub(super) fn renew_leases(&self, now: Timestamp, turn: &mut Ordered, user: &McServiceId) {
        for session in turn.sessions.values_mut().filter(|session| session.user == *user) {
            session.until = now + self.config.session_lease;
        }
    }

    /// The lists in which a user sees something, requests first.
    pub(super) fn pending_queues(&self, turn: &Ordered, user: &McServiceId) -> Vec<Queue> {
        let all = own_queues(user).chain(shared_queues());
        all.filter(|queue| self.extent_for(turn, user, queue).0 > 0).collect()
    }
}

impl AcmServer {
    /// Whose log-on it is, for the world, which keeps the connection to the client.
    pub fn user_of(&self, session: SessionId) -> Option<McServiceId> {
        self.turn().sessions.get(&session).map(|session| session.user.clone())
    }

    /// The world still has the connection over which a log-on of a user is told: its lease goes on. Returns whether
    /// there is such a log-on.
    pub fn renew(&self, now: Timestamp, user: &McServiceId, session: SessionId) -> bool {
        let turn = &mut self.turn();
        let held = turn.sessions.get_mut(&session).filter(|held| held.user == *user);
        held.map(|held| held.until = now + self.config.session_lease).is_some()
    }
}

impl Session {
    const fn new(user: McServiceId, since: Timestamp) -> Self {
        Self { user, since, until: since, due: None }
    }
}

impl Ordered {
    /// Notes that a log-on ends at `until`, if nothing is heard of its user meanwhile.
    pub(super) fn lease(&mut self, id: SessionId, until: Timestamp) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.until = until;
        let before = session.due.replace(until);
        self.set_due(&Due::Session(id), before, Some(until));
    }

    /// Ends a log-on, and returns what makes that durable.
    fn remove_session(&mut self, id: SessionId) -> Mutation {
        if let Some(session) = self.sessions.remove(&id) {
            self.set_due(&Due::Session(id), session.due, None);
        }
        Mutation::delete(RecordKind::AcmSession, &session_key(id))
    }

    /// Ends the log-ons of a user, and returns what makes that durable.
    pub(super) fn remove_sessions(&mut self, user: &McServiceId) -> Vec<Mutation> {
        let of_user = self.sessions.iter().filter(|(_, session)| session.user == *user);
        let ended: Vec<SessionId> = of_user.map(|(id, _)| *id).collect();
        ended.into_iter().map(|id| self.remove_session(id)).collect()
    }
}

/// The oldest log-on of a user who has as many as one may have.
fn oldest_too_many(turn: &Ordered, user: &McServiceId) -> Option<SessionId> {
    let of_user = turn.sessions.iter().filter(|(_, session)| session.user == *user);
    let of_user: Vec<_> = of_user.map(|(id, session)| (session.since, *id)).collect();
    let has_room = of_user.len() < SESSIONS_OF_USER_MAX;
    of_user.into_iter().min().filter(|_| !has_room).map(|(_, oldest)| oldest)
}

/// A name of 53 bits: every client reads it in JSON as it is.
fn draw(ctx: &mut Context<'_>) -> SessionId {
    SessionId(ctx.entropy.next_u64() >> 11)
}

pub(super) fn session_key(id: SessionId) -> String {
    format!("{:016x}", id.0)
}

//! Pending ACM data notification (TS 23.280 10.17.2): whoever is logged on is told that something is pending, not what.

use super::{
    AcmServer,
    ordered::{Ordered, Queue},
    response::NOTIFICATION_OF_RESPONSE,
};
use crate::{
    api::acm_client::{Notification, SessionId},
    identity::{McServiceId, McSystemId},
    outbox::{AcmMessage, Context},
    step::{Part, Step},
};

impl AcmServer {
    /// Tells everybody who is logged on and sees something in a list.
    pub(super) fn notify(&self, ctx: &mut Context<'_>, turn: &Ordered, queue: &Queue) {
        self.notify_those(ctx, turn, queue, |_| true);
    }

    /// Tells everybody who is logged on and sees what has come into a list, which is exchanged with `partner`.
    pub(super) fn notify_of(
        &self,
        ctx: &mut Context<'_>,
        turn: &Ordered,
        queue: &Queue,
        partner: &McSystemId,
    ) {
        self.notify_those(ctx, turn, queue, |user| self.sees_item(user, queue, partner));
    }

    fn notify_those(
        &self,
        ctx: &mut Context<'_>,
        turn: &Ordered,
        queue: &Queue,
        is_one: impl Fn(&McServiceId) -> bool,
    ) {
        for (id, session) in &turn.sessions {
            if is_one(&session.user) && self.extent_for(turn, &session.user, queue).0 > 0 {
                self.notify_session(ctx, turn, *id, &session.user, queue);
            }
        }
    }

    /// How many items of a list a user sees, and the number of the last.
    pub(super) fn extent_for(
        &self,
        turn: &Ordered,
        user: &McServiceId,
        queue: &Queue,
    ) -> (u64, u64) {
        turn.extent(queue, |partner| self.sees_item(user, queue, partner))
    }

    /// Tells one client (`XCFG-7`, `XCFG-15`, `GRP-7a`, `GRP-13a`).
    pub(super) fn notify_session(
        &self,
        ctx: &mut Context<'_>,
        turn: &Ordered,
        session: SessionId,
        user: &McServiceId,
        queue: &Queue,
    ) {
        let (xcfg, grp, upd) =
            if queue.is_response { NOTIFICATION_OF_RESPONSE } else { (7, (7, Some(Part::A)), 0) };
        let step = queue.kind.step(xcfg, grp, upd);
        let extent = self.extent_for(turn, user, queue);
        self.tell_session(ctx, step, (session, user), queue, extent);
    }

    /// Tells one client that a list that it saw before holds nothing for its user any more.
    pub(super) fn tell_nothing_is_left(
        &self,
        ctx: &mut Context<'_>,
        session: SessionId,
        user: &McServiceId,
        queue: &Queue,
    ) {
        self.tell_session(ctx, None, (session, user), queue, (0, 0));
    }

    fn tell_session(
        &self,
        ctx: &mut Context<'_>,
        step: Option<Step>,
        (session, user): (SessionId, &McServiceId),
        queue: &Queue,
        (count, last): (u64, u64),
    ) {
        let notification = Notification {
            mc_service_id: user.clone(),
            kind: queue.kind,
            is_response: queue.is_response,
            count,
            last,
        };
        let message = AcmMessage::Notification { session, user: user.clone(), notification };
        self.send(ctx, step, message);
    }
}

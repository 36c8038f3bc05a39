//! Pending ACM data notification (TS 23.280 10.17.2): whoever is logged on is told that something is pending, not what.

use super::{
    AcmServer,
    ordered::{Ordered, Queue},
    response::NOTIFICATION_OF_RESPONSE,
};
use crate::{
    api::acm_client::{Notification, SessionId},
    identity::McServiceId,
    outbox::{AcmMessage, Context},
    step::{Part, Step},
};

impl AcmServer {
    /// Tells everybody who is logged on and sees a list that something is in it.
    pub(super) fn notify(&self, ctx: &mut Context<'_>, turn: &Ordered, queue: &Queue) {
        for (id, session) in &turn.sessions {
            if self.sees(&session.user, queue) {
                self.notify_session(ctx, turn, *id, &session.user, queue);
            }
        }
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
        self.tell_session(ctx, step, (session, user), queue, turn.extent(queue));
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

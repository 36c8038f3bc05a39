//! The interface of ACM clients: from a request to what serves it.

use super::{AcmServer, ordered::Ordered};
use crate::{
    api::{
        acm_client::{Answer, NO_SUCH_TRANSACTION, Request},
        acm_interconnection::{Refusal, ResultCode},
    },
    identity::McServiceId,
    outbox::{Context, Role},
    step::Step,
    token::BearerToken,
};

/// What a client is answered, and the step that the answer is.
pub(super) type Served = Result<(Option<Step>, Answer), Refusal>;

impl AcmServer {
    /// Serves a request of a client.
    pub(super) fn serve_client(
        &self,
        ctx: &mut Context<'_>,
        turn: &mut Ordered,
        credential: Option<(&McServiceId, &BearerToken)>,
        request: Request,
    ) -> Served {
        // Meanwhile users may be unknown: they are loaded anew.
        if !ctx.out.storage_available() {
            return Err(Refusal::new(ResultCode::Busy, "the storage is unavailable; try again"));
        }
        let Some(user) = self.authenticate(credential) else {
            return Ok((None, Answer::NotAuthenticated));
        };
        self.renew_leases(ctx.now, turn, &user);
        match request {
            Request::LogOn => self.log_on(ctx, turn, &user),
            Request::LogOff { session } => self.log_off(ctx, turn, &user, session),
            Request::List { after, limit } => Ok(self.list(ctx, turn, &user, after, limit)),
            Request::Fetch(key) => self.fetch(ctx, turn, &user, &key),
            Request::Decide { item, decision, alias } => {
                self.decide(ctx, turn, (&user, alias), &item, decision)
            }
            Request::Acknowledge(key) => self.acknowledge(ctx, turn, &user, &key),
            Request::Send(begin) => self.begin(ctx, turn, &user, *begin),
            Request::Follow(transaction) => self.follow(&user, transaction),
            Request::Cancel(transaction) => self.cancel(ctx, turn, &user, transaction),
            Request::ListGroups { home, after, limit } => {
                self.list_groups(turn, &user, (home, after.as_ref()), limit)
            }
            Request::PutGroup(group) => self.put_group(ctx, turn, &user, group),
            Request::WithdrawGroup(group) => self.withdraw_group(ctx, turn, &user, &group),
        }
    }
}

/// Reports a step of a client or of a person, which this server has heard of. Clients are no role of this crate.
pub(super) fn report(ctx: &mut Context<'_>, step: Option<Step>, summary: &'static str) {
    if let Some(step) = step {
        ctx.out.step(step, Role::Acm, summary);
    }
}

pub(super) fn not_found() -> Refusal {
    Refusal::new(ResultCode::InvalidData, NO_SUCH_TRANSACTION)
}

pub(super) fn not_authorised(text: &str) -> Refusal {
    Refusal::new(ResultCode::NotAuthorised, text)
}

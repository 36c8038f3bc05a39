//! The management interface: from a request to what does it, and the answer (TR 23.781 solution 2, steps
//! 4 to 6 and 9 to 11).

use super::{Outcome, SipDatabase};
use crate::{
    api::migration_identity::{Answer, Refusal, Request},
    outbox::{Context, Message, ReplyTo},
    step::Step,
};

impl SipDatabase {
    /// Handles a request of the management interface.
    pub fn handle_management(&self, ctx: &mut Context<'_>, to: ReplyTo, request: Request) {
        let step = if matches!(request, Request::BindOutbound { .. }) {
            Some(Step::mig(6))
        } else {
            matches!(request, Request::BindInbound { .. }).then(|| Step::mig(11))
        };
        if !ctx.out.storage_available() {
            let answer = Answer::Refused(Refusal::Unavailable);
            let message = Message::Management { to, answer };
            return self.send(ctx, self.removed.get(), step, message);
        }
        let outcome = if let Request::BindInbound { ref primary, allowed } = request {
            self.bind_inbound(ctx, primary, allowed) // not moved: it is large, and many come
        } else {
            self.perform(ctx, request)
        };
        match outcome {
            Ok((answer, after)) => {
                self.send(ctx, after, step, Message::Management { to, answer });
            }
            Err(refusal) => {
                let answer = Answer::Refused(refusal);
                // It relies on whatever is in the way.
                let after = ctx.out.latest_commit();
                self.send(ctx, after, step, Message::Management { to, answer });
            }
        }
    }

    fn perform(&self, ctx: &mut Context<'_>, request: Request) -> Outcome {
        match request {
            Request::PutSubscriber(subscriber) => self.put_subscriber(ctx, subscriber),
            Request::PutSubscribers(subscribers) => self.put_subscribers(ctx, subscribers),
            Request::GetSubscriber(impi) => self.get_subscriber(&impi),
            Request::DeleteSubscriber(impi) => self.delete_subscriber(ctx, &impi),
            Request::PutDigestSubscriber(subscriber) => self.put_digest_subscriber(ctx, subscriber),
            Request::GetDigestSubscriber(impi) => self.get_digest_subscriber(&impi),
            Request::DeleteDigestSubscriber(impi) => self.delete_digest_subscriber(ctx, &impi),
            Request::PutPool(pool) => self.put_pool(ctx, pool),
            Request::GetPool(name) => self.get_pool(ctx, &name),
            Request::BindOutbound { user, partner, allowed } => {
                self.bind_outbound(ctx, &user, &partner, allowed)
            }
            Request::PutGrant { user, partner, valid_for, allowed } => {
                self.put_grant(ctx, user, partner, valid_for, allowed)
            }
            Request::DeleteGrant { impi, partner } => self.delete_grant(ctx, &impi, &partner),
            Request::BindInbound { primary, allowed } => self.bind_inbound(ctx, &primary, allowed),
            Request::WithdrawAgreement(id) => self.withdraw_agreement(ctx, id),
            Request::EndVisits(impi) => Ok((Answer::Done, self.end_visits(ctx, &impi))),
            Request::MapInbound { primary, identity } => self.map_inbound(ctx, primary, &identity),
            Request::Check(request) => self.check(ctx, *request),
            Request::GetOutbound(impi) => self.get_outbound(ctx.now, &impi),
            Request::GetInbound(impi) => self.get_inbound(ctx.now, &impi),
            Request::ReleaseOutbound(impi) => self.release_outbound(ctx, &impi),
            Request::ReleaseInbound(impi) => self.release_inbound(ctx, &impi),
        }
    }
}

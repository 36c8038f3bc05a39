//! CSC-17: another system's request for access for one of its users (TR 23.781 solution 2, steps 8, 9, 11 and
//! 12).

use super::{ConfigServer, agreement::InForce, pending::Pending};
use crate::{
    api::{
        configuration::Users,
        migration_identity::{self as management, Binding, Direction},
        system_access::{Access, Answer, Refusal, Request},
    },
    outbox::{Context, Message, Note, ReplyTo, Role},
    step::Step,
    store::CommitSeq,
    time::Timestamp,
    token::BearerToken,
};

/// A partner's request on its way.
#[derive(Debug)]
pub(super) struct Admission {
    pub(super) to: ReplyTo,
    /// The highest commit that it relies on.
    pub(super) after: CommitSeq,
    /// The end of the agreement.
    until: Timestamp,
}

impl ConfigServer {
    /// Takes a request up: who asks, and whether the user may come.
    pub(super) fn start_admission(
        &self,
        ctx: &mut Context<'_>,
        to: ReplyTo,
        token: Option<&BearerToken>,
        request: Request,
    ) {
        let mut after = CommitSeq::NOTHING;
        let admitted = self
            .authenticate_peer(ctx, token, &request)
            .and_then(|()| self.check_user_may_come(ctx, &request, &mut after));
        match admitted {
            Ok(agreement) => self.ask_for_inbound(ctx, (to, after), request, agreement),
            Err(refusal) => self.refuse_access(ctx, to, after, refusal),
        }
    }

    /// Checks that the request comes from the system that it names, about a user of that system's SIP
    /// database: a peer may not speak for a third system. And that it says how to ask for vectors.
    fn authenticate_peer(
        &self,
        ctx: &mut Context<'_>,
        token: Option<&BearerToken>,
        request: &Request,
    ) -> Result<(), Refusal> {
        if !ctx.out.storage_available() {
            return Err(Refusal::Unavailable);
        }
        let presented = token.map(BearerToken::digest);
        let named = self.partner(&request.primary);
        let is_of = |accepted| Some(accepted) == presented;
        let (refusal, reason) = match named {
            Some(peer) if !is_of(peer.accepted_token) => self.whose(is_of),
            None => self.whose(is_of),
            Some(peer) if peer.sip_database != request.user.database => {
                (Refusal::WrongSystem, "the user's SIP database is not the peer's")
            }
            Some(_) if request.user.server_name.is_empty() => {
                return Err(Refusal::Invalid("server_name is empty"));
            }
            Some(_) => return Ok(()),
        };
        let peer = named.map(|peer| peer.id.clone());
        ctx.out.note(Note::PeerRefused { peer, reason });
        Err(refusal)
    }

    /// Why a credential is refused that is not the named system's.
    fn whose(&self, is_of: impl Fn(crate::token::TokenDigest) -> bool) -> (Refusal, &'static str) {
        if self.config.partners.iter().any(|peer| is_of(peer.accepted_token)) {
            (Refusal::WrongSystem, "the credential is another system's than the one named")
        } else {
            (Refusal::NotAuthenticated, "the credential is no peer's")
        }
    }

    /// Checks that there is an agreement for this system and this user (`MIG-8`).
    fn check_user_may_come(
        &self,
        ctx: &mut Context<'_>,
        request: &Request,
        after: &mut CommitSeq,
    ) -> Result<InForce, Refusal> {
        let users = [Users::User(request.mc_service_id.clone()), Users::Everybody];
        let (partner, direction) = (&request.primary, Direction::Inbound);
        let found = self.agreement_in_force(ctx.now, partner, direction, users, after);
        let summary =
            if found.is_some() { "the user may come here" } else { "the user may not come here" };
        ctx.out.step(Step::mig(8), Role::ConfigServer, summary);
        found.ok_or(Refusal::NotAuthorised)
    }

    /// Asks the SIP database for an inbound pair (`MIG-9`).
    fn ask_for_inbound(
        &self,
        ctx: &mut Context<'_>,
        (to, after): (ReplyTo, CommitSeq),
        request: Request,
        agreement: InForce,
    ) {
        let admission = Admission { to, after, until: agreement.allowance.until };
        let allowed = Some(agreement.allowance);
        let request = management::Request::BindInbound { primary: request.user, allowed };
        let pending = Pending::Admission(Box::new(admission));
        self.ask_database(ctx, pending, after, Some(Step::mig(9)), request);
    }

    /// Takes the SIP database's answer (`MIG-11`).
    pub(super) fn handle_bound(
        &self,
        ctx: &mut Context<'_>,
        admission: Admission,
        answer: management::Answer,
    ) {
        let refusal = match answer {
            management::Answer::Binding(binding) => return self.grant(ctx, admission, binding),
            management::Answer::Refused(management::Refusal::Exhausted(_)) => Refusal::Exhausted,
            // The request itself is sound: since step 8 the agreement has ended, or was withdrawn.
            management::Answer::Refused(management::Refusal::Invalid(_)) => Refusal::NotAuthorised,
            management::Answer::Refused(_)
            | management::Answer::Done
            | management::Answer::Granted { .. }
            | management::Answer::RowsRefused(_)
            | management::Answer::Subscriber { .. }
            | management::Answer::DigestSubscriber { .. }
            | management::Answer::Pool { .. } => Refusal::Unavailable,
        };
        self.refuse_access(ctx, admission.to, admission.after, refusal);
    }

    /// Grants access: the inbound pair and, unless primaries have it statically (NOTE 3), what UEs are told
    /// of this system (`MIG-12`).
    fn grant(&self, ctx: &mut Context<'_>, admission: Admission, binding: Binding) {
        let Admission { to, mut after, until } = admission;
        let configuration = if self.config.hands_out_configuration {
            self.stored_configuration(&self.config.system, &mut after)
        } else {
            None
        };
        let access = Access {
            identity: binding.identity,
            valid_until: binding.reserved_until.min(until),
            configuration,
        };
        let message = Message::SystemAccess { to, answer: Answer::Granted(Box::new(access)) };
        self.send(ctx, after, Some(Step::mig(12)), message);
    }

    /// Answers that access is not granted.
    pub(super) fn refuse_access(
        &self,
        ctx: &mut Context<'_>,
        to: ReplyTo,
        after: CommitSeq,
        refusal: Refusal,
    ) {
        let message = Message::SystemAccess { to, answer: Answer::Refused(refusal) };
        self.send(ctx, after, Some(Step::mig(12)), message);
    }
}

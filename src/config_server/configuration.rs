//! The management interface: from a request to what does it, and the answer.
//!
//! Where a change takes something away that the SIP database may have lent, that ends first; the change is
//! made, and answered, after the SIP database has made the end durable. Meanwhile nothing new is lent, and
//! other changes of the same user or agreement are refused. Whoever is refused with "unavailable" asks again.

use super::{ConfigServer, Next, Outcome, pending::Pending};
use crate::{
    api::{
        configuration::{Answer, DecidedBy, Provenance, Request},
        migration_identity::{self as management, Refusal},
    },
    outbox::{Context, Message, ReplyTo},
    store::CommitSeq,
};

impl ConfigServer {
    /// Makes a change at once or, if something has to end first, when the SIP database has answered.
    pub(super) fn manage(&self, ctx: &mut Context<'_>, to: ReplyTo, request: Request) {
        let mut after = CommitSeq::NOTHING;
        match self.perform(ctx, &request, false, &mut after) {
            Ok(Next::Ask(ask)) => {
                let pending = Pending::Change(to, Box::new(request));
                self.ask_database(ctx, pending, after, None, ask);
            }
            Ok(Next::Answer(answer)) => self.answer_configuration(ctx, to, after, answer),
            Err(refusal) => self.answer_configuration(ctx, to, after, Answer::Refused(refusal)),
        }
    }

    /// Takes the SIP database's answer, and makes the change. What does not exist there needs no end.
    pub(super) fn handle_ended(
        &self,
        ctx: &mut Context<'_>,
        to: ReplyTo,
        request: &Request,
        answer: management::Answer,
    ) {
        match answer {
            management::Answer::Done | management::Answer::Refused(Refusal::NotFound(_)) => {}
            management::Answer::Refused(refusal) => {
                return self.give_up_change(ctx, to, request, refusal);
            }
            management::Answer::Subscriber { .. }
            | management::Answer::DigestSubscriber { .. }
            | management::Answer::Pool { .. }
            | management::Answer::Binding(_)
            | management::Answer::Granted { .. }
            | management::Answer::RowsRefused(_) => {
                return self.give_up_change(ctx, to, request, Refusal::Unavailable);
            }
        }
        let mut after = CommitSeq::NOTHING;
        match self.perform(ctx, request, true, &mut after) {
            Ok(Next::Answer(answer)) => self.answer_configuration(ctx, to, after, answer),
            Ok(Next::Ask(_)) => self.give_up_change(ctx, to, request, Refusal::Unavailable),
            Err(refusal) => self.give_up_change(ctx, to, request, refusal),
        }
    }

    /// Gives a change up, and says why: a user stays as it was, an agreement has ended but is still there.
    pub(super) fn give_up_change(
        &self,
        ctx: &mut Context<'_>,
        to: ReplyTo,
        request: &Request,
        refusal: Refusal,
    ) {
        match request {
            Request::PutUser(user) => self.keep_user(&user.mc_service_id),
            Request::DeleteUser(name) => self.keep_user(name),
            Request::PutAgreement(agreement) => self.free_agreement(&agreement.key),
            Request::DeleteAgreement(key) => self.free_agreement(key),
            Request::PutUsers(_)
            | Request::GetUser(_)
            | Request::GetAgreement(_)
            | Request::PutSystemConfiguration { .. }
            | Request::PutExchangedConfiguration { .. }
            | Request::GetConfigurationVersion { .. }
            | Request::GetSystemConfiguration(_)
            | Request::DeleteSystemConfiguration(_)
            | Request::PutUserProfile { .. }
            | Request::GetUserProfile(_)
            | Request::ReadUserProfile(_)
            | Request::DeleteUserProfile(_)
            | Request::Check(_) => {}
        }
        self.answer_configuration(ctx, to, CommitSeq::NOTHING, Answer::Refused(refusal));
    }

    /// Does what `request` says; `ended` says that what had to end first has.
    fn perform(
        &self,
        ctx: &mut Context<'_>,
        request: &Request,
        ended: bool,
        after: &mut CommitSeq,
    ) -> Outcome {
        if !ctx.out.storage_available() {
            return Err(Refusal::Unavailable);
        }
        match request {
            Request::PutUser(user) => self.put_user(ctx, user, ended, after),
            Request::PutUsers(users) => self.put_users(ctx, users, after),
            Request::GetUser(name) => self.get_user(name, after),
            Request::DeleteUser(name) => self.delete_user(ctx, name, ended, after),
            Request::PutAgreement(agreement) => self.put_agreement(ctx, agreement, ended, after),
            Request::GetAgreement(key) => self.get_agreement(key, after),
            Request::DeleteAgreement(key) => self.delete_agreement(ctx, key, ended, after),
            Request::PutSystemConfiguration { system, configuration } => {
                let (at, decided_by) = (ctx.now, DecidedBy::Operator);
                let provenance = Provenance { at, transaction: None, decided_by };
                self.put_configuration(ctx, system, configuration, provenance, after)
            }
            Request::PutExchangedConfiguration {
                system,
                configuration,
                transaction,
                decided_by,
            } => {
                let decided_by = decided_by.clone().map_or(DecidedBy::Policy, DecidedBy::User);
                let (at, transaction) = (ctx.now, Some(transaction.clone()));
                let provenance = Provenance { at, transaction, decided_by };
                self.put_configuration(ctx, system, configuration, provenance, after)
            }
            Request::GetConfigurationVersion { system, revision } => {
                self.get_configuration_version(system, *revision, after)
            }
            Request::GetSystemConfiguration(system) => self.get_configuration(system, after),
            Request::DeleteSystemConfiguration(system) => {
                self.delete_configuration(ctx, system, after)
            }
            Request::PutUserProfile { key, profile } => self.put_profile(ctx, key, profile, after),
            Request::GetUserProfile(key) => self.get_profile(key, after),
            Request::ReadUserProfile(key) => self.read_profile(ctx, key, after),
            Request::DeleteUserProfile(key) => self.delete_profile(ctx, key, after),
            Request::Check(request) => self.check(request, after),
        }
    }

    /// Says whether `request` would be refused now.
    fn check(&self, request: &Request, after: &mut CommitSeq) -> Outcome {
        let checked = match request {
            Request::PutUser(user) => self.check_user(user),
            // Of many there is more to say than one refusal.
            Request::PutUsers(users) => return self.check_users(users, after),
            Request::PutAgreement(agreement) => self.check_agreement(agreement),
            Request::PutSystemConfiguration { system, configuration }
            | Request::PutExchangedConfiguration { system, configuration, .. } => {
                self.check_configuration(system, configuration, after)
            }
            Request::GetConfigurationVersion { system, revision } => {
                self.get_configuration_version(system, *revision, after).map(drop)
            }
            Request::GetUser(name) | Request::DeleteUser(name) => {
                self.get_user(name, after).map(drop)
            }
            Request::GetAgreement(key) | Request::DeleteAgreement(key) => {
                self.get_agreement(key, after).map(drop)
            }
            Request::GetSystemConfiguration(system)
            | Request::DeleteSystemConfiguration(system) => {
                self.get_configuration(system, after).map(drop)
            }
            Request::PutUserProfile { key, profile } => self.check_profile(key, profile, after),
            Request::GetUserProfile(key)
            | Request::ReadUserProfile(key)
            | Request::DeleteUserProfile(key) => self.get_profile(key, after).map(drop),
            Request::Check(_) => Err(Refusal::Invalid("a check cannot be checked")),
        };
        checked.map(|()| Next::Answer(Answer::Done))
    }

    fn answer_configuration(
        &self,
        ctx: &mut Context<'_>,
        to: ReplyTo,
        after: CommitSeq,
        answer: Answer,
    ) {
        self.send(ctx, after, None, Message::Configuration { to, answer });
    }
}

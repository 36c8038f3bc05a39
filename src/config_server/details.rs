//! CSC-4: a user's request for connection details, from the check of the user to the answer (TR 23.781
//! solution 2, steps 2, 4, 6, 7 and 13).
//!
//! Every repeat goes through all steps again; each of them answers a repeat with what it has lent already. A
//! definite refusal of the partner gives back what was lent anew for it, unless others of the same user are under
//! way (`under_way`); what was there before stays: the user may be registered with it, or an administrator lent
//! it. No answer, or one that leaves open what the partner has done or is about the two systems rather than the
//! user, keeps it, and the repeat names the same pair.

use std::time::Duration;

use super::{
    ConfigServer, agreement::InForce, choice::Choice, pending::Pending, under_way, user::Caller,
};
use crate::{
    api::{
        connection_details::{
            Answer, Credential, Details, Reason, Refusal, Request, SIP_CORE_ADDRESSES_MAX,
            SystemConfiguration,
        },
        migration_identity::{self as management, Binding, Lent, PrimaryUser},
        system_access as csc17,
    },
    identity::{McSystemId, SipDatabaseId, UserIdentity},
    outbox::{AcmMessage, Context, Message, Note, ReplyTo, Role, SystemAccessReply, Undeliverable},
    step::Step,
    store::CommitSeq,
    time::Timestamp,
};

/// Longest grant of a real pair: a day more than the pause of 30 days that a user may make between steps 13
/// and 14, as for a lent pair.
const GRANT_MAX: Duration = Duration::from_secs(31 * 24 * 3_600);

/// A user's request on its way.
#[derive(Debug)]
pub(super) struct Migration {
    to: ReplyTo,
    /// The highest commit that it relies on.
    after: CommitSeq,
    caller: Caller,
    partner: McSystemId,
    /// The partner's SIP database.
    database: SipDatabaseId,
    reason: Reason,
    agreement: InForce,
    /// The pair that the partner is told: the real one until an outbound one is lent.
    primary_side: UserIdentity,
    /// Until when the partner may ask vectors for it.
    lent_until: Timestamp,
}

impl Migration {
    /// Who is lent something, and for which partner.
    pub(super) fn key(&self) -> under_way::Key {
        (self.caller.identity.impi.clone(), self.database.clone())
    }
}

impl ConfigServer {
    /// Takes a request up: who asks, whether the user may migrate, and where to.
    pub(super) fn start_migration(
        &self,
        ctx: &mut Context<'_>,
        to: ReplyTo,
        credential: Option<&Credential>,
        request: &Request,
    ) {
        let mut after = CommitSeq::NOTHING;
        let admitted = self.check_user_may_migrate(ctx, credential, request, &mut after);
        let chosen = admitted.and_then(|caller| {
            let choice = self.choose(ctx, &caller, request, &mut after)?;
            Ok((caller, choice))
        });
        match chosen {
            Ok((caller, Choice { partner, agreement, reason })) => {
                let migration = Migration {
                    to,
                    after,
                    primary_side: caller.identity.clone(),
                    caller,
                    partner: partner.id.clone(),
                    database: partner.sip_database.clone(),
                    reason,
                    agreement,
                    lent_until: agreement.allowance.until.min(ctx.now + GRANT_MAX),
                };
                if self.begin(&migration) {
                    self.ask_for_outbound(ctx, migration);
                } else {
                    self.refuse_details(ctx, migration.to, migration.after, Refusal::Unavailable);
                }
            }
            Err(refusal) => self.refuse_details(ctx, to, after, refusal),
        }
    }

    /// Authenticates the user and checks that it may migrate (`MIG-2`).
    fn check_user_may_migrate(
        &self,
        ctx: &mut Context<'_>,
        credential: Option<&Credential>,
        request: &Request,
        after: &mut CommitSeq,
    ) -> Result<Caller, Refusal> {
        if !ctx.out.storage_available() {
            return Err(Refusal::Unavailable);
        }
        let caller = self
            .authenticate_user(&request.mc_service_id, credential, after)
            .ok_or(Refusal::NotAuthenticated)?;
        let summary =
            if caller.may_migrate { "the user may migrate" } else { "the user may not migrate" };
        ctx.out.step(Step::mig(2), Role::ConfigServer, summary);
        if caller.may_migrate { Ok(caller) } else { Err(Refusal::NotAuthorised) }
    }

    /// Asks the SIP database for an outbound pair (`MIG-4`) or, where the agreement shows real identities to
    /// the partner, for a grant of the real one.
    fn ask_for_outbound(&self, ctx: &mut Context<'_>, migration: Migration) {
        let (user, partner) = (migration.caller.identity.clone(), migration.database.clone());
        let (after, allowed) = (migration.after, Some(migration.agreement.allowance));
        let (step, request) = if migration.agreement.hide_identities {
            let request = management::Request::BindOutbound { user, partner, allowed };
            (Some(Step::mig(4)), request)
        } else {
            let valid_for = migration.lent_until.since(ctx.now);
            (None, management::Request::PutGrant { user, partner, valid_for, allowed })
        };
        self.ask_database(ctx, Pending::Lending(Box::new(migration)), after, step, request);
    }

    /// Takes the SIP database's answer (`MIG-6`).
    pub(super) fn handle_lent(
        &self,
        ctx: &mut Context<'_>,
        mut migration: Box<Migration>,
        answer: management::Answer,
    ) {
        let hidden = migration.agreement.hide_identities;
        let lent = match answer {
            management::Answer::Binding(binding) if hidden => {
                let Binding { identity, reserved_until, lent, .. } = binding;
                migration.primary_side = identity;
                migration.lent_until = migration.agreement.allowance.until.min(reserved_until);
                lent
            }
            management::Answer::Granted { until, lent } if !hidden => {
                migration.lent_until = migration.lent_until.min(until);
                lent
            }
            management::Answer::Refused(refusal) => {
                let refusal = if self.is_still_agreed(ctx, &mut migration) {
                    explain_refused_lending(ctx, &migration.partner, &refusal)
                } else {
                    Refusal::Unavailable
                };
                return self.refuse_migration(ctx, *migration, refusal);
            }
            management::Answer::Done
            | management::Answer::Binding(_)
            | management::Answer::Granted { .. }
            | management::Answer::RowsRefused(_)
            | management::Answer::Subscriber { .. }
            | management::Answer::DigestSubscriber { .. }
            | management::Answer::Pool { .. } => {
                return self.refuse_migration(ctx, *migration, Refusal::Unavailable);
            }
        };
        if lent == Lent::Anew {
            self.lent_anew(&migration);
        }
        // Whoever ended the user's visits meanwhile may have done so before this one began.
        if self.may_still_migrate(&migration.caller, &mut migration.after) {
            self.ask_partner(ctx, migration);
        } else {
            self.stop_all(&migration);
            if lent == Lent::ByAdministrator {
                self.refuse_migration(ctx, *migration, Refusal::NotAuthorised);
            } else {
                self.release(ctx, migration, Refusal::NotAuthorised);
            }
        }
    }

    /// Asks the partner chosen in step 3 for access (`MIG-7`).
    fn ask_partner(&self, ctx: &mut Context<'_>, migration: Box<Migration>) {
        let (to, after) = (migration.partner.clone(), migration.after);
        let request = csc17::Request {
            primary: self.config.system.clone(),
            mc_service_id: migration.caller.name.clone(),
            user: PrimaryUser {
                database: self.config.database.clone(),
                identity: migration.primary_side.clone(),
                server_name: self.config.server_name.clone(),
            },
        };
        if let Some(id) = self.wait(ctx, Pending::Access(migration)) {
            let message = Message::SystemAccessRequest { to, id, request };
            self.send(ctx, after, Some(Step::mig(7)), message);
        }
    }

    /// Takes the partner's answer (`MIG-12`), or that there is none.
    pub(super) fn handle_access_answered(&self, ctx: &mut Context<'_>, reply: SystemAccessReply) {
        // One that comes late is dropped: the UE has been told that there is none.
        let Some(Pending::Access(migration)) = self.take_pending(reply.id.number, true) else {
            return;
        };
        match reply.outcome {
            Ok(csc17::Answer::Granted(access)) => {
                self.ask_for_configuration(ctx, migration, access);
            }
            Ok(csc17::Answer::Refused(refusal)) => {
                let told = explain_refused_access(ctx, &migration.partner, refusal);
                if refusal.is_definite() && self.may_release(&migration) {
                    self.release(ctx, migration, told);
                } else {
                    self.refuse_migration(ctx, *migration, told);
                }
            }
            Err(_) => self.refuse_migration(ctx, *migration, Refusal::PartnerUnreachable),
        }
    }

    /// Asks the ACM server, if there is one, what this user migrates with.
    fn ask_for_configuration(
        &self,
        ctx: &mut Context<'_>,
        migration: Box<Migration>,
        access: Box<csc17::Access>,
    ) {
        if !self.config.has_acm {
            return self.answer_details(ctx, *migration, *access, None);
        }
        let (partner, user) = (migration.partner.clone(), migration.caller.name.clone());
        let after = migration.after;
        if let Some(id) = self.wait(ctx, Pending::Configuration(migration, access)) {
            let asked = AcmMessage::UserConfigurationRequest { id, partner, user };
            self.send(ctx, after, None, Message::Acm(asked));
        }
    }

    /// Takes the ACM server's answer.
    pub(super) fn take_user_configuration(
        &self,
        ctx: &mut Context<'_>,
        migration: Box<Migration>,
        access: csc17::Access,
        own: Result<Option<Box<SystemConfiguration>>, Undeliverable>,
    ) {
        match own {
            Ok(own) => self.answer_details(ctx, *migration, access, own.map(|own| *own)),
            Err(Undeliverable) => self.refuse_migration(ctx, *migration, Refusal::Unavailable),
        }
    }

    /// Answers with what the UE needs in the partner (`MIG-13`), unless what it was lent has been taken back
    /// while the partner was asked: by a release, because the user may no longer migrate, or with the
    /// agreement. Then a repeat is told what holds now.
    fn answer_details(
        &self,
        ctx: &mut Context<'_>,
        mut migration: Migration,
        access: csc17::Access,
        own: Option<SystemConfiguration>,
    ) {
        let holds = self.end_granted(&migration)
            && self.may_still_migrate(&migration.caller, &mut migration.after)
            && self.is_still_agreed(ctx, &mut migration);
        let Migration { to, mut after, partner, reason, lent_until, .. } = migration;
        if !holds {
            return self.refuse_details(ctx, to, after, Refusal::Unavailable);
        }
        let sent = access.configuration;
        let Some(configuration) = self.choose_configuration(ctx, &partner, (own, sent), &mut after)
        else {
            misconfigured(ctx, &partner, "no configuration of the partner is sent or stored");
            return self.refuse_details(ctx, to, after, Refusal::NotConfigured);
        };
        let details = Details {
            mc_system_id: partner,
            reason,
            identity: access.identity,
            valid_until: access.valid_until.min(lent_until),
            configuration,
        };
        let answer = Answer::Details(Box::new(details));
        let message = Message::ConnectionDetails { to, answer };
        self.send(ctx, after, Some(Step::mig(13)), message);
    }

    /// What the UE is told of the partner: what the partner has confirmed for this user, unless the partner has let us
    /// know something later of itself since; else what it sent along; else what is stored of it (NOTE 3).
    fn choose_configuration(
        &self,
        ctx: &mut Context<'_>,
        partner: &McSystemId,
        (own, sent): (Option<SystemConfiguration>, Option<SystemConfiguration>),
        after: &mut CommitSeq,
    ) -> Option<SystemConfiguration> {
        let stored = self.stored_configuration(partner, after);
        let is_later = |own: &SystemConfiguration| {
            stored.as_ref().is_some_and(|stored| stored.revision > own.revision)
        };
        if let Some(own) = own.filter(|own| !is_later(own)) {
            return Some(with_label_of(own, stored.as_ref()));
        }
        if sent.as_ref().is_some_and(|sent| !is_usable(sent)) {
            misconfigured(ctx, partner, "the configuration sent names no or too many SIP cores");
        }
        sent.filter(is_usable).or(stored)
    }

    /// Whether the agreement that was found in step 3 is still the one in force.
    fn is_still_agreed(&self, ctx: &Context<'_>, migration: &mut Migration) -> bool {
        let Migration { caller, partner, after, agreement, .. } = migration;
        let found = self.outbound_agreement(ctx.now, caller, partner, after);
        found.is_some_and(|it| it.allowance.agreement == agreement.allowance.agreement)
    }

    /// Gives back what was lent, and answers when that is done.
    fn release(&self, ctx: &mut Context<'_>, migration: Box<Migration>, refusal: Refusal) {
        let (impi, partner) = migration.key();
        let request = if migration.agreement.hide_identities {
            management::Request::ReleaseOutbound(migration.primary_side.impi.clone())
        } else {
            management::Request::DeleteGrant { impi, partner }
        };
        let after = migration.after;
        self.ask_database(ctx, Pending::Releasing(migration, refusal), after, None, request);
    }

    /// Takes the SIP database's answer to a release. If there was none to do, somebody else did it.
    pub(super) fn handle_released(
        &self,
        ctx: &mut Context<'_>,
        migration: Migration,
        refusal: Refusal,
        answer: &management::Answer,
    ) {
        let released = matches!(
            answer,
            management::Answer::Done
                | management::Answer::Refused(management::Refusal::NotFound(_))
        );
        let refusal = if released { refusal } else { Refusal::Unavailable };
        self.refuse_migration(ctx, migration, refusal);
    }

    /// Ends a migration, and answers that there are no details.
    pub(super) fn refuse_migration(
        &self,
        ctx: &mut Context<'_>,
        migration: Migration,
        refusal: Refusal,
    ) {
        self.end(&migration);
        self.refuse_details(ctx, migration.to, migration.after, refusal);
    }

    /// Answers that there are no details.
    fn refuse_details(
        &self,
        ctx: &mut Context<'_>,
        to: ReplyTo,
        after: CommitSeq,
        refusal: Refusal,
    ) {
        let message = Message::ConnectionDetails { to, answer: Answer::Refused(refusal) };
        self.send(ctx, after, Some(Step::mig(13)), message);
    }
}

/// What the UE is told when the own SIP database lends nothing.
fn explain_refused_lending(
    ctx: &mut Context<'_>,
    partner: &McSystemId,
    refusal: &management::Refusal,
) -> Refusal {
    match refusal {
        management::Refusal::Exhausted(_) => Refusal::Exhausted,
        management::Refusal::NotFound(_)
        | management::Refusal::Invalid(_)
        | management::Refusal::QuarantineTooShort { .. } => {
            let what = "the SIP database does not lend to this user for this partner";
            misconfigured(ctx, partner, what);
            Refusal::Unavailable
        }
        management::Refusal::Full(_) | management::Refusal::Unavailable => Refusal::Unavailable,
    }
}

/// What the UE is told when the partner refused. All but the user's own case is for an operator.
fn explain_refused_access(
    ctx: &mut Context<'_>,
    partner: &McSystemId,
    refusal: csc17::Refusal,
) -> Refusal {
    let what = match refusal {
        csc17::Refusal::NotAuthorised => return Refusal::RefusedByPartner,
        csc17::Refusal::Exhausted => return Refusal::Exhausted,
        csc17::Refusal::Unavailable => return Refusal::PartnerUnreachable,
        csc17::Refusal::NotAuthenticated => "the partner does not accept our credential",
        csc17::Refusal::WrongSystem => "the partner knows us under another ID or SIP database",
        csc17::Refusal::Invalid(_) => "the partner calls our request invalid",
    };
    misconfigured(ctx, partner, what);
    Refusal::RefusedByPartner
}

fn misconfigured(ctx: &mut Context<'_>, partner: &McSystemId, what: &'static str) {
    ctx.out.note(Note::AccessMisconfigured { partner: partner.clone(), what });
}

/// The label of a UE is its own system's: a blank one leaves what is stored (TS 23.280 10.17.2.13, NOTE 2).
fn with_label_of(
    mut own: SystemConfiguration,
    stored: Option<&SystemConfiguration>,
) -> SystemConfiguration {
    let label = stored.and_then(|stored| stored.document.label());
    if own.document.label().is_none_or(str::is_empty)
        && let Some(label) = label.filter(|label| !label.is_empty())
    {
        own.document = own.document.with_label(Some(label)).into();
    }
    own
}

/// Whether a UE can do something with it.
pub(super) fn is_usable(configuration: &SystemConfiguration) -> bool {
    (1..=SIP_CORE_ADDRESSES_MAX).contains(&configuration.sip_core.len())
}

//! The configuration management server of an MC system: it tells this system's users how to reach a
//! partner, and lets users of partners in.
//!
//! Source: 3GPP TR 23.781 solution 2, steps 1 to 4, 6 to 9 and 11 to 13; TS 23.280 10.1.4 and 10.17.
//!
//! **Locks.** No call holds the lock of more than one entry. Commit numbers are drawn under the lock of the
//! entry that they change.
//!
//! **What is not there** may have been removed by a commit that is not durable yet: every answer waits for
//! the latest removal (`removed`).

mod access;
mod agreement;
mod choice;
mod configuration;
mod details;
mod load;
mod many_users;
mod pending;
mod stored;
mod system_configuration;
mod under_way;
mod user;
mod user_profile;

use std::{
    sync::{RwLock, atomic::AtomicU64},
    time::Duration,
};

pub use stored::StoredRecord;

use self::{
    agreement::HeldAgreement, pending::Pending, system_configuration::HeldConfiguration,
    under_way::UnderWay, user::HeldUser, user_profile::HeldProfile,
};
use crate::{
    api::{
        configuration as configuration_api, connection_details, migration_identity as management,
        system_access,
    },
    entropy::Entropy,
    identity::{McServiceId, McSystemId, SipDatabaseId},
    outbox::{
        Context, ManagementReply, Message, ReplyTo, RequestId, SystemAccessReply, TimerKey,
        TimerWhat, UserConfigurationReply,
    },
    step::Step,
    store::{CommitSeq, Mark},
    table::{Bound, Table, new_table},
    token::{BearerToken, TokenDigest},
};

/// Users, unless configured otherwise.
pub const USERS_MAX: usize = 20_000_000;
/// Agreements, unless configured otherwise.
pub const AGREEMENTS_MAX: usize = 1_000_000;
/// User profiles, unless configured otherwise.
pub const PROFILES_MAX: usize = 1_000_000;
/// Requests that wait for the SIP database or another system, unless configured otherwise.
pub const PENDING_MAX: usize = 65_536;
/// Versions kept of what UEs are told of one system: the latest ones.
pub const VERSIONS_MAX: usize = 16;
/// Partners of one system.
pub const PARTNERS_MAX: usize = 1_024;

/// How a configuration server is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// This system.
    pub system: McSystemId,
    /// This system's SIP database.
    pub database: SipDatabaseId,
    /// The Server-Name that this system wants in vector requests for its migrated users.
    pub server_name: String,
    /// The partners, in order of preference.
    pub partners: Vec<Partner>,
    /// How long a partner may take to answer an access request.
    pub access_timeout: Duration,
    /// Whether this system's own configuration is handed to partners in C2 (NOTE 3).
    pub hands_out_configuration: bool,
    /// Whether an ACM server of this system knows what single users migrate with, and is asked.
    pub has_acm: bool,
    /// See [`USERS_MAX`].
    pub users_max: usize,
    /// See [`AGREEMENTS_MAX`].
    pub agreements_max: usize,
    /// See [`PROFILES_MAX`].
    pub profiles_max: usize,
    /// See [`PENDING_MAX`].
    pub pending_max: usize,
}

impl Config {
    /// The configuration server of `system`, without partners, all else as usual.
    pub fn new(system: McSystemId, database: SipDatabaseId, server_name: String) -> Self {
        Self {
            system,
            database,
            server_name,
            partners: Vec::new(),
            access_timeout: Duration::from_secs(5),
            hands_out_configuration: true,
            has_acm: false,
            users_max: USERS_MAX,
            agreements_max: AGREEMENTS_MAX,
            profiles_max: PROFILES_MAX,
            pending_max: PENDING_MAX,
        }
    }
}

/// Another MC system that this one has to do with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Partner {
    /// Its MC system ID.
    pub id: McSystemId,
    /// Its SIP database: it asks for vectors of our users, and is asked for those of its users.
    pub sip_database: SipDatabaseId,
    /// The credential that it presents on CSC-17.
    pub accepted_token: TokenDigest,
    /// Where it covers users of other systems. Empty fields of an area cover everything below.
    pub areas: Vec<connection_details::Location>,
}

/// The configuration server role. Shared by all workers.
#[derive(Debug)]
pub struct ConfigServer {
    config: Config,
    users: Table<McServiceId, HeldUser>,
    users_bound: Bound,
    /// Held for reading while one user is changed, for writing while many are by one request.
    provisioning: RwLock<()>,
    agreements: Table<configuration_api::AgreementKey, HeldAgreement>,
    agreements_bound: Bound,
    /// What UEs are told of this system and of partners.
    configurations: Table<McSystemId, HeldConfiguration>,
    /// User profiles, of users of this system and of others.
    profiles: Table<configuration_api::ProfileKey, HeldProfile>,
    profiles_bound: Bound,
    /// What waits for an answer, by request number.
    pending: Table<u64, Pending>,
    pending_bound: Bound,
    /// The users' requests that wait, by whom and for which partner something is lent.
    under_way: Table<under_way::Key, UnderWay>,
    next_request: AtomicU64,
    /// The latest commit that removed something.
    removed: Mark,
}

impl ConfigServer {
    /// Creates an empty configuration server. The hashers' keys and the numbers of its requests come from
    /// `entropy`.
    pub fn new(config: Config, entropy: &mut dyn Entropy) -> Self {
        Self {
            users: new_table(entropy),
            users_bound: Bound::new(config.users_max),
            provisioning: RwLock::new(()),
            agreements: new_table(entropy),
            agreements_bound: Bound::new(config.agreements_max),
            configurations: new_table(entropy),
            profiles: new_table(entropy),
            profiles_bound: Bound::new(config.profiles_max),
            pending: new_table(entropy),
            pending_bound: Bound::new(config.pending_max),
            under_way: new_table(entropy),
            // Random, so that an answer to the process before this one meets no request of this one.
            next_request: AtomicU64::new(entropy.next_u64()),
            removed: Mark::default(),
            config,
        }
    }

    /// Goes to work after the last record. There is nothing to take up: whoever asked before asks again.
    pub fn handle_loaded(&self, _ctx: &mut Context<'_>) {}

    /// `MIG-1`: a UE asks for connection details. `credential` is what it presents; `None` if nothing usable.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a role takes over every message that it gets"
    )]
    pub fn handle_connection_details(
        &self,
        ctx: &mut Context<'_>,
        to: ReplyTo,
        credential: Option<&connection_details::Credential>,
        request: connection_details::Request,
    ) {
        self.start_migration(ctx, to, credential, &request);
    }

    /// `MIG-7`, received: another system asks for access for one of its users.
    pub fn handle_system_access(
        &self,
        ctx: &mut Context<'_>,
        to: ReplyTo,
        token: Option<&BearerToken>,
        request: system_access::Request,
    ) {
        self.start_admission(ctx, to, token, request);
    }

    /// Answers a management request.
    pub fn handle_configuration(
        &self,
        ctx: &mut Context<'_>,
        to: ReplyTo,
        request: configuration_api::Request,
    ) {
        self.manage(ctx, to, request);
    }

    /// `MIG-6` or `MIG-11`, received: the SIP database of this system answers.
    pub fn handle_management_reply(&self, ctx: &mut Context<'_>, reply: ManagementReply) {
        let ManagementReply { id, answer } = reply;
        match self.take_pending(id.number, false) {
            Some(Pending::Lending(migration)) => self.handle_lent(ctx, migration, answer),
            Some(Pending::Releasing(migration, refusal)) => {
                self.handle_released(ctx, *migration, refusal, &answer);
            }
            Some(Pending::Admission(admission)) => self.handle_bound(ctx, *admission, answer),
            Some(Pending::Change(to, request)) => self.handle_ended(ctx, to, &request, answer),
            // Late: whoever asked has been told that it did not work.
            Some(Pending::Access(_) | Pending::Configuration(..)) | None => {}
        }
    }

    /// `MIG-12`, received: the partner answers, or does not.
    pub fn handle_system_access_reply(&self, ctx: &mut Context<'_>, reply: SystemAccessReply) {
        self.handle_access_answered(ctx, reply);
    }

    /// A request to a partner (`MIG-7`) has not left this system, which has too much under way or is too slow: the user is
    /// told so, and nothing of the partner.
    pub fn handle_system_access_unsent(&self, ctx: &mut Context<'_>, id: RequestId) {
        if let Some(Pending::Access(migration)) = self.take_pending(id.number, true) {
            self.refuse_migration(ctx, *migration, connection_details::Refusal::Unavailable);
        }
    }

    /// The ACM server of this system tells what one of its users migrates with.
    pub fn handle_user_configuration(&self, ctx: &mut Context<'_>, reply: UserConfigurationReply) {
        let pending = self.take_pending(reply.id.number, false);
        if let Some(Pending::Configuration(migration, access)) = pending {
            self.take_user_configuration(ctx, migration, *access, reply.outcome);
        }
    }

    /// Handles a timer that it armed: a request has had its time.
    pub fn handle_timer(&self, ctx: &mut Context<'_>, timer: &TimerKey) {
        if let TimerWhat::MigrationTimeout(number) = &timer.what {
            self.handle_timeout(ctx, *number);
        }
    }

    /// The partner with this ID.
    fn partner(&self, id: &McSystemId) -> Option<&Partner> {
        self.config.partners.iter().find(|partner| partner.id == *id)
    }

    /// Sends what relies on the records up to `after`.
    fn send(&self, ctx: &mut Context<'_>, after: CommitSeq, step: Option<Step>, message: Message) {
        ctx.out.send_after(after.max(self.removed.get()), step, message);
    }
}

/// What a management request comes to.
enum Next {
    /// The answer.
    Answer(configuration_api::Answer),
    /// What has to be done by the SIP database first. What the request is about is marked, so that nothing
    /// else changes it meanwhile.
    Ask(management::Request),
}

type Outcome = Result<Next, management::Refusal>;

/// Makes what leaves wait for `version`, too.
fn rely_on(after: &mut CommitSeq, version: CommitSeq) {
    *after = version.max(*after);
}

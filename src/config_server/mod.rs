//! The configuration management server of an MC system: it tells this system's users how to reach a
//! partner, and lets users of partners in.
//!
//! Source: 3GPP TR 23.781 solution 2, steps 1 to 4, 6 to 9 and 11 to 13; TS 23.280 10.1.4 and 10.17.

use std::time::Duration;

use crate::{
    api::{configuration, connection_details, migration_identity as management, system_access},
    entropy::Entropy,
    identity::{McSystemId, SipDatabaseId},
    outbox::{Context, ManagementReply, Message, ReplyTo, SystemAccessReply, TimerKey},
    store::{CommitSeq, Record, RecordError},
    token::{BearerToken, TokenDigest},
};

/// Users, unless configured otherwise.
pub const USERS_MAX: usize = 20_000_000;
/// Agreements, unless configured otherwise.
pub const AGREEMENTS_MAX: usize = 1_000_000;
/// Requests that wait for the SIP database or another system, unless configured otherwise.
pub const PENDING_MAX: usize = 65_536;
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
    /// See [`USERS_MAX`].
    pub users_max: usize,
    /// See [`AGREEMENTS_MAX`].
    pub agreements_max: usize,
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
            users_max: USERS_MAX,
            agreements_max: AGREEMENTS_MAX,
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
}

impl ConfigServer {
    /// Creates an empty configuration server. The hashers' keys and the numbers of its requests come from
    /// `entropy`.
    pub fn new(config: Config, entropy: &mut dyn Entropy) -> Self {
        let _ = entropy.next_u64();
        Self { config }
    }

    /// Takes one stored record in; kinds of other roles are ignored.
    ///
    /// # Errors
    ///
    /// [`RecordError`] when a record cannot be read: the storage is not this build's or is damaged.
    pub fn load(&self, record: &Record) -> Result<(), RecordError> {
        let _ = (record, &self.config);
        Ok(())
    }

    /// Goes to work after the last record.
    pub fn handle_loaded(&self, ctx: &mut Context<'_>) {
        let _ = ctx;
    }

    /// Forgets everything stored, before it is loaded again after a failed commit.
    pub fn clear(&self) {}

    /// `MIG-1`: a UE asks for connection details. `token` is what it presents; `None` if nothing usable.
    pub fn handle_connection_details(
        &self,
        ctx: &mut Context<'_>,
        to: ReplyTo,
        token: Option<&BearerToken>,
        request: connection_details::Request,
    ) {
        let _ = (token, request);
        let answer = connection_details::Answer::Refused(connection_details::Refusal::Unavailable);
        ctx.out.send_after(CommitSeq::NOTHING, None, Message::ConnectionDetails { to, answer });
    }

    /// `MIG-7`, received: another system asks for access for one of its users.
    pub fn handle_system_access(
        &self,
        ctx: &mut Context<'_>,
        to: ReplyTo,
        token: Option<&BearerToken>,
        request: system_access::Request,
    ) {
        let _ = (token, request);
        let answer = system_access::Answer::Refused(system_access::Refusal::Unavailable);
        ctx.out.send_after(CommitSeq::NOTHING, None, Message::SystemAccess { to, answer });
    }

    /// Answers a management request.
    pub fn handle_configuration(
        &self,
        ctx: &mut Context<'_>,
        to: ReplyTo,
        request: configuration::Request,
    ) {
        let _ = request;
        let answer = configuration::Answer::Refused(management::Refusal::Unavailable);
        ctx.out.send_after(CommitSeq::NOTHING, None, Message::Configuration { to, answer });
    }

    /// `MIG-6` or `MIG-11`, received: the SIP database of this system answers.
    pub fn handle_management_reply(&self, ctx: &mut Context<'_>, reply: ManagementReply) {
        let _ = (ctx, reply);
    }

    /// `MIG-12`, received: the partner answers, or does not.
    pub fn handle_system_access_reply(&self, ctx: &mut Context<'_>, reply: SystemAccessReply) {
        let _ = (ctx, reply);
    }

    /// Handles a timer that it armed.
    pub fn handle_timer(&self, ctx: &mut Context<'_>, timer: &TimerKey) {
        let _ = (ctx, timer);
    }
}

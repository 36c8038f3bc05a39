//! The ACM server of an MC system: administrators of two systems exchange configuration through theirs, with people
//! in the middle who may take days.
//!
//! Source: 3GPP TS 23.280 clause 10.17 (common procedures 10.17.3, groups 10.17.4.2, users 10.17.5, update 10.17.6) and
//! TR 23.700-38. One machine with several payloads: `outgoing` and `response` are the side that begins a transaction,
//! `incoming`, `assess`, `decision` and `effect` the other one.
//!
//! **Exactly one effect.** Requests between systems are repeated until they are answered; a transaction is known by its
//! origin and ID, and a repeat meets its outcome. The decision and what it brings into force here are one commit;
//! what the configuration server has to bring into force is repeated until it has, before the response leaves.
//!
//! **Turns.** Changes are made one after the other, by whoever holds `ordered`. Within a turn no two entries of one
//! table are locked at a time.
//!
//! **Order of commits.** Every message waits for the latest commit of this role (`latest`), and so for all that it may
//! disclose.

mod agreements;
mod alias;
mod assess;
mod begin;
mod check;
mod client;
mod config;
mod configuration;
mod decision;
mod delivery;
mod due;
mod effect;
mod fetch;
mod groups;
mod incoming;
mod listing;
mod load;
mod management;
mod migrants;
mod notify;
mod ordered;
mod outgoing;
mod record;
mod response;
mod session;
mod share;
mod stored;
mod user;

use std::sync::{Mutex, MutexGuard, PoisonError, atomic::AtomicU64};

pub use self::{
    config::{
        ADMINISTRATORS_MAX, AgreementTerms, AliasChoice, Config, KNOWN_GROUPS_MAX, MIGRANTS_MAX,
        Mode, PARTNER_SHARE, PAYLOADS_OCTETS_MAX, Partner, Policies, Policy, REFUSALS_MAX,
        SESSIONS_MAX, SESSIONS_OF_USER_MAX, STRAYS_MAX, TRANSACTIONS_MAX,
    },
    groups::KnownGroup,
    stored::StoredRecord,
};

use self::{
    configuration::Asked,
    migrants::{HeldSet, MigrantKey, MigrantRecord},
    ordered::Ordered,
    record::{HeldIncoming, HeldOutgoing, HeldPayload},
    user::HeldUser,
};
use crate::{
    api::{
        acm_client, acm_interconnection as interconnection,
        acm_interconnection::{TransactionId, TransactionKey},
        acm_management, functional_alias,
        migration_identity::Direction,
    },
    entropy::Entropy,
    identity::{McServiceId, McSystemId},
    outbox::{
        AcmMessage, AcmReply, ConfigurationReply, Context, Message, ReplyTo, RequestId, TimerKey,
        TimerWhat, Undeliverable, UserConfigurationReply,
    },
    step::Step,
    store::{Mark, Mutation},
    table::{Bound, Table, new_table},
    token::BearerToken,
};

/// The ACM server role. Shared by all workers.
#[derive(Debug)]
pub struct AcmServer {
    config: Config,
    /// Transactions that this system began.
    outgoing: Table<TransactionId, HeldOutgoing>,
    outgoing_bound: Bound,
    /// Transactions that other systems began.
    incoming: Table<TransactionKey, HeldIncoming>,
    incoming_bound: Bound,
    /// Of those, the ones that were over before they were stored.
    refusals_bound: Bound,
    /// What open transactions are about.
    payloads: Table<TransactionKey, HeldPayload>,
    payloads_bound: Bound,
    users: Table<McServiceId, HeldUser>,
    users_bound: Bound,
    /// Users added for migration.
    migrants: Table<MigrantKey, MigrantRecord>,
    migrants_bound: Bound,
    /// Configurations that such users have, by the transaction that brought them.
    sets: Table<TransactionKey, HeldSet>,
    /// The highest revision sent or in force.
    revisions: Table<String, u64>,
    /// What waits for an answer, by request number.
    requests: Table<u64, Asked>,
    next_request: AtomicU64,
    ordered: Mutex<Ordered>,
    /// The latest commit.
    latest: Mark,
}

impl AcmServer {
    /// Creates an empty ACM server. The hashers' keys and the numbers of its requests come from `entropy`.
    pub fn new(config: Config, entropy: &mut dyn Entropy) -> Self {
        Self {
            outgoing: new_table(entropy),
            outgoing_bound: Bound::new(config.transactions_max),
            incoming: new_table(entropy),
            incoming_bound: Bound::new(config.transactions_max),
            refusals_bound: Bound::new(config.refusals_max),
            payloads: new_table(entropy),
            payloads_bound: Bound::new(PAYLOADS_OCTETS_MAX),
            users: new_table(entropy),
            users_bound: Bound::new(config.administrators_max),
            migrants: new_table(entropy),
            migrants_bound: Bound::new(config.migrants_max),
            sets: new_table(entropy),
            revisions: new_table(entropy),
            requests: new_table(entropy),
            // Random, so that an answer to the process before this one meets no request of this one.
            next_request: AtomicU64::new(entropy.next_u64()),
            ordered: Mutex::default(),
            latest: Mark::default(),
            config,
        }
    }

    /// Goes to work after the last record: takes every transaction up where it was, tells who is logged on what is
    /// pending, and subscribes to functional aliases.
    pub fn handle_loaded(&self, ctx: &mut Context<'_>) {
        let turn = &mut self.turn();
        self.take_up(ctx, turn);
        self.send(ctx, None, AcmMessage::SubscribeAliases);
        self.end_turn(ctx, turn);
    }

    /// A request of the ACM server of another system. `token` is what it presents; `None` if nothing usable.
    pub fn handle_interconnection(
        &self,
        ctx: &mut Context<'_>,
        to: ReplyTo,
        token: Option<&BearerToken>,
        request: interconnection::Request,
    ) {
        let turn = &mut self.turn();
        self.take_request(ctx, turn, to, token, request);
        self.end_turn(ctx, turn);
    }

    /// The ACM server of another system answers, or does not.
    pub fn handle_acm_reply(&self, ctx: &mut Context<'_>, reply: AcmReply) {
        let turn = &mut self.turn();
        self.take_reply(ctx, turn, reply);
        self.end_turn(ctx, turn);
    }

    /// A request to another system has not left this one, which has too much under way or is too slow: it is sent again,
    /// and nothing is told of the other system.
    pub fn handle_unsent(&self, ctx: &mut Context<'_>, id: RequestId) {
        let turn = &mut self.turn();
        self.take_unsent(ctx, turn, id);
        self.end_turn(ctx, turn);
    }

    /// The configuration server of this system answers.
    pub fn handle_configuration_reply(&self, ctx: &mut Context<'_>, reply: ConfigurationReply) {
        let turn = &mut self.turn();
        self.take_configuration_reply(ctx, turn, reply);
        self.end_turn(ctx, turn);
    }

    /// The configuration server of this system asks what a user of this system migrates to a partner with (step 13 of a
    /// migration).
    pub fn handle_user_configuration(
        &self,
        ctx: &mut Context<'_>,
        id: RequestId,
        partner: &McSystemId,
        user: &McServiceId,
    ) {
        // Within a turn a table may be ahead of the latest commit.
        let _turn = self.turn();
        let outcome = if ctx.out.storage_available() {
            Ok(self.configuration_of(Direction::Outbound, partner, user).map(Box::new))
        } else {
            Err(Undeliverable)
        };
        let reply = UserConfigurationReply { id, outcome };
        self.send(ctx, None, AcmMessage::UserConfiguration(reply));
    }

    /// A request of an ACM client. `credential` is the user that it speaks for and what it presents; `None` if nothing
    /// usable.
    pub fn handle_client(
        &self,
        ctx: &mut Context<'_>,
        to: ReplyTo,
        credential: Option<(&McServiceId, &BearerToken)>,
        request: acm_client::Request,
    ) {
        let turn = &mut self.turn();
        let answer = self.serve_client(ctx, turn, credential, request);
        let (step, answer) =
            answer.unwrap_or_else(|refusal| (None, acm_client::Answer::Refused(refusal)));
        self.send(ctx, step, AcmMessage::Client { to, answer });
        self.end_turn(ctx, turn);
    }

    /// Answers a management request.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a role takes over every message that it gets"
    )]
    pub fn handle_management(
        &self,
        ctx: &mut Context<'_>,
        to: ReplyTo,
        request: acm_management::Request,
    ) {
        let turn = &mut self.turn();
        let answer = self.manage(ctx, turn, &request);
        let answer = answer.unwrap_or_else(acm_management::Answer::Refused);
        self.send(ctx, None, AcmMessage::Management { to, answer });
        self.end_turn(ctx, turn);
    }

    /// The functional alias controlling server of this system tells something.
    pub fn handle_alias_event(&self, ctx: &mut Context<'_>, event: functional_alias::Event) {
        let turn = &mut self.turn();
        self.take_alias_event(ctx, turn, event);
        self.end_turn(ctx, turn);
    }

    /// Handles the timer that it armed.
    pub fn handle_timer(&self, ctx: &mut Context<'_>, timer: &TimerKey) {
        if timer.what == TimerWhat::AcmDue {
            let turn = &mut self.turn();
            self.work_off(ctx, turn);
            self.end_turn(ctx, turn);
        }
    }

    /// What is left to do at the end of each turn: users who were added or removed get or lose their agreements, and the
    /// timer is armed.
    fn end_turn(&self, ctx: &mut Context<'_>, turn: &mut Ordered) {
        self.feed_agreements(ctx, turn);
        due::arm(ctx, turn, self.config.resend_first);
    }

    fn turn(&self) -> MutexGuard<'_, Ordered> {
        self.ordered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The partner with this ID.
    fn partner(&self, id: &McSystemId) -> Option<&Partner> {
        self.config.partners.iter().find(|partner| partner.id == *id)
    }

    /// Whether `system` is this one.
    fn is_own(&self, system: &McSystemId) -> bool {
        *system == self.config.system
    }

    /// Makes changes durable, together.
    fn commit(&self, ctx: &mut Context<'_>, mutations: impl IntoIterator<Item = Mutation>) {
        let seq = ctx.out.commit(mutations);
        self.latest.raise(seq);
    }

    /// Sends what relies on nothing newer than the latest commit.
    fn send(&self, ctx: &mut Context<'_>, step: Option<Step>, message: AcmMessage) {
        ctx.out.send_after(self.latest.get(), step, Message::Acm(message));
    }
}

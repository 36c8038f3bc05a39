//! How an ACM server is set up: partners, policy, times, maxima.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    api::acm_payload::{GROUPS_MAX, Kind, PAYLOAD_OCTETS_MAX, USERS_MAX},
    identity::{McServiceId, McSystemId},
    token::TokenDigest,
};

/// Transactions in each direction, unless configured otherwise: open ones and those that are remembered.
pub const TRANSACTIONS_MAX: usize = 1_000_000;
/// Refused requests of partners that are remembered until they expire, unless configured otherwise.
pub const REFUSALS_MAX: usize = 100_000;
/// Users of ACM clients, unless configured otherwise.
pub const ADMINISTRATORS_MAX: usize = 100_000;
/// Clients that are logged on, unless configured otherwise.
pub const SESSIONS_MAX: usize = 4_096;
/// Clients of one user that are logged on.
pub const SESSIONS_OF_USER_MAX: usize = 16;
/// Users added for migration, both directions together, unless configured otherwise.
pub const MIGRANTS_MAX: usize = 20_000_000;
/// Interconnection groups known, those of this system among them, unless configured otherwise.
pub const KNOWN_GROUPS_MAX: usize = 1_000_000;
/// How much of each of these tables one partner may take up, in 100, unless configured otherwise.
pub const PARTNER_SHARE: usize = 25;
/// Answers kept that belong to nothing.
pub const STRAYS_MAX: usize = 1_000;
/// Octets of the payloads of all open transactions.
pub const PAYLOADS_OCTETS_MAX: usize = 4 * 1_024 * 1_024 * 1_024;

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// How an ACM server is set up.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// This system.
    pub system: McSystemId,
    /// The domains of this system's users and groups, in lower case.
    pub domains: Vec<String>,
    /// The partners.
    pub partners: Vec<Partner>,
    /// Who of several holders of an alias gets a request.
    pub alias_choice: AliasChoice,
    /// In whose name a partner that asks for the initial configuration of this system is sent it where policy
    /// decides so; without it, whoever asks is refused.
    pub answers_pull: Option<McServiceId>,
    /// How long a request may wait, unless its sender says otherwise.
    pub expires_after: Duration,
    /// How long a transaction is remembered after its end: a repeat within that time meets its outcome.
    pub remembered_for: Duration,
    /// How long an answer of another server may take.
    pub answer_timeout: Duration,
    /// How soon a request that failed is sent again; twice as long after each failure.
    pub resend_first: Duration,
    /// At most so long apart are repeats.
    pub resend_max: Duration,
    /// How long a client stays logged on of whose user nothing is heard: no request, no open stream of events.
    pub session_lease: Duration,
    /// See [`TRANSACTIONS_MAX`].
    pub transactions_max: usize,
    /// See [`REFUSALS_MAX`].
    pub refusals_max: usize,
    /// See [`ADMINISTRATORS_MAX`].
    pub administrators_max: usize,
    /// See [`SESSIONS_MAX`].
    pub sessions_max: usize,
    /// See [`MIGRANTS_MAX`].
    pub migrants_max: usize,
    /// See [`KNOWN_GROUPS_MAX`].
    pub groups_max: usize,
    /// How much of 100 one partner may take up of the tables that partners share: its transactions and what they are
    /// about, its users added for migration, its groups, its answers that belong to nothing.
    pub partner_share: usize,
}

impl Config {
    /// The ACM server of `system`, without partners, all else as usual.
    pub fn new(system: McSystemId, domain: &str) -> Self {
        Self {
            system,
            domains: vec![domain.to_ascii_lowercase()],
            partners: Vec::new(),
            alias_choice: AliasChoice::LongestLoggedOn,
            answers_pull: None,
            expires_after: 14 * DAY,
            remembered_for: 90 * DAY,
            answer_timeout: Duration::from_secs(10),
            resend_first: Duration::from_secs(1),
            resend_max: Duration::from_secs(300),
            session_lease: Duration::from_secs(300),
            transactions_max: TRANSACTIONS_MAX,
            refusals_max: REFUSALS_MAX,
            administrators_max: ADMINISTRATORS_MAX,
            sessions_max: SESSIONS_MAX,
            migrants_max: MIGRANTS_MAX,
            groups_max: KNOWN_GROUPS_MAX,
            partner_share: PARTNER_SHARE,
        }
    }
}

/// Another MC system that this one exchanges configuration with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Partner {
    /// Its MC system ID.
    pub id: McSystemId,
    /// The credential that it presents.
    pub accepted_token: TokenDigest,
    /// Whether there is an interconnection. Without one it is known, and nothing is exchanged.
    pub interconnected: bool,
    /// The domains of its users and groups, in lower case.
    pub domains: Vec<String>,
    /// What is done with its requests, and with those to it.
    pub policies: Policies,
    /// The agreements that users get in the configuration server when they are added for migration; none without it,
    /// where an operator keeps agreements of its own.
    pub agreements: Option<AgreementTerms>,
}

/// Of agreements for single users.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AgreementTerms {
    /// How long one holds from the time when the user is added.
    pub valid_for: Duration,
    /// Whether the real identities of this system's users are hidden from the partner.
    pub hide_identities: bool,
}

/// A policy for each kind of transaction.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Policies {
    /// Where there is no other.
    pub usual: Policy,
    /// Of single kinds.
    pub by_kind: BTreeMap<Kind, Policy>,
}

impl Policies {
    /// The policy of a kind.
    pub fn of(&self, kind: Kind) -> &Policy {
        self.by_kind.get(&kind).unwrap_or(&self.usual)
    }
}

/// What is done with transactions of one kind with one partner.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Policy {
    /// Who decides the partner's requests.
    pub mode: Mode,
    /// Whether a list of users is accepted in part where some of them cannot be.
    pub accepts_part: bool,
    /// Who may begin transactions with this partner, of those who have the right to; all of them without it.
    pub requesters: Option<BTreeSet<McServiceId>>,
    /// Who may decide requests of this partner, of those who have the right to; all of them without it.
    pub deciders: Option<BTreeSet<McServiceId>>,
    /// Requests of this partner that may be undecided at a time.
    pub undecided_max: usize,
    /// Users of one request.
    pub users_max: usize,
    /// Groups of one request.
    pub groups_max: usize,
    /// Octets of what one request is about, as its digest counts them.
    pub octets_max: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            mode: Mode::Manual,
            accepts_part: false,
            requesters: None,
            deciders: None,
            undecided_max: 250_000,
            users_max: USERS_MAX,
            groups_max: GROUPS_MAX,
            octets_max: PAYLOAD_OCTETS_MAX,
        }
    }
}

/// Who decides (TS 23.280 10.17.3). Policy decides once, when the request is stored.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// A person (10.17.3.1).
    Manual,
    /// The server: yes (10.17.3.2).
    Accept,
    /// The server: no.
    Reject,
    /// The server accepts what changes nothing that is in force; a difference goes to a person.
    ByRule {
        /// The server rejects a difference, too.
        rejects_difference: bool,
    },
}

/// Who of several holders of an alias who are logged on gets a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AliasChoice {
    /// Whoever is logged on longest.
    LongestLoggedOn,
    /// Whoever has the fewest pending items.
    FewestPending,
}

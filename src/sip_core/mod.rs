//! The SIP core of an MC system: registrar, and P-, I- and S-CSCF in one as far as registration goes.
//!
//! Sources: TR 23.781 solution 2 steps 15, 16 and 22 to 25; TS 24.229 clauses 5.4.1.1 to 5.4.1.4;
//! RFC 3261 clause 10.3.
//!
//! A user's way through the states, each a type of its own:
//!
//! ```text
//!              REGISTER                 MAA                  REGISTER, right response
//!   (nothing) ---------> AwaitVector -------> Challenged ----------------------------+
//!      ^   MIG-15, 16        ^      MIG-21,22     |   |             MIG-23           v
//!      |                     +--------------------+   | wrong response        AwaitAssignment
//!      |                        REGISTER with auts    v 403                         | SAA
//!      +---------------- expiry, de-registration ------------ Registration <--------+
//!                                                                 MIG-24, MIG-25
//! ```
//!
//! The operator's de-registration ends all of a user's states at once.
//!
//! Application servers are told of each change of a registration by a third-party REGISTER (`third_party.rs`), if the
//! operator wants that (`filter.rs`); requests of registered users go there (`originating.rs`).
//!
//! **Locks.** A user's entry is locked first, then entries of the transaction and request tables and of the
//! registrations, one at a time, then the deadlines; nothing that holds one of those ever waits for a user.
//! A registration changes under its user's entry. The entry is there as long as the user has attempts; the
//! registrations, millions of them at rest, are kept packed in a table of their own ([`crate::packed`]).

mod answer;
mod challenge;
mod client;
mod config;
mod decoy;
mod expiry;
mod filter;
mod held;
mod kept;
mod limiter;
mod management;
mod notice;
mod originating;
mod registered;
mod registration;
mod third_party;
mod transaction;
mod user;

use std::{net::SocketAddr, sync::atomic::AtomicU32};

pub use client::CLIENT_TRANSACTIONS_MAX;
pub use config::Config;
use dashmap::{Entry, OccupiedEntry};
pub use decoy::DECOYS_MAX;
pub use filter::{APPLICATION_SERVERS_MAX, ApplicationServer, DefaultHandling, Trigger};
pub use limiter::{BUCKETS, Limits, MalformedNetwork, Network, Rate, retry_after};
pub use registration::{CONTACTS_MAX, ContactBinding, Registration};
use smallvec::SmallVec;
pub use transaction::TRANSACTIONS_MAX;

use crate::{
    deadlines::Deadlines,
    entropy::Entropy,
    identity::{Impi, Impu},
    outbox::{Context, CxReply, Flow, Message, Note, TimerKey, TimerWhat, Transport},
    packed::PackedTable,
    patience::Patience,
    sip::{
        Framing,
        message::{Capabilities, answer_other},
        register::RegisterRequest,
        reply::{ReplyHead, reply_destination},
        uri::Uri,
        view::{MessageView, StartLine},
    },
    store::{CommitSeq, Mark, Record, RecordError, RecordKind, decode},
    table::{Bound, Table, new_table},
    time::Timestamp,
};

use answer::RegisterError;
use client::ClientTransactions;
use decoy::Decoys;
use held::Held;
use kept::{Registered, RegistrationView};
use limiter::Limiter;
use notice::Asked;
use originating::Senders;
use registration::RegistrationUpdate;
use transaction::{Admission, Transactions};
use user::User;

/// Most users with an attempt or a registration at a time; beyond it, 503.
pub const USERS_MAX: usize = 16_000_000;

/// The SIP core. Shared by all workers of a system.
#[derive(Debug)]
pub struct SipCore {
    config: Config,
    limiter: Limiter,
    transactions: Transactions,
    users: Table<Impi, User>,
    registrations: PackedTable<Registered>,
    /// Users who have an entry in one of the two.
    users_bound: Bound,
    /// When the first contact of each registration ends.
    deadlines: Deadlines,
    /// What was asked, by the number of the Cx request.
    requests: Patience<Asked>,
    /// Whom challenges were sent to that are not answered yet.
    challenges: Patience<Impi>,
    /// Whom challenges were sent to that nobody can answer.
    decoys: Decoys,
    /// Answers whose time to leave has not come.
    held: Held,
    /// The latest commit that deleted a registration: an answer that tells that there is none waits for it.
    removed: Mark,
    /// Cx requests sent whose answers nobody waits for.
    unawaited: AtomicU32,
    /// Requests to application servers.
    servers: ClientTransactions,
    /// From where registered users send requests; nothing without application servers.
    senders: Senders,
}

impl SipCore {
    /// Creates a SIP core without registrations.
    pub fn new(mut config: Config, entropy: &mut dyn Entropy) -> Self {
        config.application_servers.sort_by_key(|server| server.priority);
        Self {
            limiter: Limiter::new(&config.limits, entropy),
            requests: Patience::new(config.vector_timeout),
            challenges: Patience::new(config.reg_await_auth),
            decoys: Decoys::default(),
            held: Held::default(),
            config,
            transactions: Transactions::new(entropy),
            users: new_table(entropy),
            registrations: PackedTable::new(entropy),
            users_bound: Bound::new(USERS_MAX),
            deadlines: Deadlines::default(),
            removed: Mark::default(),
            unawaited: AtomicU32::new(0),
            servers: ClientTransactions::new(entropy),
            senders: Senders::new(entropy),
        }
    }

    /// Takes one stored record in. Records of other roles are ignored.
    ///
    /// # Errors
    ///
    /// [`RecordError`] when the record cannot be read by this build.
    pub fn load(&self, record: &Record<'_>) -> Result<(), RecordError> {
        if record.kind != RecordKind::Registration {
            return Ok(());
        }
        let key = std::str::from_utf8(record.key).map_err(|_| RecordError::Damaged)?;
        let impi = Impi::parse(key).map_err(|_| RecordError::Damaged)?;
        let stored: RegistrationView<'_> = decode(record.value)?;
        if !stored.is_well_formed() {
            return Err(RecordError::Damaged);
        }
        if !self.registrations.insert_with(&impi, |to| stored.pack(record.version, to)) {
            self.users_bound.take_loaded();
        }
        self.deadlines.load(self.registrations.fingerprint(&impi), stored.next_expiry());
        if self.tells() {
            self.senders.load(&impi, stored.impus(), stored.contact_uris());
        }
        Ok(())
    }

    /// Arms the timer for the expiries of what was loaded. To be called once after the last record.
    pub fn handle_loaded(&self, ctx: &mut Context<'_>) {
        if let Some(at) = self.deadlines.finish_loading() {
            ctx.out.arm(at, expiry::CONTACTS_TIMER);
        }
    }

    /// How many users are registered now, loaded ones too.
    pub fn registered(&self) -> usize {
        self.registrations.count()
    }

    /// Whether the user of a private identity is registered. Says no of what is no identity.
    pub fn is_registered(&self, impi: &str) -> bool {
        Impi::parse(impi).is_ok_and(|impi| self.registrations.contains_key(&impi))
    }

    /// Forgets everything, for a reload after a failed commit: whoever waits repeats.
    pub fn clear(&self) {
        self.transactions.clear();
        self.users.clear();
        self.registrations.clear();
        self.users_bound.reset();
        self.deadlines.clear();
        self.requests.clear();
        self.challenges.clear();
        self.decoys.clear();
        self.held.clear();
        self.removed.reset();
        self.servers.clear();
        self.senders.clear();
    }

    /// Handles one framed SIP message that arrived on `flow`.
    pub fn handle_sip(&self, ctx: &mut Context<'_>, flow: Flow, octets: &[u8]) {
        let framing = match flow.transport {
            Transport::Udp => Framing::Datagram,
            Transport::Tcp | Transport::Tls => Framing::Stream,
        };
        let view = match MessageView::parse(octets, framing) {
            Ok(view) => view,
            Err(error) => {
                let tag = ToTag::draw(ctx.entropy);
                if let Some(head) = ReplyHead::lenient(octets, flow.remote, tag.as_str()) {
                    let flow = match flow.transport {
                        Transport::Udp => Flow { remote: head.destination(), ..flow },
                        Transport::Tcp | Transport::Tls => flow,
                    };
                    let octets = head.reply(error.status, error.reason).finish();
                    ctx.out.send_after(CommitSeq::NOTHING, None, Message::Sip { flow, octets });
                }
                return;
            }
        };
        let source = flow.remote;
        let flow = match flow.transport {
            Transport::Udp => Flow { remote: reply_destination(&view, source), ..flow },
            Transport::Tcp | Transport::Tls => flow,
        };
        match view.start_line() {
            StartLine::Request { method: "REGISTER", .. } => {
                self.admit(ctx, flow, &view, source);
            }
            StartLine::Request { .. } => {
                if self.originate(ctx, flow, &view, source) {
                    return;
                }
                let tag = ToTag::draw(ctx.entropy);
                if let Some(octets) =
                    answer_other(&view, source, tag.as_str(), &self.capabilities())
                {
                    ctx.out.send_after(CommitSeq::NOTHING, None, Message::Sip { flow, octets });
                }
            }
            StartLine::Response { .. } => self.handle_response(ctx, &view),
        }
    }

    /// Handles the answer of the SIP database to a MAR or a SAR.
    pub fn handle_answer(&self, ctx: &mut Context<'_>, reply: CxReply) {
        let Some(asked) = self.requests.take(reply.id.number) else {
            return; // its time is over, or nothing follows from it
        };
        match asked {
            Asked::ByAttempt(impi) => {
                self.settle_request(ctx, &impi, reply.id.number, reply.outcome);
            }
            Asked::Notice(notice) => {
                if reply.outcome.is_ok() {
                    self.settle_notice(ctx, notice);
                }
            }
        }
    }

    /// Handles a timer that this role armed.
    pub fn handle_timer(&self, ctx: &mut Context<'_>, timer: &TimerKey) {
        match &timer.what {
            TimerWhat::TransactionsEnd => self.transactions.end_answered(ctx),
            TimerWhat::TransactionsTrying => self.transactions.send_trying(ctx),
            TimerWhat::RequestsEnd => self.expire_requests(ctx),
            TimerWhat::ChallengesEnd => self.expire_challenges(ctx),
            TimerWhat::HeldAnswers => self.send_held(ctx),
            TimerWhat::ContactsEnd => self.expire_registrations(ctx),
            TimerWhat::SipRequestsEnd => self.give_up_requests(ctx),
            TimerWhat::SipRequestsRepeat(row) => self.servers.repeat(ctx, *row),
            TimerWhat::InboundLeasesEnd
            | TimerWhat::OutboundLeasesEnd
            | TimerWhat::GrantsEnd
            | TimerWhat::MigrationTimeout(_)
            | TimerWhat::AcmDue
            | TimerWhat::IdmsDue
            | TimerWhat::McBindingsEnd
            | TimerWhat::McAnswersEnd
            | TimerWhat::UeRetransmit
            | TimerWhat::UeGiveUp
            | TimerWhat::UeRefresh => {}
        }
    }

    /// Returns how many contacts `impi` has registered that have not expired, for tests.
    pub fn contacts_of(&self, impi: &Impi, now: Timestamp) -> usize {
        let live = |it: Registered| {
            it.registration.contacts.iter().filter(|it| it.expires_at > now).count()
        };
        self.registrations.get(impi).map_or(0, live)
    }

    fn admit(&self, ctx: &mut Context<'_>, flow: Flow, view: &MessageView<'_>, source: SocketAddr) {
        let key = self.transactions.key_of(view);
        if !self.is_within_limit(ctx, (key, flow), view, source) {
            return;
        }
        let admission = self.transactions.admit(ctx, key, flow, (view, source));
        let Admission::New = admission else { return };
        let handled = if ctx.out.storage_available() {
            RegisterRequest::from_view(view)
                .map_err(RegisterError::Malformed)
                .and_then(|request| self.handle_register(ctx, key, &request))
        } else {
            Err(RegisterError::Busy)
        };
        if let Err(RegisterError::Ignored) = handled {
            self.transactions.ignore(key);
        } else if let Err(error) = handled {
            let step = Some(answer::CHALLENGE_STEP);
            let after = CommitSeq::NOTHING;
            self.transactions.reply(ctx, key, after, step, |head, to| error.render(head, to));
        }
    }

    /// Whether a request, known by its key, is within the limit of its source. If not, it has been dealt with.
    fn is_within_limit(
        &self,
        ctx: &mut Context<'_>,
        (key, flow): (u128, Flow),
        view: &MessageView<'_>,
        source: SocketAddr,
    ) -> bool {
        let Err(error) = self.count_source(ctx, source.ip(), key) else { return true };
        if error != RegisterError::Ignored {
            let tag = ToTag::draw(ctx.entropy);
            let head = ReplyHead::new_in(&mut ctx.out.parts, view, source, tag.as_str());
            let octets = error.render(&head, &mut ctx.out.messages);
            ctx.out.send_after(CommitSeq::NOTHING, None, Message::Sip { flow, octets });
        }
        false
    }

    /// What this SIP core can do.
    fn capabilities(&self) -> Capabilities<'static> {
        let passes_on = self.config.application_servers.iter().any(|it| !it.services.is_empty());
        Capabilities { methods: if passes_on { &ALL_METHODS } else { &METHODS }, ..CAPABILITIES }
    }

    /// `MIG-15` (initial) or `MIG-23` (with an answer to a challenge): a new REGISTER.
    fn handle_register(
        &self,
        ctx: &mut Context<'_>,
        key: u128,
        request: &RegisterRequest<'_>,
    ) -> Result<(), RegisterError> {
        let aor = self.address_of_record(request)?;
        check_extensions(request)?;
        RegistrationUpdate::check(request, &self.config)?;
        let credentials = request.credentials_for(&self.config.realm);
        let impi = match &credentials {
            Some(credentials) => {
                Impi::parse(&credentials.username).map_err(|_| RegisterError::Forbidden)?
            }
            None => private_identity_of(&aor)?,
        };
        let algorithm = credentials.as_ref().and_then(|credentials| credentials.algorithm);
        let mut entry = self.user_entry(ctx, &impi)?;
        let user = (&impi, entry.get_mut());
        let result = match credentials.filter(|credentials| !credentials.nonce.is_empty()) {
            Some(credentials) => self.handle_answered(ctx, user, key, request, aor, &credentials),
            None => self.begin_attempt(ctx, user, key, request, aor, (algorithm, false)),
        };
        self.leave(entry);
        result
    }

    fn address_of_record(&self, request: &RegisterRequest<'_>) -> Result<Impu, RegisterError> {
        let request_uri =
            Uri::parse(request.request_uri()).map_err(|_| RegisterError::MalformedRequestUri)?;
        if !self.config.serves_host(request_uri.host) {
            return Err(RegisterError::NotServed);
        }
        let aor = request.aor().map_err(|_| RegisterError::MalformedTo)?;
        if self.config.serves_host(aor.host()) { Ok(aor) } else { Err(RegisterError::NotServed) }
    }

    /// Locks a user's entry; that of a user not seen yet is refused when the table is full.
    fn user_entry(
        &self,
        ctx: &mut Context<'_>,
        impi: &Impi,
    ) -> Result<UserEntry<'_>, RegisterError> {
        match self.users.entry(impi.clone()) {
            Entry::Occupied(entry) => Ok(entry),
            Entry::Vacant(entry) => {
                // Counted under the entry's lock: whoever removes the entry finds it counted.
                let is_registered = self.registrations.contains_key(impi);
                if !is_registered && !self.users_bound.take() {
                    ctx.out.note(Note::TableFull("users"));
                    return Err(RegisterError::Busy);
                }
                Ok(entry.insert_entry(User { attempts: SmallVec::new(), is_registered }))
            }
        }
    }

    /// Locks the entry of a user who has one.
    fn known_user(&self, impi: &Impi) -> Option<UserEntry<'_>> {
        match self.users.entry(impi.clone()) {
            Entry::Occupied(entry) => Some(entry),
            Entry::Vacant(_) => None,
        }
    }

    /// Unlocks a user's entry, and removes it if the user has no attempt.
    fn leave(&self, entry: UserEntry<'_>) {
        if entry.get().is_idle() {
            if !entry.get().is_registered {
                self.users_bound.give();
            }
            entry.remove();
        }
    }

    /// The commit of the last change of a user's registration, its deletion included.
    fn changed(&self, impi: &Impi) -> CommitSeq {
        self.registrations.view(impi, kept::changed).unwrap_or_else(|| self.removed.get())
    }
}

/// A user, locked.
type UserEntry<'a> = OccupiedEntry<'a, Impi, User>;

/// The private identity of a REGISTER without Authorization (TS 24.229 clause 5.4.1.1): the public
/// identity without its scheme.
fn private_identity_of(aor: &Impu) -> Result<Impi, RegisterError> {
    let (_, nai) = aor.as_str().split_once(':').ok_or(RegisterError::MalformedTo)?;
    Impi::parse(nai).map_err(|_| RegisterError::Forbidden)
}

/// What a SIP core can do. REGISTER has no body that is looked at.
const CAPABILITIES: Capabilities<'static> =
    Capabilities { methods: &METHODS, option_tags: &["path"], media_types: &[] };

const METHODS: [&str; 2] = ["REGISTER", "OPTIONS"];

/// With what is passed on to application servers.
const ALL_METHODS: [&str; 4] = ["REGISTER", "OPTIONS", "PUBLISH", "MESSAGE"];

fn check_extensions(request: &RegisterRequest<'_>) -> Result<(), RegisterError> {
    let mut unsupported: Vec<&str> = Vec::new();
    for tag in request.requires().chain(request.proxy_requires()) {
        let is_known = |known: &&str| known.eq_ignore_ascii_case(tag);
        if !CAPABILITIES.option_tags.iter().any(is_known) && !unsupported.iter().any(is_known) {
            unsupported.push(tag);
        }
    }
    if unsupported.is_empty() {
        Ok(())
    } else {
        Err(RegisterError::UnsupportedExtensions(unsupported.join(", ")))
    }
}

/// A To tag: 64 random bits (RFC 3261 clause 19.3 asks for 32), as hexadecimal digits.
#[derive(Clone, Copy, Debug)]
struct ToTag([u8; 16]);

impl ToTag {
    fn draw(entropy: &mut dyn Entropy) -> Self {
        let bits = entropy.next_u64();
        let mut digits = [0; 16];
        for (digit, shift) in digits.iter_mut().rev().zip((0..64).step_by(4)) {
            let value = u8::try_from(bits >> shift & 15).unwrap_or(0);
            *digit = if value < 10 { b'0' + value } else { b'a' - 10 + value };
        }
        Self(digits)
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

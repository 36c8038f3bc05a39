//! The identity management server of an MC system: users log in, clients get tokens.
//!
//! Source: 3GPP TS 33.180 clauses 5.1.2 to 5.1.4 and annex B, which profile OpenID Connect 1.0 and OAuth 2.0.
//!
//! At home, a user logs in with a password (`log_in.rs`), and the client gets an access token, an ID token and a refresh
//! token (`grant.rs`). For a partner system it exchanges its access token for a *security token* while it is still there
//! (`exchange.rs`). At the partner, which may have no link to the home at all, the client presents that one (`visit.rs`):
//! the partner knows the certificates of the home's signing keys from a file (`trust.rs`), and gives tokens of its own
//! with its own MC service IDs.
//!
//! **A security token serves the whole trip**, answers that got lost included: the client that presented it first may do
//! so again until it expires, and no other client and no other key ever.
//!
//! **Least disclosure.** Of what is wrong with a user, a token or a client nobody is told more than that it is not to be
//! taken; the operator is, by a note. Unknown users cost as much time as known ones.
//!
//! **Order of commits.** Who changes something holds `state`. Every message waits for the latest commit of this role,
//! and so for all that it may rely on. Signatures are made and verified without `state`, which they would keep from
//! others for long.

mod access;
mod attempts;
mod client;
mod config;
mod exchange;
mod expiry;
mod grant;
mod issue;
mod keys;
mod load;
mod log_in;
mod management;
mod record;
mod state;
mod stored;
mod trust;
mod visit;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use self::{
    config::{
        CHECKS_MAX, CODES_MAX, Config, ISSUED_MAX, ISSUED_OF_USER_MAX, PRESENTED_MAX, PROOFS_MAX,
        REFRESH_MAX, REFRESH_OF_USER_MAX,
    },
    stored::StoredRecord,
};

use self::{attempts::Attempts, state::State};
use crate::{
    api::{
        identity_management::{Answer, Grant, Refusal, Request, TokenRequest, Tokens},
        idms_management,
    },
    entropy::Entropy,
    outbox::{Context, IdmsMessage, IdmsNote, Message, Note, ReplyTo, TimerKey, TimerWhat},
    secret::Secret,
    store::{Mark, Mutation},
    table::new_hasher,
    token::{TokenDigest, jwk::JwkSet, password::PasswordHash},
};

/// The identity management server role. Shared by all workers.
#[derive(Debug)]
pub struct IdentityServer {
    config: Config,
    state: Mutex<State>,
    /// The latest commit.
    latest: Mark,
    /// What pages to log in are sealed with. A page from before a restart is too old.
    page_key: Secret<32>,
    /// The password of users who do not exist.
    nobody: PasswordHash,
    /// The secret of clients that do not exist.
    no_client: TokenDigest,
}

impl IdentityServer {
    /// Creates a server that knows nobody. It has no key before [`Self::handle_loaded`].
    pub fn new(config: Config, entropy: &mut dyn Entropy) -> Self {
        let attempts = Attempts::new(new_hasher(entropy), config.attempts_window);
        let mut page_key = [0; 32];
        entropy.fill(&mut page_key);
        Self {
            nobody: PasswordHash::of_nobody(config.password_cost, entropy),
            no_client: crate::token::BearerToken::draw(entropy).digest(),
            page_key: Secret::new(page_key),
            state: Mutex::new(State::new(attempts)),
            latest: Mark::default(),
            config,
        }
    }

    /// Answers a client or a user's browser; a log-in once the password is checked ([`Self::handle_password`]).
    pub fn handle_request(&self, ctx: &mut Context<'_>, to: ReplyTo, request: Request) {
        let answer = match request {
            Request::OpenLogIn { parameters, visit } => self.open_log_in(ctx, *parameters, visit),
            Request::LogIn(log_in) => return self.log_in(ctx, to, *log_in),
            Request::Token(request) => match self.give_tokens(ctx, *request) {
                Ok(tokens) => Answer::Tokens(Box::new(tokens)),
                Err(refusal) => Answer::Refused(refusal),
            },
            Request::Keys => {
                let state = self.state();
                let valid = state.keys.values().filter(|key| key.is_known_at(ctx.now));
                Answer::Keys(JwkSet::new(valid.map(|key| key.signing.public())))
            }
        };
        self.send(ctx, IdmsMessage::Answer { to, answer });
    }

    /// Answers a management request.
    pub fn handle_management(
        &self,
        ctx: &mut Context<'_>,
        to: ReplyTo,
        request: idms_management::Request,
    ) {
        let answer = self.manage(ctx, request).unwrap_or_else(idms_management::Answer::Refused);
        self.send(ctx, IdmsMessage::Management { to, answer });
    }

    /// Lets go what has expired, and makes a key when it is time for one.
    pub fn handle_timer(&self, ctx: &mut Context<'_>, timer: &TimerKey) {
        if timer.what == TimerWhat::IdmsDue {
            self.go_on(ctx);
        }
    }

    fn give_tokens(&self, ctx: &mut Context<'_>, request: TokenRequest) -> Result<Tokens, Refusal> {
        let TokenRequest { client, grant, proof, source } = request;
        let client = self.authenticate(ctx, client, source)?;
        let proof_key = self.prove(ctx, proof.as_deref())?;
        match grant {
            Grant::Code { code, redirect_uri, verifier } => {
                let parts = (code.expose(), &*redirect_uri, verifier.expose());
                self.redeem(ctx, &client, proof_key, parts)
            }
            Grant::Refresh { token, scope } => {
                self.refresh(ctx, &client, proof_key, &token, scope.as_deref())
            }
            Grant::Exchange { subject_token, resource } => {
                self.exchange(ctx, &client, proof_key, &subject_token, &resource)
            }
            Grant::Assertion { assertion, scope } => {
                self.take_security_token(ctx, &client, proof_key, &assertion, scope.as_deref())
            }
        }
    }

    /// Makes changes durable, together.
    fn commit(
        &self,
        ctx: &mut Context<'_>,
        mutations: impl IntoIterator<Item = Mutation>,
    ) -> Result<(), Unavailable> {
        if !ctx.out.storage_available() {
            return Err(Unavailable);
        }
        self.latest.raise(ctx.out.commit(mutations));
        Ok(())
    }

    /// Sends what relies on nothing newer than the latest commit.
    fn send(&self, ctx: &mut Context<'_>, message: IdmsMessage) {
        ctx.out.send_after(self.latest.get(), None, Message::Idms(message));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The storage takes no changes, or a key cannot be had.
#[derive(Clone, Copy, Debug)]
struct Unavailable;

impl From<Unavailable> for Refusal {
    fn from(Unavailable: Unavailable) -> Self {
        Self::Unavailable
    }
}

impl From<Unavailable> for idms_management::Refusal {
    fn from(Unavailable: Unavailable) -> Self {
        Self::Unavailable
    }
}

/// Refuses, and tells the operator why.
fn refuse(ctx: &mut Context<'_>, refusal: Refusal, why: &'static str) -> Refusal {
    ctx.out.note(Note::Idms(IdmsNote::Refused(why)));
    refusal
}

/// Refuses because a table is full, which the operator has to know.
fn full(ctx: &mut Context<'_>, table: &'static str) -> Refusal {
    ctx.out.note(Note::TableFull(table));
    Refusal::Unavailable
}

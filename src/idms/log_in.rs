//! A user logs in with a browser, and the client gets a code (RFC 6749 clause 4.1, TS 33.180 B.3 and B.4).
//!
//! Nothing is kept between the page and what the user sends: the page carries all of it, sealed for one browser.
//! Without what this server told that browser to bring along, nobody can have a user log in as somebody else.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{
    IdentityServer,
    attempts::Of,
    config::CHECKS_MAX,
    record::draw_name,
    state::{Check, Code},
};
use crate::{
    api::identity_management::{
        Again, Answer, Authorization, Client, ECHO_OCTETS_MAX, LogIn, NoRedirect, Page, Redirect,
    },
    outbox::{
        Context, IdmsMessage, IdmsNote, Note, PasswordReply, ReplyTo, RequestId, Role,
        TooManyChecks,
    },
    time::Timestamp,
    token::{password::PASSWORD_OCTETS_MAX, pkce::Challenge, scope::Scopes},
};

/// The one way to authenticate a user that TS 33.180 B.4.2.2 demands.
pub(super) const ACR_PASSWORD: &str = "3gpp:acr:password";

/// When a user may try again after too many passwords were being checked, seconds.
const BUSY_SECS: u32 = 1;

/// Octets of a seal: when the page is too old, and the keyed hash.
const SEAL_OCTETS: usize = 8 + 32;

/// Longest text that a browser brings along, octets: 128 bits in base64url.
const VISIT_OCTETS: usize = 22;

/// What a request to log in is, once it has been checked.
struct Wanted {
    client: Client,
    challenge: Challenge,
    /// `None` wants all that can be had.
    scopes: Option<Scopes>,
}

/// Why there is no page.
#[derive(Clone, Copy)]
enum Unwanted {
    /// The browser cannot go back.
    Here(NoRedirect),
    /// The client is told (RFC 6749 clause 4.1.2.1).
    Client(&'static str),
}

impl IdentityServer {
    /// Shows the page.
    pub(super) fn open_log_in(
        &self,
        ctx: &mut Context<'_>,
        parameters: Authorization,
        visit: Option<String>,
    ) -> Answer {
        match self.check(&parameters) {
            Ok(_) => {
                let visit = visit.filter(|visit| is_visit(visit));
                let visit = visit.unwrap_or_else(|| draw_name(ctx.entropy));
                self.page(ctx.now, parameters, visit, None)
            }
            Err(unwanted) => self.unwanted(&parameters, unwanted),
        }
    }

    /// Has the password checked that a user sent, as long for a user who does not exist.
    pub(super) fn log_in(&self, ctx: &mut Context<'_>, to: ReplyTo, log_in: LogIn) {
        if let Err(answer) = self.begin_check(ctx, to, log_in) {
            let (to, answer) = *answer;
            self.send(ctx, IdmsMessage::Answer { to, answer });
        }
    }

    fn begin_check(
        &self,
        ctx: &mut Context<'_>,
        to: ReplyTo,
        log_in: LogIn,
    ) -> Result<(), Box<(ReplyTo, Answer)>> {
        let LogIn { parameters, visit, form, user, password, source } = log_in;
        if let Err(unwanted) = self.check(&parameters) {
            return Err(Box::new((to, self.unwanted(&parameters, unwanted))));
        }
        let known_visit = visit.filter(|visit| is_visit(visit));
        let is_ours = known_visit
            .as_ref()
            .is_some_and(|visit| self.is_sealed(ctx.now, visit, &parameters, &form));
        let visit = known_visit.unwrap_or_else(|| draw_name(ctx.entropy));
        let now = ctx.now;
        let again = |to, again, parameters, visit| {
            Box::new((to, self.page(now, parameters, visit, Some(again))))
        };
        if !is_ours {
            return Err(again(to, Again::Stale, parameters, visit));
        }
        if password.expose().len() > PASSWORD_OCTETS_MAX {
            return Err(again(to, Again::Wrong, parameters, visit));
        }
        let mut state = self.state();
        let (of_user, of_source) =
            (self.config.attempts_of_user_max, self.config.attempts_of_source_max);
        let mut taken = match source {
            Some(source) => state.attempts.take(Of::Source, source, of_source, ctx.now),
            None => Ok(()),
        };
        if taken.is_ok() {
            taken = state.attempts.take(Of::User, user.expose(), of_user, ctx.now);
        }
        if let Err(seconds) = taken {
            return Err(again(to, Again::Later(seconds), parameters, visit));
        }
        if state.checks.len() >= CHECKS_MAX {
            return Err(again(to, Again::Busy(BUSY_SECS), parameters, visit));
        }
        let known = state.users.get(user.expose()).filter(|user| user.is_enabled);
        let hash = known.map_or_else(|| self.nobody.clone(), |user| user.password.clone());
        let subject = known.map(|user| user.subject.clone());
        let number = ctx.entropy.next_u64();
        let check = Check { to, parameters, visit, user, subject, source };
        state.checks.insert(number, check);
        drop(state);
        let id = RequestId { role: Role::Idms, number };
        self.send(ctx, IdmsMessage::CheckPassword { id, password, hash });
        Ok(())
    }

    /// Goes on with a log-in whose password has been checked.
    pub fn handle_password(&self, ctx: &mut Context<'_>, reply: PasswordReply) {
        let Some(check) = self.state().checks.remove(&reply.id.number) else { return };
        let Check { to, parameters, visit, user, subject, source } = check;
        let answer = match (reply.outcome, subject) {
            (Ok(true), Some(subject)) => {
                let mut state = self.state();
                state.attempts.give(Of::User, user.expose());
                if let Some(source) = source {
                    state.attempts.give(Of::Source, source);
                }
                drop(state);
                self.send_back(ctx, &parameters, &subject)
            }
            (Ok(_), _) => {
                ctx.out.note(Note::Idms(IdmsNote::LogIn(false)));
                self.page(ctx.now, parameters, visit, Some(Again::Wrong))
            }
            (Err(TooManyChecks), _) => {
                self.page(ctx.now, parameters, visit, Some(Again::Busy(BUSY_SECS)))
            }
        };
        self.send(ctx, IdmsMessage::Answer { to, answer });
    }

    /// Sends a browser back with a code.
    fn send_back(
        &self,
        ctx: &mut Context<'_>,
        parameters: &Authorization,
        subject: &str,
    ) -> Answer {
        // Client and user may have changed while the user thought.
        let wanted = match self.check(parameters) {
            Ok(wanted) => wanted,
            Err(unwanted) => return self.unwanted(parameters, unwanted),
        };
        let mut state = self.state();
        let Some(user) = state.user_of(subject) else {
            return self.unwanted(parameters, Unwanted::Client("access_denied"));
        };
        let possible = wanted.client.scopes.and(user.services.scopes());
        let scopes = wanted.scopes.unwrap_or(possible);
        if !scopes.is_within(possible) || scopes.is_none() {
            return self.unwanted(parameters, Unwanted::Client("invalid_scope"));
        }
        let mut octets = [0; 32];
        ctx.entropy.fill(&mut octets);
        let text = BASE64_URL_SAFE_NO_PAD.encode(octets);
        let expires = ctx.now + self.config.code_lifetime;
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let code = Code {
            client: wanted.client.id,
            redirect_uri: parameters.redirect_uri.clone(),
            challenge: wanted.challenge,
            subject: subject.to_owned(),
            scopes,
            nonce: given(&parameters.nonce),
            proof_key: given(&parameters.dpop_jkt),
            expires,
            redeemed: None,
        };
        // Known for as long again, so that a second redemption is seen.
        let until = expires + self.config.code_lifetime;
        if !state.codes.insert(Sha256::digest(&text).into(), code, until, ctx.now) {
            drop(state);
            ctx.out.note(Note::TableFull("codes"));
            return self.unwanted(parameters, Unwanted::Client("temporarily_unavailable"));
        }
        drop(state);
        ctx.out.note(Note::Idms(IdmsNote::LogIn(true)));
        self.redirect(parameters, ("code", text))
    }

    /// Checks what a client sent a user with.
    fn check(&self, parameters: &Authorization) -> Result<Wanted, Unwanted> {
        let client = self.state().clients.get(parameters.client_id.as_str()).cloned();
        let client = client.ok_or(Unwanted::Here(NoRedirect::Client))?;
        if !client.redirect_uris.iter().any(|uri| uri.allows(&parameters.redirect_uri)) {
            return Err(Unwanted::Here(NoRedirect::RedirectUri));
        }
        if parameters.response_type != "code" {
            return Err(Unwanted::Client("unsupported_response_type"));
        }
        let too_long = |text: &str| text.len() > ECHO_OCTETS_MAX;
        let is_thumbprint = |text: &str| Challenge::parse(text).is_some();
        let challenge = Challenge::parse(&parameters.code_challenge)
            .filter(|_| parameters.code_challenge_method == "S256");
        let is_wrong = too_long(&parameters.state)
            || too_long(&parameters.nonce)
            || !(parameters.dpop_jkt.is_empty() || is_thumbprint(&parameters.dpop_jkt));
        let challenge = challenge.filter(|_| !is_wrong);
        let challenge = challenge.ok_or(Unwanted::Client("invalid_request"))?;
        let scopes = match parameters.scope.as_str() {
            "" => None,
            text => Some(Scopes::parse(text).map_err(|_| Unwanted::Client("invalid_scope"))?),
        };
        if scopes.is_some_and(|scopes| !scopes.is_within(client.scopes)) {
            return Err(Unwanted::Client("invalid_scope"));
        }
        Ok(Wanted { client, challenge, scopes })
    }

    fn unwanted(&self, parameters: &Authorization, unwanted: Unwanted) -> Answer {
        match unwanted {
            Unwanted::Here(why) => Answer::NoRedirect(why),
            Unwanted::Client(error) => self.redirect(parameters, ("error", error.to_owned())),
        }
    }

    /// Goes back to the client, with its own state and who answers (RFC 9207).
    fn redirect(&self, parameters: &Authorization, first: (&'static str, String)) -> Answer {
        let mut told = vec![first];
        if !parameters.state.is_empty() && parameters.state.len() <= ECHO_OCTETS_MAX {
            told.push(("state", parameters.state.clone()));
        }
        told.push(("iss", self.config.issuer.as_str().to_owned()));
        Answer::Redirect(Redirect { to: parameters.redirect_uri.clone(), parameters: told })
    }

    fn page(
        &self,
        now: Timestamp,
        parameters: Authorization,
        visit: String,
        again: Option<Again>,
    ) -> Answer {
        let until = (now + self.config.page_lifetime).as_secs().to_be_bytes();
        let seal = self.seal(until, &visit, &parameters).finalize().into_bytes();
        let form = BASE64_URL_SAFE_NO_PAD.encode([&until[..], &seal].concat());
        Answer::Page(Box::new(Page { parameters, visit, form, again }))
    }

    /// Whether a page is of this server, for this browser and these parameters, and not too old.
    fn is_sealed(
        &self,
        now: Timestamp,
        visit: &str,
        parameters: &Authorization,
        form: &str,
    ) -> bool {
        let mut octets = [0; SEAL_OCTETS];
        if BASE64_URL_SAFE_NO_PAD.decode_slice(form, &mut octets) != Ok(SEAL_OCTETS) {
            return false;
        }
        let Some((until, seal)) = octets.split_first_chunk::<8>() else { return false };
        let expected = self.seal(*until, visit, parameters).finalize().into_bytes();
        let is_ours: bool = expected.ct_eq(seal).into();
        is_ours && now.as_secs() < u64::from_be_bytes(*until)
    }

    fn seal(&self, until: [u8; 8], visit: &str, parameters: &Authorization) -> Hmac<Sha256> {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
        let mut hmac = Hmac::<Sha256>::new_from_slice(self.page_key.expose()).expect("a key");
        hmac.update(&until);
        for text in [visit].into_iter().chain(parameters.named().map(|(_, value)| value)) {
            hmac.update(&text.len().to_be_bytes());
            hmac.update(text.as_bytes());
        }
        hmac
    }
}

fn is_visit(text: &str) -> bool {
    text.len() == VISIT_OCTETS && BASE64_URL_SAFE_NO_PAD.decode(text).is_ok()
}

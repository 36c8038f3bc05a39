//! A code is redeemed, and tokens are refreshed (TS 33.180 B.4 and B.5, RFC 6749 clauses 4.1.3 and 6).
//!
//! A refresh token is good once and brings the next one. Who presents an old one is not who has the new one, or has it
//! from whoever took it: all tokens that follow from the same log-in end (RFC 9700 clause 4.14.2). An answer that got
//! lost is such a case too, and the user logs in again.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

use super::{
    IdentityServer,
    config::REFRESH_OF_USER_MAX,
    expiry::wake,
    full,
    issue::About,
    record::{FamilyId, FamilyRecord, Stored},
    refuse,
    state::State,
};
use crate::{
    api::identity_management::{Client, Refusal, Tokens},
    outbox::{Context, IdmsNote, Note},
    secret::SecretText,
    store::Mutation,
    token::{BearerToken, key::Thumbprint, scope::Scopes},
};

/// Octets of a refresh token: the name of the family, and 192 bits that were drawn.
const TOKEN_OCTETS: usize = 16 + 24;

impl IdentityServer {
    /// Redeems a code: code, redirect URI and verifier.
    pub(super) fn redeem(
        &self,
        ctx: &mut Context<'_>,
        client: &Client,
        proof_key: Option<Thumbprint>,
        (code, redirect_uri, verifier): (&str, &str, &str),
    ) -> Result<Tokens, Refusal> {
        let digest: [u8; 32] = Sha256::digest(code).into();
        let mut state = self.state();
        let known = state.codes.get(&digest).cloned();
        let Some(known) = known.filter(|known| known.client == client.id) else {
            return Err(refuse(ctx, Refusal::InvalidGrant, "code"));
        };
        let caller = (client, proof_key.as_ref());
        state.admit_client(ctx, caller, Refusal::InvalidGrant)?;
        if let Some(family) = known.redeemed {
            // Whoever has it stole it, or it was stolen before (RFC 6749 clause 4.1.2).
            return Err(self.end_family(ctx, &mut state, family));
        }
        let jkt = proof_key.as_ref().map(Thumbprint::as_str);
        let is_right = ctx.now < known.expires
            && known.redirect_uri == redirect_uri
            && known.challenge.is_of(verifier)
            && known.proof_key.as_deref().is_none_or(|key| Some(key) == jkt);
        let user = state.user_of(&known.subject).cloned();
        let Some(user) = user.filter(|_| is_right) else {
            state.codes.remove(&digest);
            return Err(refuse(ctx, Refusal::InvalidGrant, "code"));
        };
        let (token, family) =
            self.new_family(ctx, client, &user.subject, known.scopes, proof_key.clone());
        let (id, mutations) = (family.id, self.make_room(ctx, &mut state, &family)?);
        self.commit(ctx, mutations)?;
        state.insert_family(family);
        if let Some(code) = state.codes.get_mut(&digest) {
            code.redeemed = Some(id);
        }
        wake(ctx, &mut state);
        drop(state);
        let about = About {
            subject: user.subject,
            services: user.services,
            scopes: known.scopes,
            nonce: known.nonce,
            by_password: true,
        };
        let tokens = self.issue(ctx, client, proof_key, about)?;
        Ok(Tokens { refresh_token: Some(token), ..tokens })
    }

    /// Gives new tokens for a refresh token, and a new one of that.
    pub(super) fn refresh(
        &self,
        ctx: &mut Context<'_>,
        client: &Client,
        proof_key: Option<Thumbprint>,
        token: &SecretText,
        scope: Option<&str>,
    ) -> Result<Tokens, Refusal> {
        let wrong = |ctx: &mut Context<'_>| refuse(ctx, Refusal::InvalidGrant, "refresh token");
        let Some((id, presented)) = family_of(token) else { return Err(wrong(ctx)) };
        let mut state = self.state();
        let family = state.families.get(&id).cloned();
        let family = family.filter(|family| family.client == client.id && ctx.now < family.expires);
        let Some(family) = family else { return Err(wrong(ctx)) };
        let caller = (client, proof_key.as_ref());
        state.admit_client(ctx, caller, Refusal::InvalidGrant)?;
        if family.digest != presented.digest() {
            return Err(self.end_family(ctx, &mut state, id));
        }
        let has_key = family.proof_key.is_none() || family.proof_key == proof_key;
        let user = state.user_of(&family.subject).cloned().filter(|_| has_key);
        let Some(user) = user else { return Err(wrong(ctx)) };
        let possible = family.scopes.and(client.scopes).and(user.services.scopes());
        let scopes = match scope {
            None => possible,
            Some(text) => Scopes::parse(text)
                .ok()
                .filter(|scopes| scopes.is_within(possible))
                .ok_or_else(|| refuse(ctx, Refusal::InvalidScope, "scope"))?,
        };
        let (token, digest) = draw_token(ctx, id);
        let family = FamilyRecord { digest: digest.digest(), ..family };
        self.commit(ctx, [family.put()])?;
        state.families.insert(id, family);
        drop(state);
        let about = About {
            subject: user.subject,
            services: user.services,
            scopes,
            nonce: None,
            by_password: false,
        };
        let tokens = self.issue(ctx, client, proof_key, about)?;
        Ok(Tokens { refresh_token: Some(token), ..tokens })
    }

    fn new_family(
        &self,
        ctx: &mut Context<'_>,
        client: &Client,
        subject: &str,
        scopes: Scopes,
        proof_key: Option<Thumbprint>,
    ) -> (SecretText, FamilyRecord) {
        let mut id = FamilyId([0; 16]);
        ctx.entropy.fill(&mut id.0);
        let (token, presented) = draw_token(ctx, id);
        let family = FamilyRecord {
            id,
            subject: subject.to_owned(),
            client: client.id.clone(),
            scopes,
            proof_key,
            digest: presented.digest(),
            expires: ctx.now + self.config.refresh_token_lifetime,
        };
        (token, family)
    }

    /// What stores a family; the oldest of a user who has too many ends.
    fn make_room(
        &self,
        ctx: &mut Context<'_>,
        state: &mut State,
        family: &FamilyRecord,
    ) -> Result<Vec<Mutation>, Refusal> {
        if !ctx.out.storage_available() {
            return Err(Refusal::Unavailable);
        }
        let of_user = state.families_of.get(&family.subject);
        let oldest = of_user.filter(|of_user| of_user.len() >= REFRESH_OF_USER_MAX);
        let oldest = oldest.and_then(|of_user| of_user.first()).map(|(_, id)| *id);
        if oldest.is_none() && state.families.len() >= self.config.refresh_max {
            return Err(full(ctx, "refresh tokens"));
        }
        let ended = oldest.and_then(|oldest| state.remove_family(oldest));
        Ok(ended.iter().map(Stored::delete).chain([family.put()]).collect())
    }

    /// Ends all tokens that follow from a log-in, for one of them was presented that is not good any more.
    fn end_family(&self, ctx: &mut Context<'_>, state: &mut State, id: FamilyId) -> Refusal {
        if let Some(family) = state.families.get(&id) {
            let (deletion, client) = (family.delete(), family.client.clone());
            // If it cannot be made durable now, it ends with the next attempt.
            if let Err(unavailable) = self.commit(ctx, [deletion]) {
                return unavailable.into();
            }
            state.remove_family(id);
            ctx.out.note(Note::Idms(IdmsNote::RefreshTokenReused(client)));
        }
        refuse(ctx, Refusal::InvalidGrant, "used before")
    }
}

/// Draws a token of a family.
fn draw_token(ctx: &mut Context<'_>, FamilyId(id): FamilyId) -> (SecretText, BearerToken) {
    let mut octets = zeroize::Zeroizing::new([0; TOKEN_OCTETS]);
    let (name, secret) = octets.split_at_mut(id.len());
    name.copy_from_slice(&id);
    ctx.entropy.fill(secret);
    let text = SecretText::new(BASE64_URL_SAFE_NO_PAD.encode(*octets));
    #[expect(clippy::expect_used, reason = "54 characters of base64url are a bearer token")]
    let token = BearerToken::parse(text.expose()).expect("a bearer token");
    (text, token)
}

/// The family that a token is of.
fn family_of(token: &SecretText) -> Option<(FamilyId, BearerToken)> {
    let presented = BearerToken::parse(token.expose()).ok()?;
    let mut octets = zeroize::Zeroizing::new([0; TOKEN_OCTETS]);
    let decoded = BASE64_URL_SAFE_NO_PAD.decode_slice(token.expose(), &mut *octets);
    let (id, _) = octets.split_first_chunk()?;
    (decoded == Ok(TOKEN_OCTETS)).then_some((FamilyId(*id), presented))
}

//! Who a client is (RFC 6749 clause 2.3), and which key it has (RFC 9449).

use std::{net::IpAddr, time::Duration};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{IdentityServer, attempts::Of, full, refuse, state::State};
use crate::{
    api::identity_management::{
        Client, ClientAuthentication, ClientCredential, ClientId, Refusal, TOKEN_PATH,
    },
    outbox::Context,
    secret::SecretText,
    time::Timestamp,
    token::{
        BearerToken,
        claims::{Audience, CLOCK_SKEW_SECS, NumericDate},
        dpop::{PROOF_AGE_SECS_MAX, Proof},
        jws::{Algorithm, Unverified},
        key::{Thumbprint, VerifyingKey},
        scope::Scopes,
    },
};

/// How long an assertion of a client may hold, seconds: it is for one request.
const ASSERTION_SECS_MAX: u64 = 300;

/// How long a proof or an assertion is remembered: longer than any is taken.
const REMEMBERED: Duration =
    Duration::from_secs(ASSERTION_SECS_MAX + PROOF_AGE_SECS_MAX + 3 * CLOCK_SKEW_SECS);

/// What an assertion of a client says (RFC 7523 clause 3, OpenID Connect Core clause 9).
#[derive(Deserialize)]
struct Assertion {
    iss: String,
    sub: String,
    aud: Audience,
    exp: NumericDate,
    jti: String,
    iat: Option<NumericDate>,
}

impl IdentityServer {
    /// Finds out which client asks. One that is unknown is refused as one that is not who it says: with a secret or an
    /// assertion at once, with a name alone when it turns out that what it presents is nobody's
    /// ([`State::admit_client`]), as it would be if the name were that of a client.
    pub(super) fn authenticate(
        &self,
        ctx: &mut Context<'_>,
        credential: ClientCredential,
        source: Option<IpAddr>,
    ) -> Result<Client, Refusal> {
        let known = |id: &str| self.state().clients.get(id).cloned();
        match credential {
            ClientCredential::Name(id) => {
                let known = known(&id).filter(|it| it.authentication == ClientAuthentication::None);
                match (known, ClientId::parse(&id)) {
                    (Some(client), _) => Ok(client),
                    (None, Ok(id)) => Ok(without_rights(id)),
                    (None, Err(_)) => Err(refuse(ctx, Refusal::InvalidGrant, "client")),
                }
            }
            ClientCredential::Secret(id, secret) => {
                self.count_attempt(ctx, source)?;
                let client = self.client_of_secret(known(&id), &secret);
                let client =
                    client.ok_or_else(|| refuse(ctx, Refusal::InvalidClient, "client secret"))?;
                self.forget_attempt(source);
                Ok(client)
            }
            ClientCredential::Assertion(id, assertion) => {
                self.client_of_assertion(ctx, id.as_deref(), assertion.expose())
            }
        }
    }

    fn client_of_secret(&self, client: Option<Client>, secret: &SecretText) -> Option<Client> {
        let kept = match client.as_ref().map(|client| &client.authentication) {
            Some(ClientAuthentication::Secret(digest)) => *digest,
            Some(ClientAuthentication::None | ClientAuthentication::Keys(_)) | None => {
                self.no_client
            }
        };
        let presented = BearerToken::parse(secret.expose()).ok()?;
        client.filter(|_| presented.digest() == kept)
    }

    /// The client that signed an assertion, which is for this server and is here for the first time.
    fn client_of_assertion(
        &self,
        ctx: &mut Context<'_>,
        id: Option<&str>,
        assertion: &str,
    ) -> Result<Client, Refusal> {
        let wrong = |ctx: &mut Context<'_>| refuse(ctx, Refusal::InvalidClient, "client assertion");
        let Ok(unverified) = Unverified::parse(assertion) else { return Err(wrong(ctx)) };
        let claimed = unverified.issuer().unwrap_or_default();
        let client = self.state().clients.get(claimed.as_str()).cloned();
        let keys = match client.as_ref().map(|client| &client.authentication) {
            Some(ClientAuthentication::Keys(keys)) => keys.clone(),
            Some(ClientAuthentication::None | ClientAuthentication::Secret(_)) | None => {
                // A key that signed nothing of a client's: unknown ones take as long as known ones.
                self.own_public_key(ctx.now).into_iter().collect()
            }
        };
        let named = |key: &&VerifyingKey| {
            unverified.key_id().is_some_and(|kid| key.thumbprint().as_str() == kid)
        };
        let candidates: Vec<&VerifyingKey> = match keys.iter().find(named) {
            Some(key) => vec![key],
            None => keys.iter().collect(),
        };
        let verified =
            candidates.into_iter().find_map(|key| unverified.verify(key, Algorithm::ACCEPTED).ok());
        let claims = verified.and_then(|verified| verified.claims::<Assertion>().ok());
        let (Some(claims), Some(client)) = (claims, client) else { return Err(wrong(ctx)) };
        let issuer = &self.config.issuer;
        let is_for_us =
            claims.aud.has(issuer.as_str()) || claims.aud.has(&issuer.endpoint(TOKEN_PATH));
        let is_named = claims.iss == client.id.as_str()
            && claims.sub == client.id.as_str()
            && id.is_none_or(|id| id == client.id.as_str());
        let now = ctx.now.as_secs();
        let is_now = now < claims.exp.0.saturating_add(CLOCK_SKEW_SECS)
            && claims.exp.0 <= now + ASSERTION_SECS_MAX + CLOCK_SKEW_SECS
            && claims.iat.is_none_or(|iat| iat.0 <= now + CLOCK_SKEW_SECS);
        // One without a time of its own may be from before what was taken was forgotten.
        let is_new = claims.iat.is_some_and(|iat| self.is_since_loading(iat.timestamp()));
        if !is_for_us || !is_named || !is_now || !is_new || claims.jti.is_empty() {
            return Err(wrong(ctx));
        }
        let id = Sha256::new().chain_update(client.id.as_str()).chain_update([0]);
        let id = id.chain_update(&claims.jti).finalize().into();
        if !self.take_once(ctx, id)? {
            return Err(wrong(ctx));
        }
        Ok(client)
    }

    /// Verifies the proof of a key, if there is one. Each is taken once, and none from before a restart, which forgot
    /// those that were taken.
    pub(super) fn prove(
        &self,
        ctx: &mut Context<'_>,
        proof: Option<&str>,
    ) -> Result<Option<Thumbprint>, Refusal> {
        let wrong = |ctx: &mut Context<'_>| refuse(ctx, Refusal::InvalidProof, "proof key");
        let Some(proof) = proof else { return Ok(None) };
        let url = self.config.issuer.endpoint(TOKEN_PATH);
        let Ok(proof) = Proof::verify(proof, "POST", &url, ctx.now) else { return Err(wrong(ctx)) };
        let is_new = self.is_since_loading(proof.issued);
        if !is_new || !self.take_once(ctx, proof.id)? {
            return Err(wrong(ctx));
        }
        Ok(Some(proof.key))
    }

    /// Whether it is from after what was taken was forgotten, to the second.
    fn is_since_loading(&self, issued: Timestamp) -> bool {
        issued.as_secs() >= self.state().loaded.as_secs()
    }

    /// Whether something is here for the first time.
    fn take_once(&self, ctx: &mut Context<'_>, id: [u8; 32]) -> Result<bool, Refusal> {
        let mut state = self.state();
        let proofs = &mut state.proofs;
        if proofs.get(&id).is_some() {
            return Ok(false);
        }
        let is_kept = proofs.insert(id, (), ctx.now + REMEMBERED, ctx.now);
        drop(state);
        if is_kept { Ok(true) } else { Err(full(ctx, "proofs of keys")) }
    }

    /// Counts an attempt of an address before it is known to be in vain, so that many at a time count as well.
    fn count_attempt(&self, ctx: &mut Context<'_>, source: Option<IpAddr>) -> Result<(), Refusal> {
        let Some(source) = source else { return Ok(()) };
        let max = self.config.attempts_of_source_max;
        let taken = self.state().attempts.take(Of::Source, source, max, ctx.now);
        taken.map_err(|seconds| refuse(ctx, Refusal::TooMany(seconds), "attempts of an address"))
    }

    fn forget_attempt(&self, source: Option<IpAddr>) {
        if let Some(source) = source {
            self.state().attempts.give(Of::Source, source);
        }
    }
}

impl State {
    /// Whether a client may use what it has presented, which is its own: it is registered, and has proven a key if it
    /// has to. If it is not registered that is refused with `unknown`, as what is not its own is.
    pub(super) fn admit_client(
        &self,
        ctx: &mut Context<'_>,
        (client, proof_key): (&Client, Option<&Thumbprint>),
        unknown: Refusal,
    ) -> Result<(), Refusal> {
        if self.clients.get(client.id.as_str()) != Some(client) {
            return Err(refuse(ctx, unknown, "client"));
        }
        if client.requires_proof && proof_key.is_none() {
            return Err(refuse(ctx, Refusal::InvalidProof, "proof key"));
        }
        Ok(())
    }
}

/// A client that is not registered, so that its request is looked at as far as one of a client that is.
const fn without_rights(id: ClientId) -> Client {
    Client {
        id,
        redirect_uris: Vec::new(),
        authentication: ClientAuthentication::None,
        requires_proof: false,
        scopes: Scopes::NONE,
    }
}

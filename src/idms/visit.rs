//! A partner's user is here: the client presents the security token of the user's own system, and gets tokens of this
//! one (RFC 7523 clause 2.1, TS 33.180 clause 5.1.4 and B.9 and B.11.3; `ISO-2` of migration without interconnection).
//!
//! No other system is asked: what this one knows of the partner came by a file, and of the user by an operator.

use super::{
    IdentityServer,
    expiry::wake,
    full,
    issue::About,
    record::{PresentedRecord, Stored},
    refuse,
};
use crate::{
    api::{
        identity_management::{Client, IssuerUrl, Refusal, Tokens},
        idms_management::Denied,
    },
    outbox::{Context, IdmsNote, Note, Role},
    secret::SecretText,
    step::Step,
    time::Timestamp,
    token::{
        claims::{CLOCK_SKEW_SECS, SecurityToken},
        jws::{Algorithm, Unverified},
        key::{Thumbprint, VerifyingKey},
        scope::Scopes,
    },
};

impl IdentityServer {
    /// Gives tokens of this system for a security token of a partner. Everything that is wrong with it has the same
    /// answer.
    pub(super) fn take_security_token(
        &self,
        ctx: &mut Context<'_>,
        client: &Client,
        proof_key: Option<Thumbprint>,
        assertion: &SecretText,
        scope: Option<&str>,
    ) -> Result<Tokens, Refusal> {
        let (issuer, token) = self
            .verify_security_token(ctx.now, client, assertion)
            .map_err(|why| refuse(ctx, Refusal::InvalidGrant, why))?;
        let bound_to = token.cnf.as_ref().map(|cnf| &cnf.jkt);
        if bound_to.is_some_and(|key| Some(key) != proof_key.as_ref()) {
            return Err(refuse(ctx, Refusal::InvalidGrant, "proof key of another"));
        }
        let about = self.admit(ctx, client, proof_key.as_ref(), (issuer, token), scope)?;
        ctx.out.step(Step::iso(2), Role::Idms, "the user may migrate");
        self.issue(ctx, client, proof_key, about)
    }

    /// Verifies a security token with the certificates of who issued it, or says what is wrong with it.
    fn verify_security_token(
        &self,
        now: Timestamp,
        client: &Client,
        assertion: &SecretText,
    ) -> Result<(IssuerUrl, SecurityToken), &'static str> {
        let unverified = Unverified::parse(assertion.expose()).map_err(|_| "no security token")?;
        let issuer = unverified.issuer().ok().and_then(|issuer| IssuerUrl::parse(&issuer).ok());
        let trusted = issuer.as_ref().and_then(|issuer| self.trusted_keys(issuer, now));
        // Whom this system does not know takes as long as who signed it wrong.
        let is_known = trusted.is_some();
        let keys = trusted.unwrap_or_else(|| self.own_public_key(now).into_iter().collect());
        let verified = of_name(&keys, unverified.key_id())
            .find_map(|key| unverified.verify(key, Algorithm::ACCEPTED).ok());
        if !is_known {
            return Err("unknown issuer");
        }
        let verified = verified.ok_or("signature, or certificate revoked or over")?;
        let token: SecurityToken = verified.claims().map_err(|_| "claims")?;
        let issuer = issuer.filter(|issuer| issuer.as_str() == token.iss).ok_or("issuer")?;
        let own_address = self.config.issuer.as_str();
        token.check(own_address, client.id.as_str(), now).map_err(|_| "time or audience")?;
        let lifetime = token.exp.timestamp().since(token.iat.timestamp());
        if lifetime > self.config.partner_token_lifetime_max {
            return Err("a longer lifetime than is taken here");
        }
        Ok((issuer, token))
    }

    /// Checks that the user may migrate here and that the token is nobody else's, and has it be this client's from now
    /// on.
    fn admit(
        &self,
        ctx: &mut Context<'_>,
        client: &Client,
        proof_key: Option<&Thumbprint>,
        (issuer, token): (IssuerUrl, SecurityToken),
        scope: Option<&str>,
    ) -> Result<About, Refusal> {
        let mut state = self.state();
        state.admit_client(ctx, (client, proof_key), Refusal::InvalidGrant)?;
        let denied = [
            Denied::Subject(issuer.clone(), token.sub.clone()),
            Denied::Token(issuer.clone(), token.jti.clone()),
        ];
        if denied.iter().any(|denied| state.denied.contains(denied)) {
            return Err(refuse(ctx, Refusal::InvalidGrant, "deny list"));
        }
        let visitor = state.visitors.get(&(issuer.clone(), token.sub.clone()));
        let visitor = visitor.filter(|visitor| visitor.visitor.may_migrate);
        let Some(visitor) = visitor else {
            return Err(refuse(ctx, Refusal::InvalidGrant, "user may not migrate here"));
        };
        let services = visitor.visitor.services.clone();
        let possible = client.scopes.and(services.scopes());
        let scopes = match scope {
            None => possible,
            Some(text) => Scopes::parse(text)
                .ok()
                .filter(|scopes| scopes.is_within(possible))
                .ok_or_else(|| refuse(ctx, Refusal::InvalidScope, "scope"))?,
        };
        let subject = visitor.local_subject.clone();
        let earlier = state.presented.get(&(issuer.clone(), token.jti.clone()));
        let is_first = earlier.is_none();
        match earlier {
            Some(earlier) => {
                let is_same = earlier.client == client.id
                    && earlier.proof_key.as_ref().is_none_or(|key| Some(key) == proof_key);
                if !is_same {
                    return Err(refuse(ctx, Refusal::InvalidGrant, "token of another client"));
                }
            }
            None if state.presented.len() >= self.config.presented_max => {
                return Err(full(ctx, "security tokens presented"));
            }
            None => {
                let presented = PresentedRecord {
                    issuer: issuer.clone(),
                    id: token.jti,
                    client: client.id.clone(),
                    proof_key: proof_key.cloned(),
                    first: ctx.now,
                    until: Timestamp::from_secs(token.exp.0.saturating_add(CLOCK_SKEW_SECS)),
                };
                self.commit(ctx, [presented.put()])?;
                state.insert_presented(presented);
                wake(ctx, &mut state);
            }
        }
        drop(state);
        let client = client.id.clone();
        ctx.out.note(Note::Idms(IdmsNote::SecurityTokenTaken { client, issuer, first: is_first }));
        Ok(About { subject, services, scopes, nonce: None, by_password: false })
    }
}

/// Of several keys the one that a token names, or all of them if it names none of them.
fn of_name<'k>(
    keys: &'k [VerifyingKey],
    name: Option<&str>,
) -> impl Iterator<Item = &'k VerifyingKey> {
    let is_named = |key: &VerifyingKey| name.is_some_and(|name| key.thumbprint().as_str() == name);
    let named = keys.iter().position(is_named);
    keys.iter()
        .enumerate()
        .filter(move |(place, _)| named.is_none_or(|named| *place == named))
        .map(|(_, key)| key)
}

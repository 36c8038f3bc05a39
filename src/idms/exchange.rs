//! A client exchanges its access token for a security token that one partner takes (RFC 8693, TS 33.180 B.7 and C.2
//! step 6), while it can still reach its own system.

use super::{
    IdentityServer,
    config::ISSUED_OF_USER_MAX,
    expiry::wake,
    full,
    issue::sign,
    record::{IssuedRecord, Stored, draw_name},
    refuse,
};
use crate::{
    api::identity_management::{Client, IssuerUrl, Refusal, TokenKind, Tokens},
    outbox::{Context, IdmsNote, Note},
    secret::SecretText,
    token::{
        claims::{Audience, Confirmation, NumericDate, SecurityToken, TOKEN_TYPE, verify_access},
        key::Thumbprint,
    },
};

/// When a user may have another security token who has very many, seconds.
const TOO_MANY_SECS: u32 = 3_600;

impl IdentityServer {
    /// Gives a security token for the partner at `resource`.
    pub(super) fn exchange(
        &self,
        ctx: &mut Context<'_>,
        client: &Client,
        proof_key: Option<Thumbprint>,
        subject_token: &SecretText,
        resource: &str,
    ) -> Result<Tokens, Refusal> {
        let (issuer, audience) = (self.config.issuer.as_str(), self.config.audience.as_str());
        let keys = self.known_keys(ctx.now);
        let key_of = |name: &str| {
            let key = keys.iter().find(|key| key.signing.thumbprint().as_str() == name);
            key.map(|key| key.signing.public())
        };
        let access = verify_access(subject_token.expose(), key_of, issuer, audience, ctx.now);
        let access = access.ok().filter(|access| {
            let bound_to = access.cnf.as_ref().map(|cnf| &cnf.jkt);
            access.client_id == client.id.as_str()
                && bound_to.is_none_or(|key| Some(key) == proof_key.as_ref())
        });
        let access = access.ok_or_else(|| refuse(ctx, Refusal::InvalidRequest, "subject token"))?;
        let key = self.signing_key(ctx)?;
        let mut state = self.state();
        let caller = (client, proof_key.as_ref());
        state.admit_client(ctx, caller, Refusal::InvalidRequest)?;
        let user = state.user_of(&access.sub);
        let user = user.ok_or_else(|| refuse(ctx, Refusal::InvalidRequest, "subject"))?;
        let partner = IssuerUrl::parse(resource).ok();
        let partner = partner.filter(|partner| user.partners.contains(partner));
        let partner = partner.ok_or_else(|| refuse(ctx, Refusal::InvalidTarget, "partner"))?;
        let of_user = state.issued_of.get(&access.sub).copied().unwrap_or_default();
        if of_user >= ISSUED_OF_USER_MAX {
            let refusal = Refusal::TooMany(TOO_MANY_SECS);
            return Err(refuse(ctx, refusal, "security tokens of one user"));
        }
        if state.issued.len() >= self.config.issued_max {
            return Err(full(ctx, "security tokens"));
        }
        let expires = ctx.now + self.config.security_token_lifetime;
        let issued = IssuedRecord {
            id: draw_name(ctx.entropy),
            subject: access.sub.clone(),
            client: client.id.clone(),
            partner: partner.clone(),
            issued: ctx.now,
            expires,
        };
        let token = SecurityToken {
            iss: issuer.to_owned(),
            sub: access.sub,
            aud: Audience::of([client.id.as_str(), partner.as_str()]),
            exp: NumericDate::from(expires),
            iat: NumericDate::from(ctx.now),
            nbf: None,
            jti: issued.id.clone(),
            cnf: proof_key.map(|jkt| Confirmation { jkt }),
        };
        self.commit(ctx, [issued.put()])?;
        state.insert_issued(issued);
        wake(ctx, &mut state);
        drop(state);
        let access_token = sign(ctx, &key, TOKEN_TYPE, &token)?;
        ctx.out
            .note(Note::Idms(IdmsNote::SecurityTokenIssued { client: client.id.clone(), partner }));
        Ok(Tokens {
            access_token,
            kind: TokenKind::Security,
            expires_in: self.config.security_token_lifetime.as_secs(),
            scope: None,
            refresh_token: None,
            id_token: None,
        })
    }
}

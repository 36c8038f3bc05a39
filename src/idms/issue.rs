//! Tokens are made (TS 33.180 B.2, RFC 9068).

use std::sync::Arc;

use super::{IdentityServer, keys::HeldKey, log_in::ACR_PASSWORD, record::draw_name, refuse};
use crate::{
    api::identity_management::{Client, Refusal, TokenKind, Tokens},
    outbox::Context,
    secret::SecretText,
    token::{
        claims::{
            ACCESS_TOKEN_TYPE, AccessToken, Audience, Confirmation, IdToken, NumericDate,
            ServiceIds, TOKEN_TYPE,
        },
        key::Thumbprint,
        scope::Scopes,
    },
};

/// Whom an access token and an ID token are about.
pub(super) struct About {
    /// The `sub`.
    pub(super) subject: String,
    pub(super) services: ServiceIds,
    pub(super) scopes: Scopes,
    pub(super) nonce: Option<String>,
    /// Whether the user has just given a password.
    pub(super) by_password: bool,
}

impl IdentityServer {
    /// Makes an access token, and an ID token if its scope has one.
    pub(super) fn issue(
        &self,
        ctx: &mut Context<'_>,
        client: &Client,
        proof_key: Option<Thumbprint>,
        about: About,
    ) -> Result<Tokens, Refusal> {
        let About { subject, services, scopes, nonce, by_password } = about;
        let key = self.signing_key(ctx)?;
        let services = of_scopes(services, scopes);
        let issuer = self.config.issuer.as_str().to_owned();
        let (iat, exp) = (
            NumericDate::from(ctx.now),
            NumericDate::from(ctx.now + self.config.access_token_lifetime),
        );
        let kind = if proof_key.is_some() { TokenKind::DPoP } else { TokenKind::Bearer };
        let access = AccessToken {
            iss: issuer.clone(),
            sub: subject.clone(),
            aud: Audience::of([self.config.audience.as_str()]),
            exp,
            iat,
            jti: draw_name(ctx.entropy),
            client_id: client.id.as_str().to_owned(),
            scope: scopes,
            cnf: proof_key.map(|jkt| Confirmation { jkt }),
            services: services.clone().into(),
        };
        let access_token = sign(ctx, &key, ACCESS_TOKEN_TYPE, &access)?;
        let id_token = if Scopes::OPENID.is_within(scopes) {
            let token = IdToken {
                iss: issuer,
                sub: subject,
                aud: Audience::of([client.id.as_str()]),
                exp,
                iat,
                nonce,
                acr: by_password.then(|| ACR_PASSWORD.to_owned()),
                services: services.into(),
            };
            Some(sign(ctx, &key, TOKEN_TYPE, &token)?)
        } else {
            None
        };
        let expires_in = self.config.access_token_lifetime.as_secs();
        let scope = Some(scopes);
        Ok(Tokens { access_token, kind, expires_in, scope, refresh_token: None, id_token })
    }

    /// The key that signs now.
    pub(super) fn signing_key(&self, ctx: &mut Context<'_>) -> Result<Arc<HeldKey>, Refusal> {
        let key = self.state().signing_key(ctx.now);
        key.ok_or_else(|| refuse(ctx, Refusal::Unavailable, "no key yet"))
    }
}

/// Signs claims.
pub(super) fn sign(
    ctx: &mut Context<'_>,
    key: &HeldKey,
    typ: &str,
    claims: &impl serde::Serialize,
) -> Result<SecretText, Refusal> {
    let signed = key.signing.sign(typ, claims).map(SecretText::new);
    signed.map_err(|_| refuse(ctx, Refusal::Unavailable, "no random numbers"))
}

/// The IDs of the services that a scope is about.
fn of_scopes(ids: ServiceIds, scopes: Scopes) -> ServiceIds {
    let wanted = |of: Scopes| !scopes.and(of).is_none();
    let ServiceIds { mcptt_id, mcvideo_id, mcdata_id } = ids;
    ServiceIds {
        mcptt_id: mcptt_id.filter(|_| wanted(Scopes::PTT)),
        mcvideo_id: mcvideo_id.filter(|_| wanted(Scopes::VIDEO)),
        mcdata_id: mcdata_id.filter(|_| wanted(Scopes::DATA)),
    }
}

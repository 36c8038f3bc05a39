//! Whether an access token authorises its bearer for a service (TS 33.180 clause 5.1.3).

use std::time::Duration;

use super::{Answer, McServer, Refusal, state::State};
use crate::{
    identity::{Impu, McServiceId},
    mc_info::ServiceInfo,
    outbox::{Context, McNote, Note},
    time::Timestamp,
    token::{
        claims::{AccessToken, CLOCK_SKEW_SECS, ClaimError, TokenError, VerifyAccess},
        scope::Scopes,
    },
    user_profile::ProfileService,
};

/// How long a token binds at most whose bearer's registration this server was not told of.
const BEARER_TIME_MAX: Duration = Duration::from_secs(24 * 3_600);

/// Whom a token authorises.
#[derive(Debug)]
pub(super) struct Bearer {
    pub(super) mc_service_id: McServiceId,
    pub(super) client_id: Option<String>,
    /// Until when the token is taken.
    pub(super) until: Timestamp,
}

/// Why a token authorises nobody. The client is not told.
pub(super) type Why = &'static str;

impl McServer {
    /// Whom the token in `info` authorises for a service.
    pub(super) fn bearer_of(
        &self,
        now: Timestamp,
        tokens: &dyn VerifyAccess,
        service: ProfileService,
        info: &ServiceInfo,
    ) -> Result<Bearer, Why> {
        if !self.config.services.contains(&service) {
            return Err("the service is not served here");
        }
        let token = info.access_token.as_ref().ok_or("no access token")?;
        let token = tokens.verify_access(token.expose(), now).map_err(|error| match error {
            TokenError::Jws(_) => "it is no access token of a key known here",
            TokenError::Claim(ClaimError::Expired) => "it has expired",
            TokenError::Claim(ClaimError::NotYet) => "it is not valid yet",
            TokenError::Claim(ClaimError::Issuer) => "it is of another issuer",
            TokenError::Claim(ClaimError::Audience) => "it is for another audience",
            TokenError::Claim(ClaimError::Identifier) => "it has a malformed identifier",
        })?;
        // SIP has no place for a proof of the key.
        if token.cnf.is_some() {
            return Err("it is bound to a key");
        }
        if !scope_of(service).is_within(token.scope) {
            return Err("its scope does not have the service");
        }
        let left = token.exp.0.saturating_add(CLOCK_SKEW_SECS).saturating_sub(now.as_secs());
        let left = Duration::from_secs(left);
        let mc_service_id = id_in(&token, service).ok_or("it has no ID for the service")?;
        Ok(Bearer {
            mc_service_id: mc_service_id.clone(),
            client_id: info.client_id.clone(),
            until: now + left.min(BEARER_TIME_MAX),
        })
    }

    /// Whether a bearer may be bound to `impu` beside those who are bound now.
    pub(super) fn check_room(
        &self,
        ctx: &mut Context<'_>,
        state: &State,
        (impu, service): (&Impu, ProfileService),
        bearer: &Bearer,
    ) -> Result<(), Refusal> {
        let bound = state.client(impu).and_then(|client| client.of(service));
        if bound.is_some_and(|it| it.mc_service_id != bearer.mc_service_id && it.until > ctx.now) {
            return Err(refuse(ctx, service, "another user is bound to the identity"));
        }
        let others = state.authorised_beside(service, &bearer.mc_service_id, impu);
        if others >= self.config.authorisations_of_user_max {
            ctx.out.note(Note::Mc(McNote::Refused(service, "too many at a time")));
            return Err(Refusal::TooManyAuthorisations);
        }
        if state.client(impu).is_none() && state.count() >= self.config.clients_max {
            ctx.out.note(Note::TableFull("MC clients"));
            return Err(Refusal::Unavailable);
        }
        Ok(())
    }
}

/// Refuses, and tells the operator why.
pub(super) fn refuse(ctx: &mut Context<'_>, service: ProfileService, why: Why) -> Refusal {
    ctx.out.note(Note::Mc(McNote::Refused(service, why)));
    Refusal::NotAuthorised
}

/// The scope that a token needs for a service.
fn scope_of(service: ProfileService) -> Scopes {
    let name = match service {
        ProfileService::Mcptt => "3gpp:mc:ptt_service",
        ProfileService::Mcvideo => "3gpp:mc:video_service",
        ProfileService::Mcdata => "3gpp:mc:data_service",
    };
    // Were it unknown, nothing would do.
    Scopes::parse(name).unwrap_or(Scopes::ALL)
}

const fn id_in(token: &AccessToken, service: ProfileService) -> Option<&McServiceId> {
    match service {
        ProfileService::Mcptt => token.services.mcptt(),
        ProfileService::Mcvideo => token.services.mcvideo(),
        ProfileService::Mcdata => token.services.mcdata(),
    }
}

/// What a request is answered.
pub(super) type Answered = Result<Answer, Refusal>;

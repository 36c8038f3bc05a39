//! A PUBLISH of service settings (TS 24.379 clauses 7.3.3 to 7.3.6, RFC 3903): it may bring an access token, changes
//! settings, or logs off.

use std::time::Duration;

use super::{
    Answer, McServer, Refusal, asserted_identity, asserted_service,
    authorise::{Answered, Bearer, refuse},
    record::{Authorisation, ClientRecord, Publication},
    registered::infos_in,
    state::State,
};
use crate::{
    identity::Impu,
    mc_info::settings::{self, Settings},
    outbox::Context,
    sip::{
        header::HeaderName,
        multipart::{self, Part},
        name_addr,
        view::MessageView,
    },
    time::Timestamp,
    token::claims::VerifyAccess,
    user_profile::ProfileService,
};

/// The period by which a client says "as long as I am registered" (TS 24.379 clause 7.2.2).
const EXPIRES_NEVER: u32 = u32::MAX;

/// A publication as it is asked for.
struct Asked {
    impu: Impu,
    service: ProfileService,
    expires: u32,
    /// The publication that it changes.
    etag: Option<u64>,
    settings: Option<Settings>,
}

impl McServer {
    pub(super) fn take_publication(
        &self,
        ctx: &mut Context<'_>,
        tokens: &dyn VerifyAccess,
        view: &MessageView<'_>,
    ) -> Answered {
        let impu = asserted_identity(view)?;
        check_event(view)?;
        let parts = multipart::parts(view.content_type(), view.body())?;
        let mut infos = infos_in(&parts)?;
        let settings = settings_in(&parts)?;
        if !parts.is_empty() && infos.is_empty() && settings.is_none() {
            return Err(Refusal::MediaType);
        }
        if infos.len() > 1 {
            return Err(Refusal::Malformed("More Than One MC Service In A PUBLISH"));
        }
        let (service, info) = match (infos.pop_first(), asserted_service(view)) {
            (Some((service, info)), _) => (service, Some(info)),
            (None, Some(service)) => (service, None),
            (None, None) => return Err(Refusal::Malformed("No MC Service Named")),
        };
        let expires = view.header(HeaderName::Expires).map_or(EXPIRES_NEVER, name_addr::expires);
        if (1..super::answer::EXPIRES_MIN).contains(&expires) {
            return Err(Refusal::TooBrief);
        }
        let asked = Asked { impu, service, expires, etag: etag_in(view)?, settings };
        let Ok(info) = info.transpose() else {
            return Err(refuse(ctx, service, "its token is encrypted"));
        };
        if expires == 0 {
            return self.log_off(ctx, &asked);
        }
        match info.filter(|info| info.access_token.is_some()) {
            Some(info) => {
                let bearer = self.bearer_of(ctx.now, tokens, service, &info);
                let bearer = bearer.map_err(|why| refuse(ctx, service, why))?;
                self.authorise(ctx, &asked, bearer)
            }
            None => self.change_settings(ctx, &asked),
        }
    }

    /// Binds the bearer of a token to the identity, and keeps the settings.
    fn authorise(&self, ctx: &mut Context<'_>, asked: &Asked, bearer: Bearer) -> Answered {
        let state = &mut self.state();
        self.check_room(ctx, state, (&asked.impu, asked.service), &bearer)?;
        let mut client = state.client(&asked.impu).cloned().unwrap_or_default();
        client.expire(ctx.now);
        let before = client.of(asked.service).and_then(|it| it.publication.clone());
        check_etag(asked, before.as_ref())?;
        if !client.is_registered(ctx.now) {
            // Not told of yet: the binding ends with the token, unless the registration is told of before.
            client.until = client.until.max(bearer.until);
        }
        let bound = Authorisation {
            service: asked.service,
            mc_service_id: bearer.mc_service_id,
            client_id: bearer.client_id,
            until: client.until,
            publication: None,
        };
        let before = before.map(|it| it.settings);
        Ok(self.publish(ctx, state, asked, (client, bound), before))
    }

    /// Changes settings, or prolongs them, of a client that is bound.
    fn change_settings(&self, ctx: &mut Context<'_>, asked: &Asked) -> Answered {
        let state = &mut self.state();
        let (client, bound) = bound_client(state, asked, ctx.now)?;
        check_etag(asked, bound.publication.as_ref())?;
        if asked.settings.is_none() && asked.etag.is_none() {
            return Err(Refusal::Malformed("PUBLISH Without Body And SIP-If-Match"));
        }
        let before = bound.publication.as_ref().map(|it| it.settings);
        Ok(self.publish(ctx, state, asked, (client, bound), before))
    }

    /// Removes settings and binding.
    fn log_off(&self, ctx: &mut Context<'_>, asked: &Asked) -> Answered {
        let state = &mut self.state();
        let (mut client, bound) = bound_client(state, asked, ctx.now)?;
        check_etag(asked, bound.publication.as_ref())?;
        client.log_off(asked.service);
        self.commit(ctx, state, &asked.impu, client);
        Ok(Answer::ok(vec![("Expires", "0".to_owned())]))
    }

    fn publish(
        &self,
        ctx: &mut Context<'_>,
        state: &mut State,
        asked: &Asked,
        (mut client, mut bound): (ClientRecord, Authorisation),
        before: Option<Settings>,
    ) -> Answer {
        let etag = ctx.entropy.next_u64();
        let until = (asked.expires != EXPIRES_NEVER)
            .then(|| ctx.now + Duration::from_secs(asked.expires.into()));
        let settings = asked.settings.or(before).unwrap_or_default();
        bound.publication = Some(Publication { etag, until, settings });
        bound.until = until.unwrap_or(client.until).min(client.until);
        client.authorise(bound);
        self.commit(ctx, state, &asked.impu, client);
        Answer::ok(vec![
            ("SIP-ETag", format!("{etag:016x}")),
            ("Expires", asked.expires.to_string()),
        ])
    }
}

/// The client of a request and its authorisation for the service.
fn bound_client(
    state: &State,
    asked: &Asked,
    now: Timestamp,
) -> Result<(ClientRecord, Authorisation), Refusal> {
    let mut client = state.client(&asked.impu).cloned().ok_or(Refusal::NotBound)?;
    client.expire(now);
    let bound = client.of(asked.service).cloned().ok_or(Refusal::NotBound)?;
    Ok((client, bound))
}

/// SIP-If-Match names the publication that is there (RFC 3903 section 6 step 4).
fn check_etag(asked: &Asked, there: Option<&Publication>) -> Result<(), Refusal> {
    match (asked.etag, there) {
        (None, _) => Ok(()),
        (Some(etag), Some(there)) if there.etag == etag => Ok(()),
        (Some(_), _) => Err(Refusal::OtherPublication),
    }
}

fn check_event(view: &MessageView<'_>) -> Result<(), Refusal> {
    let event = view.header_named("Event").or_else(|| view.header_named("o"));
    let package = event.and_then(|event| event.split(';').next()).map(str::trim);
    (package == Some(settings::EVENT)).then_some(()).ok_or(Refusal::BadEvent)
}

/// The tag in SIP-If-Match. One that is none of ours names no publication of ours.
fn etag_in(view: &MessageView<'_>) -> Result<Option<u64>, Refusal> {
    let Some(tag) = view.header_named("SIP-If-Match") else { return Ok(None) };
    let etag = (tag.len() == 16).then(|| u64::from_str_radix(tag, 16).ok()).flatten();
    etag.map(Some).ok_or(Refusal::OtherPublication)
}

fn settings_in(parts: &[Part<'_>]) -> Result<Option<Settings>, Refusal> {
    let part = parts.iter().find(|part| part.media_type.is(settings::MEDIA_TYPE));
    let Some(part) = part else { return Ok(None) };
    Ok(Some(Settings::parse(part.text()?)?))
}

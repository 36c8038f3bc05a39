//! A third-party REGISTER (TS 24.379 clause 7.3.2): a registration begins, goes on or ends, and the UE's own REGISTER, if
//! it is in the body, brings access tokens.
//!
//! A token that is not taken does not fail the registration: the answer is 200, and the client learns by its next
//! request that it has no binding. A service whose feature tag is gone from the UE's REGISTER is logged off.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Answer, McServer, Refusal,
    authorise::{Answered, Bearer, refuse},
    record::{Authorisation, ClientRecord},
};
use crate::{
    identity::Impu,
    mc_info::{self, InfoError, ServiceInfo},
    outbox::{Context, Note},
    sip::{
        Framing, ParseError,
        header::HeaderName,
        multipart::{self, Part},
        name_addr::Contacts,
        register::RegisterRequest,
        view::{MessageView, StartLine},
    },
    time::Timestamp,
    token::claims::VerifyAccess,
    user_profile::ProfileService,
};

/// How long is remembered that a registration ended, so that an older REGISTER that comes late does not bring it back:
/// twice Timer F.
const REMEMBERED_AFTER_END: Duration = Duration::from_secs(64);

/// What a UE says of a service in its REGISTER.
pub(super) type Infos = BTreeMap<ProfileService, Result<ServiceInfo, InfoError>>;

/// What a UE's REGISTER says.
struct OwnRegister {
    /// The services whose feature tag it has, or that it brings a token for.
    services: Vec<ProfileService>,
    infos: Infos,
}

impl McServer {
    pub(super) fn take_registration(
        &self,
        ctx: &mut Context<'_>,
        tokens: &dyn VerifyAccess,
        view: &MessageView<'_>,
    ) -> Answered {
        let request = RegisterRequest::from_view(view)?;
        let impu = request.aor().map_err(|_| Refusal::Malformed("To Is No Public Identity"))?;
        let period = period_of(&request);
        let own = own_register(view)?;
        let mut bearers = BTreeMap::new();
        for (service, info) in own.iter().flat_map(|own| &own.infos) {
            let bearer = match info {
                Ok(info) if info.access_token.is_none() => continue,
                Ok(info) => self.bearer_of(ctx.now, tokens, *service, info),
                Err(_) => Err("its token is encrypted"),
            };
            match bearer {
                Ok(bearer) => drop(bearers.insert(*service, bearer)),
                Err(why) => drop(refuse(ctx, *service, why)),
            }
        }
        self.follow_registration(ctx, &impu, (&request, period), own.as_ref(), bearers)?;
        let contact = view.header(HeaderName::Contact).unwrap_or_default();
        let mut fields = vec![("Expires", period.to_string())];
        if period > 0 && !contact.is_empty() {
            fields.push(("Contact", contact.to_owned()));
        }
        Ok(Answer::ok(fields))
    }

    /// Brings what is known of an identity up to date, and binds those whose tokens were taken.
    fn follow_registration(
        &self,
        ctx: &mut Context<'_>,
        impu: &Impu,
        (request, period): (&RegisterRequest<'_>, u32),
        own: Option<&OwnRegister>,
        bearers: BTreeMap<ProfileService, Bearer>,
    ) -> Result<(), Refusal> {
        let state = &mut self.state();
        let mut client = match state.client(impu) {
            Some(client) => client.clone(),
            None if state.count() >= self.config.clients_max => {
                ctx.out.note(Note::TableFull("MC clients"));
                return Err(Refusal::Unavailable);
            }
            None => ClientRecord::default(),
        };
        if client.call_id == request.call_id() && client.cseq >= request.cseq() {
            // The same once more is what was done before.
            let is_repeat = client.cseq == request.cseq();
            return if is_repeat { Ok(()) } else { Err(Refusal::OutOfOrder) };
        }
        request.call_id().clone_into(&mut client.call_id);
        client.cseq = request.cseq();
        client.expire(ctx.now);
        if period == 0 {
            client.registered_until = Timestamp::default();
            client.until = ctx.now + REMEMBERED_AFTER_END;
            client.authorisations.clear();
            self.commit(ctx, state, impu, client);
            return Ok(());
        }
        client.registered_until = ctx.now + Duration::from_secs(period.into());
        client.until = client.registered_until;
        if let Some(own) = own {
            client.authorisations.retain(|it| own.services.contains(&it.service));
        }
        for it in &mut client.authorisations {
            let published = it.publication.as_ref().and_then(|publication| publication.until);
            it.until = published.unwrap_or(client.until).min(client.until);
        }
        for (service, bearer) in bearers {
            if self.check_room(ctx, state, (impu, service), &bearer).is_err() {
                continue; // it was noted
            }
            let publication = client.of(service).and_then(|it| it.publication.clone());
            client.authorise(Authorisation {
                service,
                mc_service_id: bearer.mc_service_id,
                client_id: bearer.client_id,
                until: client.until,
                publication,
            });
        }
        self.commit(ctx, state, impu, client);
        Ok(())
    }
}

/// How long the registration lasts, seconds; zero if it ends.
fn period_of(request: &RegisterRequest<'_>) -> u32 {
    let own = match request.contacts() {
        Contacts::List(contacts) => contacts.iter().find_map(|contact| contact.expires),
        Contacts::None | Contacts::Wildcard => None,
    };
    own.or_else(|| request.expires()).unwrap_or(0)
}

/// The UE's REGISTER, if the body has it: in a multipart the first message that is one.
fn own_register(view: &MessageView<'_>) -> Result<Option<OwnRegister>, Refusal> {
    for part in multipart::parts(view.content_type(), view.body())? {
        if !part.media_type.is("message/sip") {
            continue;
        }
        let message = MessageView::parse(part.content, Framing::Datagram)?;
        if let StartLine::Request { method: "REGISTER", .. } = message.start_line() {
            return read_own(&message).map(Some);
        }
    }
    Ok(None)
}

fn read_own(message: &MessageView<'_>) -> Result<OwnRegister, Refusal> {
    let request = RegisterRequest::from_view(message)?;
    let mut services = Vec::new();
    if let Contacts::List(contacts) = request.contacts() {
        for contact in contacts.iter().filter(|contact| contact.expires != Some(0)) {
            services.extend(contact.parameter_names().filter_map(mc_info::service_of_feature_tag));
        }
    }
    let infos = infos_in(&multipart::parts(message.content_type(), message.body())?)?;
    services.extend(infos.keys());
    Ok(OwnRegister { services, infos })
}

/// The documents in a body that are about services, one for each. One that is encrypted is told as such.
pub(super) fn infos_in(parts: &[Part<'_>]) -> Result<Infos, Refusal> {
    let mut infos = Infos::new();
    for part in parts {
        let of = |service: &ProfileService| part.media_type.is(mc_info::media_type(*service));
        let Some(service) = ProfileService::ALL.into_iter().find(of) else { continue };
        let info = match ServiceInfo::parse(service, part.text()?) {
            Err(InfoError::Malformed(reason)) => return Err(Refusal::Malformed(reason)),
            info => info,
        };
        if infos.insert(service, info).is_some() {
            return Err(ParseError::bad_request("Two infos of one MC service").into());
        }
    }
    Ok(infos)
}

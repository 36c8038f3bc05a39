//! Migration to a partner that cannot ask the home, by hand: log in, take along, visit, register as a guest.

use super::{Config, Session, UeError, say};
use crate::{
    api::connection_details::SipTransport,
    identity::{McServiceId, McSystemId},
    node::ue::{
        identity::{IdentityClient, ServedProfile, Server, UserTokens},
        state::{Kept, LocalAccess, LogIn, Ticket},
    },
    outbox::Transport,
    secret::SecretText,
    token::BearerToken,
    ue::{NoAccess, ServiceLogOn},
    user_profile::ProfileService,
};

/// What a UE asks for: an ID token, push to talk, profiles.
const SCOPE: &str = "openid 3gpp:mc:ptt_service 3gpp:mc:ptt_config_management_service";

/// The environment variable with the password of the user, if the state file has none.
const PASSWORD: &str = "MIGCORE_UE_PASSWORD";

/// What ladders call the identity management server, and the server of profiles.
const IDMS: &str = "IdMS";

impl Session {
    /// Logs in at home, and keeps the access token.
    pub(super) async fn log_in(&mut self) -> Result<(), UeError> {
        let how = self.how_to_log_in()?.clone();
        let password = match how.password {
            Some(password) => password,
            None => std::env::var(PASSWORD).map(SecretText::new).map_err(|_| {
                UeError::Lacking(format!(
                    "there is no password: write it under [log_in], or set {PASSWORD}"
                ))
            })?,
        };
        let (client, idms) = (self.identity_client()?, named(IDMS, &how.issuer));
        let outcome = client.log_in(&idms, (&how.user, &password), SCOPE).await;
        let UserTokens { access, services } = self.shown_outcome(outcome)?;
        self.file.state.access_token = Some(Kept(SecretText::new(access.expose())));
        self.file.save()?;
        let user = &self.file.state.records.primary().mc_service_id;
        match services.mcptt_id.filter(|id| id != user) {
            Some(other) => self.say(&format!(
                "logged in, as {}: under [user] the file has another MC service ID",
                other.as_str()
            )),
            None => self.say("logged in: the access token is kept in the state file"),
        }
    }

    /// Reads the profile at home, and gets a security token for the partner that is in it.
    pub(super) async fn take_along(&mut self, partner: McSystemId) -> Result<(), UeError> {
        let access = self.access_token()?;
        let profile = self.own_profile(&access).await;
        let profile = self.shown_outcome(profile)?.profile;
        let partners = profile.partners().unwrap_or_default();
        let found = partners.into_iter().find(|it| it.system == partner).ok_or_else(|| {
            UeError::Lacking(format!("the user's profile does not let the user go to {partner}"))
        })?;
        let token_endpoint = found.configuration.servers().idms_token_endpoint.clone();
        let issuer = token_endpoint.strip_suffix("/token").ok_or_else(|| {
            UeError::Lacking(format!("the profile has no token endpoint of {partner}"))
        })?;
        let (client, idms) = (self.identity_client()?, named(IDMS, &self.how_to_log_in()?.issuer));
        let outcome = client.security_token(&idms, &access, issuer).await;
        let security_token = Kept(self.shown_outcome(outcome)?);
        let xcap_root = found.configuration.document().on_network.cms_xcap_root_uri.clone();
        self.file.state.keep_ticket(Ticket {
            at: partner.clone(),
            token_endpoint,
            xcap_root,
            security_token,
            access_token: None,
            mc_service_id: None,
        });
        self.file.save()?;
        self.say(&format!("taken along for {partner}; next, and there: migcore ue visit"))
    }

    /// `ISO-1`: presents what was taken along.
    pub(super) async fn visit(&mut self, partner: Option<McSystemId>) -> Result<(), UeError> {
        let Ticket { at, token_endpoint, security_token, .. } =
            self.ticket(partner.as_ref())?.clone();
        let client = self.identity_client()?;
        let issuer = token_endpoint.strip_suffix("/token").unwrap_or(&token_endpoint);
        let idms = named(IDMS, issuer);
        let outcome =
            client.contact_partner(&idms, &token_endpoint, &security_token.0, SCOPE).await;
        let UserTokens { access, services } = self.shown_outcome(outcome)?;
        let ticket = self.file.state.tickets.iter_mut().find(|ticket| ticket.at == at);
        if let Some(ticket) = ticket {
            ticket.access_token = Some(Kept(SecretText::new(access.expose())));
            ticket.mc_service_id = services.mcptt_id;
        }
        self.file.save()?;
        self.say(&format!("a guest at {at}; next: migcore ue register --local"))
    }

    /// Registers with the credentials that the partner gave.
    pub(super) async fn register_as_guest(
        &mut self,
        partner: Option<McSystemId>,
        over: Option<Transport>,
        services: Vec<ServiceLogOn>,
    ) -> Result<(), UeError> {
        let newest = || self.file.state.tickets.last().map(|ticket| ticket.at.clone());
        let at = partner.or_else(newest).ok_or_else(nothing_taken)?;
        let local = self.file.state.local(&at).ok_or_else(|| {
            UeError::Lacking(format!("there is no section [[local]] for {at} in the state file"))
        })?;
        let config = config_of(local, over);
        let config =
            config.ok_or(UeError::NoAccess { at: at.clone(), why: NoAccess::NoSipCore })?;
        self.register_with(&at, config, services).await
    }

    /// Prints a profile of the user.
    pub(super) async fn print_profile(
        &mut self,
        partner: Option<McSystemId>,
    ) -> Result<(), UeError> {
        let served = if partner.is_none() {
            self.own_profile(&self.access_token()?).await?
        } else {
            let ticket = self.ticket(partner.as_ref())?;
            let visited = ticket.access_token.as_ref().zip(ticket.mc_service_id.as_ref());
            let (token, user) = visited.ok_or_else(|| {
                UeError::Lacking(format!("{} was not visited: run migcore ue visit", ticket.at))
            })?;
            self.profile_at(&ticket.xcap_root, user, &bearer(token)?).await?
        };
        say(served.profile.as_str().trim_end())
    }

    async fn own_profile(&self, access: &BearerToken) -> Result<ServedProfile, UeError> {
        let root = format!("{}/xcap-root", self.file.state.csc4.to_string().trim_end_matches('/'));
        let user = &self.file.state.records.primary().mc_service_id;
        self.profile_at(&root, user, access).await
    }

    async fn profile_at(
        &self,
        root: &str,
        user: &McServiceId,
        access: &BearerToken,
    ) -> Result<ServedProfile, UeError> {
        let client = self.identity_client()?;
        let (server, which) = (named(super::SERVER, root), (ProfileService::Mcptt, user, 0));
        let served = client.profile(&server, which, access, None).await?;
        served.ok_or_else(|| UeError::Lacking("the server has no profile".to_owned()))
    }

    /// What was taken along for a partner, or last.
    fn ticket(&self, partner: Option<&McSystemId>) -> Result<&Ticket, UeError> {
        let mut tickets = self.file.state.tickets.iter().rev();
        let is_it = |ticket: &&Ticket| partner.is_none_or(|at| ticket.at == *at);
        tickets.find(is_it).ok_or_else(nothing_taken)
    }

    fn access_token(&self) -> Result<BearerToken, UeError> {
        let kept = self.file.state.access_token.as_ref();
        let kept = kept.ok_or_else(|| {
            UeError::Lacking("the user is not logged in: run migcore ue log-in".to_owned())
        })?;
        bearer(kept)
    }

    fn how_to_log_in(&self) -> Result<&LogIn, UeError> {
        self.file.state.log_in.as_ref().ok_or_else(|| {
            let what = "the state file has no section [log_in]; `migcore ue template` shows one";
            UeError::Lacking(what.to_owned())
        })
    }

    fn identity_client(&self) -> Result<IdentityClient, UeError> {
        let how = self.how_to_log_in()?;
        Ok(IdentityClient::new(&how.client, &how.redirect_uri, Some(self.tap.clone())))
    }

    /// Shows what passed, and gives what came of it.
    fn shown_outcome<T, E: Into<UeError>>(&mut self, outcome: Result<T, E>) -> Result<T, UeError> {
        self.shown.drain().map_err(UeError::Output)?;
        outcome.map_err(Into::into)
    }
}

/// What to register with.
fn config_of(local: &LocalAccess, over: Option<Transport>) -> Option<Config> {
    let mut paths = local.sip_core.iter().map(|core| {
        let transport = match core.transport {
            SipTransport::Udp => Transport::Udp,
            SipTransport::Tcp => Transport::Tcp,
            SipTransport::Tls => Transport::Tls,
        };
        (transport, core.address)
    });
    let (transport, core) = paths.find(|(it, _)| over.is_none_or(|over| over == *it))?;
    Some(Config::new(local.identity.clone(), transport, core))
}

fn bearer(Kept(token): &Kept) -> Result<BearerToken, UeError> {
    BearerToken::parse(token.expose()).map_err(|_| {
        UeError::Lacking("the token in the state file is none: log in again".to_owned())
    })
}

fn named(name: &str, url: &str) -> Server {
    Server { name: name.into(), url: url.trim_end_matches('/').to_owned() }
}

fn nothing_taken() -> UeError {
    UeError::Lacking("nothing was taken along: run migcore ue take-along, at home".to_owned())
}

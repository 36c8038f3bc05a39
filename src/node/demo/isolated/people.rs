//! The user who goes to a system without a link, her UE, and what the administrators of both systems provision: each in
//! the own system, with what was agreed on paper.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    super::{
        DemoError,
        cast::{CLIENT, REDIRECT, draw_key},
        stage::PARTNER_PLMN,
    },
    IsolatedFault,
    places::{Places, Which},
};
use crate::{
    aka::{SqnArray, opc_from_op},
    api::{
        configuration::{Agreement, AgreementKey, Users},
        connection_details::{SipCoreAddress, SipTransport, SystemConfiguration},
        migration_identity::Direction,
    },
    identity::{Impi, Impu, McServiceId, McSystemId, UserIdentity},
    mc_info::{
        ServiceInfo,
        settings::{AnswerMode, Settings},
    },
    node::{
        Clock, RunningUe, SystemEntropy,
        client::NewUser,
        ladder::Tap,
        management::escape,
        tls::Trust,
        ue::identity::{IdentityClient, IdentityError, ServedProfile, Server, UserTokens},
    },
    outbox::Transport,
    secret::SecretText,
    token::BearerToken,
    ue::{Config, Credentials, Isim, ServiceLogOn, ServiceState, State},
    ue_configuration::InitialUeConfiguration,
    user_profile::ProfileService,
};

/// Another client, of somebody else's.
pub(super) const OTHER_CLIENT: &str = "another-client";
/// What the user is called where she logs in.
const USER: &str = "alice";
const MC_ID_AT_HOME: &str = "sip:alice@a.example";
/// What the partner calls her.
pub(super) const MC_ID_AT_PARTNER: &str = "sip:visitor-1@b.example";
/// The public service identity of the partner's MC server.
pub(super) const MC_SERVER: &str = "sip:mcptt@b.example";
/// What her MC client is called.
const MC_CLIENT_ID: &str = "urn:uuid:6f9619ff-8b86-d011-b42d-00cf4fc964ff";
/// Who she is to the partner's SIP core: in the second ISIM, and with a password.
const KEY_IMPI: &str = "visitor-1@b.example";
const PASSWORD_IMPI: &str = "visitor-1-password@b.example";
pub(super) const SCOPE: &str = "openid 3gpp:mc:ptt_service 3gpp:mc:ptt_config_management_service";
/// What she publishes.
const SETTINGS: Settings =
    Settings { answer_mode: Some(AnswerMode::Automatic), profile_index: Some(0) };
/// What the MC server answers somebody whom it has not authorised (TS 24.379 clause 7.3).
const NOT_BOUND: ServiceState = ServiceState::Refused { status: 404, warning: Some(141) };
/// How long the home lets its users go there, and the partner is asked to.
const AGREEMENT: std::time::Duration = std::time::Duration::from_secs(365 * 24 * 3_600);

/// How the UE registers at the partner.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Way {
    /// By AKA, with the key in a second ISIM.
    Key,
    /// By SIP Digest.
    Password,
}

/// What the UE takes along: all it has when it arrives.
#[derive(Debug)]
pub(super) struct TakenAlong {
    pub(super) token: SecretText,
    /// The partner's initial UE configuration: where its servers are.
    pub(super) configuration: Arc<InitialUeConfiguration>,
    /// The home's tokens, of no use at the partner.
    home_tokens: UserTokens,
}

/// The user's UE.
pub(super) struct Traveller {
    pub(super) client: IdentityClient,
    home_idms: Server,
    home_cms: Server,
    password: SecretText,
    partner: McSystemId,
    key: (UserIdentity, Isim),
    digest: (UserIdentity, SecretText),
    trust: Trust,
    clock: Clock,
    tap: Tap,
    pub(super) taken: Option<TakenAlong>,
    tokens: Option<UserTokens>,
    agent: Option<RunningUe>,
}

impl Traveller {
    pub(super) const fn set_clock(&mut self, clock: Clock) {
        self.clock = clock;
        self.client.set_clock(clock);
    }

    /// While at home: logs in, reads the profile, and gets a security token for the partner that is in it.
    pub(super) async fn take_along(&mut self) -> Result<(), DemoError> {
        self.take_along_for(None).await
    }

    /// The same, with a token for `third` instead, a system that is not the one in the profile.
    pub(super) async fn take_along_for(&mut self, third: Option<&str>) -> Result<(), DemoError> {
        let tokens = self.client.log_in(&self.home_idms, (USER, &self.password), SCOPE).await?;
        let profile = self.read_profile(&self.home_cms, &tokens).await?;
        let partners = profile.profile.partners().unwrap_or_default();
        let partner = partners.into_iter().find(|partner| partner.system == self.partner);
        let configuration = partner
            .ok_or_else(|| DemoError::Differs("the profile names no partner".to_owned()))?
            .configuration;
        let issuer = third.map_or_else(|| issuer_in(&configuration), |it| Ok(it.to_owned()))?;
        let token = self.client.security_token(&self.home_idms, &tokens.access, &issuer).await?;
        self.taken = Some(TakenAlong { token, configuration, home_tokens: tokens });
        Ok(())
    }

    /// `ISO-1`: contacts the partner with what was taken along.
    pub(super) async fn contact_partner(&mut self) -> Result<(), DemoError> {
        self.contact_partner_for(SCOPE).await
    }

    /// The same, for tokens of another scope.
    pub(super) async fn contact_partner_for(&mut self, scope: &str) -> Result<(), DemoError> {
        let tokens = self.present(scope).await?;
        let known = tokens.services.mcptt_id.as_ref().map(McServiceId::as_str);
        if known != Some(MC_ID_AT_PARTNER) {
            return Err(DemoError::Differs("the partner's token names another user".to_owned()));
        }
        self.tokens = Some(tokens);
        Ok(())
    }

    /// Takes the home's tokens for the partner's, and has nothing else any more.
    pub(super) fn confuse_tokens(&mut self) {
        self.tokens = self.taken.take().map(|taken| taken.home_tokens);
    }

    /// Goes on as another client.
    pub(super) fn use_client(&mut self, name: &str) {
        let client = IdentityClient::new(name, REDIRECT, Some(self.tap.clone()));
        self.client = client.trusting(&self.trust);
        self.client.set_clock(self.clock);
    }

    /// The same for any scope, and for whoever has to see a refusal.
    pub(super) async fn present(&self, scope: &str) -> Result<UserTokens, DemoError> {
        let taken = self.taken.as_ref().ok_or(NOTHING_TAKEN)?;
        let endpoint = &taken.configuration.servers().idms_token_endpoint;
        let idms = server("idms", Which::Partner, endpoint.trim_end_matches("/token"));
        Ok(self.client.contact_partner(&idms, endpoint, &taken.token, scope).await?)
    }

    /// Registers at the partner with credentials that only the partner checks.
    /// With a key it brings its access token along; with a password it only tells which service it has.
    pub(super) async fn register(
        &mut self,
        way: Way,
        core: SipCoreAddress,
    ) -> Result<(), DemoError> {
        let service = ProfileService::Mcptt;
        let info = match way {
            Way::Key => self.service_info()?,
            Way::Password => ServiceInfo::default(),
        };
        match self.try_to_register(way, core, vec![ServiceLogOn { service, info }]).await? {
            State::Registered(registered) if registered.mutual => Ok(()),
            state @ (State::Idle | State::Busy | State::Registered(_) | State::Failed(_)) => {
                Err(DemoError::Differs(format!("the UE is {state:?}")))
            }
        }
    }

    /// The same, however it ends.
    pub(super) async fn try_to_register(
        &mut self,
        way: Way,
        core: SipCoreAddress,
        services: Vec<ServiceLogOn>,
    ) -> Result<State, DemoError> {
        let (identity, credentials) = match way {
            Way::Key => (&self.key.0, Credentials::from(self.key.1.clone())),
            Way::Password => (&self.digest.0, Credentials::from(self.digest.1.clone())),
        };
        let transport = match core.transport {
            // Tokens are too long for UDP (RFC 3261 clause 18.1.1).
            SipTransport::Udp | SipTransport::Tcp => Transport::Tcp,
            SipTransport::Tls => Transport::Tls,
        };
        let core = core.address;
        let config = Config::new(identity.clone(), transport, core);
        let name = format!("scscf.{}", Which::Partner.domain());
        let (trust, tap) = (&self.trust, Some(self.tap.clone()));
        let mut agent = RunningUe::open(config, core, credentials, trust, (tap, &name)).await?;
        agent.set_clock(self.clock);
        agent.set_services(services);
        let state = agent.register().await?.clone();
        if let (Way::Key, Some(isim)) = (way, agent.credentials().isim()) {
            self.key.1 = isim.clone();
        }
        self.agent = Some(agent);
        Ok(state)
    }

    /// Authorises itself by PUBLISH, logs off, and finds that it is no longer known then.
    pub(super) async fn publish(&mut self) -> Result<(), DemoError> {
        let (service, info) = ((ProfileService::Mcptt, MC_SERVER), self.service_info()?);
        let agent = self.agent.as_mut().ok_or(NOTHING_TAKEN)?;
        let authorised = agent.publish(service, &info, &SETTINGS).await?.clone();
        let logged_off = agent.log_off(service).await?.clone();
        let unknown = agent.publish(service, &ServiceInfo::default(), &SETTINGS).await?.clone();
        let states = [authorised, logged_off, unknown];
        let wanted = [ServiceState::Authorised, ServiceState::LoggedOff, NOT_BOUND];
        if states == wanted { Ok(()) } else { Err(DemoError::Differs(format!("{states:?}"))) }
    }

    /// Finds that it is registered without the service, and that its token is not taken by PUBLISH either.
    pub(super) async fn find_no_service(&mut self) -> Result<(), DemoError> {
        let (service, info) = ((ProfileService::Mcptt, MC_SERVER), self.service_info()?);
        let agent = self.agent.as_mut().ok_or(NOTHING_TAKEN)?;
        let unknown = agent.publish(service, &ServiceInfo::default(), &SETTINGS).await?.clone();
        let refused = agent.publish(service, &info, &SETTINGS).await?.clone();
        let states = [unknown, refused];
        let wanted = [NOT_BOUND, ServiceState::Refused { status: 403, warning: Some(101) }];
        if states == wanted { Ok(()) } else { Err(DemoError::Differs(format!("{states:?}"))) }
    }

    /// The access token for the MC server.
    fn service_info(&self) -> Result<ServiceInfo, DemoError> {
        let tokens = self.tokens.as_ref().ok_or(NOTHING_TAKEN)?;
        Ok(ServiceInfo {
            access_token: Some(SecretText::new(tokens.access.expose())),
            client_id: Some(MC_CLIENT_ID.to_owned()),
        })
    }

    pub(super) async fn deregister(&mut self) -> Result<State, DemoError> {
        match self.agent.take() {
            Some(mut agent) => Ok(agent.deregister().await?.clone()),
            None => Ok(State::Idle),
        }
    }

    /// Fetches the profile that the partner has for her, and asks once more whether it is still that.
    pub(super) async fn fetch_profile(&mut self) -> Result<(), DemoError> {
        let taken = self.taken.as_ref().ok_or(NOTHING_TAKEN)?;
        let tokens = self.tokens.as_ref().ok_or(NOTHING_TAKEN)?;
        let root = &taken.configuration.document().on_network.cms_xcap_root_uri;
        let cms = server("cms", Which::Partner, root);
        let served = self.read_profile(&cms, tokens).await?;
        if !served.profile.as_str().contains(MC_ID_AT_PARTNER) {
            return Err(DemoError::Differs("the partner's profile is another user's".to_owned()));
        }
        let user = tokens.services.mcptt_id.as_ref().ok_or(NOTHING_TAKEN)?;
        let which = (ProfileService::Mcptt, user, 0);
        let again = self.client.profile(&cms, which, &tokens.access, Some(&served.etag)).await?;
        match again {
            None => Ok(()),
            Some(_) => Err(DemoError::Differs("the profile has changed meanwhile".to_owned())),
        }
    }

    async fn read_profile(
        &self,
        cms: &Server,
        tokens: &UserTokens,
    ) -> Result<ServedProfile, DemoError> {
        let user = tokens.services.mcptt_id.as_ref();
        let user = user.ok_or_else(|| DemoError::Differs("the token names no user".to_owned()))?;
        let which = (ProfileService::Mcptt, user, 0);
        let served = self.client.profile(cms, which, &tokens.access, None).await?;
        served.ok_or_else(|| DemoError::Differs("a profile is missing".to_owned()))
    }
}

const NOTHING_TAKEN: DemoError = DemoError::Missing("what the UE takes along");

/// The identity management server that a document names: the target of a security token.
fn issuer_in(configuration: &InitialUeConfiguration) -> Result<String, DemoError> {
    let endpoint = &configuration.servers().idms_token_endpoint;
    let issuer = endpoint.strip_suffix("/token");
    issuer.map(str::to_owned).ok_or(DemoError::Missing("a token endpoint in the configuration"))
}

fn server(kind: &str, which: Which, url: &str) -> Server {
    let name = format!("{kind}.{}", which.domain());
    Server { name: name.into(), url: url.trim_end_matches('/').to_owned() }
}

/// Provisions both systems, each on its own, and gives the user a UE. A fault leaves something out, or does it wrong.
pub(super) async fn provision(
    places: &Places,
    fault: Option<IsolatedFault>,
    tap: &Tap,
) -> Result<Traveller, DemoError> {
    let password = SecretText::new(BearerToken::draw(&mut SystemEntropy::new()).expose());
    provision_home(places, &password).await?;
    let (k, op) = (draw_key(), draw_key());
    let digest = SecretText::new(BearerToken::draw(&mut SystemEntropy::new()).expose());
    let pair = |impi: &str| {
        let missing = |_| DemoError::Missing("a pair of identities");
        let impu = Impu::parse(&format!("sip:{impi}")).map_err(missing)?;
        Ok::<_, DemoError>(UserIdentity { impi: Impi::parse(impi).map_err(missing)?, impu })
    };
    let (key_pair, password_pair) = (pair(KEY_IMPI)?, pair(PASSWORD_IMPI)?);
    provision_partner(places, fault).await?;
    if fault != Some(IsolatedFault::NoSipCredentials) {
        let client = places.management(Which::Partner)?;
        client.put_subscriber(&key_pair, &k, &op).await?;
        let path = format!("/v1/digest-subscribers/{PASSWORD_IMPI}");
        let body = json!({
            "impus": [password_pair.impu.as_str()], "password": digest.expose(),
            "algorithm": "SHA-256",
        });
        client.put_json("make a subscriber with a password", &path, &body).await?;
    }
    let isim = Isim::new(&k, &opc_from_op(&k, &op), SqnArray::default());
    let trust = places.trust().clone();
    Ok(Traveller {
        client: IdentityClient::new(CLIENT, REDIRECT, Some(tap.clone())).trusting(&trust),
        home_idms: server("idms", Which::Home, &places.issuer_of(Which::Home)),
        home_cms: server("cms", Which::Home, &places.xcap_root_of(Which::Home)),
        password,
        partner: places.id_of(Which::Partner),
        key: (key_pair, isim),
        digest: (password_pair, digest),
        trust,
        clock: Clock::start(),
        tap: tap.clone(),
        taken: None,
        tokens: None,
        agent: None,
    })
}

/// At home: a client, the user and her profile, that she may go to the partner, and how its UEs are configured.
async fn provision_home(places: &Places, password: &SecretText) -> Result<(), DemoError> {
    let client = places.management(Which::Home)?;
    let body = json!({ "redirect_uris": [REDIRECT] });
    client.put_json("make a client", &format!("/v1/idms/clients/{CLIENT}"), &body).await?;
    let user = json!({
        "password": password.expose(), "mcptt_id": MC_ID_AT_HOME,
        // The last one is for the fault in which the token is for somebody else.
        "partners": [places.issuer_of(Which::Partner), IsolatedFault::THIRD_ISSUER],
    });
    client.put_json("make a user", &format!("/v1/idms/users/{USER}"), &user).await?;
    let missing = |_| DemoError::Missing("an MC service ID");
    let mc_service_id = McServiceId::parse(MC_ID_AT_HOME).map_err(missing)?;
    let identity = UserIdentity {
        impi: Impi::parse("alice@a.example").map_err(missing)?,
        impu: Impu::parse(MC_ID_AT_HOME).map_err(missing)?,
    };
    client.put_subscriber(&identity, &draw_key(), &draw_key()).await?;
    let (mc_service_id, identity) = (&mc_service_id, &identity);
    let user = NewUser { mc_service_id, identity, class: None, may_migrate: true, token: None };
    client.put_user(&user).await?;
    let now = Clock::start().now();
    let partner = places.id_of(Which::Partner);
    let key = AgreementKey {
        partner: partner.clone(),
        direction: Direction::Outbound,
        users: Users::Everybody,
    };
    let valid_until = now + AGREEMENT;
    let agreement = Agreement { key, valid_from: now, valid_until, hide_identities: false };
    client.put_agreement(&agreement).await?;
    client.put_system_configuration(&partner, &partner_configuration(places)?).await?;
    put_profile(places, Which::Home, MC_ID_AT_HOME).await
}

/// At the partner: trust in the home's certificates, who the user is here, and her profile.
async fn provision_partner(places: &Places, fault: Option<IsolatedFault>) -> Result<(), DemoError> {
    let client = places.management(Which::Partner)?;
    for name in [CLIENT, OTHER_CLIENT] {
        client.put_json("make a client", &format!("/v1/idms/clients/{name}"), &json!({})).await?;
    }
    let issuer = escape(&places.issuer_of(Which::Home));
    if fault != Some(IsolatedFault::UnknownIssuer) {
        let body = json!({ "pem": certificates_of_home(places).await? });
        client.post_json("trust", &format!("/v1/idms/trust/{issuer}"), &body).await?;
    }
    if fault != Some(IsolatedFault::NoProfile) {
        let subject = subject_of_user(places).await?;
        let may_migrate = fault != Some(IsolatedFault::MayNotMigrate);
        let visitor = json!({ "mcptt_id": MC_ID_AT_PARTNER, "may_migrate": may_migrate });
        let path = format!("/v1/idms/visitors/{issuer}/{}", escape(&subject));
        client.put_json("make a visitor", &path, &visitor).await?;
    }
    put_profile(places, Which::Partner, MC_ID_AT_PARTNER).await
}

/// What came by a file: the home's certificates.
async fn certificates_of_home(places: &Places) -> Result<String, DemoError> {
    let client = places.management(Which::Home)?;
    let keys: Value = client.get("show its keys", "/v1/idms/keys").await?;
    let items = keys.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
    let pems = items.iter().filter_map(|item| item.get("pem").and_then(Value::as_str));
    Ok(pems.collect())
}

/// The fingerprints of the home's certificates.
pub(super) async fn fingerprints_of_home(places: &Places) -> Result<Vec<String>, DemoError> {
    let client = places.management(Which::Partner)?;
    let trust: Value = client.get("list what it trusts", "/v1/idms/trust").await?;
    let items = trust.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
    let found = |item: &Value| {
        item.pointer("/certificate/fingerprint").and_then(Value::as_str).map(str::to_owned)
    };
    Ok(items.iter().filter_map(found).collect())
}

/// Who the user is in the home's tokens.
pub(super) async fn subject_of_user(places: &Places) -> Result<String, DemoError> {
    let client = places.management(Which::Home)?;
    let user: Value = client.get("show a user", &format!("/v1/idms/users/{USER}")).await?;
    let subject = user.get("subject").and_then(Value::as_str);
    subject.map(str::to_owned).ok_or(DemoError::Missing("a subject"))
}

/// What UEs are told of the partner: where its servers are.
fn partner_configuration(places: &Places) -> Result<SystemConfiguration, DemoError> {
    const NO_URIS: DemoError = DemoError::Missing("a domain that makes URIs");
    let plmn = PARTNER_PLMN.parse().map_err(|_| DemoError::Missing("a PLMN"))?;
    let template = InitialUeConfiguration::for_domain(Which::Partner.domain(), plmn);
    let mut document = template.map_err(|_| NO_URIS)?.document().clone();
    let issuer = places.issuer_of(Which::Partner);
    document.on_network.servers.idms_auth_endpoint = format!("{issuer}/authorize");
    document.on_network.servers.idms_token_endpoint = format!("{issuer}/token");
    document.on_network.cms_xcap_root_uri = places.xcap_root_of(Which::Partner);
    let document = InitialUeConfiguration::new(&document).map_err(|_| NO_URIS)?;
    let sip_core = vec![places.sip_of(Which::Partner)?];
    let revision = Clock::start().now().as_micros();
    Ok(SystemConfiguration { revision, sip_core, document: document.into() })
}

async fn put_profile(places: &Places, which: Which, user: &str) -> Result<(), DemoError> {
    let document = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<mcptt-user-profile \
         xmlns=\"urn:3gpp:mcptt:user-profile:1.0\" XUI-URI=\"{user}\" user-profile-index=\"0\">\
         <ProfileName>{user}</ProfileName></mcptt-user-profile>\n"
    );
    let revision = Clock::start().now().as_micros();
    let path = format!("/v1/user-profiles/mcptt/{}/0", escape(user));
    let body = json!({ "revision": revision, "document": document });
    Ok(places.management(which)?.put_json("put a profile", &path, &body).await?)
}

impl From<IdentityError> for DemoError {
    fn from(error: IdentityError) -> Self {
        Self::Differs(error.to_string())
    }
}

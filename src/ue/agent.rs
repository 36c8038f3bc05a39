//! The signalling user agent: registers, refreshes and de-registers one pair of identities.
//!
//! Sans-I/O: SIP octets in, effects out. With an ISIM every refresh is challenged afresh as long as the path is
//! unprotected, so a refresh is a registration with the same Call-ID (TS 24.229 clause 5.1.1.4). With a password it
//! answers the last challenge once more, until the SIP core finds that nonce stale.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    aka::digest::{
        Algorithm, DigestInput, Qop, QopInput, decode_nonce, encode_auts, password, response,
        rspauth,
    },
    entropy::Entropy,
    identity::{Impu, UserIdentity},
    mc_info::{self, ServiceInfo},
    outbox::{Context, Flow, Role, TimerKey, TimerWhat, Transport},
    sip::{
        Framing,
        auth_header::{DigestChallenge, DigestCredentials},
        multipart::Multipart,
        request::{ContactToSend, RegisterBuilder},
        response::ResponseView,
        uri::{Uri, equivalent},
    },
    step::Step,
    time::Timestamp,
    user_profile::ProfileService,
};

use super::{
    credentials::{Credentials, Nonce},
    isim::Refusal,
    transaction::{ClientTransaction, timer},
};

/// A UE answers at most this many challenges in one registration (TS 24.229 clause 5.1.1.5.3 allows
/// two that it finds invalid; one more is the regular one).
const CHALLENGES_MAX: u8 = 3;

/// The registration period that a UE asks for, seconds.
const EXPIRES: u32 = 600_000;

/// The nonce count: each challenge is answered once.
const FIRST_USE: &str = "00000001";

/// What the user agent is told before it registers.
#[derive(Clone, Debug)]
pub struct Config {
    /// The pair to register with: in a partner system the inbound migration identities.
    pub identity: UserIdentity,
    /// The home network domain of the system to register in: Request-URI and initial realm.
    pub domain: String,
    /// The path to the SIP core: our address, its address, over what.
    pub flow: Flow,
    /// The registration period to ask for, seconds.
    pub expires: u32,
    /// The algorithm to ask for; without one the SIP core chooses.
    pub algorithm: Option<Algorithm>,
    /// Path values to send, as if through a P-CSCF.
    pub paths: Vec<String>,
}

/// An MC service, and what the UE has to be authorised for it (TS 24.379 clause 7.2.1). Never prints the token.
#[derive(Clone, Debug)]
pub struct ServiceLogOn {
    /// Which.
    pub service: ProfileService,
    /// The access token and the client ID that a REGISTER brings; without a token, another request has to.
    pub info: ServiceInfo,
}

impl Config {
    /// Registers `identity` at the SIP core `core` for as long as TS 24.229 clause 5.1.1.2.1 has it. The
    /// domain is the realm of the private identity (clause 5.1.1.1A); the world puts our address in.
    pub fn new(identity: UserIdentity, transport: Transport, core: SocketAddr) -> Self {
        let local = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        Self {
            domain: identity.impi.realm().to_owned(),
            identity,
            flow: Flow { transport, local, remote: core, connection: 0 },
            expires: EXPIRES,
            algorithm: None,
            paths: Vec::new(),
        }
    }
}

/// What a user agent must remember to go on in another process: refreshes and de-registers under the same
/// Call-ID with a higher CSeq and for the same contact (RFC 3261 clause 10.2.4).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Saved {
    /// The Call-ID of all its requests.
    pub call_id: String,
    /// The CSeq of its last request.
    pub cseq: u32,
    /// The address in its contact.
    pub contact: SocketAddr,
    /// What the SIP core granted last, and the UE did not give up.
    pub registered: Option<Registered>,
}

/// Where the user agent stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum State {
    /// Not registered, nothing under way.
    Idle,
    /// A REGISTER is under way.
    Busy,
    /// Registered (`MIG-25`).
    Registered(Registered),
    /// The last attempt failed.
    Failed(Failure),
}

/// What the SIP core granted. Only its end and how it was granted print: the URIs name the user.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Registered {
    /// When it ends, unless refreshed.
    #[serde(with = "crate::time::micros")]
    pub expires_at: Timestamp,
    /// The URIs that later requests go through.
    pub service_route: Vec<String>,
    /// The public identities that were registered together.
    pub associated_uris: Vec<String>,
    /// Whether the SIP core proved that it knows RES (Authentication-Info).
    pub mutual: bool,
}

impl fmt::Debug for Registered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { expires_at, mutual, .. } = self;
        write!(f, "Registered(until {} s, mutual: {mutual})", expires_at.as_secs())
    }
}

/// Why an attempt failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Failure {
    /// The SIP core refused with this status.
    Refused(u16),
    /// The SIP core or what is behind it is unavailable: try again after this many seconds.
    Unavailable {
        /// The status.
        status: u16,
        /// Retry-After, seconds; zero if it gave none.
        retry_after: u32,
    },
    /// The challenge did not come from the home: MAC-A is wrong.
    NetworkNotAuthentic,
    /// No answer within Timer F.
    Timeout,
}

/// One UE's user agent.
#[derive(Debug)]
pub struct UserAgent {
    config: Config,
    credentials: Credentials,
    /// The last nonce that a password answered.
    nonce: Option<Nonce>,
    call_id: String,
    from_tag: String,
    cseq: u32,
    /// The address in its contact; differs from the flow's after it moved to another process.
    contact: SocketAddr,
    /// The MC services that the UE has: told in its contact, and asked to be authorised for.
    services: Vec<ServiceLogOn>,
    /// What was granted last: a refresh that fails does not end it.
    granted: Option<Registered>,
    numbers: u64,
    state: State,
    attempt: Attempt,
    transaction: Option<ClientTransaction>,
}

/// What one registration, refresh or de-registration has seen so far.
#[derive(Debug, Default)]
struct Attempt {
    expires: u32,
    challenges: u8,
    /// A response with a password was sent.
    has_responded: bool,
    /// The ISIM found MAC wrong; the answer tells the SIP core, whose refusal is expected.
    mac_failure: bool,
    /// The Authentication-Info that would prove the SIP core's knowledge of RES.
    expected_rspauth: Option<String>,
    /// Tokens were sent.
    has_sent_tokens: bool,
}

impl UserAgent {
    /// Creates a user agent that has sent nothing yet.
    pub fn new(
        config: Config,
        credentials: impl Into<Credentials>,
        entropy: &mut dyn Entropy,
    ) -> Self {
        Self {
            call_id: format!("{:016x}{:016x}", entropy.next_u64(), entropy.next_u64()),
            from_tag: format!("{:016x}", entropy.next_u64()),
            contact: config.flow.local,
            config,
            credentials: credentials.into(),
            nonce: None,
            cseq: 0,
            services: Vec::new(),
            granted: None,
            numbers: 0,
            state: State::Idle,
            attempt: Attempt::default(),
            transaction: None,
        }
    }

    /// Creates a user agent that goes on where another one of the same UE ended. Its refresh timer is gone
    /// with the other one: refresh before [`Registered::expires_at`].
    pub fn resume(
        config: Config,
        credentials: impl Into<Credentials>,
        saved: Saved,
        entropy: &mut dyn Entropy,
    ) -> Self {
        let Saved { call_id, cseq, contact, registered } = saved;
        let state = registered.clone().map_or(State::Idle, State::Registered);
        let fresh = Self::new(config, credentials, entropy);
        Self { call_id, cseq, contact, granted: registered, state, ..fresh }
    }

    /// What to remember. Whoever keeps it for another process keeps it, and the ISIM's sequence numbers,
    /// before a message of this one leaves: no CSeq is used twice, no challenge is accepted twice.
    pub fn saved(&self) -> Saved {
        Saved {
            call_id: self.call_id.clone(),
            cseq: self.cseq,
            contact: self.contact,
            registered: self.granted.clone(),
        }
    }

    /// Where it stands.
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// What it answers challenges with, an ISIM with the sequence numbers accepted so far: for another user agent of
    /// the same UE.
    pub const fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// The public identity that it registers.
    pub fn public_identity(&self) -> Impu {
        self.config.identity.impu.clone()
    }

    /// The path to the SIP core.
    pub const fn flow(&self) -> &Flow {
        &self.config.flow
    }

    /// Moves to another path to the SIP core: a new address after a restart or a reconnection.
    pub const fn set_flow(&mut self, flow: Flow) {
        self.contact = flow.local;
        self.config.flow = flow;
    }

    /// Changes the MC services that the next registration tells of, and the tokens that it brings.
    pub fn set_services(&mut self, services: Vec<ServiceLogOn>) {
        self.services = services;
    }

    /// `MIG-15`: registers, or refreshes the registration.
    pub fn register(&mut self, ctx: &mut Context<'_>) {
        self.begin(ctx, self.config.expires);
    }

    /// De-registers its contact.
    pub fn deregister(&mut self, ctx: &mut Context<'_>) {
        self.begin(ctx, 0);
    }

    fn begin(&mut self, ctx: &mut Context<'_>, expires: u32) {
        self.attempt = Attempt { expires, ..Attempt::default() };
        self.state = State::Busy;
        if let Some(nonce) = self.nonce.take().filter(Nonce::is_reusable) {
            return self.answer_with_password(ctx, nonce);
        }
        let initial = DigestCredentials {
            username: self.config.identity.impi.as_str().to_owned().into(),
            realm: self.config.domain.clone().into(),
            uri: self.digest_uri().into(),
            algorithm: self.config.algorithm.map(Algorithm::as_str),
            ..DigestCredentials::default()
        };
        self.send_register(ctx, initial, Step::mig(15));
    }

    /// Handles one framed SIP message.
    pub fn handle_sip(&mut self, ctx: &mut Context<'_>, octets: &[u8]) {
        let framing = match self.config.flow.transport {
            Transport::Udp => Framing::Datagram,
            Transport::Tcp | Transport::Tls => Framing::Stream,
        };
        let Ok(answer) = ResponseView::parse(octets, framing) else { return };
        let Some(transaction) = &mut self.transaction else { return };
        if answer.top_via_branch() != Some(transaction.branch.as_str())
            || answer.cseq() != transaction.cseq
        {
            return; // a repeat of an answer to an earlier request
        }
        if answer.status() < 200 {
            return transaction.slow_down();
        }
        self.transaction = None;
        match answer.status() {
            401 => self.handle_challenge(ctx, &answer),
            200..=299 => self.registered(ctx, &answer),
            423 => self.ask_for_longer(ctx, &answer),
            status @ (480 | 500 | 503 | 504) => {
                let retry_after = answer.retry_after().unwrap_or(0);
                self.state = State::Failed(Failure::Unavailable { status, retry_after });
            }
            _ if self.attempt.mac_failure => {
                self.state = State::Failed(Failure::NetworkNotAuthentic);
            }
            status => self.state = State::Failed(Failure::Refused(status)),
        }
    }

    /// Handles a timer that it armed.
    pub fn handle_timer(&mut self, ctx: &mut Context<'_>, timer: &TimerKey) {
        let current = self.transaction.as_mut().filter(|it| it.number == timer.version);
        match (&timer.what, current) {
            (TimerWhat::UeRetransmit, Some(transaction)) => transaction.retransmit(ctx),
            (TimerWhat::UeGiveUp, Some(_)) => {
                self.transaction = None;
                self.state = State::Failed(Failure::Timeout);
            }
            (TimerWhat::UeRefresh, _) if timer.version == self.numbers => self.register(ctx),
            _ => {}
        }
    }

    /// A 401: answers it, or gives up after too many.
    fn handle_challenge(&mut self, ctx: &mut Context<'_>, answer: &ResponseView<'_>) {
        self.attempt.challenges += 1;
        if matches!(self.credentials, Credentials::Password(_)) {
            return self.handle_password_challenge(ctx, answer);
        }
        let challenge = answer.challenges().find_map(|challenge| {
            let algorithm = Algorithm::parse(challenge.algorithm.as_deref()?)?;
            let (rand, autn) = decode_nonce(&challenge.nonce)?;
            Some((challenge, algorithm, rand, autn))
        });
        let Some((challenge, algorithm, rand, autn)) = challenge else {
            self.state = State::Failed(Failure::Refused(401));
            return;
        };
        if self.attempt.challenges > CHALLENGES_MAX || self.attempt.mac_failure {
            self.state = State::Failed(Failure::Refused(401));
            return;
        }
        let credentials = self.answer_challenge(ctx.entropy, &challenge, algorithm, (rand, autn));
        self.send_register(ctx, credentials, Step::mig(23));
    }

    /// The same with a password: the topmost challenge of an algorithm that is known (RFC 8760 clause 2.4). Another
    /// challenge means that the password is wrong, unless the nonce was stale.
    fn handle_password_challenge(&mut self, ctx: &mut Context<'_>, answer: &ResponseView<'_>) {
        let challenge = answer.challenges().find_map(|it| Some((it.stale, Nonce::of(&it)?)));
        let answered = std::mem::replace(&mut self.attempt.has_responded, true);
        match challenge {
            Some((stale, nonce))
                if self.attempt.challenges <= CHALLENGES_MAX && (stale || !answered) =>
            {
                self.answer_with_password(ctx, nonce);
            }
            Some(_) | None => self.state = State::Failed(Failure::Refused(401)),
        }
    }

    fn answer_with_password(&mut self, ctx: &mut Context<'_>, mut nonce: Nonce) {
        self.attempt.has_responded = true;
        let Credentials::Password(password) = &self.credentials else { return };
        let username = self.config.identity.impi.as_str().to_owned();
        let uri = self.digest_uri();
        let cnonce = format!("{:016x}", ctx.entropy.next_u64());
        let response = nonce.respond((&username, password), &uri, &cnonce);
        self.attempt.expected_rspauth = Some(response.rspauth.as_str().to_owned());
        self.nonce = Some(nonce);
        let credentials = DigestCredentials {
            username: username.into(),
            realm: response.realm.into(),
            nonce: response.nonce.into(),
            uri: uri.into(),
            response: response.digest.as_str().into(),
            algorithm: Some(response.algorithm),
            qop: response.nc.is_some().then_some(Qop::Auth.as_str()),
            cnonce: response.nc.is_some().then(|| cnonce.into()),
            nc: response.nc.as_deref(),
            auts: None,
            opaque: response.opaque.map(Into::into),
        };
        self.send_register(ctx, credentials, Step::mig(23));
    }

    /// `MIG-23`: computes the response with the key of the home ISIM, over the identity and realm of
    /// the system it registers in. MAC wrong: neither response nor `auts`. SQN out of range: `auts`.
    fn answer_challenge(
        &mut self,
        entropy: &mut dyn Entropy,
        challenge: &DigestChallenge<'_>,
        algorithm: Algorithm,
        (rand, autn): (crate::aka::Rand, crate::aka::Autn),
    ) -> DigestCredentials<'static> {
        let authenticated = match &mut self.credentials {
            Credentials::Isim(isim) => isim.authenticate(&rand, &autn),
            Credentials::Password(_) => Err(Refusal::MacFailure),
        };
        let (secret, auts) = match authenticated {
            Ok(answer) => {
                let secret = password(
                    algorithm,
                    answer.res.expose(),
                    answer.ck.expose(),
                    answer.ik.expose(),
                );
                (Some(secret), None)
            }
            Err(Refusal::SynchronizationFailure(auts)) => {
                (Some(crate::secret::SecretBytes::default()), Some(encode_auts(&auts)))
            }
            Err(Refusal::MacFailure) => (None, None),
        };
        self.attempt.mac_failure = secret.is_none();
        let cnonce = format!("{:016x}", entropy.next_u64());
        let qop = challenge.offers_qop("auth").then_some(QopInput {
            qop: Qop::Auth,
            nc: FIRST_USE,
            cnonce: &cnonce,
        });
        let uri = self.digest_uri();
        let input = DigestInput {
            username: self.config.identity.impi.as_str(),
            realm: &challenge.realm,
            method: "REGISTER",
            uri: &uri,
            nonce: &challenge.nonce,
            qop,
            body: &[],
        };
        let answered = secret.as_ref().map(|secret| response(algorithm, &input, secret.expose()));
        if auts.is_none() {
            let proof = secret.as_ref().map(|secret| rspauth(algorithm, &input, secret.expose()));
            self.attempt.expected_rspauth = proof.map(|proof| proof.as_str().to_owned());
        }
        let with_qop = input.qop.is_some() && answered.is_some();
        DigestCredentials {
            username: input.username.to_owned().into(),
            realm: input.realm.to_owned().into(),
            nonce: input.nonce.to_owned().into(),
            response: answered.map(|it| it.as_str().to_owned()).unwrap_or_default().into(),
            algorithm: Some(algorithm.as_str()),
            qop: with_qop.then_some(Qop::Auth.as_str()),
            nc: with_qop.then_some(FIRST_USE),
            cnonce: with_qop.then(|| cnonce.clone().into()),
            auts: auts.map(Into::into),
            uri: uri.into(),
            opaque: challenge.opaque.as_ref().map(|opaque| opaque.clone().into_owned().into()),
        }
    }

    /// `MIG-25`: the SIP core confirmed; registered, or no longer.
    fn registered(&mut self, ctx: &mut Context<'_>, answer: &ResponseView<'_>) {
        let mine = self.contact_uri();
        let is_mine =
            |uri: &str| Some(equivalent(&Uri::parse(uri).ok()?, &Uri::parse(&mine).ok()?));
        let granted = answer.contacts().find(|contact| is_mine(contact.uri) == Some(true));
        let period = granted.and_then(|contact| contact.expires).unwrap_or(0);
        if self.attempt.expires == 0 || period == 0 {
            self.state = State::Idle;
            self.granted = None;
            return;
        }
        ctx.out.step(Step::mig(25), Role::Ue, "registered");
        let rspauth = answer.authentication_info().and_then(|info| info.rspauth);
        let mutual =
            rspauth.is_some() && rspauth.as_deref() == self.attempt.expected_rspauth.as_deref();
        let registered = Registered {
            expires_at: ctx.now + Duration::from_secs(period.into()),
            service_route: answer.service_route().map(str::to_owned).collect(),
            associated_uris: answer.associated_uris().map(str::to_owned).collect(),
            mutual,
        };
        if self.attempt.has_sent_tokens {
            // They were taken or not: the same once more would not change it.
            self.services.iter_mut().for_each(|it| it.info.access_token = None);
        }
        self.granted = Some(registered.clone());
        self.state = State::Registered(registered);
        ctx.out.arm(ctx.now + refresh_after(period), timer(TimerWhat::UeRefresh, self.numbers));
    }

    /// A 423: asks once more, for the period that the SIP core wants at least.
    fn ask_for_longer(&mut self, ctx: &mut Context<'_>, answer: &ResponseView<'_>) {
        match answer.min_expires() {
            Some(min) if min > self.attempt.expires => self.begin(ctx, min),
            _ => self.state = State::Failed(Failure::Refused(423)),
        }
    }

    fn send_register(
        &mut self,
        ctx: &mut Context<'_>,
        credentials: DigestCredentials<'_>,
        step: Step,
    ) {
        self.cseq = self.cseq.saturating_add(1);
        self.numbers += 1;
        let branch = format!("z9hG4bK{:016x}", ctx.entropy.next_u64());
        // A request that does not prove who sends it brings no token.
        let proves = !credentials.response.is_empty() && credentials.auts.is_none();
        let body = self.service_infos(ctx.entropy).filter(|_| proves && self.attempt.expires > 0);
        self.attempt.has_sent_tokens |= body.is_some();
        let octets = self.build(&branch, credentials, body);
        let identity = (self.numbers, branch, self.cseq);
        self.transaction =
            Some(ClientTransaction::start(ctx, identity, octets, self.config.flow, Some(step)));
    }

    /// The body that brings a token for each service that has one, and its type.
    fn service_infos(&self, entropy: &mut dyn Entropy) -> Option<(String, Bytes)> {
        let with_token = |it: &&ServiceLogOn| it.info.access_token.is_some();
        let mut infos = self.services.iter().filter(with_token).peekable();
        infos.peek()?;
        let body = infos.fold(Multipart::new(entropy.next_u64()), |body, it| {
            let document = it.info.render(it.service);
            body.part(mc_info::media_type(it.service), document.expose().as_bytes())
        });
        Some(body.finish())
    }

    fn build(
        &self,
        branch: &str,
        credentials: DigestCredentials<'_>,
        body: Option<(String, Bytes)>,
    ) -> Bytes {
        let services: Vec<ProfileService> = self.services.iter().map(|it| it.service).collect();
        let params = mc_info::contact_parameters(&services);
        let (content_type, body) = body.unwrap_or_default();
        let content_type = [("Content-Type", content_type.as_str())];
        let extra = if body.is_empty() { &[][..] } else { &content_type[..] };
        let path: Vec<&str> = self.config.paths.iter().map(String::as_str).collect();
        RegisterBuilder {
            request_uri: &self.digest_uri(),
            transport: match self.config.flow.transport {
                Transport::Udp => "UDP",
                Transport::Tcp => "TCP",
                Transport::Tls => "TLS",
            },
            sent_by: &self.config.flow.local.to_string(),
            branch,
            aor: self.config.identity.impu.as_str(),
            from_tag: &self.from_tag,
            call_id: &self.call_id,
            cseq: self.cseq,
            contact: ContactToSend::Uri {
                uri: &self.contact_uri(),
                expires: None,
                params: &params,
            },
            expires: Some(self.attempt.expires),
            supported: "path",
            path: &path,
            credentials: Some(credentials),
            extra,
            body: &body,
        }
        .build()
    }

    fn digest_uri(&self) -> String {
        let Config { domain, flow, .. } = &self.config;
        // Over TLS all of it is: a SIPS contact is registered by a SIPS Request-URI alone (RFC 5630 clause 5.4).
        let scheme = if flow.transport == Transport::Tls { "sips" } else { "sip" };
        format!("{scheme}:{domain}")
    }

    fn contact_uri(&self) -> String {
        contact_uri(self.contact, self.config.flow.transport)
    }
}

fn contact_uri(local: SocketAddr, transport: Transport) -> String {
    match transport {
        Transport::Udp => format!("sip:{local}"),
        Transport::Tcp => format!("sip:{local};transport=tcp"),
        // The transport `tls` is deprecated in URIs (RFC 3261 clause 26.2.2, RFC 5630 clause 3.1.4).
        Transport::Tls => format!("sips:{local}"),
    }
}

/// When to refresh: 600 s before the end of a period over 1,200 s, else at half of it
/// (TS 24.229 clause 5.1.1.4.1).
fn refresh_after(period: u32) -> Duration {
    Duration::from_secs(u64::from(if period > 1_200 { period - 600 } else { period / 2 }))
}

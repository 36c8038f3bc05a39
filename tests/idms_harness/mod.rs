//! An identity management server on its storage, a client with its keys, and what they say to each other.
#![allow(dead_code, unreachable_pub, reason = "each suite uses a part of it")]

use std::{collections::VecDeque, sync::Arc, time::Duration};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use migcore::{
    api::{
        identity_management::{
            Answer, Authorization, Client, ClientAuthentication, ClientCredential, ClientId, Grant,
            IssuerUrl, LogIn, Page, RedirectUri, Refusal, Request, TokenRequest, Tokens, UserName,
        },
        idms_management::{self as management, User, Visitor},
    },
    identity::{McServiceId, McSystemId},
    idms::{Config, IdentityServer},
    outbox::{
        Context, Effect, IdmsMessage, IdmsNote, Message, Note, Outbox, PasswordReply, ReplyTo,
        TimerKey, TooManyChecks,
    },
    secret::SecretText,
    step::Step,
    store::{CommitSeq, Engine, MemoryEngine, RecordKind, Sequencer},
    time::Timestamp,
    token::{
        claims::ServiceIds,
        key::SigningKey,
        password::{Cost, PasswordHash},
        scope::Scopes,
    },
};
use sha2::{Digest, Sha256};

pub use super::common::Seeded;

pub const START: u64 = 1_900_000_000;
pub const CLIENT: &str = "mc-client";
pub const REDIRECT: &str = "com.example.app:/back";
pub const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
pub const LEAST: Cost = Cost { memory: 8, passes: 1, lanes: 1 };
pub const DAY: u64 = 86_400;

/// A server on its storage.
pub struct World {
    pub role: IdentityServer,
    pub config: Config,
    pub engine: MemoryEngine,
    sequencer: Arc<Sequencer>,
    entropy: Seeded,
    pub now: u64,
    pub has_storage: bool,
    /// Whether passwords can be checked.
    pub is_busy: bool,
    pub commits: Vec<CommitSeq>,
    pub notes: Vec<IdmsNote>,
    pub full: Vec<&'static str>,
    pub steps: Vec<Step>,
    /// Passwords that were computed.
    pub checked: usize,
    timers: Vec<(Timestamp, TimerKey)>,
}

impl World {
    /// The server of `https://idms.<letter>.example`.
    pub fn new(letter: char) -> Self {
        Self::with(letter, |_| {})
    }

    pub fn with(letter: char, change: impl FnOnce(&mut Config)) -> Self {
        let audience = McSystemId::parse(&format!("sip:{letter}.example")).unwrap();
        let mut config = Config::new(issuer(letter), audience);
        config.password_cost = LEAST;
        change(&mut config);
        let mut entropy = Seeded(u64::from(letter));
        let mut world = Self {
            role: IdentityServer::new(config.clone(), &mut entropy),
            config,
            engine: MemoryEngine::default(),
            sequencer: Arc::default(),
            entropy,
            now: START,
            has_storage: true,
            is_busy: false,
            commits: Vec::new(),
            notes: Vec::new(),
            full: Vec::new(),
            steps: Vec::new(),
            checked: 0,
            timers: Vec::new(),
        };
        world.call(|role, ctx| role.handle_loaded(ctx));
        world
    }

    /// Everything that was not stored is lost.
    pub fn restart(&mut self) {
        self.role = IdentityServer::new(self.config.clone(), &mut self.entropy);
        let role = &self.role;
        let highest = self.engine.replay(&|record| role.load(&record)).unwrap();
        self.commits.clear(); // what was loaded is durable: nothing has to wait for it
        self.timers.clear();
        self.sequencer = Arc::new(Sequencer::starting_after(highest));
        self.call(|role, ctx| role.handle_loaded(ctx));
    }

    /// Lets time pass, with the timers that come due.
    pub fn pass(&mut self, seconds: u64) {
        let end = self.now + seconds;
        loop {
            let due = self.timers.iter().map(|(at, _)| *at).min();
            let Some(due) = due.filter(|due| *due <= Timestamp::from_secs(end)) else { break };
            let place = self.timers.iter().position(|(at, _)| *at == due).unwrap();
            let (_, timer) = self.timers.remove(place);
            self.now = self.now.max(due.as_micros().div_ceil(1_000_000));
            self.call(|role, ctx| role.handle_timer(ctx, &timer));
        }
        self.now = end;
    }

    /// Lets the server do something, and checks passwords for it; every message waits for all that was committed.
    pub fn call(
        &mut self,
        act: impl FnOnce(&IdentityServer, &mut Context<'_>),
    ) -> Vec<IdmsMessage> {
        let mut act = Some(act);
        self.perform(&mut |role, ctx| act.take().unwrap()(role, ctx))
    }

    fn perform(
        &mut self,
        act: &mut dyn FnMut(&IdentityServer, &mut Context<'_>),
    ) -> Vec<IdmsMessage> {
        let mut out = Outbox::new(Arc::clone(&self.sequencer));
        out.set_storage_available(self.has_storage);
        let now = Timestamp::from_secs(self.now);
        act(&self.role, &mut Context { now, entropy: &mut self.entropy, out: &mut out });
        let mut answers = Vec::new();
        let mut effects: VecDeque<Effect> = out.drain().collect();
        while let Some(effect) = effects.pop_front() {
            match effect {
                Effect::Commit(commit) => {
                    assert!(self.has_storage, "a commit without storage");
                    self.commits.push(commit.seq);
                    self.engine.commit(&[commit]).unwrap();
                }
                Effect::Send(send) => {
                    assert!(Some(&send.after) >= self.commits.last(), "{:?}", send.after);
                    match send.message {
                        Message::Idms(IdmsMessage::CheckPassword { id, password, hash }) => {
                            self.checked += 1;
                            let outcome = if self.is_busy {
                                Err(TooManyChecks)
                            } else {
                                Ok(hash.is_of(&password))
                            };
                            let reply = PasswordReply { id, outcome };
                            answers.extend(self.call(|role, ctx| role.handle_password(ctx, reply)));
                        }
                        Message::Idms(message) => answers.push(message),
                        other => panic!("no message of this role: {other:?}"),
                    }
                }
                Effect::Arm { at, timer } => self.timers.push((at, timer)),
                Effect::Step { step, .. } => self.steps.push(step),
                Effect::Note(Note::Idms(note)) => self.notes.push(note),
                Effect::Note(Note::TableFull(table)) => self.full.push(table),
                Effect::Note(other) => panic!("not for this world: {other:?}"),
            }
        }
        answers
    }

    pub fn ask(&mut self, request: Request) -> Answer {
        let mut answers =
            self.call(|role, ctx| role.handle_request(ctx, ReplyTo::World(1), request));
        assert_eq!(answers.len(), 1, "{answers:?}");
        match answers.remove(0) {
            IdmsMessage::Answer { answer, .. } => answer,
            other => panic!("no answer: {other:?}"),
        }
    }

    pub fn manage(&mut self, request: management::Request) -> management::Answer {
        let mut answers =
            self.call(|role, ctx| role.handle_management(ctx, ReplyTo::World(1), request));
        match answers.remove(0) {
            IdmsMessage::Management { answer, .. } => answer,
            other => panic!("no answer: {other:?}"),
        }
    }

    pub fn do_manage(&mut self, request: management::Request) {
        assert_eq!(self.manage(request), management::Answer::Done);
    }

    /// A public client, as a user's device has one.
    pub fn add_client(&mut self, id: &str) {
        self.add_client_with(id, |_| {});
    }

    pub fn add_client_with(&mut self, id: &str, change: impl FnOnce(&mut Client)) {
        let mut client = Client {
            id: ClientId::parse(id).unwrap(),
            redirect_uris: vec![RedirectUri::parse(REDIRECT).unwrap()],
            authentication: ClientAuthentication::None,
            requires_proof: false,
            scopes: Scopes::ALL,
        };
        change(&mut client);
        self.do_manage(management::Request::PutClient(client));
    }

    /// A user of all services who may go to the partner of `partner`; returns the `sub`.
    pub fn add_user(&mut self, name: &str, partner: char) -> String {
        self.add_user_with(name, |user| user.partners = vec![issuer(partner)])
    }

    pub fn add_user_with(&mut self, name: &str, change: impl FnOnce(&mut User)) -> String {
        let hash = PasswordHash::compute(&password_of(name), LEAST, &mut self.entropy);
        let domain = self.config.audience.as_str().trim_start_matches("sip:").to_owned();
        let mut user = User {
            name: UserName::parse(name).unwrap(),
            password: hash.ok(),
            services: services(name, &domain),
            partners: Vec::new(),
            is_enabled: true,
        };
        change(&mut user);
        let name = user.name.clone();
        self.do_manage(management::Request::PutUser(user));
        match self.manage(management::Request::GetUser(name)) {
            management::Answer::User { subject, .. } => subject,
            other => panic!("no user: {other:?}"),
        }
    }

    /// A user of the system of `home`, who may migrate here.
    pub fn add_visitor(&mut self, home: char, subject: &str, name: &str) {
        let domain = self.config.audience.as_str().trim_start_matches("sip:").to_owned();
        let services = services(name, &domain);
        let (issuer, subject, may_migrate) = (issuer(home), subject.to_owned(), true);
        let visitor = Visitor { issuer, subject, services, may_migrate };
        self.do_manage(management::Request::PutVisitor(visitor));
    }

    /// The page to log in.
    pub fn open(&mut self, parameters: Authorization) -> Answer {
        self.ask(Request::OpenLogIn { parameters: Box::new(parameters), visit: None })
    }

    pub fn page(&mut self, parameters: Authorization) -> Page {
        match self.open(parameters) {
            Answer::Page(page) => *page,
            other => panic!("no page: {other:?}"),
        }
    }

    pub fn send_page(&mut self, page: Page, user: &str, password: SecretText) -> Answer {
        let Page { parameters, visit, form, .. } = page;
        let log_in = LogIn {
            parameters,
            visit: Some(visit),
            form,
            user: SecretText::new(user),
            password,
            source: "192.0.2.1".parse().ok(),
        };
        self.ask(Request::LogIn(Box::new(log_in)))
    }

    /// Logs a user in and returns the code.
    pub fn code(&mut self, user: &str, parameters: Authorization) -> String {
        let page = self.page(parameters);
        match self.send_page(page, user, password_of(user)) {
            Answer::Redirect(redirect) => {
                let (name, code) = redirect.parameters[0].clone();
                assert_eq!(name, "code", "{redirect:?}");
                code
            }
            other => panic!("no code: {other:?}"),
        }
    }

    pub fn tokens(&mut self, request: TokenRequest) -> Result<Tokens, Refusal> {
        match self.ask(Request::Token(Box::new(request))) {
            Answer::Tokens(tokens) => Ok(*tokens),
            Answer::Refused(refusal) => Err(refusal),
            other => panic!("no tokens: {other:?}"),
        }
    }

    /// Logs a user in, all the way to tokens, with the proof of a key if there is one.
    pub fn log_in(&mut self, user: &str, key: Option<&SigningKey>) -> Tokens {
        let code = self.code(user, parameters());
        let proof = key.map(|key| self.proof(key));
        self.tokens(with_proof(redeem(&code), proof)).unwrap()
    }

    /// Gets a security token for the partner of `partner`.
    pub fn security_token(
        &mut self,
        user: &str,
        partner: char,
        key: Option<&SigningKey>,
    ) -> String {
        let access = self.log_in(user, key).access_token;
        let proof = key.map(|key| self.proof(key));
        let tokens = self.tokens(with_proof(exchange(&access, partner), proof)).unwrap();
        tokens.access_token.expose().to_owned()
    }

    /// A proof of a key, for the token endpoint of this server now.
    pub fn proof(&mut self, key: &SigningKey) -> String {
        let url = self.config.issuer.endpoint("/token");
        self.entropy.0 += 1;
        proof(key, &url, self.now, &self.entropy.0.to_string())
    }

    /// Trusts the keys of `home` that there are now, as by a file.
    pub fn trust(&mut self, home: &mut Self) -> management::Answer {
        let pem = home.export();
        self.import(home.config.issuer.clone(), &pem)
    }

    pub fn import(&mut self, issuer: IssuerUrl, pem: &str) -> management::Answer {
        let file = migcore::token::certificate::TrustFile::read(pem).unwrap();
        self.manage(management::Request::Import { issuer, file })
    }

    /// The certificates of this server's keys, the earliest first.
    pub fn own_keys(&mut self) -> Vec<management::OwnKey> {
        match self.manage(management::Request::Export) {
            management::Answer::Own(keys) => keys,
            other => panic!("no keys: {other:?}"),
        }
    }

    pub fn export(&mut self) -> String {
        self.own_keys().iter().map(|key| key.certificate.to_pem()).collect()
    }

    pub fn stored(&self, kind: RecordKind) -> usize {
        self.engine.reader().page(kind, None, 1_000).unwrap().len()
    }

    /// Why the last request was refused, as the operator is told.
    pub fn last_refusal(&self) -> Option<&'static str> {
        self.notes.iter().rev().find_map(|note| match note {
            IdmsNote::Refused(why) => Some(*why),
            _ => None,
        })
    }
}

pub fn issuer(letter: char) -> IssuerUrl {
    IssuerUrl::parse(&format!("https://idms.{letter}.example")).unwrap()
}

pub fn password_of(user: &str) -> SecretText {
    SecretText::new(format!("{user} has a long password"))
}

pub fn services(name: &str, domain: &str) -> ServiceIds {
    let id = |service: &str| McServiceId::parse(&format!("sip:{service}-{name}@{domain}")).ok();
    ServiceIds { mcptt_id: id("ptt"), mcvideo_id: id("video"), mcdata_id: id("data") }
}

pub fn parameters() -> Authorization {
    Authorization {
        response_type: "code".to_owned(),
        client_id: CLIENT.to_owned(),
        redirect_uri: REDIRECT.to_owned(),
        scope: "openid 3gpp:mc:ptt_service".to_owned(),
        state: "xyz".to_owned(),
        nonce: "once".to_owned(),
        code_challenge: CHALLENGE.to_owned(),
        code_challenge_method: "S256".to_owned(),
        acr_values: "3gpp:acr:password".to_owned(),
        dpop_jkt: String::new(),
    }
}

fn request(grant: Grant) -> TokenRequest {
    let client = ClientCredential::Name(CLIENT.to_owned());
    TokenRequest { client, grant, proof: None, source: "192.0.2.1".parse().ok() }
}

pub fn redeem(code: &str) -> TokenRequest {
    request(Grant::Code {
        code: SecretText::new(code),
        redirect_uri: REDIRECT.to_owned(),
        verifier: SecretText::new(VERIFIER),
    })
}

pub fn refresh(token: &SecretText, scope: Option<&str>) -> TokenRequest {
    request(Grant::Refresh { token: token.clone(), scope: scope.map(str::to_owned) })
}

pub fn exchange(access_token: &SecretText, partner: char) -> TokenRequest {
    let resource = issuer(partner).as_str().to_owned();
    request(Grant::Exchange { subject_token: access_token.clone(), resource })
}

pub fn present(security_token: &str) -> TokenRequest {
    present_for(security_token, Some("openid 3gpp:mc:ptt_service"))
}

pub fn present_for(security_token: &str, scope: Option<&str>) -> TokenRequest {
    let assertion = SecretText::new(security_token);
    request(Grant::Assertion { assertion, scope: scope.map(str::to_owned) })
}

pub fn with_proof(request: TokenRequest, proof: Option<String>) -> TokenRequest {
    TokenRequest { proof, ..request }
}

pub fn by_client(request: TokenRequest, client: &str) -> TokenRequest {
    TokenRequest { client: ClientCredential::Name(client.to_owned()), ..request }
}

/// A proof of a key (RFC 9449).
pub fn proof(key: &SigningKey, url: &str, now: u64, id: &str) -> String {
    let claims = serde_json::json!({"jti": id, "htm": "POST", "htu": url, "iat": now});
    let jwk: serde_json::Value = serde_json::from_str(&String::from(key.public().clone())).unwrap();
    signed_with(key, &serde_json::json!({"alg": "ES256", "typ": "dpop+jwt", "jwk": jwk}), &claims)
}

/// A token with a header of the caller's choice, signed with ES256.
pub fn signed_with(
    key: &SigningKey,
    header: &serde_json::Value,
    claims: &serde_json::Value,
) -> String {
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
    let random = ring::rand::SystemRandom::new();
    let pkcs8 = key.pkcs8().expose();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, &random).unwrap();
    let encode = |value: &serde_json::Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encode(header), encode(claims));
    let signature = pair.sign(&random, signed.as_bytes()).unwrap();
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature.as_ref()))
}

/// What a token says, without a look at its signature.
pub fn claims(token: &str) -> serde_json::Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

/// The header of a token.
pub fn header(token: &str) -> serde_json::Value {
    let header = token.split('.').next().unwrap();
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap()
}

pub fn challenge_of(verifier: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(verifier))
}

pub fn days(days: u64) -> Duration {
    Duration::from_secs(days * DAY)
}

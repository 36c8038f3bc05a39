//! An MC server with a key that signs its tokens, and a SIP core written by hand.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part")]

use std::{net::SocketAddr, sync::Arc, time::Duration};

use super::common::Seeded;
use migcore::{
    mc_info::{self, ServiceInfo},
    mc_server::{Config, McServer, StoredRecord},
    outbox::{Context, Effect, Flow, Message, Note, Outbox, TimerKey, Transport},
    secret::SecretText,
    store::{CommitSeq, Engine, MemoryEngine, RecordKind, Sequencer},
    time::Timestamp,
    token::{
        certificate::Certificate,
        claims::{
            ACCESS_TOKEN_TYPE, AccessToken, Audience, NumericDate, ServiceIdClaims, ServiceIds,
        },
        issuer::KnownIssuer,
        key::SigningKey,
        scope::Scopes,
    },
    user_profile::ProfileService,
};

pub const IMPU: &str = "sip:mig-7@b.example";
const ISSUER: &str = "https://idms.b.example";
const SYSTEM: &str = "sip:b.example";

pub struct Bench {
    pub server: McServer,
    pub out: Outbox,
    pub entropy: Seeded,
    pub now: Timestamp,
    pub engine: MemoryEngine,
    pub source: SocketAddr,
    pub notes: Vec<Note>,
    pub timers: Vec<(Timestamp, TimerKey)>,
    answers: Vec<Answer>,
    key: SigningKey,
    issuer: KnownIssuer,
    sent: u32,
}

pub struct Answer {
    pub text: String,
    pub after: CommitSeq,
}

impl Answer {
    pub fn status(&self) -> u16 {
        self.text[8..11].parse().unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let line = self.text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map(str::trim)
    }
}

/// A third-party REGISTER.
#[derive(Clone)]
pub struct Registered<'a> {
    pub impu: &'a str,
    pub call: u32,
    pub cseq: u32,
    pub branch: u32,
    pub expires: u32,
    /// Whether it carries the UE's REGISTER.
    pub carries: bool,
    /// The feature tags in that.
    pub services: Vec<ProfileService>,
    /// The tokens in that; each service has its feature tag, too.
    pub tokens: Vec<(ProfileService, String)>,
}

pub fn registered() -> Registered<'static> {
    Registered {
        impu: IMPU,
        call: 1,
        cseq: 10,
        branch: 0,
        expires: 3_600,
        carries: true,
        services: Vec::new(),
        tokens: Vec::new(),
    }
}

#[derive(Clone)]
pub struct Publish<'a> {
    pub impu: &'a str,
    pub token: Option<String>,
    pub etag: Option<String>,
    pub expires: u32,
    pub body: bool,
    pub answer_mode: &'a str,
}

pub fn publish() -> Publish<'static> {
    Publish {
        impu: IMPU,
        token: None,
        etag: None,
        expires: u32::MAX,
        body: true,
        answer_mode: "automatic",
    }
}

pub fn scope(names: &str) -> Scopes {
    Scopes::parse(names).unwrap()
}

pub fn audience(system: &str) -> Audience {
    Audience::of([system])
}

/// The claims with this MCPTT ID, or without any.
pub fn ids(mcptt: Option<&str>) -> ServiceIdClaims {
    ServiceIds { mcptt_id: mcptt.map(|id| id.parse().unwrap()), ..ServiceIds::default() }.into()
}

impl Bench {
    pub fn new() -> Self {
        Self::with(Config::new("mc.b.example"))
    }

    pub fn with(config: Config) -> Self {
        let mut entropy = Seeded(1);
        let now = Timestamp::from_secs(1_800_000_000);
        let key = SigningKey::generate().unwrap();
        let ten_years = Duration::from_secs(10 * 366 * 86_400);
        let certificate = Certificate::of_own(&key, ISSUER, now, now + ten_years).unwrap();
        let issuer = KnownIssuer {
            issuer: ISSUER.to_owned(),
            audience: SYSTEM.to_owned(),
            certificates: vec![certificate],
        };
        Self {
            server: McServer::new(config, &mut entropy),
            out: Outbox::new(Arc::new(Sequencer::default())),
            entropy,
            now: now + Duration::from_secs(1_000),
            engine: MemoryEngine::default(),
            source: "127.0.0.1:5060".parse().unwrap(),
            notes: Vec::new(),
            timers: Vec::new(),
            answers: Vec::new(),
            key,
            issuer,
            sent: 0,
        }
    }

    fn claims(&self) -> AccessToken {
        let id = |service: &str| Some(format!("sip:alice-{service}@b.example").parse().unwrap());
        let services = ServiceIds {
            mcptt_id: id("mcptt"),
            mcvideo_id: id("mcvideo"),
            mcdata_id: id("mcdata"),
        };
        AccessToken {
            iss: ISSUER.to_owned(),
            sub: "alice".to_owned(),
            aud: audience(SYSTEM),
            exp: NumericDate::from(self.now + Duration::from_secs(3_600)),
            iat: NumericDate::from(self.now),
            jti: "token-1".to_owned(),
            client_id: "mc-client".to_owned(),
            scope: scope("openid 3gpp:mc:ptt_service 3gpp:mc:video_service 3gpp:mc:data_service"),
            cnf: None,
            services: services.into(),
        }
    }

    /// A good token, changed.
    pub fn token(&self, change: impl FnOnce(&mut AccessToken)) -> String {
        let mut claims = self.claims();
        change(&mut claims);
        self.key.sign(ACCESS_TOKEN_TYPE, &claims).unwrap()
    }

    pub fn token_of(&self, _service: ProfileService) -> String {
        self.token(|_| {})
    }

    pub fn token_of_another_key(&self) -> String {
        SigningKey::generate().unwrap().sign(ACCESS_TOKEN_TYPE, &self.claims()).unwrap()
    }

    /// What is stored, as JSON.
    pub fn records(&mut self) -> Vec<String> {
        let all = std::sync::Mutex::new(Vec::new());
        self.engine
            .replay(&|record| {
                assert_eq!(record.kind, RecordKind::McClient);
                let stored = StoredRecord::decode(record.kind, record.value)?.unwrap();
                stored.check(std::str::from_utf8(record.key).unwrap()).unwrap();
                all.lock().unwrap().push(serde_json::to_string(&stored).unwrap());
                Ok(())
            })
            .unwrap();
        all.into_inner().unwrap()
    }

    pub fn send(&mut self, text: &str) -> Answer {
        let flow = Flow {
            transport: Transport::Udp,
            local: "127.0.0.1:5070".parse().unwrap(),
            remote: self.source,
            connection: 0,
        };
        let issuer = self.issuer.clone();
        self.with_server(|server, ctx| server.handle_sip(ctx, &issuer, flow, text.as_bytes()));
        assert_eq!(self.answers.len(), 1, "one answer to {text}");
        self.answers.remove(0)
    }

    fn with_server(&mut self, call: impl FnOnce(&McServer, &mut Context<'_>)) {
        let mut ctx = Context { now: self.now, entropy: &mut self.entropy, out: &mut self.out };
        call(&self.server, &mut ctx);
        let effects: Vec<Effect> = self.out.drain().collect();
        for effect in effects {
            match effect {
                Effect::Commit(commit) => self.engine.commit(&[commit]).unwrap(),
                Effect::Send(send) => match send.message {
                    Message::Sip { octets, .. } => {
                        let text = String::from_utf8(octets.to_vec()).unwrap();
                        self.answers.push(Answer { text, after: send.after });
                    }
                    other => panic!("the MC server sent {other:?}"),
                },
                Effect::Arm { at, timer } => self.timers.push((at, timer)),
                Effect::Step { .. } => {}
                Effect::Note(note) => self.notes.push(note),
            }
        }
    }

    pub fn register(&mut self, registered: &Registered<'_>) -> Answer {
        let Registered { impu, call, cseq, branch, expires, .. } = registered;
        let (content_type, body) = if registered.carries {
            ("Content-Type: message/sip\r\n", self.own_register(registered))
        } else {
            ("", String::new())
        };
        self.sent += 1;
        let text = format!(
            "REGISTER sip:mc.b.example SIP/2.0\r\n\
             Via: SIP/2.0/UDP scscf.b.example;branch=z9hG4bK{branch}r{};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:scscf.b.example>;tag=1\r\nTo: <{impu}>\r\nCall-ID: {call}\r\nCSeq: {cseq} REGISTER\r\n\
             Contact: <sip:scscf.b.example>\r\nExpires: {expires}\r\n{content_type}Content-Length: {}\r\n\r\n{body}",
            self.sent,
            body.len()
        );
        self.send(&text)
    }

    /// A third-party REGISTER with any body.
    pub fn register_with(&mut self, content_type: &str, body: &str) -> Answer {
        self.sent += 1;
        let text = format!(
            "REGISTER sip:mc.b.example SIP/2.0\r\nVia: SIP/2.0/UDP scscf.b.example;branch=z9hG4bKw{};rport\r\n\
             From: <sip:scscf.b.example>;tag=1\r\nTo: <{IMPU}>\r\nCall-ID: w\r\nCSeq: {} REGISTER\r\n\
             Contact: <sip:scscf.b.example>\r\nExpires: 3600\r\nContent-Type: {content_type}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.sent,
            self.sent,
            body.len()
        );
        self.send(&text)
    }

    fn own_register(&self, registered: &Registered<'_>) -> String {
        let mut services = registered.services.clone();
        services.extend(registered.tokens.iter().map(|(service, _)| *service));
        let tags = mc_info::contact_parameters(&services);
        let impu = registered.impu;
        let mut body = String::new();
        for (service, token) in &registered.tokens {
            let info = info(Some(token));
            let (media_type, document) = (mc_info::media_type(*service), info.render(*service));
            body += &format!("--b\r\nContent-Type: {media_type}\r\n\r\n{}\r\n", document.expose());
        }
        let content_type = if body.is_empty() {
            ""
        } else {
            body += "--b--\r\n";
            "Content-Type: multipart/mixed;boundary=b\r\n"
        };
        format!(
            "REGISTER sip:b.example SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.9:5060;branch=z9hG4bK1\r\n\
             From: <{impu}>;tag=1\r\nTo: <{impu}>\r\nCall-ID: ue\r\nCSeq: 2 REGISTER\r\n\
             Contact: <sip:ue@192.0.2.9>{tags}\r\nExpires: 3600\r\n{content_type}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    pub fn publish(&mut self, publish: &Publish<'_>) -> Answer {
        let text = self.publish_text(publish);
        self.send(&text)
    }

    pub fn publish_text(&mut self, publish: &Publish<'_>) -> String {
        let Publish { impu, token, etag, expires, body, answer_mode } = publish;
        self.sent += 1;
        let mut content = String::new();
        if *body {
            let service = ProfileService::Mcptt;
            if token.is_some() {
                let document = info(token.as_deref()).render(service);
                let media_type = mc_info::media_type(service);
                content +=
                    &format!("--b\r\nContent-Type: {media_type}\r\n\r\n{}\r\n", document.expose());
            }
            content += &format!(
                "--b\r\nContent-Type: application/poc-settings+xml\r\n\r\n\
                 <poc-settings xmlns=\"urn:oma:params:xml:ns:poc:poc-settings\"><entity id=\"1\"><am-settings>\
                 <answer-mode>{answer_mode}</answer-mode></am-settings></entity></poc-settings>\r\n--b--\r\n"
            );
        }
        let content_type = if *body { "Content-Type: multipart/mixed;boundary=b\r\n" } else { "" };
        let etag = etag.as_ref().map_or(String::new(), |etag| format!("SIP-If-Match: {etag}\r\n"));
        format!(
            "PUBLISH sip:mcptt@b.example SIP/2.0\r\nVia: SIP/2.0/UDP scscf.b.example;branch=z9hG4bKp{};rport\r\n\
             From: <{impu}>;tag=1\r\nTo: <sip:mcptt@b.example>\r\nCall-ID: p{}\r\nCSeq: 1 PUBLISH\r\n\
             P-Asserted-Identity: <{impu}>\r\nP-Asserted-Service: urn:urn-7:3gpp-service.ims.icsi.mcptt\r\n\
             Event: poc-settings\r\nExpires: {expires}\r\n{etag}{content_type}Content-Length: {}\r\n\r\n{content}",
            self.sent,
            self.sent,
            content.len()
        )
    }

    /// A request without a body.
    pub fn request(&mut self, method: &str, impu: &str, service: &str) -> Answer {
        self.sent += 1;
        let text = format!(
            "{method} sip:mcptt@b.example SIP/2.0\r\nVia: SIP/2.0/UDP scscf.b.example;branch=z9hG4bKq{};rport\r\n\
             From: <{impu}>;tag=1\r\nTo: <sip:mcptt@b.example>\r\nCall-ID: q\r\nCSeq: 1 {method}\r\n\
             P-Asserted-Identity: <{impu}>\r\nP-Asserted-Service: {service}\r\nEvent: poc-settings\r\n\
             Content-Length: 0\r\n\r\n",
            self.sent
        );
        self.send(&text)
    }

    /// Lets time pass; timers fire in order.
    pub fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let due = self.timers.iter().enumerate().filter(|(_, (at, _))| *at <= end);
            let Some((at, _)) = due.min_by_key(|(_, timer)| (*timer).clone()) else { break };
            let (at, timer) = self.timers.remove(at);
            self.now = self.now.max(at);
            self.with_server(|server, ctx| server.handle_timer(ctx, &timer));
        }
        self.now = end;
    }

    pub fn restart(&mut self) {
        self.restart_with(Config::new("mc.b.example"));
    }

    pub fn restart_with(&mut self, config: Config) {
        self.server = McServer::new(config, &mut self.entropy);
        self.timers.clear();
        let server = &self.server;
        self.engine.replay(&|record| server.load(&record)).unwrap();
        self.with_server(McServer::handle_loaded);
    }
}

fn info(token: Option<&str>) -> ServiceInfo {
    let client_id = Some("urn:uuid:00000000-0000-1000-8000-000000000001".to_owned());
    ServiceInfo { access_token: token.map(SecretText::new), client_id }
}

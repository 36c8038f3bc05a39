//! A SIP core with a scripted SIP database around it, and a UE written by hand.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part")]

use std::{sync::Arc, time::Duration};

use super::common::Seeded;
use migcore::{
    aka::{
        Auts, Milenage, Sqn,
        digest::{
            Algorithm, DigestInput, Qop, QopInput, decode_nonce, encode_auts, password, response,
        },
    },
    api::registration,
    diameter::cx::{self, ResultCode, ServerAssignmentType},
    entropy::Entropy,
    outbox::{
        Context, CxReply, Effect, Flow, Message, Note, Outbox, ReplyTo, SipTarget, TimerKey,
        Transport, Undeliverable,
    },
    secret::Secret,
    sip_core::{Config, SipCore},
    step::Step,
    store::{CommitSeq, Engine, MemoryEngine, Sequencer},
    time::Timestamp,
};

pub const IMPI: &str = "mig-7@b.example";
pub const IMPU: &str = "sip:mig-7@b.example";
pub const K: [u8; 16] = *b"0123456789abcdef";
pub const OPC: [u8; 16] = *b"fedcba9876543210";

/// What the scripted SIP database does with vector requests.
#[derive(Clone, Copy, PartialEq)]
pub enum Database {
    Serves,
    Refuses(ResultCode),
    Unreachable,
    Silent,
}

pub struct Bench {
    pub core: SipCore,
    pub out: Outbox,
    pub entropy: Seeded,
    pub now: Timestamp,
    pub engine: MemoryEngine,
    pub database: Database,
    pub seq: u64,
    /// What the core did, drained by the tests.
    pub vector_requests: Vec<cx::MultimediaAuthRequest>,
    pub assignments: Vec<ServerAssignmentType>,
    /// What each assignment waits for.
    pub assignments_after: Vec<CommitSeq>,
    pub replies: Vec<Reply>,
    /// Requests to application servers.
    pub requests: Vec<ToServer>,
    pub notes: Vec<Note>,
    pub timers: Vec<(Timestamp, TimerKey)>,
    pub silent: Vec<CxReply>,
    /// What the database has in place of a key.
    pub password: Option<cx::SipDigest>,
    /// Answers to management requests, and what each waits for.
    pub managed: Vec<(registration::Answer, CommitSeq)>,
}

/// A request of the core to an application server.
#[derive(Clone)]
pub struct ToServer {
    pub to: SipTarget,
    pub text: String,
    pub after: CommitSeq,
}

impl ToServer {
    pub fn header(&self, name: &str) -> Option<&str> {
        header_of(&self.text, name)
    }

    pub fn body(&self) -> &str {
        self.text.split_once("\r\n\r\n").unwrap().1
    }

    /// An answer of the server, with further header fields.
    pub fn answer(&self, status: &str, fields: &str) -> String {
        let of = |name| self.header(name).unwrap();
        format!(
            "SIP/2.0 {status}\r\nVia: {}\r\nFrom: {}\r\nTo: {};tag=as\r\nCall-ID: {}\r\nCSeq: {}\r\n\
             {fields}Content-Length: 0\r\n\r\n",
            of("Via"),
            of("From"),
            of("To"),
            of("Call-ID"),
            of("CSeq")
        )
    }
}

fn header_of<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let head = text.split("\r\n\r\n").next()?;
    let line = head.lines().find(|line| {
        line.split_once(':').is_some_and(|(given, _)| given.eq_ignore_ascii_case(name))
    })?;
    Some(line.split_once(':').unwrap().1.trim())
}

pub struct Reply {
    pub text: String,
    pub flow: Flow,
    pub after: CommitSeq,
    pub step: Option<Step>,
}

impl Reply {
    pub fn status(&self) -> u16 {
        self.text[8..11].parse().unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let line = self.text.lines().find(|line| {
            line.split_once(':').is_some_and(|(given, _)| given.eq_ignore_ascii_case(name))
        })?;
        Some(line.split_once(':').unwrap().1.trim())
    }

    pub fn nonce(&self) -> String {
        let challenge = self.header("WWW-Authenticate").expect("a challenge");
        challenge.split("nonce=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
    }
}

pub fn milenage() -> Milenage {
    Milenage::new(&Secret::new(K), &Secret::new(OPC))
}

pub fn udp() -> Flow {
    Flow {
        transport: Transport::Udp,
        local: "192.0.2.1:5060".parse().unwrap(),
        remote: "192.0.2.9:40000".parse().unwrap(),
        connection: 0,
    }
}

pub fn tcp(connection: u64) -> Flow {
    Flow { transport: Transport::Tcp, connection, ..udp() }
}

/// A REGISTER, written by hand.
#[derive(Clone)]
pub struct Register {
    pub branch: String,
    pub call_id: &'static str,
    pub cseq: u32,
    pub contact: Option<&'static str>,
    pub expires: Option<u32>,
    pub extra: String,
    pub authorization: String,
}

pub fn initial() -> Register {
    Register {
        branch: "z9hG4bKinitial".to_owned(),
        call_id: "call-1",
        cseq: 1,
        contact: Some("<sip:ue@192.0.2.9:40000>"),
        expires: Some(3600),
        extra: String::new(),
        authorization: format!(
            "Digest username=\"{IMPI}\", realm=\"b.example\", uri=\"sip:b.example\", nonce=\"\", response=\"\""
        ),
    }
}

impl Register {
    pub fn text(&self) -> String {
        let contact =
            self.contact.map_or(String::new(), |contact| format!("Contact: {contact}\r\n"));
        let expires =
            self.expires.map_or(String::new(), |expires| format!("Expires: {expires}\r\n"));
        format!(
            "REGISTER sip:b.example SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9:40000;branch={};rport\r\n\
             Max-Forwards: 70\r\nFrom: <{IMPU}>;tag=f\r\nTo: <{IMPU}>\r\nCall-ID: {}\r\nCSeq: {} REGISTER\r\n\
             {contact}{expires}{}Authorization: {}\r\nContent-Length: 0\r\n\r\n",
            self.branch, self.call_id, self.cseq, self.extra, self.authorization
        )
    }

    pub fn branch(mut self, branch: &str) -> Self {
        self.branch = format!("z9hG4bK{branch}");
        self
    }

    pub fn cseq(mut self, cseq: u32) -> Self {
        self.cseq = cseq;
        self
    }

    /// The same REGISTER as an answer to a challenge, with the next CSeq and a branch of its own.
    pub fn answering(mut self, nonce: &str, with: Answer) -> Self {
        self.cseq += 1;
        self.branch = format!("z9hG4bKanswer{}{}", self.call_id, self.cseq);
        self.authorization = credentials(nonce, with);
        self
    }
}

#[derive(Clone, Copy)]
pub enum Answer {
    Right,
    RightBy(Algorithm),
    Wrong,
    Empty,
    Auts(Auts),
    MalformedAuts,
}

pub fn credentials(nonce: &str, with: Answer) -> String {
    let (rand, autn) = decode_nonce(nonce).unwrap();
    let ue = milenage().verify_autn(&rand, &autn).unwrap();
    let algorithm =
        if let Answer::RightBy(algorithm) = with { algorithm } else { Algorithm::AkaV1Md5 };
    let secret = match with {
        Answer::Right | Answer::RightBy(_) => {
            password(algorithm, ue.res.expose(), ue.ck.expose(), ue.ik.expose()).expose().to_vec()
        }
        Answer::Wrong => b"wrong".to_vec(),
        Answer::Empty | Answer::Auts(_) | Answer::MalformedAuts => Vec::new(),
    };
    let input = DigestInput {
        username: IMPI,
        realm: "b.example",
        method: "REGISTER",
        uri: "sip:b.example",
        nonce,
        qop: Some(QopInput { qop: Qop::Auth, nc: "00000001", cnonce: "c" }),
        body: &[],
    };
    let digest = response(algorithm, &input, &secret);
    let digest = if matches!(with, Answer::Empty) { "" } else { digest.as_str() };
    let auts = match with {
        Answer::Auts(auts) => format!(", auts=\"{}\"", encode_auts(&auts)),
        Answer::MalformedAuts => ", auts=\"AAAA\"".to_owned(),
        _ => String::new(),
    };
    format!(
        "Digest username=\"{IMPI}\", realm=\"b.example\", uri=\"sip:b.example\", nonce=\"{nonce}\", \
         response=\"{digest}\", algorithm={}, qop=auth, nc=00000001, cnonce=\"c\"{auts}",
        algorithm.as_str()
    )
}

impl Bench {
    pub fn new() -> Self {
        Self::with(Config::for_domain("b.example"))
    }

    pub fn with(config: Config) -> Self {
        let mut entropy = Seeded(1);
        Self {
            core: SipCore::new(config, &mut entropy),
            out: Outbox::new(Arc::new(Sequencer::default())),
            entropy,
            now: Timestamp::from_secs(1_800_000_000),
            engine: MemoryEngine::default(),
            database: Database::Serves,
            seq: 100,
            vector_requests: Vec::new(),
            assignments: Vec::new(),
            assignments_after: Vec::new(),
            replies: Vec::new(),
            requests: Vec::new(),
            notes: Vec::new(),
            timers: Vec::new(),
            silent: Vec::new(),
            password: None,
            managed: Vec::new(),
        }
    }

    pub fn with_core(&mut self, call: impl FnOnce(&SipCore, &mut Context<'_>)) {
        let mut ctx = Context { now: self.now, entropy: &mut self.entropy, out: &mut self.out };
        call(&self.core, &mut ctx);
        self.perform();
    }

    pub fn perform(&mut self) {
        loop {
            let effects: Vec<Effect> = self.out.drain().collect();
            if effects.is_empty() {
                return;
            }
            for effect in effects {
                match effect {
                    Effect::Commit(commit) => self.engine.commit(&[commit]).unwrap(),
                    Effect::Send(send) => match send.message {
                        Message::Sip { flow, octets } => {
                            let text = String::from_utf8(octets.to_vec()).unwrap();
                            self.replies.push(Reply {
                                text,
                                flow,
                                after: send.after,
                                step: send.step,
                            });
                        }
                        Message::SipRequest { to, octets } => {
                            let text = String::from_utf8(octets.to_vec()).unwrap();
                            self.requests.push(ToServer { to, text, after: send.after });
                        }
                        Message::CxRequest { id, request, .. } => {
                            if let cx::Request::ServerAssignment(_) = request {
                                self.assignments_after.push(send.after);
                            }
                            let reply = CxReply { id, outcome: self.answer(request) };
                            if self.database == Database::Silent {
                                self.silent.push(reply);
                                continue;
                            }
                            let mut ctx = Context {
                                now: self.now,
                                entropy: &mut self.entropy,
                                out: &mut self.out,
                            };
                            self.core.handle_answer(&mut ctx, reply);
                        }
                        Message::Registration { answer, .. } => {
                            self.managed.push((answer, send.after));
                        }
                        other => panic!("the SIP core sent {other:?}"),
                    },
                    Effect::Arm { at, timer } => self.timers.push((at, timer)),
                    Effect::Step { .. } => {}
                    Effect::Note(note) => self.notes.push(note),
                }
            }
        }
    }

    pub fn answer(&mut self, request: cx::Request) -> Result<cx::Answer, Undeliverable> {
        match request {
            cx::Request::MultimediaAuth(request) => {
                self.vector_requests.push(request.clone());
                let result = match self.database {
                    Database::Serves | Database::Silent => ResultCode::SUCCESS,
                    Database::Refuses(result) => result,
                    Database::Unreachable => return Err(Undeliverable),
                };
                self.seq += 1;
                let mut rand = [0; 16];
                self.entropy.fill(&mut rand);
                let vector = milenage().vector(&rand, Sqn::new(self.seq, 0, 5), [0x80, 0]);
                let is_aka = result.is_success() && self.password.is_none();
                let digest = self.password.clone().filter(|_| result.is_success());
                Ok(cx::Answer::MultimediaAuth(cx::MultimediaAuthAnswer {
                    result,
                    identity: request.identity,
                    scheme: request.scheme,
                    vector: is_aka.then_some(vector),
                    digest: digest.map(Box::new),
                }))
            }
            cx::Request::ServerAssignment(request) => {
                self.assignments.push(request.assignment);
                let user_data = cx::UserData {
                    impi: request.impi.clone().unwrap(),
                    impus: request.impus.to_vec(),
                };
                Ok(cx::Answer::ServerAssignment(cx::ServerAssignmentAnswer {
                    result: ResultCode::SUCCESS,
                    impi: request.impi,
                    user_data: (!request.user_data_already_available).then_some(user_data),
                }))
            }
        }
    }

    /// Sends text on a flow; returns the one answer, if there was one.
    pub fn send_on(&mut self, flow: Flow, text: &str) -> Option<Reply> {
        self.with_core(|core, ctx| core.handle_sip(ctx, flow, text.as_bytes()));
        assert!(self.replies.len() <= 1, "more than one answer");
        self.replies.pop()
    }

    pub fn send(&mut self, register: &Register) -> Reply {
        self.send_on(udp(), &register.text()).expect("an answer")
    }

    /// Registers from scratch and returns the 200.
    pub fn register(&mut self, register: &Register) -> Reply {
        let challenge = self.send(register);
        assert_eq!(challenge.status(), 401, "{}", challenge.text);
        self.send(&register.clone().answering(&challenge.nonce(), Answer::Right))
    }

    /// Asks the management interface; returns the answer and what it waits for.
    pub fn manage(&mut self, request: registration::Request) -> (registration::Answer, CommitSeq) {
        self.with_core(|core, ctx| core.handle_management(ctx, ReplyTo::World(1), request));
        assert_eq!(self.managed.len(), 1, "one answer");
        self.managed.remove(0)
    }

    /// Lets time pass; timers fire in order.
    pub fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(at) = self
            .timers
            .iter()
            .enumerate()
            .filter(|(_, (at, _))| *at <= end)
            .min_by_key(|(_, timer)| (*timer).clone())
            .map(|(at, _)| at)
        {
            let (at, timer) = self.timers.remove(at);
            self.now = self.now.max(at);
            self.with_core(|core, ctx| core.handle_timer(ctx, &timer));
        }
        self.now = end;
    }

    pub fn restart(&mut self) {
        self.restart_with(Config::for_domain("b.example"));
    }

    pub fn restart_with(&mut self, config: Config) {
        let mut fresh = Self::with(config);
        let core = &fresh.core;
        self.engine.replay(&|record| core.load(&record)).unwrap();
        fresh.now = self.now;
        fresh.engine = self.engine.clone();
        fresh.seq = self.seq;
        fresh.with_core(|core, ctx| core.handle_loaded(ctx));
        *self = fresh;
    }
}

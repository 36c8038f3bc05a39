//! Tokens of an identity management server: what a request costs without sockets, and what an exchange costs over HTTP
//! with the server on one core, beside a bare ES256 signature and a bare verification in the same run.
//!
//! An exchange verifies one token and signs one; a visit verifies one and signs two (access and ID token). `first` is
//! with the commit that has the security token be the client's, `again` is the repeat of a lost answer.

#![allow(
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::redundant_closure_for_method_calls,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    missing_docs,
    unreachable_pub,
    reason = "a benchmark"
)]

#[path = "idms/http.rs"]
mod http;
mod rig;

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use migcore::{
    api::{
        identity_management::{
            Answer, Authorization, Client, ClientAuthentication, ClientCredential, ClientId, Grant,
            IssuerUrl, LogIn, RedirectUri, Request, TokenRequest, UserName,
        },
        idms_management::{self as management, User, Visitor},
    },
    entropy::Entropy,
    identity::{McServiceId, McSystemId},
    idms::{Config, IdentityServer},
    outbox::{Context, IdmsMessage, Message, Outbox, PasswordReply, ReplyTo},
    secret::SecretText,
    store::Sequencer,
    time::Timestamp,
    token::{
        certificate::TrustFile,
        claims::ServiceIds,
        jws::{Algorithm, Unverified},
        key::SigningKey,
        password::{Cost, PasswordHash},
        scope::Scopes,
    },
};

/// How many users take turns.
const USERS: usize = 200;

/// Requests of one measurement.
const REQUESTS: usize = 4_000;

/// Measurements, of which the median counts.
const ROUNDS: usize = 5;

/// The aim, exchanges a second on one core.
const AIM: f64 = 2_000.0;

const NOW: Timestamp = Timestamp::from_secs(1_900_000_000);
const REDIRECT: &str = "com.example.app:/back";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const CHEAP: Cost = Cost { memory: 8, passes: 1, lanes: 1 };

struct Seeded(u64);

impl Entropy for Seeded {
    fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            for (to, from) in chunk.iter_mut().zip(self.0.to_be_bytes()) {
                *to = from;
            }
        }
    }
}

struct Site {
    role: IdentityServer,
    out: Outbox,
    entropy: Seeded,
}

impl Site {
    fn new(letter: char) -> Self {
        let audience = McSystemId::parse(&format!("sip:{letter}.example")).expect("an ID");
        let mut config = Config::new(issuer(letter), audience);
        (config.password_cost, config.attempts_of_source_max) = (CHEAP, 1_000_000);
        let mut entropy = Seeded(u64::from(letter));
        let role = IdentityServer::new(config, &mut entropy);
        let mut site = Self { role, out: Outbox::new(Arc::<Sequencer>::default()), entropy };
        site.call(|role, ctx| role.handle_loaded(ctx));
        let client = Client {
            id: ClientId::parse("mc-client").expect("a name"),
            redirect_uris: vec![RedirectUri::parse(REDIRECT).expect("a URI")],
            authentication: ClientAuthentication::None,
            requires_proof: false,
            scopes: Scopes::ALL,
        };
        site.manage(management::Request::PutClient(client));
        site
    }

    /// Calls the role; what it wants done is done by the end, for commits cost nothing here.
    fn call(&mut self, act: impl FnOnce(&IdentityServer, &mut Context<'_>)) -> Option<IdmsMessage> {
        self.out.clear();
        act(&self.role, &mut Context { now: NOW, entropy: &mut self.entropy, out: &mut self.out });
        let message = self.out.drain().find_map(|effect| match effect {
            migcore::outbox::Effect::Send(send) => Some(send.message),
            _ => None,
        });
        match message {
            Some(Message::Idms(message)) => Some(message),
            _ => None,
        }
    }

    fn manage(&mut self, request: management::Request) -> management::Answer {
        match self.call(|role, ctx| role.handle_management(ctx, ReplyTo::World(1), request)) {
            Some(IdmsMessage::Management { answer, .. }) => answer,
            other => panic!("no answer: {other:?}"),
        }
    }

    fn ask(&mut self, request: Request) -> Answer {
        match self.call(|role, ctx| role.handle_request(ctx, ReplyTo::World(1), request)) {
            Some(IdmsMessage::Answer { answer, .. }) => answer,
            Some(IdmsMessage::CheckPassword { id, password, hash }) => {
                let reply = PasswordReply { id, outcome: Ok(hash.is_of(&password)) };
                match self.call(|role, ctx| role.handle_password(ctx, reply)) {
                    Some(IdmsMessage::Answer { answer, .. }) => answer,
                    other => panic!("no answer: {other:?}"),
                }
            }
            other => panic!("no answer: {other:?}"),
        }
    }

    fn token(&mut self, grant: Grant) -> SecretText {
        let client = ClientCredential::Name("mc-client".to_owned());
        let request = TokenRequest { client, grant, proof: None, source: None };
        match self.ask(Request::Token(Box::new(request))) {
            Answer::Tokens(tokens) => tokens.access_token,
            other => panic!("no tokens: {other:?}"),
        }
    }

    /// Creates a user and logs in; the subject and an access token.
    fn log_in(&mut self, number: usize) -> (String, SecretText) {
        let name = UserName::parse(&format!("user-{number}")).expect("a name");
        let password = SecretText::new("a long password");
        let hash = PasswordHash::compute(&password, CHEAP, &mut self.entropy).expect("a hash");
        self.manage(management::Request::PutUser(User {
            name: name.clone(),
            password: Some(hash),
            services: services(number, "a"),
            partners: vec![issuer('b')],
            is_enabled: true,
        }));
        let management::Answer::User { subject, .. } =
            self.manage(management::Request::GetUser(name.clone()))
        else {
            panic!("no user")
        };
        let parameters = Authorization {
            response_type: "code".to_owned(),
            client_id: "mc-client".to_owned(),
            redirect_uri: REDIRECT.to_owned(),
            scope: "openid 3gpp:mc:ptt_service".to_owned(),
            code_challenge: CHALLENGE.to_owned(),
            code_challenge_method: "S256".to_owned(),
            ..Authorization::default()
        };
        let open = Request::OpenLogIn { parameters: Box::new(parameters), visit: None };
        let Answer::Page(page) = self.ask(open) else { panic!("no page") };
        let log_in = LogIn {
            parameters: page.parameters,
            visit: Some(page.visit),
            form: page.form,
            user: SecretText::new(name.as_str()),
            password,
            source: None,
        };
        let Answer::Redirect(redirect) = self.ask(Request::LogIn(Box::new(log_in))) else {
            panic!("no redirect")
        };
        let code = redirect.parameters.into_iter().next().map(|(_, code)| code).unwrap_or_default();
        let access_token = self.token(Grant::Code {
            code: SecretText::new(code),
            redirect_uri: REDIRECT.to_owned(),
            verifier: SecretText::new(VERIFIER),
        });
        (subject, access_token)
    }
}

fn issuer(letter: char) -> IssuerUrl {
    IssuerUrl::parse(&format!("https://idms.{letter}.example")).expect("a URL")
}

fn services(number: usize, system: &str) -> ServiceIds {
    let id = McServiceId::parse(&format!("sip:user-{number}@{system}.example")).ok();
    ServiceIds { mcptt_id: id, ..ServiceIds::default() }
}

fn exchange(access_token: &SecretText) -> Grant {
    let resource = "https://idms.b.example".to_owned();
    Grant::Exchange { subject_token: access_token.clone(), resource }
}

fn present(security_token: &SecretText) -> Grant {
    let scope = Some("openid 3gpp:mc:ptt_service".to_owned());
    Grant::Assertion { assertion: security_token.clone(), scope }
}

/// The median time of one of `count`, of several rounds that take turns with nothing.
fn median(count: usize, mut round: impl FnMut(usize)) -> Duration {
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|number| {
            let start = Instant::now();
            round(number);
            start.elapsed() / u32::try_from(count).unwrap_or(u32::MAX)
        })
        .collect();
    times.sort();
    times.get(ROUNDS / 2).copied().unwrap_or_default()
}

fn main() {
    let (mut home, mut partner) = (Site::new('a'), Site::new('b'));
    let management::Answer::Own(keys) = home.manage(management::Request::Export) else {
        panic!("no keys")
    };
    let pem: String = keys.iter().map(|key| key.certificate.to_pem()).collect();
    let file = TrustFile::read(&pem).expect("a file");
    partner.manage(management::Request::Import { issuer: issuer('a'), file });
    let users: Vec<(String, SecretText)> = (0..USERS).map(|number| home.log_in(number)).collect();
    for (number, (subject, _)) in users.iter().enumerate() {
        partner.manage(management::Request::PutVisitor(Visitor {
            issuer: issuer('a'),
            subject: subject.clone(),
            services: services(number, "b"),
            may_migrate: true,
        }));
    }

    let key = SigningKey::generate().expect("a key");
    let claims =
        serde_json::json!({"iss": "https://idms.a.example", "sub": "AAAAAAAAAAAAAAAAAAAAAA"});
    let signed = key.sign("JWT", &claims).expect("a token");
    let sign = median(REQUESTS, |_| {
        (0..REQUESTS).for_each(|_| drop(black_box(key.sign("JWT", black_box(&claims)))));
    });
    let verify = median(REQUESTS, |_| {
        for _ in 0..REQUESTS {
            let token = Unverified::parse(black_box(&signed)).expect("a token");
            black_box(token.verify(key.public(), Algorithm::ACCEPTED).is_ok());
        }
    });
    let mut rounds: Vec<Vec<SecretText>> = Vec::new();
    let exchanged = median(REQUESTS, |_| {
        let turns = users.iter().cycle().take(REQUESTS);
        rounds.push(turns.map(|(_, access)| home.token(exchange(access))).collect());
    });
    let mut visit = |_: &str| {
        median(REQUESTS, |round| {
            for token in rounds.get(round).into_iter().flatten() {
                black_box(partner.token(present(token)));
            }
        })
    };
    let (first, again) = (visit("first"), visit("again"));

    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    println!("bare signature {:.1} us, bare verification {:.1} us", micros(sign), micros(verify));
    let bare_exchange = sign + verify;
    for (name, time, bare) in [
        ("exchange for a security token", exchanged, bare_exchange),
        ("visit with it, first", first, bare_exchange + sign),
        ("visit with it, again", again, bare_exchange + sign),
    ] {
        let (each, share) = (micros(time), micros(time) / micros(bare));
        println!("{name}: {each:.1} us, {:.0} a second, {share:.2} of the bare cost", 1e6 / each);
    }
    let http::OverHttp { rate, cpu } = http::measure();
    let share = micros(cpu) / micros(bare_exchange);
    println!(
        "exchange over HTTP: {rate:.0} a second on one core, {:.0} us of it each, {share:.2} of the bare cost",
        micros(cpu)
    );
    assert!(rate >= AIM, "{rate:.0} exchanges a second are less than {AIM}");
}

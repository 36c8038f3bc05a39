//! The UE alone: what it sends, and what it makes of a SIP core's answers.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    clippy::too_many_lines,
    reason = "test code"
)]

mod common;

use std::{sync::Arc, time::Duration};

use common::Seeded;
use migcore::{
    aka::{
        AuthVector, Milenage, Sqn, SqnArray,
        digest::{
            Algorithm, DigestInput, Ha1, Ha1Algorithm, Qop, QopInput, decode_auts, encode_nonce,
            verify,
        },
    },
    identity::{Impi, Impu, UserIdentity},
    outbox::{Context, Effect, Flow, Message, Outbox, TimerKey, TimerWhat, Transport},
    secret::{Secret, SecretText},
    sip::{
        Framing, auth_header::DigestCredentials, name_addr::Contacts, register::RegisterRequest,
        view::MessageView,
    },
    step::Step,
    store::Sequencer,
    time::Timestamp,
    ue::{Config, Failure, Isim, State, UserAgent},
};

const K: [u8; 16] = *b"0123456789abcdef";
const OPC: [u8; 16] = *b"fedcba9876543210";

struct Bench {
    ue: UserAgent,
    out: Outbox,
    entropy: Seeded,
    now: Timestamp,
    sent: Vec<(Option<Step>, String)>,
    steps: Vec<Step>,
    timers: Vec<(Timestamp, TimerKey)>,
}

fn milenage() -> Milenage {
    Milenage::new(&Secret::new(K), &Secret::new(OPC))
}

fn vector(seq: u64) -> AuthVector {
    milenage().vector(&[7; 16], Sqn::new(seq, 0, 5), [0x80, 0])
}

fn config(flow: Flow) -> Config {
    Config {
        identity: UserIdentity {
            impi: Impi::parse("mig-7@b.example").unwrap(),
            impu: Impu::parse("sip:mig-8@b.example").unwrap(),
        },
        domain: "b.example".to_owned(),
        flow,
        expires: 3600,
        algorithm: None,
        paths: Vec::new(),
    }
}

impl Bench {
    fn new(seen: SqnArray) -> Self {
        let mut entropy = Seeded(3);
        let config = config(Flow {
            transport: Transport::Udp,
            local: "192.0.2.9:40000".parse().unwrap(),
            remote: "192.0.2.1:5060".parse().unwrap(),
            connection: 0,
        });
        let isim = Isim::new(&Secret::new(K), &Secret::new(OPC), seen);
        Self {
            ue: UserAgent::new(config, isim, &mut entropy),
            out: Outbox::new(Arc::new(Sequencer::default())),
            entropy,
            now: Timestamp::from_secs(1_800_000_000),
            sent: Vec::new(),
            steps: Vec::new(),
            timers: Vec::new(),
        }
    }

    fn with_ue(&mut self, call: impl FnOnce(&mut UserAgent, &mut Context<'_>)) {
        let mut ctx = Context { now: self.now, entropy: &mut self.entropy, out: &mut self.out };
        call(&mut self.ue, &mut ctx);
        for effect in self.out.drain() {
            match effect {
                Effect::Send(send) => {
                    let Message::Sip { octets, .. } = send.message else {
                        panic!("a UE sends SIP only")
                    };
                    self.sent.push((send.step, String::from_utf8(octets.to_vec()).unwrap()));
                }
                Effect::Arm { at, timer } => self.timers.push((at, timer)),
                Effect::Step { step, .. } => self.steps.push(step),
                Effect::Commit(_) | Effect::Note(_) => panic!("a UE has no store"),
            }
        }
    }

    fn last(&self) -> &str {
        &self.sent.last().expect("a request").1
    }

    /// Answers the last request.
    fn answer(&mut self, status: &str, headers: &str) {
        let copied: String = self
            .last()
            .split_inclusive("\r\n")
            .filter(|line| {
                ["Via:", "From:", "To:", "Call-ID:", "CSeq:"]
                    .iter()
                    .any(|name| line.starts_with(name))
            })
            .collect();
        let text = format!("SIP/2.0 {status}\r\n{copied}{headers}Content-Length: 0\r\n\r\n");
        self.with_ue(|ue, ctx| ue.handle_sip(ctx, text.as_bytes()));
    }

    fn challenge(&mut self, vector: &AuthVector) {
        let nonce = encode_nonce(&vector.rand, &vector.autn);
        let header = format!(
            "WWW-Authenticate: Digest realm=\"b.example\", nonce=\"{nonce}\", algorithm=AKAv1-MD5, qop=\"auth\"\r\n"
        );
        self.answer("401 Unauthorized", &header);
    }

    fn confirm(&mut self) {
        self.answer(
            "200 OK",
            "Contact: <sip:192.0.2.9:40000>;expires=3600\r\nService-Route: <sip:orig@scscf.b.example;lr>\r\n\
             P-Associated-URI: <sip:mig-8@b.example>\r\n",
        );
    }

    fn fire(&mut self, what: &TimerWhat) {
        let at =
            self.timers.iter().rposition(|(_, timer)| timer.what == *what).expect("an armed timer");
        let (at, timer) = self.timers.remove(at);
        self.now = self.now.max(at);
        self.with_ue(|ue, ctx| ue.handle_timer(ctx, &timer));
    }
}

fn with_credentials<T>(
    text: &str,
    look: impl FnOnce(&RegisterRequest<'_>, DigestCredentials<'_>) -> T,
) -> T {
    let view = MessageView::parse(text.as_bytes(), Framing::Datagram).expect("well-formed");
    let request = RegisterRequest::from_view(&view).expect("a REGISTER");
    let credentials = request.credentials().expect("credentials");
    look(&request, credentials)
}

#[test]
fn step_15_registers_with_the_inbound_pair() {
    let mut bench = Bench::new(SqnArray::default());
    bench.with_ue(UserAgent::register);
    assert_eq!(bench.sent[0].0, Some(Step::mig(15)));
    with_credentials(bench.last(), |request, credentials| {
        assert_eq!(request.aor().unwrap().as_str(), "sip:mig-8@b.example");
        assert_eq!(credentials.username, "mig-7@b.example");
        assert_eq!(
            (&*credentials.realm, &*credentials.nonce, &*credentials.response),
            ("b.example", "", "")
        );
        assert!(matches!(request.contacts(), Contacts::List(_)));
        assert_eq!(request.expires(), Some(3600));
    });
    assert_eq!(*bench.ue.state(), State::Busy);
}

#[test]
fn step_23_answers_with_the_home_key_and_the_inbound_identity() {
    let mut bench = Bench::new(SqnArray::default());
    bench.with_ue(UserAgent::register);
    let vector = vector(10);
    bench.challenge(&vector);
    assert_eq!(bench.sent.len(), 2);
    assert_eq!(bench.sent[1].0, Some(Step::mig(23)));
    with_credentials(bench.last(), |request, credentials| {
        assert_eq!((request.cseq(), &*credentials.username), (2, "mig-7@b.example"));
        let input = DigestInput {
            username: "mig-7@b.example",
            realm: "b.example",
            method: "REGISTER",
            uri: "sip:b.example",
            nonce: &credentials.nonce,
            qop: Some(QopInput {
                qop: Qop::Auth,
                nc: credentials.nc.unwrap(),
                cnonce: credentials.cnonce.as_deref().unwrap(),
            }),
            body: &[],
        };
        assert!(verify(Algorithm::AkaV1Md5, &input, &vector, &credentials.response).is_ok());
    });
}

#[test]
fn step_25_is_registered_with_what_the_sip_core_granted() {
    let mut bench = Bench::new(SqnArray::default());
    bench.with_ue(UserAgent::register);
    bench.challenge(&vector(10));
    bench.confirm();
    let State::Registered(registered) = bench.ue.state() else { panic!("{:?}", bench.ue.state()) };
    assert_eq!(registered.expires_at, bench.now + Duration::from_secs(3600));
    assert_eq!(registered.service_route, ["<sip:orig@scscf.b.example;lr>"]);
    assert_eq!(registered.associated_uris.len(), 1);
    assert_eq!(bench.steps, [Step::mig(25)]);
}

#[test]
fn a_user_agent_prints_no_identity_whatever_it_is_doing() {
    let mut bench = Bench::new(SqnArray::default());
    let shown = |bench: &Bench| format!("{:?} {:?}", bench.ue, bench.ue.saved());
    let mut all = shown(&bench);
    bench.with_ue(UserAgent::register);
    all += &shown(&bench);
    bench.challenge(&vector(10));
    all += &shown(&bench);
    bench.confirm();
    all += &shown(&bench);
    for name in ["mig-7", "mig-8"] {
        assert!(bench.last().contains(name), "it is on the wire");
        assert!(!all.contains(name), "{name} in {all}");
    }
}

#[test]
fn a_challenge_not_from_the_home_is_answered_with_neither_response_nor_auts() {
    let mut bench = Bench::new(SqnArray::default());
    bench.with_ue(UserAgent::register);
    let mut forged = vector(10);
    forged.autn[15] ^= 1;
    bench.challenge(&forged);
    with_credentials(bench.last(), |_, credentials| {
        assert_eq!((&*credentials.response, credentials.auts.as_deref()), ("", None));
    });
    bench.answer("403 Forbidden", "");
    assert_eq!(*bench.ue.state(), State::Failed(Failure::NetworkNotAuthentic));
}

#[test]
fn a_sqn_out_of_range_is_answered_with_auts_that_the_home_can_verify() {
    let mut seen = SqnArray::default();
    seen.accept(Sqn::new(5_000, 3, 5)).unwrap();
    seen.accept(Sqn::new(4_000, 0, 5)).unwrap();
    let mut bench = Bench::new(seen);
    bench.with_ue(UserAgent::register);
    let old = vector(10);
    bench.challenge(&old);
    let auts = with_credentials(bench.last(), |_, credentials| {
        decode_auts(credentials.auts.as_deref().unwrap())
    });
    assert_eq!(milenage().verify_auts(&old.rand, &auts.unwrap()).unwrap(), Sqn::new(5_000, 3, 5));
    bench.challenge(&vector(5_001));
    bench.confirm();
    assert!(matches!(bench.ue.state(), State::Registered(_)));
}

#[test]
fn it_gives_up_after_three_challenges() {
    let mut bench = Bench::new(SqnArray::default());
    bench.with_ue(UserAgent::register);
    for seq in 10..14 {
        bench.challenge(&vector(seq));
    }
    assert_eq!(bench.sent.len(), 4, "one initial and three answers");
    assert_eq!(*bench.ue.state(), State::Failed(Failure::Refused(401)));
}

#[test]
fn it_asks_once_more_when_the_period_is_too_brief() {
    let mut bench = Bench::new(SqnArray::default());
    bench.with_ue(UserAgent::register);
    bench.answer("423 Interval Too Brief", "Min-Expires: 7200\r\n");
    with_credentials(bench.last(), |request, _| assert_eq!(request.expires(), Some(7200)));
    bench.answer("423 Interval Too Brief", "Min-Expires: 7200\r\n");
    assert_eq!(*bench.ue.state(), State::Failed(Failure::Refused(423)));
}

#[test]
fn trouble_of_the_network_is_told_apart_from_a_refusal() {
    for (status, failure) in [
        ("503 Service Unavailable", Failure::Unavailable { status: 503, retry_after: 9 }),
        ("504 Server Time-out", Failure::Unavailable { status: 504, retry_after: 9 }),
        ("403 Forbidden", Failure::Refused(403)),
    ] {
        let mut bench = Bench::new(SqnArray::default());
        bench.with_ue(UserAgent::register);
        bench.answer(status, "Retry-After: 9\r\n");
        assert_eq!(*bench.ue.state(), State::Failed(failure));
    }
}

#[test]
fn a_request_is_retransmitted_with_doubling_intervals_and_given_up_after_32_s() {
    let mut bench = Bench::new(SqnArray::default());
    bench.with_ue(UserAgent::register);
    let began = bench.now;
    let mut after = Vec::new();
    for _ in 0..5 {
        bench.fire(&TimerWhat::UeRetransmit);
        after.push(bench.now.since(began).as_millis());
    }
    assert_eq!(after, [500, 1_500, 3_500, 7_500, 11_500]);
    assert!(bench.sent.iter().all(|(_, text)| *text == bench.sent[0].1));
    bench.fire(&TimerWhat::UeGiveUp);
    assert_eq!(*bench.ue.state(), State::Failed(Failure::Timeout));
}

#[test]
fn an_answer_to_an_earlier_request_changes_nothing() {
    let mut bench = Bench::new(SqnArray::default());
    bench.with_ue(UserAgent::register);
    let earlier = bench.last().to_owned();
    bench.challenge(&vector(10));
    bench.sent.push((None, earlier));
    bench.answer("403 Forbidden", "");
    assert_eq!(*bench.ue.state(), State::Busy);
}

#[test]
fn it_refreshes_before_the_end_and_a_stale_refresh_timer_does_nothing() {
    let mut bench = Bench::new(SqnArray::default());
    bench.with_ue(UserAgent::register);
    bench.challenge(&vector(10));
    bench.confirm();
    let confirmed = bench.now;
    let stale = bench
        .timers
        .iter()
        .find(|(_, timer)| timer.what == TimerWhat::UeRefresh)
        .unwrap()
        .1
        .clone();
    bench.fire(&TimerWhat::UeRefresh);
    assert_eq!(bench.now.since(confirmed), Duration::from_secs(3_000));
    assert_eq!(bench.sent.len(), 3);
    bench.with_ue(|ue, ctx| ue.handle_timer(ctx, &stale));
    assert_eq!(bench.sent.len(), 3);
}

#[test]
fn deregistration_asks_for_zero_seconds_and_leaves_it_idle() {
    let mut bench = Bench::new(SqnArray::default());
    bench.with_ue(UserAgent::register);
    bench.challenge(&vector(10));
    bench.confirm();
    bench.with_ue(UserAgent::deregister);
    with_credentials(bench.last(), |request, _| assert_eq!(request.expires(), Some(0)));
    bench.challenge(&vector(11));
    bench.answer("200 OK", "");
    assert_eq!(*bench.ue.state(), State::Idle);
}

/// A UE with a password in place of an ISIM.
fn with_password() -> Bench {
    let mut bench = Bench::new(SqnArray::default());
    let config = config(*bench.ue.flow());
    let password = SecretText::new("a password");
    bench.ue = UserAgent::new(config, password, &mut bench.entropy);
    bench
}

fn password_challenge(nonce: &str, more: &str) -> String {
    format!(
        "WWW-Authenticate: Digest realm=\"b.example\", nonce=\"{nonce}\", qop=\"auth\"{more}\r\n"
    )
}

/// What the last REGISTER answers: nonce, count, algorithm, and whether the response is right.
fn answered(bench: &Bench) -> (String, String, String, bool) {
    with_credentials(bench.last(), |_, credentials| {
        let algorithm = Ha1Algorithm::parse(credentials.algorithm.unwrap()).unwrap();
        let ha1 = Ha1::compute(algorithm, "mig-7@b.example", "b.example", b"a password");
        let input = DigestInput {
            username: &credentials.username,
            realm: &credentials.realm,
            method: "REGISTER",
            uri: &credentials.uri,
            nonce: &credentials.nonce,
            qop: Some(QopInput {
                qop: Qop::Auth,
                nc: credentials.nc.unwrap(),
                cnonce: credentials.cnonce.as_deref().unwrap(),
            }),
            body: &[],
        };
        let is_right = ha1.verify(&input, &credentials.response).is_ok();
        let nonce = credentials.nonce.clone().into_owned();
        (nonce, credentials.nc.unwrap().to_owned(), algorithm.as_str().to_owned(), is_right)
    })
}

#[test]
fn a_password_answers_the_topmost_challenge_that_it_can() {
    let unknown =
        "WWW-Authenticate: Digest realm=\"b.example\", nonce=\"0\", algorithm=SHA-512-256\r\n";
    for (challenges, nonce, algorithm) in [
        (password_challenge("n1", ""), "n1", "MD5"),
        (unknown.to_owned() + &password_challenge("n2", ", algorithm=SHA-256"), "n2", "SHA-256"),
    ] {
        let mut bench = with_password();
        bench.with_ue(UserAgent::register);
        bench.answer("401 Unauthorized", &challenges);
        let expected = (nonce.to_owned(), "00000001".to_owned(), algorithm.to_owned(), true);
        assert_eq!(answered(&bench), expected);
        bench.confirm();
        assert!(matches!(bench.ue.state(), State::Registered(_)));
    }
}

#[test]
fn a_password_uses_its_nonce_again_until_it_is_stale() {
    let mut bench = with_password();
    bench.with_ue(UserAgent::register);
    bench.answer("401 Unauthorized", &password_challenge("n1", ""));
    bench.confirm();
    let sent = bench.sent.len();
    bench.with_ue(UserAgent::register);
    assert_eq!(bench.sent.len(), sent + 1);
    assert_eq!(answered(&bench), ("n1".to_owned(), "00000002".to_owned(), "MD5".to_owned(), true));
    bench.answer("401 Unauthorized", &password_challenge("n2", ", stale=true"));
    assert_eq!(answered(&bench), ("n2".to_owned(), "00000001".to_owned(), "MD5".to_owned(), true));
    bench.confirm();
    assert!(matches!(bench.ue.state(), State::Registered(_)));
}

#[test]
fn a_second_challenge_that_is_not_stale_means_a_wrong_password() {
    let mut bench = with_password();
    bench.with_ue(UserAgent::register);
    bench.answer("401 Unauthorized", &password_challenge("n1", ""));
    let sent = bench.sent.len();
    bench.answer("401 Unauthorized", &password_challenge("n2", ""));
    assert_eq!((bench.sent.len(), bench.ue.state()), (sent, &State::Failed(Failure::Refused(401))));
    // A challenge of AKA is none that a password answers.
    let mut bench = with_password();
    bench.with_ue(UserAgent::register);
    bench.challenge(&vector(10));
    assert_eq!(bench.ue.state(), &State::Failed(Failure::Refused(401)));
}

#[test]
fn another_process_goes_on_with_the_same_call_id_a_higher_cseq_and_the_same_contact() {
    let mut bench = Bench::new(SqnArray::default());
    bench.with_ue(UserAgent::register);
    bench.challenge(&vector(10));
    bench.confirm();
    let (saved, isim) = (bench.ue.saved(), bench.ue.credentials().clone());
    assert_eq!(saved.cseq, 2);

    let mut later = Bench::new(SqnArray::default());
    let flow = Flow {
        transport: Transport::Udp,
        local: "192.0.2.9:50000".parse().unwrap(),
        remote: "192.0.2.1:5060".parse().unwrap(),
        connection: 0,
    };
    later.ue = UserAgent::resume(config(flow), isim, saved.clone(), &mut later.entropy);
    assert_eq!(later.ue.state(), bench.ue.state());
    later.with_ue(UserAgent::deregister);
    let (first, second) = (bench.last(), later.last());
    let header = |text: &str, name: &str| {
        let found = text.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        found.expect("the header")
    };
    assert_eq!(header(first, "Call-ID:"), header(second, "Call-ID:"));
    assert_eq!(header(second, "CSeq:").trim(), "3 REGISTER");
    assert_eq!(header(first, "Contact:"), header(second, "Contact:"));
    assert!(header(second, "Via:").contains("192.0.2.9:50000"));

    later.challenge(&vector(10));
    with_credentials(later.last(), |_, credentials| {
        assert!(credentials.auts.is_some(), "SEQ 10 was accepted by the earlier process");
    });
    later.challenge(&vector(11));
    later.answer("200 OK", "");
    assert_eq!((later.ue.state(), later.ue.saved().registered), (&State::Idle, None));
}

#[test]
fn a_refresh_that_fails_leaves_the_registration_to_its_end() {
    let mut bench = Bench::new(SqnArray::default());
    bench.with_ue(UserAgent::register);
    bench.challenge(&vector(10));
    bench.confirm();
    let granted = bench.ue.saved().registered;
    bench.with_ue(UserAgent::register);
    assert_eq!(bench.ue.saved().registered, granted, "while it is under way");
    bench.answer("503 Service Unavailable", "");
    assert!(granted.is_some() && bench.ue.saved().registered == granted);
}

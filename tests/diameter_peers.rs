//! Two ends of a connection under virtual time, and one end against foreign messages.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by a panic"
)]

mod diameter_support;

use std::time::Duration;

use diameter_support::{
    CORE, DATABASE, OwnedAvp, START, Seeded, Vectors, avps_of, changed, config, down_reason, hex,
    local, message, open_database, taken, to_database,
};
use migcore::{
    aka::AuthVector,
    diameter::{
        base::DisconnectCause,
        context::RequestContext,
        cx::{
            Answer, MultimediaAuthAnswer, MultimediaAuthRequest, Request, ResultCode,
            SCHEME_AKA_V1, ServerAssignmentAnswer, ServerAssignmentRequest, ServerAssignmentType,
            UserData,
        },
        cx_codec::InvalidAnswer,
        dictionary,
        peer::{
            AllowedPeers, Config, Connection, DownReason, Event, FailureReason, PENDING_MAX,
            PeerOutput, Refused, UNANSWERED_MAX,
        },
        validate::{Rejection, code},
    },
    identity::{Impi, Impu, UserIdentity},
    secret::SecretBytes,
    time::Timestamp,
};

/// Both ends of one connection: a SIP core that connected, and a database that accepted.
struct Pair {
    now: Timestamp,
    entropy: Seeded,
    core: End,
    database: End,
}

struct End {
    connection: Connection,
    out: PeerOutput,
    events: Vec<Event>,
}

impl Pair {
    fn new(seed: u64) -> Self {
        let mut entropy = Seeded(seed);
        let mut out = PeerOutput::default();
        let to_database =
            Config { allowed: AllowedPeers::Only(DATABASE.parse().unwrap()), ..config(CORE, &[]) };
        let core = Connection::initiate(to_database, START, &mut entropy, &mut out);
        let database = Connection::accept(config(DATABASE, &[CORE]), START, &mut entropy);
        Self {
            now: START,
            entropy,
            core: End { connection: core, out, events: Vec::new() },
            database: End { connection: database, out: PeerOutput::default(), events: Vec::new() },
        }
    }

    /// A pair after its capabilities exchange.
    fn open(seed: u64) -> Self {
        let mut pair = Self::new(seed);
        pair.exchange();
        for (end, peer) in [(&mut pair.core, DATABASE), (&mut pair.database, CORE)] {
            let events = std::mem::take(&mut end.events);
            let [Event::Up(remote)] = &events[..] else { panic!("{events:?}") };
            assert_eq!(remote.host.as_str(), peer);
            assert!(end.connection.is_open());
        }
        pair
    }

    /// Carries octets both ways until there are none.
    fn exchange(&mut self) {
        self.core.gather();
        self.database.gather();
        while !self.core.out.octets.is_empty() || !self.database.out.octets.is_empty() {
            let to_database = self.core.out.octets.split();
            let to_core = self.database.out.octets.split();
            self.database.receive(self.now, &to_database);
            self.core.receive(self.now, &to_core);
        }
    }

    /// Lets time pass up to the next deadline of the SIP core, and handles it there.
    fn pass_to_deadline_of_core(&mut self) -> Duration {
        let deadline = self.core.connection.next_deadline().expect("a deadline");
        let passed = deadline.since(self.now);
        self.now = deadline;
        let end = &mut self.core;
        end.connection.handle_timer(self.now, &mut self.entropy, &mut end.out);
        end.gather();
        passed
    }

    fn ask(&mut self, number: u64) {
        let end = &mut self.core;
        let request = Request::MultimediaAuth(mar(number));
        end.connection
            .send_request(self.now, &to_database(), request, number, &mut end.out)
            .unwrap();
    }

    /// The requests that the database got, in order.
    fn requests(&mut self) -> Vec<(RequestContext, Request)> {
        let events = std::mem::take(&mut self.database.events);
        let request = |event| match event {
            Event::Request { context, request } => (context, request),
            other => panic!("{other:?}"),
        };
        events.into_iter().map(request).collect()
    }

    fn answer(&mut self, context: RequestContext, answer: &Answer) {
        let end = &mut self.database;
        end.connection.send_answer(context, answer, &mut end.out).unwrap();
    }
}

impl End {
    fn receive(&mut self, now: Timestamp, octets: &[u8]) {
        self.connection.handle_octets(now, octets, &mut self.out);
        self.gather();
    }

    fn gather(&mut self) {
        self.events.append(&mut self.out.events);
    }
}

fn user(number: u64) -> UserIdentity {
    UserIdentity {
        impi: Impi::parse(&format!("u{number}@x.example")).unwrap(),
        impu: Impu::parse(&format!("sip:u{number}@x.example")).unwrap(),
    }
}

fn mar(number: u64) -> MultimediaAuthRequest {
    MultimediaAuthRequest {
        identity: user(number),
        scheme: SCHEME_AKA_V1.into(),
        resync: None,
        server_name: "sip:scscf.x.example".into(),
    }
}

fn maa(number: u64) -> Answer {
    let octet = u8::try_from(number % 256).unwrap();
    Answer::MultimediaAuth(MultimediaAuthAnswer {
        result: ResultCode::SUCCESS,
        identity: user(number),
        scheme: SCHEME_AKA_V1.into(),
        vector: Some(AuthVector {
            rand: [octet; 16],
            autn: [octet; 16],
            xres: SecretBytes::new(&[octet; 8]),
            ck: SecretBytes::new(&[octet; 16]),
            ik: SecretBytes::new(&[octet; 16]),
        }),
        digest: None,
    })
}

fn failure(number: u64, result: ResultCode) -> Answer {
    Answer::MultimediaAuth(MultimediaAuthAnswer {
        result,
        identity: user(number),
        scheme: SCHEME_AKA_V1.into(),
        vector: None,
        digest: None,
    })
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn requests_are_answered_in_any_order_with_what_was_asked() {
    let mut pair = Pair::open(1);
    for number in 0..5 {
        pair.ask(number);
    }
    pair.exchange();
    let mut requests = pair.requests();
    let asked: Vec<_> = requests.iter().map(|(_, request)| request.clone()).collect();
    let expected: Vec<_> = (0..5).map(|number| Request::MultimediaAuth(mar(number))).collect();
    assert_eq!(asked, expected);
    for number in [3, 0, 4, 2, 1] {
        let place = requests
            .iter()
            .position(|(_, request)| *request == Request::MultimediaAuth(mar(number)))
            .unwrap();
        let (context, _) = requests.remove(place);
        pair.answer(context, &maa(number));
        pair.exchange();
        let events = std::mem::take(&mut pair.core.events);
        let [Event::Answer { token, answer }] = &events[..] else { panic!("{events:?}") };
        assert_eq!((*token, answer), (number, &maa(number)));
    }
}

#[test]
fn every_outcome_of_both_commands_survives_the_wire() {
    let mut pair = Pair::open(2);
    for result in [
        ResultCode::USER_UNKNOWN,
        ResultCode::IDENTITIES_DONT_MATCH,
        ResultCode::AUTH_SCHEME_NOT_SUPPORTED,
        ResultCode::TOO_BUSY,
        ResultCode::UNABLE_TO_DELIVER,
        ResultCode::UNABLE_TO_COMPLY,
        ResultCode::AUTHORIZATION_REJECTED,
    ] {
        pair.ask(7);
        pair.exchange();
        let (context, _) = pair.requests().remove(0);
        pair.answer(context, &failure(7, result));
        pair.exchange();
        let events = std::mem::take(&mut pair.core.events);
        let [Event::Answer { answer, .. }] = &events[..] else { panic!("{events:?}") };
        assert_eq!(answer, &failure(7, result));
    }
    let request = Request::ServerAssignment(ServerAssignmentRequest {
        impi: Some(user(1).impi),
        impus: [user(1).impu, user(2).impu].into_iter().collect(),
        server_name: "sip:scscf.x.example".into(),
        assignment: ServerAssignmentType::Registration,
        user_data_already_available: false,
    });
    let end = &mut pair.core;
    end.connection
        .send_request(pair.now, &to_database(), request.clone(), 1, &mut end.out)
        .unwrap();
    pair.exchange();
    let (context, received) = pair.requests().remove(0);
    assert_eq!(received, request);
    let answer = Answer::ServerAssignment(ServerAssignmentAnswer {
        result: ResultCode::SUCCESS,
        impi: Some(user(1).impi),
        user_data: Some(UserData { impi: user(1).impi, impus: vec![user(1).impu, user(2).impu] }),
    });
    pair.answer(context, &answer);
    pair.exchange();
    let [Event::Answer { answer: received, .. }] = &pair.core.events[..] else {
        panic!("{:?}", pair.core.events)
    };
    assert_eq!(received, &answer);
}

#[test]
fn octets_may_be_cut_at_every_position() {
    let vectors = Vectors::load();
    let stream = ["mar-aka", "dwr", "kamailio-mar-resync"].map(|id| vectors.octets(id)).concat();
    for cut in 0..=stream.len() {
        let mut connection = open_database(&vectors);
        let mut out = PeerOutput::default();
        let (first, second) = stream.split_at(cut);
        connection.handle_octets(START, first, &mut out);
        connection.handle_octets(START, second, &mut out);
        let (sent, events) = taken(&mut out);
        assert_eq!((sent.len(), events.len()), (1, 2), "cut at {cut}");
    }
    let mut connection = open_database(&vectors);
    let mut out = PeerOutput::default();
    for octet in &stream {
        connection.handle_octets(START, &[*octet], &mut out);
    }
    let (sent, events) = taken(&mut out);
    assert_eq!((sent.len(), events.len()), (1, 2));
}

#[test]
fn a_silent_peer_is_asked_then_suspected_then_given_up() {
    let mut pair = Pair::open(3);
    let asked_after = pair.pass_to_deadline_of_core();
    assert!((seconds(28)..=seconds(32)).contains(&asked_after), "{asked_after:?}");
    let lost = pair.core.out.octets.split();
    assert_eq!(message(&lost).header.command, 280);
    pair.ask(1);
    let expiry = pair.pass_to_deadline_of_core();
    assert_eq!(expiry, seconds(5));
    let timed_out = std::mem::take(&mut pair.core.events);
    let [Event::Failed { token: 1, reason: FailureReason::TimedOut }] = &timed_out[..] else {
        panic!("{timed_out:?}")
    };
    // So late that the second request is pending when the peer becomes suspect.
    pair.now = pair.core.connection.next_deadline().unwrap();
    pair.ask(2);
    pair.pass_to_deadline_of_core();
    let failed = std::mem::take(&mut pair.core.events);
    let [Event::Failed { token: 2, reason: FailureReason::ConnectionLost }] = &failed[..] else {
        panic!("{failed:?}")
    };
    assert!(!pair.core.connection.is_open());
    let end = &mut pair.core;
    let request = Request::MultimediaAuth(mar(3));
    let refused = end.connection.send_request(pair.now, &to_database(), request, 3, &mut end.out);
    assert_eq!(refused, Err(Refused::NotOpen));
    pair.pass_to_deadline_of_core();
    assert_eq!(down_reason(&pair.core.events), Some(DownReason::WatchdogTimeout));
    assert_eq!(pair.core.connection.next_deadline(), None);
}

#[test]
fn a_peer_that_answers_late_is_used_again() {
    let mut pair = Pair::open(4);
    pair.pass_to_deadline_of_core();
    let watchdog_request = pair.core.out.octets.split();
    pair.pass_to_deadline_of_core();
    assert!(!pair.core.connection.is_open());
    pair.database.receive(pair.now, &watchdog_request);
    pair.exchange();
    assert!(pair.core.connection.is_open());
    pair.pass_to_deadline_of_core();
    let asked_again = pair.core.out.octets.split();
    assert_eq!(message(&asked_again).header.command, 280);
}

#[test]
fn an_idle_connection_stays_up_for_a_day() {
    let mut pair = Pair::open(5);
    let end = pair.now + seconds(86_400);
    let mut asked = 0;
    while pair.now < end {
        for side in [&mut pair.core, &mut pair.database] {
            side.connection.handle_timer(pair.now, &mut pair.entropy, &mut side.out);
        }
        for side in [&pair.core, &pair.database] {
            asked += usize::from(!side.out.octets.is_empty());
        }
        pair.exchange();
        let deadlines =
            [&pair.core, &pair.database].map(|side| side.connection.next_deadline().unwrap());
        pair.now = deadlines[0].min(deadlines[1]);
    }
    assert!(pair.core.events.is_empty() && pair.database.events.is_empty());
    // Each side's watchdog is restarted by that of the other.
    assert!((2_700..=3_100).contains(&asked), "{asked} watchdog requests in a day");
}

#[test]
fn a_late_answer_is_dropped() {
    let mut pair = Pair::open(6);
    pair.ask(1);
    pair.exchange();
    pair.pass_to_deadline_of_core();
    assert!(matches!(pair.core.events[..], [Event::Failed { token: 1, .. }]));
    let (context, _) = pair.requests().remove(0);
    pair.answer(context, &maa(1));
    pair.exchange();
    assert_eq!(pair.core.events.len(), 1);
    assert!(pair.core.connection.is_open());
}

#[test]
fn a_shutdown_lets_answers_through_and_ends_with_the_peer_s_answer() {
    let mut pair = Pair::open(7);
    pair.ask(1);
    pair.exchange();
    let (context, _) = pair.requests().remove(0);
    pair.answer(context, &maa(1));
    let answer = pair.database.out.octets.split();
    pair.core.connection.shutdown(pair.now, DisconnectCause::Rebooting, &mut pair.core.out);
    assert!(!pair.core.connection.is_open());
    pair.core.receive(pair.now, &answer);
    assert!(matches!(pair.core.events[..], [Event::Answer { token: 1, .. }]));
    pair.exchange();
    assert_eq!(down_reason(&pair.core.events), Some(DownReason::ShutDown));
    let rebooting = DownReason::Disconnected(DisconnectCause::Rebooting);
    assert_eq!(down_reason(&pair.database.events), Some(rebooting));
}

#[test]
fn a_shutdown_that_is_not_answered_ends_by_itself() {
    let mut pair = Pair::open(8);
    pair.core.connection.shutdown(pair.now, DisconnectCause::Busy, &mut pair.core.out);
    assert_eq!(pair.pass_to_deadline_of_core(), seconds(5));
    assert_eq!(down_reason(&pair.core.events), Some(DownReason::ShutDown));
}

#[test]
fn a_lost_transport_fails_what_is_pending_and_ends_once() {
    let mut pair = Pair::open(9);
    for number in [1, 2] {
        pair.ask(number);
    }
    let end = &mut pair.core;
    for _ in 0..2 {
        end.connection.handle_transport_closed(&mut end.out);
    }
    end.gather();
    assert!(matches!(
        end.events[..],
        [
            Event::Failed { token: 1, reason: FailureReason::ConnectionLost },
            Event::Failed { token: 2, reason: FailureReason::ConnectionLost },
            Event::Down(DownReason::TransportClosed)
        ]
    ));
    end.receive(pair.now, &[1; 100]);
    assert_eq!(end.events.len(), 3);
}

#[test]
fn capabilities_that_do_not_come_in_time_end_the_connection() {
    let mut pair = Pair::new(10);
    assert_eq!(pair.pass_to_deadline_of_core(), seconds(10));
    assert_eq!(down_reason(&pair.core.events), Some(DownReason::CapabilitiesTimeout));
    let end = &mut pair.database;
    assert_eq!(end.connection.next_deadline(), Some(START + seconds(10)));
    end.connection.handle_timer(pair.now, &mut pair.entropy, &mut end.out);
    end.gather();
    assert_eq!(down_reason(&end.events), Some(DownReason::CapabilitiesTimeout));
}

#[test]
fn no_answer_leaves_by_another_connection_than_its_request_came_by() {
    let mut one = Pair::open(11);
    let mut other = Pair::open(12);
    one.ask(1);
    one.exchange();
    let (context, _) = one.requests().remove(0);
    let end = &mut other.database;
    let refused = end.connection.send_answer(context, &maa(1), &mut end.out);
    assert_eq!(refused, Err(Refused::OtherConnection));
    assert!(end.out.octets.is_empty());
}

#[test]
fn an_answer_that_cannot_be_sent_becomes_unable_to_comply() {
    let mut pair = Pair::open(13);
    let saa = Answer::ServerAssignment(ServerAssignmentAnswer {
        result: ResultCode::SUCCESS,
        impi: None,
        user_data: None,
    });
    for answer in [failure(1, ResultCode::SUCCESS), saa] {
        pair.ask(1);
        pair.exchange();
        let (context, _) = pair.requests().remove(0);
        pair.answer(context, &answer);
        pair.exchange();
        let events = std::mem::take(&mut pair.core.events);
        let [Event::Answer { answer, .. }] = &events[..] else { panic!("{events:?}") };
        assert_eq!(answer, &failure(1, ResultCode::UNABLE_TO_COMPLY));
    }
}

#[test]
fn a_request_that_reaches_no_role_is_rejected_with_its_identities() {
    let mut pair = Pair::open(14);
    pair.ask(1);
    pair.exchange();
    let (context, _) = pair.requests().remove(0);
    let end = &mut pair.database;
    let too_busy = Rejection::new(code::TOO_BUSY, "storage is not available");
    end.connection.reject(context, &too_busy, &mut end.out).unwrap();
    assert_eq!(
        message(&end.out.octets).find(&dictionary::USER_NAME).unwrap().text(),
        Some("u1@x.example")
    );
    pair.exchange();
    let [Event::Answer { answer, .. }] = &pair.core.events[..] else { panic!() };
    assert_eq!(answer, &failure(1, ResultCode::TOO_BUSY));
}

#[test]
fn pending_requests_are_bounded() {
    let mut pair = Pair::open(15);
    for number in 0..PENDING_MAX as u64 {
        pair.ask(number);
        pair.core.out.octets.clear();
    }
    let end = &mut pair.core;
    let request = Request::MultimediaAuth(mar(0));
    let refused = end.connection.send_request(pair.now, &to_database(), request, 0, &mut end.out);
    assert_eq!(refused, Err(Refused::TooManyPending));
    pair.pass_to_deadline_of_core();
    assert_eq!(pair.core.events.len(), PENDING_MAX);
    pair.ask(0);
}

#[test]
fn requests_of_the_peer_in_progress_are_bounded() {
    let vectors = Vectors::load();
    let mut connection = open_database(&vectors);
    let mar = vectors.octets("mar-aka");
    let mut out = PeerOutput::default();
    for _ in 0..UNANSWERED_MAX {
        connection.handle_octets(START, &mar, &mut out);
    }
    assert!(out.octets.is_empty());
    connection.handle_octets(START, &mar, &mut out);
    let busy = out.octets.split();
    assert_eq!(message(&busy).find(&dictionary::RESULT_CODE).unwrap().unsigned32(), Some(3004));
    let Some(Event::Request { context, .. }) = out.events.pop() else { panic!("a request") };
    connection.send_answer(context, &maa(1), &mut out).unwrap();
    out.events.clear();
    connection.handle_octets(START, &mar, &mut out);
    assert!(matches!(out.events[..], [Event::Request { .. }]));
}

#[test]
fn a_request_that_is_too_long_is_refused_and_leaves_no_trace() {
    let mut pair = Pair::open(16);
    let request = Request::MultimediaAuth(MultimediaAuthRequest {
        server_name: "x".repeat(70_000).into(),
        ..mar(1)
    });
    let end = &mut pair.core;
    let refused = end.connection.send_request(pair.now, &to_database(), request, 1, &mut end.out);
    assert_eq!(refused, Err(Refused::TooLong));
    pair.ask(2);
    pair.exchange();
    assert_eq!(pair.requests().len(), 1);
}

#[test]
fn an_invalid_answer_fails_its_request_only() {
    let mut pair = Pair::open(17);
    for number in [1, 2] {
        pair.ask(number);
    }
    pair.exchange();
    let mut requests = pair.requests();
    let (second, _) = requests.remove(1);
    let (first, _) = requests.remove(0);
    pair.answer(first, &maa(1));
    let answer = pair.database.out.octets.split();
    let broken = changed(&answer, |avps| avps.retain(|avp| avp.id.code != 612));
    pair.core.receive(pair.now, &broken);
    pair.answer(second, &maa(2));
    pair.exchange();
    let no_vector = FailureReason::InvalidAnswer(InvalidAnswer::Vector);
    let [Event::Failed { token: 1, reason }, Event::Answer { token: 2, .. }] =
        &pair.core.events[..]
    else {
        panic!("{:?}", pair.core.events)
    };
    assert_eq!(*reason, no_vector);
}

/// What a database that knows the SIP core of the vectors does with a CER.
fn given_cer(octets: &[u8]) -> (Connection, Vec<Vec<u8>>, Vec<Event>) {
    let mut connection = Connection::accept(config(DATABASE, &[CORE]), START, &mut Seeded(1));
    let mut out = PeerOutput::default();
    connection.handle_octets(START, octets, &mut out);
    let (sent, events) = taken(&mut out);
    (connection, sent, events)
}

/// AVPs to compare with those of a vector: without the product's name.
fn comparable(octets: &[u8]) -> Vec<OwnedAvp> {
    let mut avps = avps_of(octets);
    avps.retain(|avp| avp.id != dictionary::PRODUCT_NAME.id);
    avps
}

#[test]
fn capabilities_are_answered_as_published() {
    let vectors = Vectors::load();
    let (connection, sent, events) = given_cer(&vectors.octets("cer"));
    assert!(connection.is_open() && matches!(events[..], [Event::Up(_)]));
    let mut ours = comparable(&sent[0]);
    // Cx as a plain application too: some peers look there only.
    let plain = ours.iter().position(|avp| avp.id == dictionary::AUTH_APPLICATION_ID.id).unwrap();
    assert_eq!(ours.remove(plain).data, 16_777_216_u32.to_be_bytes());
    let published = vectors.octets("cea-success");
    assert_eq!(message(&sent[0]).header, message(&published).header);
    assert_eq!(ours, comparable(&published));
}

#[test]
fn kamailio_is_accepted_without_an_address() {
    let vectors = Vectors::load();
    let (connection, sent, events) = given_cer(&vectors.octets("kamailio-cer"));
    assert!(connection.is_open() && matches!(events[..], [Event::Up(_)]));
    let answer = message(&sent[0]);
    assert_eq!(answer.find(&dictionary::RESULT_CODE).unwrap().unsigned32(), Some(2001));
    assert!(answer.find(&dictionary::VENDOR_SPECIFIC_APPLICATION_ID).is_some());
    assert!(answer.find(&dictionary::SUPPORTED_VENDOR_ID).is_some());
}

#[test]
fn a_peer_without_cx_is_refused_as_published() {
    let vectors = Vectors::load();
    let cer = changed(&vectors.octets("cer"), |avps| {
        avps.retain(|avp| avp.id != dictionary::VENDOR_SPECIFIC_APPLICATION_ID.id);
    });
    let (_, sent, events) = given_cer(&cer);
    assert_eq!(down_reason(&events), Some(DownReason::NoCommonApplication));
    let published = vectors.octets("cea-no-common-application");
    assert_eq!(comparable(&sent[0]), comparable(&published));
    assert_eq!(message(&sent[0]).header.flags, message(&published).header.flags);
}

#[test]
fn a_relay_is_accepted() {
    let vectors = Vectors::load();
    let cer = changed(&vectors.octets("cer"), |avps| {
        avps.retain(|avp| avp.id != dictionary::VENDOR_SPECIFIC_APPLICATION_ID.id);
        avps.push(OwnedAvp::new(0, 258, 0x40, &[0xff; 4]));
    });
    assert!(given_cer(&cer).0.is_open());
}

#[test]
fn an_unknown_peer_and_a_broken_cer_are_answered_and_closed() {
    let vectors = Vectors::load();
    let cer = vectors.octets("cer");
    let with_host = |host: &[u8]| {
        changed(&cer, |avps| avps.iter_mut().find(|a| a.id.code == 264).unwrap().data = host.into())
    };
    for (request, code, flags, reason) in [
        (with_host(b"other.sip.partner.example"), 3010, 0x20, DownReason::UnknownPeer),
        (with_host(b"not an fqdn"), 5004, 0, DownReason::ProtocolError),
        (
            changed(&cer, |avps| avps.retain(|avp| avp.id.code != 296)),
            5005,
            0,
            DownReason::ProtocolError,
        ),
    ] {
        let (connection, sent, events) = given_cer(&request);
        let answer = message(&sent[0]);
        assert_eq!(answer.find(&dictionary::RESULT_CODE).unwrap().unsigned32(), Some(code));
        assert_eq!((answer.header.flags, down_reason(&events)), (flags, Some(reason)));
        assert_eq!(connection.next_deadline(), None);
    }
    let letter_case = with_host(b"SCSCF.sip.PARTNER.example");
    assert!(given_cer(&letter_case).0.is_open());
}

#[test]
fn nothing_is_served_before_capabilities_are_exchanged() {
    let vectors = Vectors::load();
    for id in ["mar-aka", "dwr", "dpr", "cea-success", "maa-aka", "version-2"] {
        let (_, sent, events) = given_cer(&vectors.octets(id));
        assert!(sent.is_empty(), "{id}");
        assert!(matches!(events[..], [Event::Down(DownReason::ProtocolError)]), "{id}: {events:?}");
    }
}

#[test]
fn capabilities_may_be_exchanged_again_by_the_same_peer_only() {
    let vectors = Vectors::load();
    let mut connection = Connection::accept(
        config(DATABASE, &[CORE, "other.sip.partner.example"]),
        START,
        &mut Seeded(1),
    );
    let mut out = PeerOutput::default();
    let cer = vectors.octets("cer");
    connection.handle_octets(START, &[&cer[..], &cer[..]].concat(), &mut out);
    let (sent, events) = taken(&mut out);
    assert_eq!((sent.len(), events.len()), (2, 1));
    let other = changed(&cer, |avps| avps[0].data = b"other.sip.partner.example".to_vec());
    connection.handle_octets(START, &other, &mut out);
    assert_eq!(down_reason(&taken(&mut out).1), Some(DownReason::UnknownPeer));
}

#[test]
fn an_answer_to_our_capabilities_decides_about_the_connection() {
    let vectors = Vectors::load();
    let success = vectors.octets("cea-success");
    let without = |code: u32| changed(&success, |avps| avps.retain(|avp| avp.id.code != code));
    for (answer, allowed, expected) in [
        (success.clone(), DATABASE, None),
        (success.clone(), "hss.x.example", Some(DownReason::UnknownPeer)),
        (vectors.octets("cea-no-common-application"), DATABASE, Some(DownReason::Refused(5010))),
        (without(268), DATABASE, Some(DownReason::Refused(0))),
        (without(264), DATABASE, Some(DownReason::Refused(0))),
        (without(260), DATABASE, Some(DownReason::NoCommonApplication)),
        (vectors.octets("dwr"), DATABASE, Some(DownReason::ProtocolError)),
    ] {
        let config =
            Config { allowed: AllowedPeers::Only(allowed.parse().unwrap()), ..config(CORE, &[]) };
        let mut out = PeerOutput::default();
        let mut connection = Connection::initiate(config, START, &mut Seeded(1), &mut out);
        assert_eq!(message(&out.octets.split()).header.command, 257);
        connection.handle_octets(START, &answer, &mut out);
        let (_, events) = taken(&mut out);
        assert_eq!((down_reason(&events), connection.is_open()), (expected, expected.is_none()));
    }
}

#[test]
fn watchdog_and_disconnect_are_as_published() {
    let vectors = Vectors::load();
    let mut connection = open_database(&vectors);
    let mut out = PeerOutput::default();
    let octets = ["dwr", "dpr"].map(|id| vectors.octets(id)).concat();
    connection.handle_octets(START, &octets, &mut out);
    let (sent, events) = taken(&mut out);
    assert_eq!(hex(&sent[0]), hex(&vectors.octets("dwa")));
    assert_eq!(hex(&sent[1]), hex(&vectors.octets("dpa")));
    let rebooting = DownReason::Disconnected(DisconnectCause::Rebooting);
    assert_eq!(down_reason(&events), Some(rebooting));
}

/// Our own requests of the base protocol have AVPs as published; identifiers are drawn.
#[test]
fn our_own_base_requests_are_as_published() {
    let vectors = Vectors::load();
    let config = Config {
        local: local(CORE, "192.0.2.10", Timestamp::from_secs(1_795_000_000)),
        ..config(CORE, &[DATABASE])
    };
    let mut entropy = Seeded(1);
    let mut out = PeerOutput::default();
    let mut connection = Connection::initiate(config, START, &mut entropy, &mut out);
    let cer = out.octets.split();
    let mut ours = comparable(&cer);
    ours.retain(|avp| avp.id != dictionary::AUTH_APPLICATION_ID.id);
    let mut published = comparable(&vectors.octets("cer"));
    published.retain(|avp| avp.id != dictionary::FIRMWARE_REVISION.id && avp.data.len() != 18);
    assert_eq!(ours, published);

    connection.handle_octets(START, &vectors.octets("cea-success"), &mut out);
    let deadline = connection.next_deadline().unwrap();
    connection.handle_timer(deadline, &mut entropy, &mut out);
    connection.shutdown(deadline, DisconnectCause::Rebooting, &mut out);
    let (sent, _) = taken(&mut out);
    for (ours, id) in sent.iter().zip(["dwr", "dpr"]) {
        let published = vectors.octets(id);
        assert_eq!(hex(&ours[..12]), hex(&published[..12]), "{id}");
        assert_eq!(hex(&ours[20..]), hex(&published[20..]), "{id}");
    }
    let hop_by_hop: Vec<_> =
        [&cer[..], &sent[0], &sent[1]].map(|m| message(m).header.hop_by_hop).into();
    assert!(hop_by_hop[0] != hop_by_hop[1] && hop_by_hop[1] != hop_by_hop[2]);
}

#[test]
fn a_peer_that_answers_the_disconnect_without_a_result_is_gone_all_the_same() {
    let vectors = Vectors::load();
    let mut connection = open_database(&vectors);
    let mut out = PeerOutput::default();
    connection.shutdown(START, DisconnectCause::DoNotWantToTalkToYou, &mut out);
    let (sent, _) = taken(&mut out);
    let mut answer = changed(&vectors.octets("dpa"), |avps| avps.retain(|a| a.id.code != 268));
    answer[12..20].copy_from_slice(&sent[0][12..20]);
    connection.handle_octets(START, &answer, &mut out);
    assert_eq!(down_reason(&taken(&mut out).1), Some(DownReason::ShutDown));
}

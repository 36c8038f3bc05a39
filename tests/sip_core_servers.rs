//! Application servers of a SIP core: what they are told of registrations, and what registered users ask them.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines,
    reason = "test code"
)]

mod common;
mod sip_core_bench;

use std::time::Duration;

use migcore::{
    api::registration,
    identity::Impi,
    outbox::{Flow, Note, SipTarget, Transport},
    sip_core::{ApplicationServer, Config, DefaultHandling, Trigger},
    store::CommitSeq,
};
use sip_core_bench::*;

const SERVICE: &str = "sip:mcptt@b.example";

fn server(transport: Transport, port: u16) -> ApplicationServer {
    let target = SipTarget { transport, address: ([192, 0, 2, 50], port).into() };
    let uri = format!("sip:as{port}.b.example");
    let services = vec![SERVICE.to_owned()];
    ApplicationServer { includes_request: true, services, ..ApplicationServer::new(&uri, target) }
}

fn with(servers: Vec<ApplicationServer>) -> Config {
    Config { application_servers: servers, ..Config::for_domain("b.example") }
}

fn bench(server: ApplicationServer) -> Bench {
    Bench::with(with(vec![server]))
}

fn over_tcp() -> Bench {
    bench(server(Transport::Tcp, 5070))
}

/// Registers, and returns what the one server is told.
fn told(bench: &mut Bench, register: &Register) -> ToServer {
    assert_eq!(bench.register(register).status(), 200);
    assert_eq!(bench.requests.len(), 1);
    bench.requests.remove(0)
}

fn registered(bench: &Bench) -> bool {
    bench.core.contacts_of(&Impi::parse(IMPI).unwrap(), bench.now) > 0
}

#[test]
fn a_server_is_told_of_a_registration_once_it_is_durable_with_the_ue_s_own_register() {
    let mut bench = over_tcp();
    let confirmed = bench.register(&initial());
    let told = bench.requests.remove(0);
    assert_eq!(
        told.to,
        SipTarget { transport: Transport::Tcp, address: ([192, 0, 2, 50], 5070).into() }
    );
    assert!(told.text.starts_with("REGISTER sip:as5070.b.example SIP/2.0\r\n"), "{}", told.text);
    assert!(told.header("Via").unwrap().starts_with("SIP/2.0/TCP scscf.b.example;branch=z9hG4bK"));
    assert!(told.header("From").unwrap().starts_with("<sip:scscf.b.example>;tag="));
    assert_eq!(told.header("To"), Some("<sip:mig-7@b.example>"));
    assert_eq!(told.header("Contact"), Some("<sip:scscf.b.example>"));
    assert_eq!(told.header("Expires"), Some("3600"));
    assert_eq!(told.header("Content-Type"), Some("message/sip"));
    assert!(told.after > CommitSeq::NOTHING && told.after == confirmed.after);
    assert!(told.body().starts_with("REGISTER sip:b.example SIP/2.0\r\n"), "{}", told.body());
    assert!(told.text.contains("\r\n\r\nREGISTER") && told.text.contains("response=\""));
    assert!(bench.requests.is_empty(), "the challenged REGISTER is nobody's business");
}

#[test]
fn refresh_and_end_are_told_under_the_same_call_id_with_a_higher_cseq() {
    let mut bench = over_tcp();
    let first = told(&mut bench, &initial());
    let refresh = Register { expires: Some(1_800), ..initial().branch("b").cseq(3) };
    let second = told(&mut bench, &refresh);
    assert_eq!(second.header("Expires"), Some("1800"));
    let end = Register { expires: Some(0), ..initial().branch("c").cseq(5) };
    let third = told(&mut bench, &end);
    assert_eq!(third.header("Expires"), Some("0"));
    assert!(third.body().starts_with("REGISTER "));
    let cseq = |told: &ToServer| -> u32 {
        told.header("CSeq").unwrap().split(' ').next().unwrap().parse().unwrap()
    };
    assert!(cseq(&first) < cseq(&second) && cseq(&second) < cseq(&third));
    assert_eq!(first.header("Call-ID"), third.header("Call-ID"));
}

#[test]
fn an_end_by_time_and_one_by_the_operator_are_told_without_a_body() {
    let mut bench = over_tcp();
    told(&mut bench, &initial());
    bench.pass(Duration::from_secs(3_602));
    let ended = bench.requests.pop().unwrap();
    assert_eq!((ended.header("Expires"), ended.body()), (Some("0"), ""));

    told(&mut bench, &initial().branch("again").cseq(7));
    bench.manage(registration::Request::Remove(Impi::parse(IMPI).unwrap()));
    let ended = bench.requests.pop().unwrap();
    assert_eq!(
        (ended.header("Expires"), ended.header("To")),
        (Some("0"), Some("<sip:mig-7@b.example>"))
    );
}

#[test]
fn a_question_and_a_failed_attempt_are_not_told() {
    let mut bench = over_tcp();
    let fetch = Register { contact: None, ..initial() };
    assert_eq!(bench.register(&fetch).status(), 200);
    let nonce = bench.send(&initial().branch("w").cseq(4)).nonce();
    assert_eq!(bench.send(&initial().cseq(4).answering(&nonce, Answer::Wrong)).status(), 403);
    assert!(bench.requests.is_empty());
}

#[test]
fn criteria_say_who_is_told_of_what_and_in_which_order() {
    let only_end = Trigger { initial: false, refresh: false, end: true };
    let first = ApplicationServer { priority: 1, ..server(Transport::Tcp, 1) };
    let second =
        ApplicationServer { priority: 2, includes_response: true, ..server(Transport::Tcp, 2) };
    let plain =
        ApplicationServer { priority: 3, includes_request: false, ..server(Transport::Tcp, 3) };
    let end = ApplicationServer { priority: 0, trigger: only_end, ..server(Transport::Tcp, 4) };
    let mut bench = Bench::with(with(vec![plain, second, first, end]));
    bench.register(&initial());
    let ports: Vec<u16> = bench.requests.iter().map(|it| it.to.address.port()).collect();
    assert_eq!(ports, [1, 2, 3]);
    let both = &bench.requests[1];
    assert!(both.header("Content-Type").unwrap().starts_with("multipart/mixed;boundary="));
    assert_eq!(both.body().matches("Content-Type: message/sip\r\n").count(), 2);
    assert!(both.body().contains("SIP/2.0 200 OK\r\n"));
    assert_eq!((bench.requests[2].header("Content-Type"), bench.requests[2].body()), (None, ""));
    bench.requests.clear();
    bench.register(&Register { expires: Some(0), ..initial().branch("e").cseq(3) });
    assert_eq!(bench.requests[0].to.address.port(), 4);
    assert_eq!(bench.requests.len(), 4);
}

#[test]
fn over_udp_a_request_is_repeated_until_it_is_answered_and_a_long_one_goes_over_tcp() {
    let short = ApplicationServer { includes_request: false, ..server(Transport::Udp, 5070) };
    let mut bench = bench(short.clone());
    let first = told(&mut bench, &initial());
    assert_eq!(first.to.transport, Transport::Udp);
    let times = |bench: &mut Bench, millis: u64| {
        bench.pass(Duration::from_millis(millis));
        std::mem::take(&mut bench.requests).len()
    };
    assert_eq!(
        [450, 100, 900, 200, 1_800, 200, 3_800, 200].map(|it| times(&mut bench, it)),
        [0, 1, 0, 1, 0, 1, 0, 1]
    );
    let trying = first.answer("100 Trying", "");
    assert!(bench.send_on(udp(), &trying).is_none());
    assert_eq!(times(&mut bench, 3_900), 0, "T2 from now on");
    assert_eq!(times(&mut bench, 200), 1);
    assert!(bench.send_on(udp(), &first.answer("200 OK", "")).is_none());
    assert_eq!(times(&mut bench, 60_000), 0);
    assert!(!bench.notes.iter().any(|it| matches!(it, Note::ApplicationServerFailed { .. })));

    let mut bench = Bench::with(with(vec![ApplicationServer { includes_request: true, ..short }]));
    let long = Register { extra: format!("X-Long: {}\r\n", "x".repeat(1_000)), ..initial() };
    let told = told(&mut bench, &long);
    assert_eq!(told.to.transport, Transport::Tcp);
    assert!(told.header("Via").unwrap().starts_with("SIP/2.0/TCP "));
}

#[test]
fn default_handling_decides_what_a_failure_is_for_the_registration() {
    for handling in [DefaultHandling::Continued, DefaultHandling::Terminated] {
        for failure in ["403 Forbidden", "500 Server Internal Error", ""] {
            let server =
                ApplicationServer { default_handling: handling, ..server(Transport::Tcp, 1) };
            let mut bench = bench(server);
            let told = told(&mut bench, &initial());
            if failure.is_empty() {
                bench.pass(Duration::from_secs(33));
            } else {
                bench.send_on(udp(), &told.answer(failure, ""));
            }
            let failed =
                bench.notes.iter().any(|it| matches!(it, Note::ApplicationServerFailed { .. }));
            assert!(failed, "{failure}");
            let stays = handling == DefaultHandling::Continued;
            assert_eq!(registered(&bench), stays, "{failure}");
            let last: Vec<_> = bench.requests.iter().map(|it| it.header("Expires")).collect();
            assert_eq!(last, if stays { vec![] } else { vec![Some("0")] }, "{failure}");
        }
    }
}

#[test]
fn a_failure_about_an_earlier_change_ends_no_later_registration() {
    let server = ApplicationServer {
        default_handling: DefaultHandling::Terminated,
        ..server(Transport::Tcp, 1)
    };
    let mut bench = bench(server);
    let earlier = told(&mut bench, &initial());
    let later = told(&mut bench, &initial().branch("b").cseq(3));
    bench.send_on(udp(), &earlier.answer("500 CSeq Out Of Order", ""));
    assert!(registered(&bench));
    bench.send_on(udp(), &later.answer("200 OK", ""));
    assert!(registered(&bench));
}

fn publish(from: &str, fields: &str) -> String {
    format!(
        "PUBLISH {SERVICE} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9:40000;branch=z9hG4bKp{fields_length};rport\r\n\
         Max-Forwards: 70\r\nFrom: <{from}>;tag=f\r\nTo: <{SERVICE}>\r\nCall-ID: p-1\r\nCSeq: 1 PUBLISH\r\n\
         {fields}Content-Type: text/plain\r\nContent-Length: 4\r\n\r\nbody",
        fields_length = fields.len(),
    )
}

#[test]
fn a_registered_user_s_publish_goes_to_the_server_in_the_user_s_name_and_its_answer_comes_back() {
    let mut bench = over_tcp();
    told(&mut bench, &initial());
    let fields = "P-Asserted-Identity: <sip:somebody-else@b.example>\r\nEvent: poc-settings\r\n\
        P-Preferred-Service: urn:urn-7:3gpp-service.ims.icsi.mcptt\r\nRoute: <sip:scscf.b.example;lr>\r\n";
    let text = publish(IMPU, fields);
    assert!(bench.send_on(udp(), &text).is_none(), "the answer is the server's");
    let asked = bench.requests.pop().unwrap();
    assert!(asked.text.starts_with("PUBLISH sip:mcptt@b.example SIP/2.0\r\n"), "{}", asked.text);
    assert_eq!(asked.header("P-Asserted-Identity"), Some("<sip:mig-7@b.example>"));
    assert!(!asked.text.contains("somebody-else") && asked.header("Route").is_none());
    assert_eq!(asked.header("P-Asserted-Service"), Some("urn:urn-7:3gpp-service.ims.icsi.mcptt"));
    assert_eq!((asked.header("Max-Forwards"), asked.body()), (Some("69"), "body"));
    assert_eq!(asked.header("Via").unwrap().matches("192.0.2.9").count(), 0);

    let answer = asked.answer(
        "404 Not Found",
        "Warning: 399 mc.b.example \"141 user unknown\"\r\nSIP-ETag: e\r\n",
    );
    let reply = bench.send_on(udp(), &answer).unwrap();
    assert_eq!((reply.status(), reply.header("SIP-ETag")), (404, Some("e")));
    assert_eq!(reply.header("Warning"), Some("399 mc.b.example \"141 user unknown\""));
    assert!(reply.header("Via").unwrap().contains("192.0.2.9:40000"));
    assert_eq!(reply.header("CSeq"), Some("1 PUBLISH"));
    let again = bench.send_on(udp(), &text).unwrap();
    assert_eq!(again.text, reply.text, "a repeat gets the same answer");
    assert!(bench.requests.is_empty(), "and is not asked again");
}

#[test]
fn nobody_speaks_for_a_user_but_from_where_the_user_registered() {
    let mut bench = over_tcp();
    let ask = |bench: &mut Bench, flow: Flow, from: &str, branch: &str| {
        let answer = bench.send_on(flow, &publish(from, "").replace("z9hG4bKp0", branch));
        answer.map(|it| it.status())
    };
    assert_eq!(ask(&mut bench, udp(), IMPU, "z9hG4bKa"), Some(403), "not registered");
    told(&mut bench, &initial());
    let elsewhere = Flow { remote: "192.0.2.9:40001".parse().unwrap(), ..udp() };
    assert_eq!(ask(&mut bench, elsewhere, IMPU, "z9hG4bKb"), Some(403), "another port");
    assert_eq!(ask(&mut bench, tcp(7), IMPU, "z9hG4bKc"), Some(403), "a connection");
    assert_eq!(
        ask(&mut bench, udp(), "sip:mig-8@b.example", "z9hG4bKd"),
        Some(403),
        "another user"
    );
    assert_eq!(ask(&mut bench, udp(), IMPU, "z9hG4bKe"), None, "the user");
    bench.restart_with(with(vec![server(Transport::Tcp, 5070)]));
    assert_eq!(ask(&mut bench, udp(), IMPU, "z9hG4bKf"), None, "the same after a restart");
    bench.requests.clear();
    told(&mut bench, &Register { expires: Some(0), ..initial().branch("z").cseq(3) });
    assert_eq!(ask(&mut bench, udp(), IMPU, "z9hG4bKg"), Some(403), "not registered any more");
}

#[test]
fn over_tcp_a_user_is_known_by_the_connection() {
    let mut bench = over_tcp();
    let challenge = bench.send_on(tcp(7), &initial().text()).unwrap();
    let answer = initial().answering(&challenge.nonce(), Answer::Right);
    assert_eq!(bench.send_on(tcp(7), &answer.text()).unwrap().status(), 200);
    bench.requests.clear();
    assert_eq!(bench.send_on(tcp(8), &publish(IMPU, "")).unwrap().status(), 403);
    let other_branch = publish(IMPU, "").replace("z9hG4bKp0", "z9hG4bKq");
    assert!(bench.send_on(tcp(7), &other_branch).is_none());
    assert_eq!(bench.requests.len(), 1);
}

#[test]
fn what_cannot_be_passed_on_is_answered_here() {
    let mut bench = over_tcp();
    told(&mut bench, &initial());
    let hops = publish(IMPU, "").replace("Max-Forwards: 70", "Max-Forwards: 0");
    assert_eq!(bench.send_on(udp(), &hops).unwrap().status(), 483);
    let other =
        publish(IMPU, "A: b\r\n").replace(&format!("PUBLISH {SERVICE}"), "PUBLISH sip:x@b.example");
    let other = bench.send_on(udp(), &other).unwrap();
    assert_eq!(
        (other.status(), other.header("Allow")),
        (405, Some("REGISTER, OPTIONS, PUBLISH, MESSAGE"))
    );
    assert!(bench.send_on(udp(), &publish(IMPU, "A: cc\r\n")).is_none());
    bench.replies.clear();
    bench.pass(Duration::from_secs(33));
    let reply = bench.replies.pop().unwrap();
    assert_eq!((reply.status(), reply.header("Retry-After")), (504, Some("10")));
    let mut without = Bench::new();
    without.register(&initial());
    assert_eq!(without.send_on(udp(), &publish(IMPU, "")).unwrap().status(), 405);
    assert!(without.requests.is_empty());
}

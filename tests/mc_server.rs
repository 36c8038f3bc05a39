//! The MC server alone: SIP text of a SIP core in, SIP text out, with tokens of a key made here.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines,
    reason = "test code"
)]

mod common;
mod mc_server_bench;

use std::time::Duration;

use mc_server_bench::*;
use migcore::{
    identity::Impu,
    mc_server::Config,
    outbox::{McNote, Note},
    store::CommitSeq,
    user_profile::ProfileService::{self, Mcdata, Mcptt, Mcvideo},
};

fn bound(bench: &Bench, impu: &str) -> Vec<(ProfileService, String)> {
    let bound = bench.server.bindings_of(&Impu::parse(impu).unwrap(), bench.now);
    bound.into_iter().map(|(service, id)| (service, id.as_str().to_owned())).collect()
}

fn refusals(bench: &Bench) -> Vec<&'static str> {
    let refused = |note: &Note| match note {
        Note::Mc(McNote::Refused(_, why)) => Some(*why),
        _ => None,
    };
    bench.notes.iter().filter_map(refused).collect()
}

fn alice(service: ProfileService) -> (ProfileService, String) {
    (service, format!("sip:alice-{}@b.example", service.as_str()))
}

#[test]
fn a_third_party_register_with_tokens_of_three_services_binds_all_three_durably() {
    let mut bench = Bench::new();
    let tokens = [Mcptt, Mcvideo, Mcdata].map(|service| (service, bench.token_of(service)));
    let answer = bench.register(&Registered { tokens: tokens.to_vec(), ..registered() });
    assert_eq!((answer.status(), answer.header("Expires")), (200, Some("3600")));
    assert!(answer.after > CommitSeq::NOTHING, "the 200 waits for the binding");
    assert_eq!(bound(&bench, IMPU), [Mcptt, Mcvideo, Mcdata].map(alice));
    for service in ProfileService::ALL {
        assert!(bench.notes.contains(&Note::Mc(McNote::Authorised(service, true))));
    }
    bench.restart();
    assert_eq!(bound(&bench, IMPU), [Mcptt, Mcvideo, Mcdata].map(alice));
}

#[test]
fn a_binding_ends_with_the_registration_by_its_end_or_by_its_time() {
    let mut bench = Bench::new();
    let on = || Registered { services: vec![Mcptt], ..registered() };
    let token = bench.token_of(Mcptt);
    bench.register(&Registered { tokens: vec![(Mcptt, token.clone())], ..on() });
    bench.pass(Duration::from_secs(3_000));
    bench.register(&Registered { cseq: 11, ..on() });
    bench.pass(Duration::from_secs(3_000));
    assert_eq!(bound(&bench, IMPU), [alice(Mcptt)], "a refresh without a token keeps it");
    bench.restart();
    bench.pass(Duration::from_secs(700));
    assert!(bound(&bench, IMPU).is_empty());
    assert!(bench.notes.contains(&Note::Mc(McNote::Authorised(Mcptt, false))));
    assert!(bench.records().is_empty(), "nothing is left of it");

    let token = bench.token_of(Mcptt);
    bench.register(&Registered { cseq: 21, tokens: vec![(Mcptt, token)], ..on() });
    let end = bench.register(&Registered { cseq: 22, expires: 0, ..registered() });
    assert_eq!((end.status(), end.header("Expires")), (200, Some("0")));
    assert!(bound(&bench, IMPU).is_empty());
    let late = bench.register(&Registered { cseq: 21, branch: 77, ..on() });
    assert_eq!(late.status(), 500, "an older one does not bring it back");
    bench.pass(Duration::from_secs(65));
    assert!(bench.records().is_empty());
}

#[test]
fn an_end_that_overtakes_its_beginning_is_the_end() {
    let mut bench = Bench::new();
    let end = bench.register(&Registered { cseq: 12, expires: 0, ..registered() });
    assert_eq!(end.status(), 200);
    let tokens = vec![(Mcptt, bench.token_of(Mcptt))];
    let late = bench.register(&Registered { cseq: 11, tokens, ..registered() });
    assert_eq!(late.status(), 500);
    assert!(bound(&bench, IMPU).is_empty());
}

#[test]
fn a_service_whose_feature_tag_is_gone_is_logged_off_and_the_others_stay() {
    let mut bench = Bench::new();
    let tokens = [Mcptt, Mcdata].map(|service| (service, bench.token_of(service)));
    bench.register(&Registered { tokens: tokens.to_vec(), ..registered() });
    let services = vec![Mcdata];
    bench.register(&Registered { cseq: 11, services, ..registered() });
    assert_eq!(bound(&bench, IMPU), [alice(Mcdata)]);
    let counts = [Mcptt, Mcdata].map(|service| bench.server.authorised(service));
    assert_eq!(counts, [0, 1]);
    bench.register(&Registered { cseq: 12, carries: false, ..registered() });
    assert_eq!(
        bound(&bench, IMPU),
        [alice(Mcdata)],
        "without the UE's own REGISTER nothing is known"
    );
}

#[test]
fn a_token_that_is_not_taken_does_not_fail_the_registration_and_the_client_is_not_told_why() {
    let mut bench = Bench::new();
    let now = bench.now.as_secs();
    let cases = [
        (bench.token(|it| it.exp.0 = now - 31), "it has expired"),
        (bench.token(|it| it.iat.0 = now + 31), "it is not valid yet"),
        (bench.token(|it| it.iss = "https://other".to_owned()), "it is of another issuer"),
        (bench.token(|it| it.aud = audience("sip:c.example")), "it is for another audience"),
        (bench.token(|it| it.scope = scope("openid")), "its scope does not have the service"),
        (bench.token(|it| it.services = ids(None)), "it has no ID for the service"),
        (bench.token_of_another_key(), "it is no access token of a key known here"),
        ("not.a.token".to_owned(), "it is no access token of a key known here"),
    ];
    for (at, (token, why)) in (1..).zip(cases) {
        bench.notes.clear();
        let tokens = vec![(Mcptt, token)];
        let answer = bench.register(&Registered { cseq: at, branch: at, tokens, ..registered() });
        assert_eq!(answer.status(), 200, "{why}");
        assert_eq!(refusals(&bench), [why]);
        assert!(bound(&bench, IMPU).is_empty(), "{why}");
    }
    let token = bench.token(|it| it.exp.0 = now - 29);
    bench.register(&Registered { cseq: 90, tokens: vec![(Mcptt, token)], ..registered() });
    assert_eq!(bound(&bench, IMPU), [alice(Mcptt)], "clocks differ by 30 s at most");
}

#[test]
fn a_body_that_is_malformed_gets_an_answer_that_says_what_is_wrong() {
    let mut bench = Bench::new();
    let inner = |body: &str| {
        format!(
            "REGISTER sip:b.example SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1\r\nFrom: <{IMPU}>;tag=1\r\n\
             To: <{IMPU}>\r\nCall-ID: 1\r\nCSeq: 1 REGISTER\r\nContact: <sip:ue@192.0.2.9>\r\n\
             Content-Type: application/vnd.3gpp.mcptt-info+xml\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    for (content_type, body, reason) in [
        ("message/sip", "REGISTER sip:b.example SIP/2.0\r\n\r\n".to_owned(), "Missing Via"),
        ("message/sip", inner("<mcpttinfo/>"), "MC service info has another root element"),
        ("message/sip", inner("<a"), "Body part is no well-formed XML"),
        ("multipart/mixed", "x".to_owned(), "Multipart body without boundary"),
        ("multipart/mixed;boundary=b", "--b\r\n".to_owned(), "Multipart body without end"),
    ] {
        let answer = bench.register_with(content_type, &body);
        assert_eq!(answer.status(), 400, "{reason}");
        assert_eq!(answer.text.lines().next().unwrap(), format!("SIP/2.0 400 {reason}"));
    }
    assert!(bench.records().is_empty());
}

#[test]
fn a_publish_authorises_changes_settings_and_logs_off() {
    let mut bench = Bench::new();
    bench.register(&Registered { services: vec![Mcptt], ..registered() });
    let token = bench.token_of(Mcptt);
    let first = bench.publish(&Publish { token: Some(token), ..publish() });
    assert_eq!((first.status(), first.header("Expires")), (200, Some("4294967295")));
    assert!(first.after > CommitSeq::NOTHING);
    let etag = first.header("SIP-ETag").unwrap().to_owned();
    assert_eq!(bound(&bench, IMPU), [alice(Mcptt)]);

    let changed =
        bench.publish(&Publish { etag: Some(etag.clone()), answer_mode: "manual", ..publish() });
    assert_eq!(changed.status(), 200);
    let newer = changed.header("SIP-ETag").unwrap().to_owned();
    assert_ne!(newer, etag);
    let stale = bench.publish(&Publish { etag: Some(etag), ..publish() });
    assert_eq!(stale.status(), 412);
    bench.restart();
    let refresh = bench.publish(&Publish { etag: Some(newer), body: false, ..publish() });
    assert_eq!(refresh.status(), 200, "the publication is durable");
    let newest = refresh.header("SIP-ETag").unwrap().to_owned();
    let record = bench.records().remove(0);
    assert!(record.contains("\"answer_mode\":\"manual\""), "a refresh keeps settings: {record}");

    let off = bench.publish(&Publish { etag: Some(newest), expires: 0, body: false, ..publish() });
    assert_eq!((off.status(), off.header("Expires")), (200, Some("0")));
    assert!(bound(&bench, IMPU).is_empty());
    let settings = bench.publish(&publish());
    assert_eq!((settings.status(), settings.header("Warning")), (404, Some(UNKNOWN)));
}

const FAILED: &str = "399 mc.b.example \"101 service authorisation failed\"";
const UNKNOWN: &str = "399 mc.b.example \"141 user unknown to the participating function\"";
const TOO_MANY: &str = "399 mc.b.example \"164 maximum number of service authorisations\"";

#[test]
fn scenario_73_a_publish_with_a_token_without_the_scope_is_403_with_warning_101() {
    let mut bench = Bench::new();
    bench.register(&Registered { services: vec![Mcptt], ..registered() });
    let token = bench.token(|it| it.scope = scope("openid 3gpp:mc:ptt_config_management_service"));
    let answer = bench.publish(&Publish { token: Some(token), ..publish() });
    assert_eq!((answer.status(), answer.header("Warning")), (403, Some(FAILED)));
    assert_eq!(refusals(&bench), ["its scope does not have the service"]);
    let now = bench.now.as_secs();
    let token = bench.token(|it| it.exp.0 = now - 31);
    let expired = bench.publish(&Publish { token: Some(token), ..publish() });
    let shown = |answer: &Answer| (answer.status(), answer.header("Warning").map(str::to_owned));
    assert_eq!(shown(&expired), shown(&answer), "the client is not told why");
    assert!(bound(&bench, IMPU).is_empty());
    let old_name = bench.token(|it| it.scope = scope("3gpp:mcptt:ptt_server"));
    assert_eq!(bench.publish(&Publish { token: Some(old_name), ..publish() }).status(), 200);
}

#[test]
fn scenario_75_one_authorisation_too_many_is_486_with_warning_164() {
    let config = Config { authorisations_of_user_max: 2, ..Config::new("mc.b.example") };
    let mut bench = Bench::with(config);
    let identity = |number: u32| format!("sip:ue-{number}@b.example");
    for number in 0..3 {
        let impu = identity(number);
        bench.register(&Registered {
            impu: &impu,
            call: number,
            services: vec![Mcptt],
            ..registered()
        });
        let token = bench.token_of(Mcptt);
        let answer = bench.publish(&Publish { impu: &impu, token: Some(token), ..publish() });
        let wanted = if number < 2 { (200, None) } else { (486, Some(TOO_MANY)) };
        assert_eq!((answer.status(), answer.header("Warning")), wanted, "{number}");
    }
    let again = bench.token_of(Mcptt);
    let again = bench.publish(&Publish { impu: &identity(1), token: Some(again), ..publish() });
    assert_eq!(again.status(), 200, "whoever is authorised may be again");
    bench.publish(&Publish { impu: &identity(0), expires: 0, body: false, ..publish() });
    bench.restart_with(Config { authorisations_of_user_max: 2, ..Config::new("mc.b.example") });
    let token = bench.token_of(Mcptt);
    let freed = bench.publish(&Publish { impu: &identity(2), token: Some(token), ..publish() });
    assert_eq!(freed.status(), 200, "a log-off makes room, also across a restart");
    let token = bench.token_of(Mcptt);
    let tokens = vec![(Mcptt, token)];
    let over = bench.register(&Registered { impu: &identity(0), cseq: 11, tokens, ..registered() });
    assert_eq!(over.status(), 200, "and a REGISTER over the limit fails no registration");
    assert!(bound(&bench, &identity(0)).is_empty());
}

#[test]
fn scenario_76_any_request_of_a_user_without_binding_is_404_with_warning_141() {
    let mut bench = Bench::new();
    bench.register(&Registered { services: vec![Mcptt], ..registered() });
    for method in ["INVITE", "MESSAGE", "SUBSCRIBE", "PUBLISH"] {
        let answer = bench.request(method, IMPU, "urn:urn-7:3gpp-service.ims.icsi.mcptt");
        assert_eq!((answer.status(), answer.header("Warning")), (404, Some(UNKNOWN)), "{method}");
    }
    let token = bench.token_of(Mcptt);
    bench.register(&Registered { cseq: 11, tokens: vec![(Mcptt, token)], ..registered() });
    let bound = bench.request("INVITE", IMPU, "urn:urn-7:3gpp-service.ims.icsi.mcptt");
    assert_eq!(bound.status(), 405, "there is no call control here");
    let other = bench.request("INVITE", IMPU, "urn:urn-7:3gpp-service.ims.icsi.mcdata.sds");
    assert_eq!(other.status(), 404, "another service");
}

#[test]
fn an_identity_that_is_bound_is_bound_to_nobody_else_before_a_log_off() {
    let mut bench = Bench::new();
    bench.register(&Registered { services: vec![Mcptt], ..registered() });
    let token = bench.token_of(Mcptt);
    bench.publish(&Publish { token: Some(token), ..publish() });
    let bob = || ids(Some("sip:bob@b.example"));
    let token = bench.token(|it| it.services = bob());
    let refused = bench.publish(&Publish { token: Some(token), ..publish() });
    assert_eq!((refused.status(), refused.header("Warning")), (403, Some(FAILED)));
    bench.publish(&Publish { expires: 0, body: false, ..publish() });
    let token = bench.token(|it| it.services = bob());
    assert_eq!(bench.publish(&Publish { token: Some(token), ..publish() }).status(), 200);
    assert_eq!(bound(&bench, IMPU), [(Mcptt, "sip:bob@b.example".to_owned())]);
}

#[test]
fn a_publish_before_the_registration_was_told_of_lasts_as_long_as_its_token() {
    let mut bench = Bench::new();
    let token = bench.token_of(Mcptt);
    assert_eq!(bench.publish(&Publish { token: Some(token), ..publish() }).status(), 200);
    bench.register(&Registered { services: vec![Mcptt], expires: 7_200, ..registered() });
    bench.pass(Duration::from_secs(7_000));
    assert_eq!(
        bound(&bench, IMPU),
        [alice(Mcptt)],
        "as long as the registration, once it is known"
    );
    bench.pass(Duration::from_secs(300));
    let token = bench.token_of(Mcptt);
    bench.publish(&Publish { token: Some(token), ..publish() });
    bench.pass(Duration::from_secs(3_600 + 31));
    assert!(bound(&bench, IMPU).is_empty());
}

#[test]
fn what_else_is_wrong_with_a_publish_is_said() {
    let mut bench = Bench::new();
    let token = bench.token_of(Mcptt);
    let ok = || Publish { token: Some(token.clone()), ..publish() };
    let text = bench.publish_text(&ok());
    let encrypted =
        text.replace("mcptt-access-token type=\"Normal\"", "mcptt-access-token type=\"Encrypted\"");
    for (at, (text, status, field, value)) in (0..).zip([
        (
            text.replace("Event: poc-settings", "Event: presence"),
            489,
            "Allow-Events",
            Some("poc-settings"),
        ),
        (text.replace("Expires: 4294967295", "Expires: 59"), 423, "Min-Expires", Some("60")),
        (text.replace("P-Asserted-Identity", "X-Other"), 403, "Warning", None),
        (encrypted, 403, "Warning", Some(FAILED)),
        (
            text.replace("vnd.3gpp.mcptt-info+xml", "x").replace("poc-settings+xml", "y"),
            415,
            "Warning",
            None,
        ),
        (text.replace("automatic", "whatever "), 400, "Warning", None),
    ]) {
        let answer = bench.send(&with_length(&text.replace("z9hG4bK", &format!("z9hG4bK{at}x"))));
        assert_eq!((answer.status(), answer.header(field)), (status, value), "{text}");
    }
    let finite = bench.publish(&Publish { expires: 600, ..ok() });
    assert_eq!(finite.header("Expires"), Some("600"));
    bench.pass(Duration::from_secs(601));
    assert!(bound(&bench, IMPU).is_empty(), "a publication that nobody refreshes ends");
}

/// The message with the Content-Length that its body has by now.
fn with_length(text: &str) -> String {
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let length = |line: &str| match line.strip_prefix("Content-Length") {
        Some(_) => format!("Content-Length: {}", body.len()),
        None => line.to_owned(),
    };
    let head: Vec<String> = head.split("\r\n").map(length).collect();
    format!("{}\r\n\r\n{body}", head.join("\r\n"))
}

#[test]
fn nobody_is_served_but_a_sip_core_of_this_system() {
    let mut bench = Bench::new();
    bench.source = "192.0.2.66:5060".parse().unwrap();
    let token = bench.token_of(Mcptt);
    let answer = bench.publish(&Publish { token: Some(token), ..publish() });
    assert_eq!(answer.status(), 403);
    assert!(bench.notes.contains(&Note::Mc(McNote::StrangerRefused)));
    assert!(bench.records().is_empty());
}

#[test]
fn a_repeat_gets_the_same_answer_and_changes_nothing() {
    let mut bench = Bench::new();
    let token = bench.token_of(Mcptt);
    let text = bench.publish_text(&Publish { token: Some(token), ..publish() });
    let first = bench.send(&text);
    let again = bench.send(&text);
    assert_eq!(first.text, again.text);
    bench.pass(Duration::from_secs(33));
    let later = bench.send(&text);
    assert_ne!(first.header("SIP-ETag"), later.header("SIP-ETag"), "Timer J is over");
}

#[test]
fn without_storage_nothing_is_served_and_the_client_may_try_again() {
    let mut bench = Bench::new();
    bench.out.set_storage_available(false);
    let answer = bench.request("MESSAGE", IMPU, "urn:urn-7:3gpp-service.ims.icsi.mcptt");
    assert_eq!((answer.status(), answer.header("Retry-After")), (503, Some("10")));
}

#[test]
fn no_token_is_in_a_record_or_prints() {
    let mut bench = Bench::new();
    let token = bench.token_of(Mcptt);
    let claims = token.split('.').nth(1).unwrap().to_owned();
    bench.register(&Registered { tokens: vec![(Mcptt, token)], ..registered() });
    let records = bench.records();
    let shown = format!("{:?} {:?} {records:?}", bench.server, bench.notes);
    assert!(!shown.contains(&claims), "{shown}");
    assert!(!format!("{:?}", bench.server).contains("alice"));
}

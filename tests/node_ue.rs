//! `migcore ue`, each command in a process of its own: what it sends, what it keeps between commands, and
//! what it says when something is wrong.
#![cfg(feature = "node")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines,
    clippy::disallowed_types,
    reason = "test code"
)]

mod node_world;
mod ue_process;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, UdpSocket},
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use migcore::{
    api::{
        connection_details::{Details, SipCoreAddress, SipTransport, SystemConfiguration},
        migration_identity::Direction,
    },
    identity::{Impi, Impu, UserIdentity},
    node::{
        RunningSystem,
        client::{ManagementClient, NewUser},
        ue::state::{StateError, StateFile, TEMPLATE},
    },
    token::BearerToken,
    ue_configuration::InitialUeConfiguration,
};
use node_world::{eventually, metric, peer, start};
use serde_json::Value;
use ue_process::{
    A_TO_B, B_TO_A, K, OP, State, TOKEN, agreement, alice, by_hand, done, failed, key,
};

const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9);

async fn provision_alice(system: &RunningSystem) -> ManagementClient {
    let client = ManagementClient::new(&format!("http://{}", system.bound().management.unwrap()));
    client.put_subscriber(&alice(), &key(K), &key(OP)).await.unwrap();
    client
}

fn registrations(system: &RunningSystem) -> f64 {
    metric(system, "migcore_registrations")
}

#[track_caller]
fn assert_registrations(system: &RunningSystem, wanted: f64) {
    let found = registrations(system);
    assert!((found - wanted).abs() < f64::EPSILON, "{found} registrations, not {wanted}");
}

/// What a server saw of a request.
struct Seen {
    from: SocketAddr,
    head: String,
    body: String,
}

/// A configuration management server that gives one answer after another, and closes.
fn answering(answers: Vec<String>) -> (SocketAddr, mpsc::Receiver<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (seen, requests) = mpsc::channel();
    thread::spawn(move || {
        for answer in answers {
            let (stream, from) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                reader.read_line(&mut head).unwrap();
            }
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let mut body = vec![0; length.unwrap().parse().unwrap()];
            reader.read_exact(&mut body).unwrap();
            let body = String::from_utf8(body).unwrap();
            let _ = seen.send(Seen { from, head, body });
            reader.get_mut().write_all(answer.as_bytes()).unwrap();
        }
    });
    (address, requests)
}

fn http(status: &str, kind: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    )
}

fn document() -> InitialUeConfiguration {
    InitialUeConfiguration::for_domain("b.example", "20801".parse().unwrap()).unwrap()
}

/// A2 as JSON.
fn details(identity: &UserIdentity, core: SocketAddr, revision: u64) -> String {
    let body = serde_json::json!({
        "mc_system_id": "sip:b.example",
        "reason": "location",
        "identity": identity,
        "valid_until": 4_000_000_000_u64,
        "configuration": {
            "revision": revision,
            "sip_core": [{ "transport": "udp", "address": core }, { "transport": "tcp", "address": core }],
            "document": document(),
        },
    });
    serde_json::from_value::<Details>(body.clone()).expect("an answer of the interface");
    http("200 OK", "application/json", "", &body.to_string())
}

fn inbound() -> UserIdentity {
    UserIdentity {
        impi: Impi::parse("mig-1@b.example").unwrap(),
        impu: Impu::parse("sip:mig-2@b.example").unwrap(),
    }
}

#[test]
fn migrate_asks_by_http_and_keeps_the_answer_below_what_the_user_wrote() {
    let (server, requests) =
        answering(vec![details(&inbound(), NOWHERE, 4), details(&inbound(), NOWHERE, 2)]);
    let state = State::new("migrate", &by_hand(server, NOWHERE));
    let command = [
        "ue",
        "migrate",
        "--state",
        state.path(),
        "--json",
        "--plmn",
        "20801",
        "--tracking-area",
        "7",
        "--cell",
        "9",
        "--partner",
        "sip:b.example",
        "--strict",
    ];
    let printed = done(&command);
    let seen = requests.recv().unwrap();
    assert!(
        seen.head.starts_with("POST /csc-4/v1/connection-details HTTP/1.1\r\n"),
        "{}",
        seen.head
    );
    assert!(seen.head.contains(&format!("authorization: Bearer {TOKEN}\r\n")), "{}", seen.head);
    assert!(seen.head.contains(&format!("host: {server}\r\n")), "{}", seen.head);
    let wanted = serde_json::json!({
        "mc_service_id": "sip:alice@a.example",
        "location": { "plmn": "20801", "tracking_area": 7, "cell": 9 },
        "partner": "sip:b.example",
        "strict": true,
    });
    assert_eq!(serde_json::from_str::<Value>(&seen.body).unwrap(), wanted);

    let entries: Vec<Value> =
        printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let steps: Vec<_> = entries.iter().map(|entry| (&entry["step"], &entry["direction"])).collect();
    assert_eq!(steps, [(&"MIG-1".into(), &"out".into()), (&"MIG-13".into(), &"in".into())]);
    assert_eq!(entries[0]["local"], seen.from.to_string(), "as the server saw it");
    assert_eq!(entries[0]["remote"], server.to_string());
    assert_eq!(entries[0]["octets"], seen.body.len());
    let kept = StateFile::open(&state.0).unwrap();
    let record = &kept.state.records.partners()[0];
    assert_eq!((&record.details.identity, record.details.configuration.revision), (&inbound(), 4));
    assert_eq!(*record.details.configuration.document, document());
    assert_eq!(kept.state.records.primary().identity, alice());
    assert!(state.text().starts_with(&by_hand(server, NOWHERE)));
    drop(kept);

    done(&command);
    let kept = StateFile::open(&state.0).unwrap();
    let [record] = kept.state.records.partners() else { panic!("one record a partner") };
    assert_eq!(record.details.configuration.revision, 2, "the server is the authority");
    assert!(state.text().starts_with(&by_hand(server, NOWHERE)));
    let mode = std::fs::metadata(&state.0).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_refusal_is_told_with_what_to_do_and_changes_nothing() {
    let problem = |name: &str| {
        format!(
            "{{\"type\":\"urn:migcore:problem:{name}\",\"detail\":\"the detail\\u001b[31m\",\"fix\":\"the fix\"}}"
        )
    };
    let json = "application/problem+json";
    for (name, answer, parts) in [
        (
            "a-refusal",
            http("403 Forbidden", json, "", &problem("not-authorised")),
            &["refused (403): the detail [31m; the fix"][..],
        ),
        (
            "trouble",
            http(
                "504 Gateway Timeout",
                json,
                "Retry-After: 3\r\n",
                &problem("partner-unreachable"),
            ),
            &["refused (504)", "try again in 3 s"],
        ),
        (
            "exhausted",
            http("503 Service Unavailable", json, "", &problem("exhausted")),
            &["refused (503)", "try again in 60 s"],
        ),
        (
            "a-kind-nobody-knows",
            http("500 Internal Server Error", json, "", &problem("storm")),
            &["refused (500): the detail"],
        ),
        (
            "no-problem-details",
            http("502 Bad Gateway", "text/html", "", "<html>"),
            &["does not speak CSC-4: status 502"],
        ),
        (
            "another-body",
            http("200 OK", "application/json", "", "{\"mc_system_id\":\"b\"}"),
            &["does not speak CSC-4: mc_system_id"],
        ),
        (
            "too-long-a-body",
            http("200 OK", "application/json", "", &" ".repeat(300_000)),
            &["sent more than 262144 octets"],
        ),
        ("a-broken-connection", "HTTP/1.1 200 OK\r\n".to_owned(), &["broke the connection off"]),
    ] {
        let (server, _requests) = answering(vec![answer]);
        let state = State::new(name, &by_hand(server, NOWHERE));
        let before = state.text();
        let said = failed(1, &["ue", "migrate", "--state", state.path(), "--plmn", "20801"]);
        for part in [&format!("at http://{server} ")[..]].iter().chain(parts) {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert!(!said.contains('\u{1b}'), "{said}");
        assert_eq!(state.text(), before);
    }
    let state = State::new("nobody", &by_hand(NOWHERE, NOWHERE));
    let said = failed(1, &["ue", "migrate", "--state", state.path(), "--plmn", "20801"]);
    assert!(said.contains("http://127.0.0.1:9 cannot be reached"), "{said}");
    failed(2, &["ue", "migrate", "--state", state.path(), "--plmn", "2080"]);
    failed(2, &["ue", "migrate", "--state", state.path(), "--plmn", "20801", "--strict"]);
}

#[tokio::test]
async fn one_process_registers_another_refreshes_and_a_third_deregisters() {
    let system = start("a.example", "");
    provision_alice(&system).await;
    let core = system.bound().sip[0];
    for flag in [None, Some("--tcp")] {
        let state = State::new("home", &by_hand(NOWHERE, core));
        let register = ["ue", "register", "--state", state.path()];
        let printed = done(&register.into_iter().chain(flag).collect::<Vec<_>>());
        assert!(
            printed.lines().last().unwrap().starts_with("registered at sip:a.example: for 6 d")
        );
        for step in ["MIG-15", "MIG-22", "MIG-23", "MIG-24", "MIG-25"] {
            assert!(printed.contains(step), "{printed}");
        }
        assert!(!printed.contains("MIG-14"), "home needs no access: {printed}");
        assert_registrations(&system, 1.0);
        let contact = state.added()["registration"]["agent"]["contact"].clone();
        let (cseq, accepted) = (state.cseq(), state.accepted());
        assert_eq!((cseq, accepted.iter().filter(|seq| **seq > 0).count()), (2, 1));

        let printed = done(&["ue", "refresh", "--state", state.path(), "--json"]);
        assert!(
            printed.lines().all(|line| line.starts_with("{\"at\":")),
            "objects alone: {printed}"
        );
        assert_registrations(&system, 1.0);
        assert_eq!(state.added()["registration"]["agent"]["contact"], contact);
        assert_eq!(state.cseq(), 4);
        let later = state.accepted();
        assert!(accepted.iter().zip(&later).all(|(before, after)| before <= after));
        assert_ne!(accepted, later);

        let status = done(&["ue", "status", "--state", state.path()]);
        assert!(status.contains("registration  sip:a.example, contact 127.0.0.1:"), "{status}");
        done(&["ue", "deregister", "--state", state.path()]);
        assert_registrations(&system, 0.0);
        for command in ["refresh", "deregister"] {
            let said = failed(1, &["ue", command, "--state", state.path()]);
            assert!(said.contains("not registered anywhere"), "{said}");
        }
    }
    system.shutdown().await;
}

#[tokio::test]
async fn a_contact_whose_port_is_taken_is_not_prolonged_but_can_be_removed() {
    let system = start("a.example", "");
    provision_alice(&system).await;
    let state = State::new("taken", &by_hand(NOWHERE, system.bound().sip[0]));
    done(&["ue", "register", "--state", state.path()]);
    let contact = state.added()["registration"]["agent"]["contact"].clone();
    let contact: SocketAddr = contact.as_str().unwrap().parse().unwrap();
    let taken = UdpSocket::bind(contact).unwrap();
    let before = state.text();
    let said = failed(1, &["ue", "refresh", "--state", state.path()]);
    assert!(said.contains(&format!("for {contact}, which is not to be had")), "{said}");
    assert_eq!(state.text(), before);
    done(&["ue", "deregister", "--state", state.path()]);
    assert_registrations(&system, 0.0);
    drop(taken);
    system.shutdown().await;
}

/// Passes datagrams on between a UE and a SIP core, until the UE answers a challenge: then it says so
/// and passes nothing on.
fn cut_at_the_answer(core: SocketAddr) -> (SocketAddr, mpsc::Receiver<()>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let (cut, is_cut) = mpsc::channel();
    thread::spawn(move || {
        let (mut ue, mut buffer) = (None, vec![0; 65_535]);
        loop {
            let (length, from) = socket.recv_from(&mut buffer).unwrap();
            let octets = &buffer[..length];
            if from == core {
                socket.send_to(octets, ue.expect("it answers")).unwrap();
            } else if String::from_utf8_lossy(octets).contains("response=\"\"") {
                ue = Some(from);
                socket.send_to(octets, core).unwrap();
            } else {
                let _ = cut.send(());
                return;
            }
        }
    });
    (address, is_cut)
}

#[tokio::test]
async fn a_process_killed_with_its_answer_under_way_has_kept_what_the_answer_used() {
    let system = start("a.example", "");
    provision_alice(&system).await;
    let core = system.bound().sip[0];
    let (between, is_cut) = cut_at_the_answer(core);
    let state = State::new("killed", &by_hand(NOWHERE, between));
    let mut child = Command::new(env!("CARGO_BIN_EXE_migcore"))
        .args(["ue", "register", "--state", state.path()])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    is_cut.recv_timeout(Duration::from_secs(10)).expect("the UE answers the challenge");
    let at_the_answer = (state.cseq(), state.accepted());
    assert_eq!(at_the_answer.0, 2, "kept before the answer left");
    assert_eq!(at_the_answer.1.iter().filter(|seq| **seq > 0).count(), 1);

    let in_use = failed(1, &["ue", "register", "--state", state.path()]);
    assert!(in_use.contains("is in use by another process"), "{in_use}");
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!((state.cseq(), state.accepted()), at_the_answer);

    state.write(&state.text().replace(&between.to_string(), &core.to_string()));
    let printed = done(&["ue", "register", "--state", state.path()]);
    assert_eq!(printed.matches("MIG-22").count(), 1, "no challenge was out of range: {printed}");
    assert_eq!(state.cseq(), 4);
    assert!(at_the_answer.1.iter().zip(state.accepted()).all(|(before, after)| *before <= after));
    assert_registrations(&system, 1.0);
    system.shutdown().await;
}

/// TOML of a configuration server and of Diameter with one partner, which covers PLMN 20801.
fn with_partner(letter: &str, url: &str, (send, accept): (&str, &str)) -> String {
    format!(
        "[config_server]\nstatic_tokens = true\nlisten = \"127.0.0.1:0\"\nlisten_partners = \"127.0.0.1:0\"\n\
         [[config_server.partners]]\nid = \"sip:{letter}.example\"\n\
         sip_database = \"sipdb.{letter}.example\"\nurl = \"{url}\"\n\
         send_token = \"{send}\"\naccept_token = \"{accept}\"\nareas = [{{ plmn = \"20801\" }}]\n"
    )
}

/// Two systems with an agreement: Alice of A may go to B.
async fn two_systems() -> (RunningSystem, RunningSystem) {
    let database = peer("sipdb.a.example", "database", None);
    let from_a = with_partner("a", "http://127.0.0.1:9", (B_TO_A, A_TO_B));
    let partner = start("b.example", &(from_a + &database));
    let url = format!("http://{}", partner.bound().csc17.unwrap());
    let database = peer("sipdb.b.example", "database", partner.bound().diameter);
    let home = start("a.example", &(with_partner("b", &url, (A_TO_B, B_TO_A)) + &database));
    eventually("connected", || home.is_connected() && partner.is_connected()).await;

    let client = provision_alice(&home).await;
    client.ensure_generated_pool("o", Direction::Outbound, "out-{id}", "a.example").await.unwrap();
    let user = NewUser {
        mc_service_id: &"sip:alice@a.example".parse().unwrap(),
        identity: &alice(),
        class: None,
        may_migrate: true,
        token: Some(&BearerToken::parse(TOKEN).unwrap()),
    };
    client.put_user(&user).await.unwrap();
    client.put_agreement(&agreement("sip:b.example", Direction::Outbound)).await.unwrap();

    let client = ManagementClient::new(&format!("http://{}", partner.bound().management.unwrap()));
    client.ensure_generated_pool("i", Direction::Inbound, "mig-{id}", "b.example").await.unwrap();
    client.put_agreement(&agreement("sip:a.example", Direction::Inbound)).await.unwrap();
    let address = partner.bound().sip[0];
    let configuration = SystemConfiguration {
        revision: 1,
        sip_core: [SipTransport::Udp, SipTransport::Tcp]
            .map(|transport| SipCoreAddress { transport, address })
            .into(),
        document: Arc::new(document()),
    };
    let id = "sip:b.example".parse().unwrap();
    client.put_system_configuration(&id, &configuration).await.unwrap();
    (home, partner)
}

#[tokio::test]
async fn a_user_goes_to_the_partner_comes_home_and_goes_there_again() {
    let (home, partner) = two_systems().await;
    let state = State::new("journey", &by_hand(home.bound().csc4.unwrap(), home.bound().sip[0]));
    let ue = |arguments: &[&str]| {
        let options = ["--state", state.path()];
        done(&[&["ue"], arguments, &options].concat())
    };
    ue(&["register"]);
    assert_registrations(&home, 1.0);
    ue(&["deregister"]);
    for number in 0..3 {
        if number != 1 {
            ue(&["migrate", "--plmn", "20801"]); // the second time it goes by the record alone
        }
        let printed = ue(&["register"]);
        assert!(printed.contains("registered at sip:b.example"), "{printed}");
        let at = |step| printed.find(step).unwrap_or_else(|| panic!("{step}: {printed}"));
        assert!(at("MIG-14") < at("MIG-15") && at("MIG-15") < at("MIG-23"), "{printed}");
        assert_registrations(&partner, 1.0);
        ue(&["refresh"]);

        let printed = ue(&["return"]);
        assert!(printed.contains("no longer registered at sip:b.example"), "{printed}");
        assert!(printed.contains("registered at sip:a.example"), "{printed}");
        assert_registrations(&partner, 0.0);
        assert_registrations(&home, 1.0);
    }
    let status = ue(&["status"]);
    for shown in
        ["mig-", "@b.example", "alice@a.example", "partner       sip:b.example, by location"]
    {
        assert!(status.contains(shown), "{shown}: {status}");
    }
    for secret in [K, OP, TOKEN] {
        assert!(!status.contains(secret), "{status}");
    }
    partner.shutdown().await;
    let said = failed(1, &["ue", "register", "--state", state.path(), "--tcp"]);
    assert!(said.contains("cannot be reached"), "{said}");
    let elsewhere = ["ue", "migrate", "--state", state.path(), "--plmn", "26201"];
    let said = failed(1, &elsewhere);
    assert!(said.contains("refused (") && !said.contains("try again in"), "{said}");
    home.shutdown().await;
}

#[test]
fn the_template_is_a_state_file_and_what_is_missing_in_one_is_told_with_the_line() {
    let template = State::new("template", &done(&["ue", "template"]));
    assert_eq!(template.text(), TEMPLATE);
    let status = done(&["ue", "status", "--state", template.path()]);
    assert!(status.contains("registration  none"), "{status}");

    let good = by_hand(NOWHERE, NOWHERE);
    for (name, from, to, said) in [
        ("unknown", "csc4 =", "csc =", "line 7: home.csc is not a known key; did you mean csc4?"),
        ("missing", "csc4 =", "csc =", "line 5: home.csc4 is missing; write csc4 = \"http://"),
        ("section", "[isim]", "[issim]", "issim is not a known key; did you mean isim?"),
        ("key", "465b", "465", "line 12: isim.k is not 16 octets in hexadecimal digits"),
        ("token", "AbCd", "Ab d", "line 4: user.token holds a character other than"),
        ("operator", "op =", "opp =", "line 11: isim.opc is missing; write opc, or op"),
        (
            "both",
            "op =",
            "opc = \"00112233445566778899aabbccddeeff\"\nop =",
            "isim.op is beside opc",
        ),
        ("core", "\"udp:", "\"sctp:", "begins with none of udp:, tcp: and tls:"),
        ("scheme", "\"http:", "\"ftp:", "is neither https nor http"),
        ("syntax", "token =", "token", "line 4: "),
    ] {
        let state = State::new(&format!("wrong-{name}"), &good.replacen(from, to, 1));
        let output = failed(2, &["ue", "status", "--state", state.path()]);
        assert!(output.contains(said), "{name}: {output}");
        for secret in [&K[4..], OP, &TOKEN[4..]] {
            assert!(!output.contains(secret), "{name}: {output}");
        }
    }
    let said = failed(2, &["ue", "status", "--state", "/nonexistent"]);
    assert!(said.contains("`migcore ue template` prints a file to fill in"), "{said}");
}

#[test]
fn what_migcore_wrote_and_somebody_spoiled_is_told_with_the_line() {
    let (server, _requests) = answering(vec![details(&inbound(), NOWHERE, 1)]);
    let state = State::new("spoiled", &by_hand(server, NOWHERE));
    done(&["ue", "migrate", "--state", state.path(), "--plmn", "20801"]);
    let good = state.text();
    for (from, to, said) in [
        ("accepted = [0, ", "accepted = [", "IND must have 1 to 8 bits"),
        ("[sqn]", "[spn]", "unknown field `spn`"),
        ("[isim]\n", "[isim]\nind_bits = 4\n", "isim.ind_bits is not as when"),
        ("reason = \"location\"", "reason = \"whim\"", "unknown variant `whim`"),
    ] {
        assert!(good.contains(from), "{from}: {good}");
        state.write(&good.replacen(from, to, 1));
        let output = failed(2, &["ue", "status", "--state", state.path()]);
        assert!(output.contains(said), "{said}: {output}");
        let line = good[..good.find(from).unwrap()].lines().count() + 1;
        if !from.starts_with("[isim]") {
            assert!(output.contains(&format!("line {line}: ")), "{line}: {output}");
        }
    }
    state.write(&good);
    assert_eq!(StateFile::open(&state.0).unwrap().state.records.partners().len(), 1);
}

#[test]
fn one_process_at_a_time_uses_a_state_file_and_others_are_warned_of() {
    let state = State::new("lock", &by_hand(NOWHERE, NOWHERE));
    let file = StateFile::open(&state.0).unwrap();
    assert!(matches!(StateFile::open(&state.0), Err(StateError::InUse { .. })));
    assert!(!file.is_exposed());
    drop(file);
    std::fs::set_permissions(&state.0, std::fs::Permissions::from_mode(0o644)).unwrap();
    let file = StateFile::open(&state.0).unwrap();
    assert!(file.is_exposed());
    drop(file);
    let said = failed(1, &["ue", "refresh", "--state", state.path()]);
    assert!(said.contains("others may read it, and it holds keys: run chmod 600"), "{said}");
}

//! `migcore ue` of a person who goes to a partner that has no link to her home: what she takes along is in the state file.
#![cfg(feature = "node")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines,
    clippy::disallowed_types,
    reason = "test code"
)]

mod free_ports;
mod node_world;
mod ue_process;

use std::{process::Command, sync::Arc};

use free_ports::free_ports;
use migcore::{
    api::{
        connection_details::{SipCoreAddress, SipTransport, SystemConfiguration},
        migration_identity::Direction,
    },
    node::{Options, RunningSystem, client::ManagementClient, config::Config, tls::use_ring},
    ue_configuration::InitialUeConfiguration,
};
use node_world::{metric, peer};
use serde_json::{Value, json};
use ue_process::{
    A_TO_B, B_TO_A, K, OP, State, TOKEN, agreement, alice, by_hand, done, failed, key,
};

/// A system whose users log in, with no link to any other; `more` is in front of its sections.
fn system_with_log_in(letter: &str, partner: &str) -> (RunningSystem, String) {
    let idms = free_ports(1);
    let issuer = format!("http://127.0.0.1:{idms}");
    let toml = format!(
        "roles = [\"sip_core\", \"sip_database\", \"config_server\", \"idms\"]\n\
         [idms]\nlisten = \"127.0.0.1:{idms}\"\nissuer = \"{issuer}\"\npassword_memory_kib = 8\n\
         password_passes = 1\n[config_server]\nlisten = \"127.0.0.1:0\"\nlisten_partners = \"127.0.0.1:0\"\n{partner}"
    );
    // What is in no section comes first.
    let (roles, sections) = toml.split_once('\n').unwrap();
    let config = format!("{roles}\n{}", node_world::toml(&format!("{letter}.example"), sections));
    let config = Config::parse(&config).unwrap();
    (RunningSystem::start(config, Options::default()).unwrap(), issuer)
}

async fn put(system: &RunningSystem, path: &str, body: Value) {
    let url = format!("http://{}{path}", system.bound().management.unwrap());
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let response = http.put(url).json(&body).send().await.unwrap();
    assert!(response.status().is_success(), "{path}: {}", response.text().await.unwrap());
}

async fn shown(system: &RunningSystem, path: &str) -> Value {
    let url = format!("http://{}{path}", system.bound().management.unwrap());
    reqwest::get(url).await.unwrap().json().await.unwrap()
}

fn escaped(text: &str) -> String {
    text.replace(':', "%3A").replace('/', "%2F")
}

/// Alice, who may log in at A and go to B; returns the systems and their issuers.
async fn without_a_link() -> [(RunningSystem, String); 2] {
    use_ring();
    let (b, issuer_b) = system_with_log_in("b", "");
    let (a, issuer_a) = system_with_log_in(
        "a",
        &format!(
            "[[config_server.partners]]\nid = \"sip:b.example\"\nsip_database = \"sipdb.b.example\"\n\
             url = \"http://b.example\"\nsend_token = \"{A_TO_B}\"\naccept_token = \"{B_TO_A}\"\n{}",
            peer("sipdb.b.example", "database", None)
        ),
    );
    let client = json!({ "redirect_uris": ["http://127.0.0.1/back"] });
    put(&a, "/v1/idms/clients/mc-client", client).await;
    put(&b, "/v1/idms/clients/mc-client", json!({})).await;
    let user = json!({
        "password": "a long password", "mcptt_id": "sip:alice@a.example", "partners": [issuer_b],
    });
    put(&a, "/v1/idms/users/alice", user).await;
    let management = ManagementClient::new(&format!("http://{}", a.bound().management.unwrap()));
    management.put_subscriber(&alice(), &key(K), &key(OP)).await.unwrap();
    put(
        &a,
        "/v1/users/sip%3Aalice@a.example",
        json!({ "impi": "alice@a.example", "impu": "sip:alice@a.example" }),
    )
    .await;
    management.put_agreement(&agreement("sip:b.example", Direction::Outbound)).await.unwrap();
    let template = InitialUeConfiguration::for_domain("b.example", "20801".parse().unwrap());
    let mut document = template.unwrap().document().clone();
    document.on_network.servers.idms_token_endpoint = format!("{issuer_b}/token");
    document.on_network.cms_xcap_root_uri = format!("http://{}/xcap-root", b.bound().csc4.unwrap());
    let configuration = SystemConfiguration {
        revision: 1,
        sip_core: vec![SipCoreAddress { transport: SipTransport::Udp, address: b.bound().sip[0] }],
        document: Arc::new(InitialUeConfiguration::new(&document).unwrap()),
    };
    let id = "sip:b.example".parse().unwrap();
    management.put_system_configuration(&id, &configuration).await.unwrap();
    for (system, user) in [(&a, "sip:alice@a.example"), (&b, "sip:visitor-1@b.example")] {
        let document = format!(
            "<mcptt-user-profile xmlns=\"urn:3gpp:mcptt:user-profile:1.0\" XUI-URI=\"{user}\"><Common/></mcptt-user-profile>"
        );
        let path = format!("/v1/user-profiles/mcptt/{}/0", escaped(user));
        put(system, &path, json!({ "revision": 1, "document": document })).await;
    }
    let keys = shown(&a, "/v1/idms/keys").await;
    let pem: String =
        keys["items"].as_array().unwrap().iter().map(|it| it["pem"].as_str().unwrap()).collect();
    let url =
        format!("http://{}/v1/idms/trust/{}", b.bound().management.unwrap(), escaped(&issuer_a));
    let trusted = reqwest::Client::new().post(url).json(&json!({ "pem": pem })).send().await;
    assert!(trusted.unwrap().status().is_success());
    let subject = shown(&a, "/v1/idms/users/alice").await["subject"].as_str().unwrap().to_owned();
    let path = format!("/v1/idms/visitors/{}/{subject}", escaped(&issuer_a));
    put(&b, &path, json!({ "mcptt_id": "sip:visitor-1@b.example" })).await;
    let guest = json!({
        "impus": ["sip:visitor-1@b.example"], "password": "another long password",
        "algorithm": "SHA-256",
    });
    put(&b, "/v1/digest-subscribers/visitor-1@b.example", guest).await;
    [(a, issuer_a), (b, issuer_b)]
}

/// The arguments of a command of one UE.
fn ue_of<'a>(state: &'a State, arguments: &[&'a str]) -> Vec<&'a str> {
    [&["ue"], arguments, &["--state", state.path()]].concat()
}

#[tokio::test]
async fn a_person_goes_to_a_partner_without_a_link_by_hand() {
    let [(a, issuer), (b, _)] = without_a_link().await;
    let by_hand = by_hand(a.bound().csc4.unwrap(), a.bound().sip[0]);
    let by_hand = by_hand.replace(&format!("token = \"{TOKEN}\"\n"), "")
        + &format!(
            "[log_in]\nissuer = \"{issuer}\"\nclient = \"mc-client\"\nuser = \"alice\"\n\
             [[local]]\nmc_system_id = \"sip:b.example\"\nimpi = \"visitor-1@b.example\"\n\
             impu = \"sip:visitor-1@b.example\"\nsip_core = [\"udp:{}\"]\n\
             password = \"another long password\"\n",
            b.bound().sip[0]
        );
    let state = State::new("guest", &by_hand);
    let with_password = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_migcore"));
        command.args(arguments).env("MIGCORE_UE_PASSWORD", "a long password");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{arguments:?} {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let ue = |arguments| ue_of(&state, arguments);
    let said = failed(1, &ue(&["take-along", "--partner", "sip:b.example"]));
    assert!(said.contains("not logged in: run migcore ue log-in"), "{said}");
    let said = failed(1, &ue(&["log-in"]));
    assert!(said.contains("set MIGCORE_UE_PASSWORD"), "{said}");
    let said = with_password(&ue(&["log-in"]));
    assert!(said.contains("logged in"), "{said}");
    let said = failed(1, &ue(&["take-along", "--partner", "sip:c.example"]));
    assert!(said.contains("profile does not let the user go to sip:c.example"), "{said}");
    assert!(done(&ue(&["profile"])).contains("MigratablePartnerMCPTTSystemInfo"));
    done(&ue(&["take-along", "--partner", "sip:b.example"]));
    // With a link the same token would do, and there is none: the partner does not answer.
    let said =
        failed(1, &ue(&["migrate", "--plmn", "20801", "--partner", "sip:b.example", "--strict"]));
    assert!(!said.contains("401"), "{said}");

    // From here on there is no home.
    a.shutdown().await;
    let said = done(&ue(&["visit"]));
    assert!(said.contains("ISO-1") && said.contains("a guest at sip:b.example"), "{said}");
    let profile = done(&ue(&["profile", "--partner", "sip:b.example"]));
    assert!(profile.contains("sip:visitor-1@b.example"), "{profile}");
    done(&ue(&["register", "--local"]));
    assert!((metric(&b, "migcore_registrations") - 1.0).abs() < f64::EPSILON);
    done(&ue(&["refresh"]));
    let status = done(&ue(&["status"]));
    assert!(
        status.contains("taken along   for sip:b.example, visited as sip:visitor-1@b.example"),
        "{status}"
    );
    assert!(status.contains("registration  sip:b.example"), "{status}");
    for secret in ["long password", K, OP, "eyJ"] {
        assert!(!status.contains(secret), "{secret} in {status}");
    }
    done(&ue(&["deregister"]));
    assert!(metric(&b, "migcore_registrations").abs() < f64::EPSILON);
    b.shutdown().await;
}

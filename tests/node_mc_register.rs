//! The REGISTER of a real MC client over TCP (TS 24.379 clause 7.2.1AA): a multipart body of 5 kB with the
//! access tokens of three services, in many segments, reaches the MC server within the third-party REGISTER.
#![cfg(feature = "node")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test code")]
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a test speaks to the sockets"
)]

mod free_ports;
mod node_world;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use free_ports::free_address;
use migcore::{
    aka::{
        SqnArray,
        digest::{Algorithm, DigestInput, Qop, QopInput, decode_nonce, password, response},
    },
    node::ue::identity::{IdentityClient, Server},
    secret::{Secret, SecretText},
    sip::{
        Framing,
        auth_header::DigestCredentials,
        request::{ContactToSend, RegisterBuilder},
        response::ResponseView,
    },
    ue::Isim,
};
use node_world::{eventually, metric, start};

const KEY: &str = "465b5ce8b199b49faa5f0a2ee238a6bc";
const OPC: &str = "cd63cb71954a9f4e48a5994e37a02baf";

/// Three service infos with an access token, of more than 1.6 kB each: what clients send beside the token is long, too.
fn body(token: &str) -> Vec<u8> {
    let mut body = String::new();
    for (service, root) in
        [("mcptt", "mcpttinfo"), ("mcvideo", "mcvideoinfo"), ("mcdata", "mcdatainfo")]
    {
        let more = service.repeat(900 / service.len());
        body += &format!(
            "--boundary1\r\nContent-Type: application/vnd.3gpp.{service}-info+xml\r\n\r\n\
             <?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n\
             <{root} xmlns=\"urn:3gpp:ns:{service}Info:1.0\"><{service}-Params>\
             <{service}-access-token type=\"Normal\"><{service}String>{token}</{service}String>\
             </{service}-access-token><anyExt>{more}</anyExt></{service}-Params></{root}>\r\n"
        );
    }
    (body + "--boundary1--\r\n").into_bytes()
}

fn register(cseq: u32, body: &[u8], credentials: DigestCredentials<'_>) -> Vec<u8> {
    RegisterBuilder {
        request_uri: "sip:a.example",
        transport: "TCP",
        sent_by: "127.0.0.1:5999",
        branch: &format!("z9hG4bK{cseq}"),
        aor: "sip:alice@a.example",
        from_tag: "1",
        call_id: "call-1",
        cseq,
        contact: ContactToSend::Uri {
            uri: "sip:127.0.0.1:5999;transport=tcp",
            expires: None,
            params: ";+g.3gpp.mcptt;+g.3gpp.mcvideo;+g.3gpp.mcdata.sds",
        },
        expires: Some(3_600),
        supported: "path",
        path: &[],
        credentials: Some(credentials),
        extra: &[("Content-Type", "multipart/mixed;boundary=boundary1")],
        body,
    }
    .build()
    .to_vec()
}

fn exchange(stream: &mut TcpStream, request: &[u8], segment: usize) -> Vec<u8> {
    for piece in request.chunks(segment) {
        stream.write_all(piece).unwrap();
        std::thread::sleep(Duration::from_micros(500)); // so that the pieces travel apart
    }
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut buffer = [0; 4_096];
        let length = stream.read(&mut buffer).unwrap();
        assert!(length > 0, "closed after {}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&buffer[..length]);
    }
    answer
}

#[tokio::test]
async fn scenario_61_a_body_of_three_services_in_segments_reaches_the_mc_server_in_the_third_party_register()
 {
    let (mc_server, idms) = (free_address(), free_address());
    let system = start("a.example", &more(mc_server, idms));
    let put = serde_json::json!({ "impus": ["sip:alice@a.example"], "k": KEY, "opc": OPC });
    let management = system.bound().management.unwrap();
    let url = format!("http://{management}/v1/subscribers/alice@a.example");
    let answer = reqwest::Client::new().put(url).json(&put).send().await.unwrap();
    assert_eq!(answer.status(), 204);
    let token = access_token(&reqwest::Client::new(), management, idms).await;
    let body = body(&token);
    assert!(body.len() > 5_000, "{}", body.len());

    for (call, segment) in [(0, 97), (1, 1_400)] {
        let mut stream = TcpStream::connect(system.bound().sip[0]).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let cseq = 1 + 2 * call;
        let initial = credentials();
        let challenged = exchange(&mut stream, &register(cseq, &body, initial), segment);
        let answered = answer_challenge(&challenged, &body);
        let confirmed = exchange(&mut stream, &register(cseq + 1, &body, answered), segment);
        let confirmed = ResponseView::parse(&confirmed, Framing::Stream).unwrap();
        assert_eq!(confirmed.status(), 200, "in segments of {segment}");
        assert_eq!(confirmed.contacts().count(), 1);
        let bound = |service: &str| {
            let labels = format!("migcore_service_authorisations{{service=\"{service}\"}}");
            metric(&system, &labels) > 0.5
        };
        eventually("all three services", || ["mcptt", "mcvideo", "mcdata"].into_iter().all(bound))
            .await;
    }
    let url = format!("http://{management}/v1/mc-clients");
    let clients: serde_json::Value = reqwest::get(url).await.unwrap().json().await.unwrap();
    let clients = clients.to_string();
    for service in ["mcptt", "mcvideo", "mcdata"] {
        assert!(clients.contains(&format!("\"sip:alice-{service}@a.example\"")), "{clients}");
    }
    assert!(!clients.contains(token.split('.').next_back().unwrap()), "no token is told");
    system.shutdown().await;
}

/// An identity management server and an MC server beside the SIP core.
fn more(mc_server: SocketAddr, idms: SocketAddr) -> String {
    format!(
        "[sip]\nlisten = \"127.0.0.1:0\"\n[[sip.application_servers]]\nuri = \"sip:mc.a.example\"\n\
         address = \"tcp:{mc_server}\"\ninclude_request = true\n[mc_server]\nlisten = \"{mc_server}\"\n\
         [idms]\nlisten = \"{idms}\"\nissuer = \"http://{idms}\"\npassword_memory_kib = 8\npassword_passes = 1\n"
    )
}

/// Logs alice in for three services.
async fn access_token(http: &reqwest::Client, management: SocketAddr, idms: SocketAddr) -> String {
    let password = "correct horse battery staple";
    let id = |service: &str| format!("sip:alice-{service}@a.example");
    for (path, body) in [
        ("clients/mc-client", serde_json::json!({ "redirect_uris": ["http://127.0.0.1/back"] })),
        (
            "users/alice",
            serde_json::json!({ "password": password, "mcptt_id": id("mcptt"),
                "mcvideo_id": id("mcvideo"), "mcdata_id": id("mcdata") }),
        ),
    ] {
        let url = format!("http://{management}/v1/idms/{path}");
        assert_eq!(http.put(url).json(&body).send().await.unwrap().status(), 204, "{path}");
    }
    let client = IdentityClient::new("mc-client", "http://127.0.0.1/back", None);
    let server = Server { name: "idms".into(), url: format!("http://{idms}") };
    let scope = "openid 3gpp:mc:ptt_service 3gpp:mc:video_service 3gpp:mc:data_service";
    let user = ("alice", &SecretText::new(password));
    let tokens = client.log_in(&server, user, scope).await.unwrap();
    tokens.access.expose().to_owned()
}

fn credentials() -> DigestCredentials<'static> {
    DigestCredentials {
        username: "alice@a.example".into(),
        realm: "a.example".into(),
        uri: "sip:a.example".into(),
        ..DigestCredentials::default()
    }
}

/// Answers with qop `auth-int`, which covers the body, where the SIP core offers it.
fn answer_challenge(challenged: &[u8], body: &[u8]) -> DigestCredentials<'static> {
    let view = ResponseView::parse(challenged, Framing::Stream).unwrap();
    assert_eq!(view.status(), 401, "{}", String::from_utf8_lossy(challenged));
    let challenge = view.challenges().next().unwrap();
    let (rand, autn) = decode_nonce(&challenge.nonce).unwrap();
    let [k, opc] = [KEY, OPC].map(|digits| {
        Secret::new(std::array::from_fn(|at| {
            u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap()
        }))
    });
    let mut isim = Isim::new(&k, &opc, SqnArray::default());
    let proof = isim.authenticate(&rand, &autn).unwrap();
    let secret =
        password(Algorithm::AkaV1Md5, proof.res.expose(), proof.ck.expose(), proof.ik.expose());
    let qop = if challenge.offers_qop("auth-int") { Qop::AuthInt } else { Qop::Auth };
    let input = DigestInput {
        username: "alice@a.example",
        realm: &challenge.realm,
        method: "REGISTER",
        uri: "sip:a.example",
        nonce: &challenge.nonce,
        qop: Some(QopInput { qop, nc: "00000001", cnonce: "0123456789abcdef" }),
        body,
    };
    DigestCredentials {
        nonce: challenge.nonce.to_string().into(),
        response: response(Algorithm::AkaV1Md5, &input, secret.expose()).as_str().to_owned().into(),
        algorithm: Some("AKAv1-MD5"),
        qop: Some(qop.as_str()),
        nc: Some("00000001"),
        cnonce: Some("0123456789abcdef".into()),
        opaque: challenge.opaque.as_ref().map(|opaque| opaque.to_string().into()),
        ..credentials()
    }
}

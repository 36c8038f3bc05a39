//! Access tokens on CSC-4, on real sockets: who gets which user profile and which connection details, and what a client
//! may keep.
#![cfg(feature = "node")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "test code"
)]

use std::{net::TcpListener, sync::Arc, time::Duration};

use migcore::{
    identity::McServiceId,
    node::{
        Options, RunningSystem,
        config::Config,
        ue::identity::{IdentityClient, IdentityError, Server, UserTokens},
    },
    secret::SecretText,
    token::BearerToken,
    user_profile::{MigratablePartner, ProfileService, UserProfile},
};
use reqwest::{Client, Response};
use serde_json::{Value, json};

const PASSWORD: &str = "correct horse battery staple";
const SCOPE: &str = "openid 3gpp:mc:ptt_service 3gpp:mc:ptt_config_management_service";
const PATH: &str =
    "org.3gpp.mcptt.user-profile/users/sip%3Aalice@a.example/mcptt-user-profile-0.xml";

const STATIC_TOKEN: &str = "22-characters-of-alice-drawn";

/// A system with an identity management server, a configuration server, and alice.
struct Site {
    config: Config,
    system: RunningSystem,
    idms: Server,
    cms: Server,
    manage: String,
    http: Client,
}

fn profile() -> String {
    "<mcptt-user-profile xmlns=\"urn:3gpp:mcptt:user-profile:1.0\"><Common/></mcptt-user-profile>"
        .to_owned()
}

impl Site {
    async fn start() -> Self {
        Self::start_with("", "").await
    }

    /// A system with more in its sections of the two servers.
    async fn start_with(config_server: &str, idms: &str) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = format!(
            "roles = [\"idms\", \"config_server\", \"sip_database\"]\n[system]\ndomain = \"a.example\"\ninsecure = true\n[diameter]\n\
             listen = \"127.0.0.1:0\"\n[admin]\n[management]\nlisten = \"127.0.0.1:0\"\n\
             [config_server]\nlisten = \"127.0.0.1:0\"\nlisten_partners = \"127.0.0.1:0\"\n{config_server}\
             [idms]\nlisten = \"127.0.0.1:{port}\"\nissuer = \"http://127.0.0.1:{port}\"\n\
             password_memory_kib = 8\npassword_passes = 1\n{idms}"
        );
        let config = Config::parse(&config).unwrap();
        let system = RunningSystem::start(config.clone(), Options::default()).unwrap();
        let manage = format!("http://{}", system.bound().management.unwrap());
        let server = |name: &str, url: String| Server { name: name.into(), url };
        let idms = server("idms", format!("http://127.0.0.1:{port}"));
        let cms = server("cms", format!("http://{}/xcap-root", system.bound().csc4.unwrap()));
        let http = Client::builder().no_proxy().build().unwrap();
        let site = Self { config, system, idms, cms, manage, http };
        let client = json!({"redirect_uris": ["http://127.0.0.1/back"]});
        site.put("/v1/idms/clients/mc-client", client).await;
        for name in ["alice", "bob"] {
            let user = json!({"password": PASSWORD, "mcptt_id": format!("sip:{name}@a.example")});
            site.put(&format!("/v1/idms/users/{name}"), user).await;
        }
        let document = json!({"revision": 1, "document": profile()});
        site.put("/v1/user-profiles/mcptt/sip%3Aalice@a.example/0", document).await;
        site
    }

    async fn put(&self, path: &str, body: Value) {
        let response = self.http.put(format!("{}{path}", self.manage)).json(&body).send().await;
        let response = response.unwrap();
        assert_eq!(response.status(), 204, "{path}: {}", response.text().await.unwrap());
    }

    async fn log_in(&self, user: &str, scope: &str) -> UserTokens {
        let client = IdentityClient::new("mc-client", "http://127.0.0.1/back", None);
        client.log_in(&self.idms, (user, &SecretText::new(PASSWORD)), scope).await.unwrap()
    }

    /// Makes alice a user of the configuration server, with a static token.
    async fn add_alice(&self) {
        let user = json!({
            "impi": "alice@a.example", "impu": "sip:alice@a.example", "token": STATIC_TOKEN,
        });
        self.put("/v1/users/sip%3Aalice@a.example", user).await;
    }

    /// Asks for connection details of alice.
    async fn ask_details(&self, token: Option<&str>) -> Response {
        let csc4 = self.system.bound().csc4.unwrap();
        let body = json!({"mc_service_id": "sip:alice@a.example", "location": {"plmn": "20801"}});
        let request = self.http.post(format!("http://{csc4}/csc-4/v1/connection-details"));
        let request = request.json(&body);
        let request = token.into_iter().fold(request, reqwest::RequestBuilder::bearer_auth);
        request.send().await.unwrap()
    }

    /// The same system with its clock ahead.
    async fn restarted(self, ahead: Duration) -> Self {
        let engine = self.system.shutdown().await;
        let options = Options { engine, clock_ahead: ahead, ..Options::default() };
        let system = RunningSystem::start(self.config.clone(), options).unwrap();
        Self { system, ..self }
    }

    async fn get(&self, path: &str, token: Option<&BearerToken>) -> Response {
        let request = self.http.get(format!("{}/{path}", self.cms.url));
        let request = match token {
            Some(token) => request.bearer_auth(token.expose()),
            None => request,
        };
        request.send().await.unwrap()
    }
}

#[tokio::test]
async fn a_user_gets_the_own_profile_and_is_told_when_it_is_still_the_same() {
    let site = Site::start().await;
    let tokens = site.log_in("alice", SCOPE).await;
    let alice = tokens.services.mcptt_id.clone().unwrap();
    assert_eq!(alice.as_str(), "sip:alice@a.example");
    let response = site.get(PATH, Some(&tokens.access)).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], ProfileService::Mcptt.media_type());
    assert_eq!(response.headers()["cache-control"], "private, no-cache");
    assert_eq!(response.text().await.unwrap(), profile());

    let client = IdentityClient::new("mc-client", "http://127.0.0.1/back", None);
    let which = (ProfileService::Mcptt, &alice, 0);
    let served = client.profile(&site.cms, which, &tokens.access, None).await.unwrap().unwrap();
    assert_eq!(served.profile.as_str(), profile());
    let again = client.profile(&site.cms, which, &tokens.access, Some(&served.etag)).await.unwrap();
    assert!(again.is_none(), "304: it is still the same");
    let changed = profile().replace("<Common/>", "<Common index=\"1\"/>");
    let document = json!({"revision": 2, "document": changed});
    site.put("/v1/user-profiles/mcptt/sip%3Aalice@a.example/0", document).await;
    let next = client.profile(&site.cms, which, &tokens.access, Some(&served.etag)).await.unwrap();
    assert_eq!(next.unwrap().profile.as_str(), changed);
    site.system.shutdown().await;
}

#[tokio::test]
async fn nobody_else_gets_it_and_why_not_is_said_as_rfc_6750_has_it() {
    let site = Site::start().await;
    let own = site.log_in("alice", SCOPE).await.access;
    let other = site.log_in("bob", SCOPE).await.access;
    let service_only = site.log_in("alice", "openid 3gpp:mc:ptt_service").await.access;
    let (payload, _) = own.expose().rsplit_once('.').unwrap();
    let forged = BearerToken::parse(&format!("{payload}.{}", "A".repeat(86))).unwrap();
    let of_video = PATH.replace("mcptt", "mcvideo");
    let unknown = PATH.replace("-0.xml", "-1.xml");
    for (what, path, token, status, challenge) in [
        ("no token", PATH, None, 401, Some("Bearer realm=\"a.example\"")),
        ("a forged token", PATH, Some(&forged), 401, Some("error=\"invalid_token\"")),
        ("another scope", PATH, Some(&service_only), 403, Some("error=\"insufficient_scope\"")),
        ("another scope", PATH, Some(&service_only), 403, Some("3gpp:mc:ptt_config_management")),
        ("another user", PATH, Some(&other), 403, None),
        ("another service", &of_video, Some(&own), 403, Some("3gpp:mc:video_config_management")),
        ("no such profile", &unknown, Some(&own), 404, None),
        ("no document at all", "org.3gpp.mcptt.user-profile/users/a/b.xml", Some(&own), 404, None),
    ] {
        let response = site.get(path, token).await;
        assert_eq!(response.status(), status, "{what}");
        let given = response.headers().get("www-authenticate").map(|it| it.to_str().unwrap());
        match challenge {
            Some(challenge) => assert!(given.unwrap().contains(challenge), "{what}: {given:?}"),
            None => assert_eq!(given, None, "{what}"),
        }
        assert!(!response.text().await.unwrap().contains("Common"), "{what}");
    }
    let client = IdentityClient::new("mc-client", "http://127.0.0.1/back", None);
    let alice = McServiceId::parse("sip:alice@a.example").unwrap();
    let which = (ProfileService::Mcptt, &alice, 0);
    match client.profile(&site.cms, which, &service_only, None).await {
        Err(IdentityError::Refused { status: 403, error, .. }) => {
            assert_eq!(error, "insufficient_scope");
        }
        other => panic!("{other:?}"),
    }
    let wrong = SecretText::new("not the password");
    let denied = client.log_in(&site.idms, ("alice", &wrong), SCOPE).await;
    assert!(matches!(denied, Err(IdentityError::Refused { .. })), "{denied:?}");
    site.system.shutdown().await;
}

#[tokio::test]
async fn what_is_no_profile_is_refused_and_secrets_are_shown_on_demand_only() {
    let site = Site::start().await;
    let url = format!("{}/v1/user-profiles/mcptt/sip%3Aalice@a.example/0", site.manage);
    let shown: Value = site.http.get(&url).send().await.unwrap().json().await.unwrap();
    assert_eq!(shown, json!({"revision": 1}));
    let with_secrets = format!("{url}?secrets=true");
    let shown: Value = site.http.get(with_secrets).send().await.unwrap().json().await.unwrap();
    assert_eq!(shown["document"], json!(profile()));
    for (path, document, field) in [
        ("mcptt/sip%3Aalice@a.example/0", "<a/>", "document"),
        ("mcptt/sip%3Aalice@a.example/256", &*profile(), "index"),
        ("mcother/sip%3Aalice@a.example/0", &profile(), "service"),
        ("mcptt/alice/0", &profile(), "mc_service_id"),
    ] {
        let body = json!({"revision": 9, "document": document});
        let url = format!("{}/v1/user-profiles/{path}", site.manage);
        let response = site.http.put(url).json(&body).send().await.unwrap();
        assert_eq!(response.status(), 422, "{path}");
        let problem: Value = response.json().await.unwrap();
        assert_eq!(problem["field"], field, "{problem}");
        assert!(!problem["fix"].as_str().unwrap().is_empty());
    }
    let listed = site.http.get(format!("{}/v1/user-profiles", site.manage)).send().await.unwrap();
    let listed: Value = listed.json().await.unwrap();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    assert!(!listed.to_string().contains("Common"), "{listed}");
    site.system.shutdown().await;
}

#[tokio::test]
async fn connection_details_are_for_the_user_of_an_access_token_for_configuration_management() {
    let site = Site::start().await;
    site.add_alice().await;
    let own = site.log_in("alice", SCOPE).await.access;
    let old_name = "openid 3gpp:mcptt:config_management_server";
    let by_old_name = site.log_in("alice", old_name).await.access;
    let other = site.log_in("bob", SCOPE).await.access;
    let service_only = site.log_in("alice", "openid 3gpp:mc:ptt_service").await.access;
    let (signed, _) = own.expose().rsplit_once('.').unwrap();
    let forged = format!("{signed}.{}", "A".repeat(86));
    // There is no partner: whoever is told so has been let in.
    for (what, token, status, kind, challenge) in [
        ("her own", Some(own.expose()), 404, "no-partner", None),
        ("by the scope of Release 13", Some(by_old_name.expose()), 404, "no-partner", None),
        ("none", None, 401, "not-authenticated", Some("Bearer realm=\"a.example\"")),
        ("a forged one", Some(&*forged), 401, "not-authenticated", Some("error=\"invalid_token\"")),
        (
            "another scope",
            Some(service_only.expose()),
            403,
            "not-authorised",
            Some("scope=\"3gpp:mc:ptt_config_management_service\""),
        ),
        ("another user's", Some(other.expose()), 403, "not-authorised", None),
        (
            "a static one, which is not taken here",
            Some(STATIC_TOKEN),
            401,
            "not-authenticated",
            Some("error=\"invalid_token\""),
        ),
    ] {
        let response = site.ask_details(token).await;
        assert_eq!(response.status(), status, "{what}");
        let given = response.headers().get("www-authenticate").map(|it| it.to_str().unwrap());
        match challenge {
            Some(challenge) => assert!(given.unwrap().contains(challenge), "{what}: {given:?}"),
            None => assert_eq!(given, None, "{what}"),
        }
        let problem: Value = response.json().await.unwrap();
        assert_eq!(problem["type"], json!(format!("urn:migcore:problem:{kind}")), "{what}");
    }
    site.system.shutdown().await;
}

#[tokio::test]
async fn static_tokens_are_taken_where_the_configuration_says_so() {
    let site = Site::start_with("static_tokens = true\n", "").await;
    site.add_alice().await;
    let own = site.log_in("alice", SCOPE).await.access;
    assert_eq!(site.ask_details(Some(STATIC_TOKEN)).await.status(), 404);
    assert_eq!(site.ask_details(Some(own.expose())).await.status(), 404);
    assert_eq!(site.ask_details(Some("22-characters-of-nobody-else")).await.status(), 401);
    let user = json!({"impi": "alice@a.example", "impu": "sip:alice@a.example"});
    site.put("/v1/users/sip%3Aalice@a.example", user).await;
    assert_eq!(site.ask_details(Some(STATIC_TOKEN)).await.status(), 401, "she has none any more");
    site.system.shutdown().await;
}

#[tokio::test]
async fn an_access_token_asks_for_details_until_it_expires_give_or_take_the_skew_of_clocks() {
    let site = Site::start_with("", "access_token_lifetime = \"1min\"\n").await;
    site.add_alice().await;
    let own = site.log_in("alice", SCOPE).await.access;
    let site = site.restarted(Duration::from_secs(60 + 20)).await;
    assert_eq!(site.ask_details(Some(own.expose())).await.status(), 404, "20 s after its end");
    let site = site.restarted(Duration::from_secs(60 + 31)).await;
    assert_eq!(site.ask_details(Some(own.expose())).await.status(), 401, "31 s after its end");
    site.system.shutdown().await;
}

#[test]
fn a_profile_of_another_make_is_read_with_its_partners() {
    let full = UserProfile::parse_full(ProfileService::Mcptt, &profile()).unwrap();
    let plmn = migcore::identity::Plmn::parse("20801").unwrap();
    let document =
        migcore::ue_configuration::InitialUeConfiguration::for_domain("b.example", plmn).unwrap();
    let system = migcore::identity::McSystemId::parse("sip:b.example").unwrap();
    let partner = MigratablePartner { system, configuration: Arc::new(document) };
    let full = full.with_partners(std::slice::from_ref(&partner)).unwrap();
    let read = UserProfile::parse_full(ProfileService::Mcptt, full.as_str()).unwrap();
    assert_eq!(read.partners().unwrap(), [partner]);
}

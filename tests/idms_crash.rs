//! The identity management server as a process that is killed in the middle of a commit, on a disk that loses what was not
//! synced, or that fails for a while: no token that was given is lost, and none that was used is good again.
#![cfg(all(feature = "node", target_os = "linux"))]
#![allow(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "test code"
)]
#![allow(dead_code, unreachable_pub, reason = "of the shim and the harness, this uses a part")]

mod common;
mod free_ports;
mod idms_harness;
#[path = "disk/image.rs"]
mod image;
#[path = "disk/log.rs"]
mod log;
#[path = "disk/shim.rs"]
mod shim;

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use common::Seeded;
use free_ports::free_ports;
use idms_harness::{CHALLENGE, VERIFIER, proof};
use image::Unsynced;
use migcore::{
    node::{
        Options, RunningSystem,
        config::Config,
        tls::use_ring,
        ue::identity::{IdentityClient, Server},
    },
    secret::SecretText,
    token::key::SigningKey,
};
use reqwest::{
    Client, RequestBuilder, Response,
    header::{CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE},
    redirect::Policy,
};
use serde_json::{Value, json};
use shim::{Call, Disk, Fault};

const CLIENT: &str = "mc-client";
const REDIRECT: &str = "http://127.0.0.1/back";
const PASSWORD: &str = "correct horse battery staple";
const SCOPE: &str = "openid 3gpp:mc:ptt_service";

/// Changes of the disk before which the process is killed, one after the other: those of one commit and some more.
const KILLS: std::ops::RangeInclusive<u64> = 1..=6;

/// How a process ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Killed,
    PowerCut,
}

/// Each of the kills with each of the ends.
fn ends() -> impl Iterator<Item = (u64, End)> {
    KILLS.flat_map(|kill| [(kill, End::Killed), (kill, End::PowerCut)])
}

/// What came of a request for tokens.
#[derive(Debug)]
enum Outcome {
    /// There are tokens.
    Given(Value),
    /// What was presented is not good.
    Refused,
    /// Not now, or nobody answered.
    Unknown,
}

impl Outcome {
    fn is_given(&self) -> bool {
        matches!(self, Self::Given(_))
    }

    fn refresh_token(&self) -> String {
        match self {
            Self::Given(tokens) => tokens["refresh_token"].as_str().unwrap().to_owned(),
            other => panic!("no tokens: {other:?}"),
        }
    }
}

/// The partner's server, as a process on a disk of its own.
struct Partner {
    child: Option<Child>,
    disk: Disk,
    directory: PathBuf,
    issuer: String,
    management: String,
    http: Client,
    proofs: u64,
}

impl Partner {
    fn new(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("{}-idms-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(directory.join("place")).unwrap();
        let disk = Disk::over(&directory.join("place/store"));
        let (tokens, management) = (free_ports(1), free_ports(1));
        let issuer = format!("http://127.0.0.1:{tokens}");
        let management = format!("127.0.0.1:{management}");
        let config = format!(
            "roles = [\"idms\"]\nworkers = 1\n[system]\ndomain = \"b.example\"\ninsecure = true\n[diameter]\n[admin]\n[management]\n\
             listen = \"{management}\"\n[idms]\nlisten = \"127.0.0.1:{tokens}\"\nissuer = \"{issuer}\"\n\
             password_memory_kib = 8\npassword_passes = 1\n[storage]\ndirectory = \"{}\"\n",
            disk.directory.display()
        );
        let file = directory.join("migcore.toml");
        fs::write(&file, config).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        use_ring();
        let http = Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .pool_max_idle_per_host(0)
            .timeout(Duration::from_secs(20))
            .build()
            .unwrap();
        let management = format!("http://{management}");
        let mut partner =
            Self { child: None, disk, directory, issuer, management, http, proofs: 0 };
        partner.spawn();
        partner
    }

    fn spawn(&mut self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_migcore"));
        command.args(["serve", "--config"]).arg(self.directory.join("migcore.toml"));
        command.env("MIGCORE_STORAGE_KEY", "00112233445566778899aabbccddeeff".repeat(2));
        command.envs(self.disk.attach()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = String::new();
        let is_up = lines.by_ref().map_while(Result::ok).any(|line| {
            said += &format!("{line}\n");
            line.contains("system is up")
        });
        assert!(is_up, "it ended by itself: {said}");
        // Nobody is to wait for a reader of the log.
        std::thread::spawn(move || lines.for_each(drop));
        self.child = Some(child);
    }

    /// Starts it again after it was killed, or after the power failed: then what was not synced is lost.
    fn restart(&mut self, end: End) {
        self.kill();
        match end {
            End::Killed => self.disk.never_kill(),
            End::PowerCut => self.disk.cut(Unsynced::Lost, &mut Seeded(1)),
        }
        self.spawn();
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            child.wait().unwrap();
        }
    }

    fn is_dead(&mut self) -> bool {
        self.child.as_mut().is_none_or(|child| child.try_wait().unwrap().is_some())
    }

    /// Whether it dies, which who has lost a connection to it may know a little earlier.
    async fn dies(&mut self) -> bool {
        for _ in 0..500 {
            if self.is_dead() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        false
    }

    async fn put(&self, path: &str, body: Value) {
        let response = self.http.put(format!("{}{path}", self.management)).json(&body).send().await;
        let response = response.unwrap();
        assert_eq!(response.status(), 204, "{path}: {}", response.text().await.unwrap());
    }

    async fn tokens(&self, form: &[(&str, &str)], proof: Option<String>) -> Outcome {
        let request = with_form(self.http.post(format!("{}/token", self.issuer)), form);
        let request = proof.into_iter().fold(request, |request, it| request.header("DPoP", it));
        let Ok(response) = request.send().await else { return Outcome::Unknown };
        let status = response.status().as_u16();
        let Ok(body) = response.json::<Value>().await else { return Outcome::Unknown };
        match status {
            200 => Outcome::Given(body),
            400 => {
                assert_eq!(body["error"], "invalid_grant", "{body}");
                Outcome::Refused
            }
            503 => Outcome::Unknown,
            _ => panic!("{status} {body}"),
        }
    }

    /// Logs bob in, and gives the first refresh token.
    async fn log_in(&self) -> String {
        let parameters = [
            ("response_type", "code"),
            ("client_id", CLIENT),
            ("redirect_uri", REDIRECT),
            ("scope", SCOPE),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ];
        let url = format!("{}/authorize?{}", self.issuer, encoded(&parameters));
        let page = self.http.get(url).send().await.unwrap();
        let cookie = page.headers()[SET_COOKIE].to_str().unwrap().split(';').next().unwrap();
        let cookie = cookie.to_owned();
        let page = page.text().await.unwrap();
        let form = page.split("name=\"form\" value=\"").nth(1).unwrap().split('"').next().unwrap();
        let mut fields = parameters.to_vec();
        fields.extend([("form", form), ("user", "bob"), ("password", PASSWORD)]);
        let request = with_form(self.http.post(format!("{}/authorize", self.issuer)), &fields);
        let sent: Response = request.header(COOKIE, cookie).send().await.unwrap();
        let location = sent.headers()[LOCATION].to_str().unwrap().to_owned();
        let code = location.split("code=").nth(1).unwrap().split('&').next().unwrap();
        let form = [
            ("grant_type", "authorization_code"),
            ("client_id", CLIENT),
            ("code", code),
            ("redirect_uri", REDIRECT),
            ("code_verifier", VERIFIER),
        ];
        self.tokens(&form, None).await.refresh_token()
    }

    async fn refresh(&self, token: &str) -> Outcome {
        let form =
            [("grant_type", "refresh_token"), ("client_id", CLIENT), ("refresh_token", token)];
        self.tokens(&form, None).await
    }

    /// Presents a security token with the proof of a key.
    async fn present(&mut self, token: &str, key: &SigningKey) -> Outcome {
        self.proofs += 1;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let url = format!("{}/token", self.issuer);
        let proof = proof(key, &url, now, &self.proofs.to_string());
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
            ("client_id", CLIENT),
            ("assertion", token),
            ("scope", SCOPE),
        ];
        self.tokens(&form, Some(proof)).await
    }
}

impl Drop for Partner {
    fn drop(&mut self) {
        self.kill();
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

/// The home of alice, who gets security tokens there.
struct Home {
    system: RunningSystem,
    idms: Server,
    client: IdentityClient,
}

impl Home {
    /// A home whose certificates `partner` trusts, and whose user it knows.
    async fn of(partner: &Partner) -> Self {
        let port = free_ports(1);
        let issuer = format!("http://127.0.0.1:{port}");
        let config = format!(
            "roles = [\"idms\"]\n[system]\ndomain = \"a.example\"\ninsecure = true\n[diameter]\n[admin]\n[management]\n\
             listen = \"127.0.0.1:0\"\n[idms]\nlisten = \"127.0.0.1:{port}\"\nissuer = \"{issuer}\"\n\
             password_memory_kib = 8\npassword_passes = 1\n"
        );
        let config = Config::parse(&config).unwrap();
        let system = RunningSystem::start(config, Options::default()).unwrap();
        let management = format!("http://{}", system.bound().management.unwrap());
        let http = Client::builder().no_proxy().build().unwrap();
        let put =
            |path: &str, body: Value| http.put(format!("{management}{path}")).json(&body).send();
        let client = json!({"redirect_uris": [REDIRECT]});
        put(&format!("/v1/idms/clients/{CLIENT}"), client.clone()).await.unwrap();
        let alice = json!({
            "password": PASSWORD, "mcptt_id": "sip:alice@a.example", "partners": [partner.issuer],
        });
        put("/v1/idms/users/alice", alice).await.unwrap();
        let get = |path: &str| http.get(format!("{management}{path}")).send();
        let alice: Value = get("/v1/idms/users/alice").await.unwrap().json().await.unwrap();
        let keys: Value = get("/v1/idms/keys").await.unwrap().json().await.unwrap();
        let pem: String = keys["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["pem"].as_str().unwrap())
            .collect();
        let escaped = issuer.replace(':', "%3A").replace('/', "%2F");
        let trust = format!("{}/v1/idms/trust/{escaped}", partner.management);
        let trusted = partner.http.post(trust).json(&json!({ "pem": pem })).send().await.unwrap();
        assert!(trusted.status().is_success());
        let subject = alice["subject"].as_str().unwrap();
        let visitor = json!({"mcptt_id": "sip:visitor-1@b.example"});
        partner.put(&format!("/v1/idms/visitors/{escaped}/{subject}"), visitor).await;
        partner.put(&format!("/v1/idms/clients/{CLIENT}"), client).await;
        let bob = json!({"password": PASSWORD, "mcptt_id": "sip:bob@b.example"});
        partner.put("/v1/idms/users/bob", bob).await;
        let client = IdentityClient::new(CLIENT, REDIRECT, None);
        Self { system, idms: Server { name: "idms".into(), url: issuer }, client }
    }

    async fn security_token(&self, partner: &Partner) -> String {
        let password = SecretText::new(PASSWORD);
        let tokens = self.client.log_in(&self.idms, ("alice", &password), SCOPE).await.unwrap();
        let token = self.client.security_token(&self.idms, &tokens.access, &partner.issuer).await;
        token.unwrap().expose().to_owned()
    }
}

fn encoded(parameters: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish()
}

fn with_form(request: RequestBuilder, form: &[(&str, &str)]) -> RequestBuilder {
    request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(encoded(form))
}

/// A log-in whose tokens rest: one was used, the next one was given.
struct Resting {
    used: String,
    given: String,
}

impl Resting {
    async fn at(partner: &Partner) -> Self {
        let used = partner.log_in().await;
        let given = partner.refresh(&used).await.refresh_token();
        Self { used, given }
    }

    /// What was given is good, and what was used is not.
    async fn check(self, partner: &Partner, when: &str) {
        let outcome = partner.refresh(&self.given).await;
        assert!(outcome.is_given(), "{when}: what was given is lost: {outcome:?}");
        let outcome = partner.refresh(&self.used).await;
        assert!(matches!(outcome, Outcome::Refused), "{when}: good again: {outcome:?}");
    }
}

#[tokio::test]
async fn a_refresh_token_is_good_once_and_none_is_lost_wherever_the_process_is_killed() {
    let mut partner = Partner::new("refresh");
    let home = Home::of(&partner).await;
    let mut answers = Vec::new();
    for (kill, end) in ends() {
        let resting = Resting::at(&partner).await;
        let mut current = partner.log_in().await;
        let mut used = Vec::new();
        partner.disk.kill_after(kill);
        // One after the other until one meets the end.
        let in_doubt = loop {
            match partner.refresh(&current).await {
                outcome @ Outcome::Given(_) => {
                    used.push(std::mem::replace(&mut current, outcome.refresh_token()));
                }
                Outcome::Unknown => break partner.dies().await,
                Outcome::Refused => panic!("kill {kill}: the current one is refused"),
            }
        };
        assert!(in_doubt, "kill {kill}: no answer, and the process runs");
        partner.restart(end);
        let when = format!("{end:?} {kill}");
        resting.check(&partner, &when).await;
        // The last one was used, or was not: nobody was told. Those before were.
        let outcome = partner.refresh(&current).await;
        assert!(!matches!(outcome, Outcome::Unknown), "{when}");
        answers.push((used.len(), outcome.is_given()));
        if let Some(used) = used.last() {
            let outcome = partner.refresh(used).await;
            assert!(matches!(outcome, Outcome::Refused), "{when}: good again: {outcome:?}");
        }
    }
    println!("acknowledged before the kill, and whether the last one was still good: {answers:?}");
    home.system.shutdown().await;
}

#[tokio::test]
async fn a_security_token_is_of_one_key_wherever_the_process_is_killed() {
    let mut partner = Partner::new("security");
    let home = Home::of(&partner).await;
    let (first, second) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let mut answers = Vec::new();
    for (kill, end) in ends() {
        let resting = home.security_token(&partner).await;
        assert!(partner.present(&resting, &first).await.is_given());
        let tokens = [home.security_token(&partner).await, home.security_token(&partner).await];
        partner.disk.kill_after(kill);
        let mut outcomes = Vec::new();
        for token in &tokens {
            outcomes.push(partner.present(token, &first).await.is_given());
        }
        // What is left of the changes is made by others.
        while !partner.is_dead() && partner.present(&resting, &first).await.is_given() {
            let another = home.security_token(&partner).await;
            let _ = partner.present(&another, &first).await;
        }
        partner.restart(end);
        let when = format!("{end:?} {kill}");
        let other = partner.present(&resting, &second).await;
        assert!(matches!(other, Outcome::Refused), "{when}: another key has it: {other:?}");
        assert!(partner.present(&resting, &first).await.is_given(), "{when}: it serves the trip");
        for (token, was_given) in tokens.iter().zip(&outcomes) {
            let by_second = partner.present(token, &second).await.is_given();
            let by_first = partner.present(token, &first).await.is_given();
            assert!(by_first != by_second, "{when}: {by_first} and {by_second}: it is of one key");
            assert!(!was_given || by_first, "{when}: what was acknowledged is lost");
            answers.push((kill, *was_given, by_first));
        }
    }
    println!("kill, whether it was answered, and whether it is the first key's: {answers:?}");
    home.system.shutdown().await;
}

#[tokio::test]
async fn a_disk_that_fails_for_a_while_costs_no_token_that_was_given() {
    let mut partner = Partner::new("fault");
    let home = Home::of(&partner).await;
    for fault in [Fault::Failing, Fault::Full] {
        for call in [Call::Sync, Call::Write] {
            let resting = Resting::at(&partner).await;
            let current = partner.log_in().await;
            partner.disk.fail(call, fault, 0, u64::MAX);
            let outcome = partner.refresh(&current).await;
            assert!(matches!(outcome, Outcome::Unknown), "{call:?} {fault:?}: {outcome:?}");
            partner.disk.lift(call);
            let mut left = 200;
            while matches!(partner.refresh("nobody's").await, Outcome::Unknown) {
                left -= 1;
                assert!(left > 0, "it stays unavailable");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            let when = format!("{call:?} {fault:?}");
            partner.restart(End::PowerCut);
            resting.check(&partner, &when).await;
        }
    }
    home.system.shutdown().await;
}

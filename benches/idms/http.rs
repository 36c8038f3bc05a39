//! The token endpoint over HTTP: a process on a core of its own, clients on the other one.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use crate::rig::{Directory, exchange, free_address};

const SERVER_CORE: &str = "1";
const CLIENT_CORE: &str = "0";

/// Connections that ask at a time.
const CONNECTIONS: usize = 16;

/// Users, of whom each may have 256 security tokens.
const USERS: usize = 160;

/// Exchanges of a connection.
const EXCHANGES: usize = 1_500;

const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const TICKS_PER_SECOND: u64 = 100;

/// What an exchange takes over HTTP.
pub struct OverHttp {
    /// Exchanges a second of all connections together.
    pub rate: f64,
    /// Processor time of the server for one.
    pub cpu: Duration,
}

struct Server {
    child: Child,
    tokens: SocketAddr,
    management: SocketAddr,
    _directory: Directory,
}

impl Server {
    fn start() -> Self {
        let directory = Directory::new("bench-idms");
        let (tokens, management) = (free_address(), free_address());
        let config = directory.0.join("serve.toml");
        let toml = format!(
            "workers = 1\nroles = [\"idms\"]\n[system]\ndomain = \"a.example\"\ninsecure = true\n[diameter]\n[admin]\n\
             [management]\nlisten = \"{management}\"\n[idms]\nlisten = \"{tokens}\"\n\
             issuer = \"http://{tokens}\"\npassword_memory_kib = 8\npassword_passes = 1\n\
             attempts_of_source_max = 1000000\n[storage]\nengine = \"memory\"\n"
        );
        std::fs::write(&config, toml).expect("a file");
        let mut child = Command::new("taskset")
            .args(["-c", SERVER_CORE, env!("CARGO_BIN_EXE_migcore"), "serve", "--config"])
            .arg(&config)
            .stderr(Stdio::piped())
            .spawn()
            .expect("taskset, of util-linux");
        let mut log = BufReader::new(child.stderr.take().expect("its log")).lines();
        let is_up = log.by_ref().map_while(Result::ok).any(|line| line.contains("system is up"));
        assert!(is_up, "it ended by itself");
        // Nobody is to wait for a reader of the log.
        thread::spawn(move || log.for_each(drop));
        Self { child, tokens, management, _directory: directory }
    }

    fn put(&self, path: &str, body: &str) {
        let json = "Content-Type: application/json\r\n";
        let answer = exchange(self.management, "PUT", path, json, body).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    }

    fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        let stat = stat.unwrap_or_default();
        let fields = stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace();
        let ticks: u64 = fields.skip(11).take(2).filter_map(|it| it.parse::<u64>().ok()).sum();
        Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND)
    }

    /// Creates a user, and logs in as a browser does; an access token.
    fn log_in(&self, number: usize) -> String {
        let user = format!(
            r#"{{"password": "a long password", "mcptt_id": "sip:user-{number}@a.example", "partners": ["https://idms.b.example"]}}"#
        );
        self.put(&format!("/v1/idms/users/user-{number}"), &user);
        let query = "response_type=code&client_id=mc-client&redirect_uri=http%3A%2F%2F127.0.0.1%2Fback&\
                     scope=openid+3gpp%3Amc%3Aptt_service&code_challenge_method=S256";
        let query = format!("{query}&code_challenge={CHALLENGE}");
        let page = exchange(self.tokens, "GET", &format!("/authorize?{query}"), "", "");
        let page = page.expect("a page");
        let cookie = between(&page.to_ascii_lowercase(), "set-cookie: ", ";").len();
        let at = page.to_ascii_lowercase().find("set-cookie: ").unwrap_or_default() + 12;
        let cookie = page.get(at..at + cookie).unwrap_or_default();
        let form = between(&page, "name=\"form\" value=\"", "\"");
        let body = format!("{query}&form={form}&user=user-{number}&password=a+long+password");
        let headers =
            format!("Content-Type: application/x-www-form-urlencoded\r\nCookie: {cookie}\r\n");
        let sent =
            exchange(self.tokens, "POST", "/authorize", &headers, &body).expect("a redirect");
        let code = between(&sent, "code=", "&");
        let body = format!(
            "grant_type=authorization_code&client_id=mc-client&code={code}&code_verifier={VERIFIER}&\
             redirect_uri=http%3A%2F%2F127.0.0.1%2Fback"
        );
        let form = "Content-Type: application/x-www-form-urlencoded\r\n";
        let answer = exchange(self.tokens, "POST", "/token", form, &body).expect("tokens");
        between(&answer, "\"access_token\":\"", "\"").to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Exchanges access tokens for security tokens, over connections that stay.
pub fn measure() -> OverHttp {
    let own = std::process::id().to_string();
    let pinned = Command::new("taskset").args(["-acp", CLIENT_CORE, &own]).output();
    assert!(pinned.is_ok_and(|it| it.status.success()), "taskset, of util-linux, and two cores");
    let server = Server::start();
    server.put("/v1/idms/clients/mc-client", r#"{"redirect_uris": ["http://127.0.0.1/back"]}"#);
    let requests: Vec<String> = (0..USERS).map(|number| request(&server.log_in(number))).collect();
    let begin = Barrier::new(CONNECTIONS + 1);
    let ask = |number: usize| {
        let mut stream = TcpStream::connect(server.tokens).expect("a connection");
        stream.set_nodelay(true).expect("an option");
        let mut answer = Vec::new();
        begin.wait();
        for turn in 0..EXCHANGES {
            // Every user takes part alike.
            let request = requests.get((number + turn * CONNECTIONS) % USERS);
            stream.write_all(request.map_or(&[][..], |it| it.as_bytes())).expect("sent");
            read_answer(&mut stream, &mut answer);
            assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
        }
    };
    let (took, cpu) = thread::scope(|scope| {
        let ask = &ask;
        let all: Vec<_> = (0..CONNECTIONS).map(|it| scope.spawn(move || ask(it))).collect();
        begin.wait();
        let (began, before) = (Instant::now(), server.cpu());
        for it in all {
            it.join().expect("all answers");
        }
        (began.elapsed(), server.cpu().saturating_sub(before))
    });
    let count = u32::try_from(CONNECTIONS * EXCHANGES).unwrap_or(u32::MAX);
    OverHttp { rate: f64::from(count) / took.as_secs_f64(), cpu: cpu / count }
}

fn request(access_token: &str) -> String {
    let body = format!(
        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&client_id=mc-client&\
         subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token&\
         resource=https%3A%2F%2Fidms.b.example&subject_token={access_token}"
    );
    format!(
        "POST /token HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Reads one answer, whose length is told.
fn read_answer(stream: &mut TcpStream, answer: &mut Vec<u8>) {
    answer.clear();
    let mut part = [0; 4_096];
    loop {
        let length = stream.read(&mut part).expect("an answer");
        assert!(length > 0, "the connection was closed");
        answer.extend_from_slice(part.get(..length).unwrap_or_default());
        let text = String::from_utf8_lossy(answer);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let told = between(&head.to_ascii_lowercase(), "content-length: ", "\r\n").parse();
            if told.is_ok_and(|told: usize| body.len() >= told) {
                return;
            }
        }
    }
}

/// The text after one and before the next other, or to the end.
fn between<'t>(text: &'t str, from: &str, to: &str) -> &'t str {
    let (_, rest) = text.split_once(from).unwrap_or_default();
    rest.split(to).next().unwrap_or_default()
}

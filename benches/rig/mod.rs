//! What benchmarks have in common: their arguments, a directory of their own, and a system that is started on it.
#![allow(dead_code, unreachable_pub, reason = "each benchmark uses a part")]

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    str::FromStr,
    time::{Duration, Instant},
};

/// How long a start may take before it counts as failed.
const PATIENCE: Duration = Duration::from_secs(120);

/// The text after `name` among the arguments.
pub fn text(name: &str) -> Option<String> {
    std::env::args().skip_while(|argument| argument != name).nth(1)
}

/// The number after `name` among the arguments, or the usual one.
pub fn number<T: FromStr>(name: &str, usual: T) -> T {
    let parse = |text: String| text.parse().unwrap_or_else(|_| panic!("{name} {text}: no number"));
    text(name).map_or(usual, parse)
}

/// The number that stands alone among the arguments, or the usual one.
pub fn count(usual: u64) -> u64 {
    std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(usual)
}

/// An empty directory, removed when it is dropped.
pub struct Directory(pub PathBuf);

impl Directory {
    pub fn new(name: &str) -> Self {
        let name = format!("{name}-{}", std::process::id());
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// An address that nobody listens on now.
pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A running system. Dropped, it is killed.
pub struct Server {
    child: Child,
    pub ready_after: Duration,
}

impl Server {
    /// Starts `migcore serve` with a configuration that has its admin address at `admin`, and waits until it is ready.
    pub fn start(directory: &Path, toml: &str, admin: SocketAddr, key: &str) -> Self {
        let config = directory.join("serve.toml");
        fs::write(&config, toml).unwrap();
        // There may be tokens in it.
        fs::set_permissions(&config, fs::Permissions::from_mode(0o600)).unwrap();
        let began = Instant::now();
        let child = Command::new(env!("CARGO_BIN_EXE_migcore"))
            .args(["serve", "--config"])
            .arg(&config)
            .env("MIGCORE_STORAGE_KEY", key)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut server = Self { child, ready_after: Duration::ZERO };
        while !is_ready(admin) {
            assert!(began.elapsed() < PATIENCE, "not ready in time");
            assert_eq!(server.child.try_wait().unwrap(), None, "it ended by itself");
            std::thread::sleep(Duration::from_millis(5));
        }
        server.ready_after = began.elapsed();
        server
    }

    pub fn process(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn is_ready(admin: SocketAddr) -> bool {
    let answer = exchange(admin, "GET", "/health/ready", "", "");
    answer.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200 "))
}

/// Asks over a connection of its own. `headers` are whole lines.
pub fn exchange(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    let length = body.len();
    let fixed = format!("Host: localhost\r\nContent-Length: {length}\r\nConnection: close\r\n");
    let head = format!("{method} {path} HTTP/1.1\r\n{fixed}{headers}\r\n");
    stream.write_all((head + body).as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

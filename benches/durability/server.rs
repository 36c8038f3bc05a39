//! `migcore serve` as a process on one core.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use crate::ue::{DOMAIN, K, OPC, Ue};

/// Users provisioned at a time.
const CONCURRENT: usize = 16;

#[derive(Clone, Copy, Debug)]
pub enum Storage {
    Memory,
    Embedded,
}

pub struct Server {
    child: Child,
    directory: PathBuf,
    pub sip: SocketAddr,
    management: SocketAddr,
    admin: SocketAddr,
}

/// Keeps a process on one core.
pub fn pin(process: u32, core: usize) {
    let (core, process) = (core.to_string(), process.to_string());
    let mut taskset = Command::new("taskset");
    let pinned = taskset.args(["-apc", &core, &process]).stdout(Stdio::null());
    assert!(pinned.status().expect("taskset, of util-linux").success());
}

impl Server {
    pub fn start(storage: Storage) -> Self {
        let name = format!("durability-{}", std::process::id());
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        let config = directory.join("serve.toml");
        fs::write(&config, toml(storage, &directory)).unwrap();
        let mut child = Command::new("taskset")
            .args(["-c", "0", env!("CARGO_BIN_EXE_migcore"), "serve", "--config"])
            .arg(&config)
            .env("MIGCORE_STORAGE_KEY", "00112233445566778899aabbccddeeff".repeat(2))
            .stderr(Stdio::piped())
            .spawn()
            .expect("taskset, of util-linux");
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let said = lines.by_ref().map(Result::unwrap);
        let up = said
            .inspect(|line| assert!(!line.starts_with("migcore: "), "{line}"))
            .find(|line| line.contains("system is up"))
            .expect("it comes up");
        // Nobody is to wait for a reader of the log.
        thread::spawn(move || lines.for_each(drop));
        let (sip, management) = (address(&up, "sip: ["), address(&up, "management: Some("));
        let admin = address(&up, "admin: Some(");
        Self { child, directory, sip, management, admin }
    }

    /// Makes so many users known.
    pub fn provision(&self, users: usize) {
        let next = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..CONCURRENT)
            .map(|_| {
                let (next, management) = (Arc::clone(&next), self.management);
                thread::spawn(move || put_subscribers(management, users, &next))
            })
            .collect();
        for thread in threads {
            thread.join().expect("all are provisioned");
        }
    }

    /// The lines of the metrics whose names begin like that.
    #[allow(dead_code, reason = "not every bench asks")]
    pub fn metrics(&self, prefix: &str) -> Vec<String> {
        let mut stream = TcpStream::connect(self.admin).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: x\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text.lines().filter(|line| line.starts_with(prefix)).map(str::to_owned).collect()
    }

    /// The time that the process and its threads have computed.
    pub fn cpu_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 10)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn toml(storage: Storage, directory: &std::path::Path) -> String {
    let engine = match storage {
        Storage::Memory => "engine = \"memory\"".to_owned(),
        Storage::Embedded => {
            format!("engine = \"embedded\"\ndirectory = \"{}\"", directory.join("store").display())
        }
    };
    format!(
        "roles = [\"sip_core\", \"sip_database\"]\n[system]\ndomain = \"{DOMAIN}\"\ninsecure = true\n\
         [sip]\nlisten = [\"127.0.0.1:0\"]\n[management]\nlisten = \"127.0.0.1:0\"\n\
         [admin]\nlisten = \"127.0.0.1:0\"\n[storage]\n{engine}\n"
    )
}

/// The address that follows on `label` in the line that tells where a system listens.
fn address(line: &str, label: &str) -> SocketAddr {
    let rest = line.split(label).nth(1).expect("it listens there");
    let end = rest.find([']', ')', ',']).expect("an end");
    rest[..end].parse().expect("an address")
}

fn put_subscribers(management: SocketAddr, users: usize, next: &AtomicUsize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        migcore::node::tls::use_ring();
        let http = reqwest::Client::new();
        let hex = |octets: [u8; 16]| format!("{:032x}", u128::from_be_bytes(octets));
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= users {
                return;
            }
            let name = format!("{}@{DOMAIN}", Ue::name(number));
            let url = format!("http://{management}/v1/subscribers/{name}");
            let body = serde_json::json!({
                "impus": [format!("sip:{name}")], "k": hex(K), "opc": hex(OPC),
            });
            let answer = http.put(url).json(&body).send().await.expect("an answer");
            assert_eq!(answer.status().as_u16(), 204);
        }
    });
}

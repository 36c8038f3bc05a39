//! `migcore ue` in processes of their own, and the state file that they share.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot be set up has failed"
)]

use std::{
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Command, Output},
};

use migcore::{
    api::{
        configuration::{Agreement, AgreementKey, Users},
        migration_identity::Direction,
    },
    identity::{Impi, Impu, UserIdentity},
    secret::Secret,
    time::Timestamp,
};

pub const K: &str = "465b5ce8b199b49faa5f0a2ee238a6bc";
pub const OP: &str = "cdc202d5123e20f62b6d676ac72cb318";
pub const TOKEN: &str = "AbCdEfGhIjKlMnOpQrStUvWx";

pub fn migcore(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_migcore")).args(arguments).output().unwrap()
}

/// What a command printed, given that it succeeded.
pub fn done(arguments: &[&str]) -> String {
    let output = migcore(arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?} {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What a command complained of, given that it ended with `code`.
pub fn failed(code: i32, arguments: &[&str]) -> String {
    let output = migcore(arguments);
    assert_eq!(output.status.code(), Some(code), "{arguments:?} {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// A state file of this test run, in a folder of its own that is removed at the end.
pub struct State(pub PathBuf);

impl State {
    pub fn new(name: &str, text: &str) -> Self {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("ue-{name}"));
        let _ = std::fs::remove_dir_all(&folder); // of an earlier run
        std::fs::create_dir(&folder).unwrap();
        let state = Self(folder.join("ue.toml"));
        state.write(text);
        state
    }

    pub fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    pub fn text(&self) -> String {
        std::fs::read_to_string(&self.0).unwrap()
    }

    pub fn write(&self, text: &str) {
        std::fs::write(&self.0, text).unwrap();
        std::fs::set_permissions(&self.0, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// The part that migcore writes.
    pub fn added(&self) -> toml::Table {
        let text = self.text();
        text[text.find("# ----").expect("it wrote something")..].parse().unwrap()
    }

    /// The SEQs accepted, by IND.
    pub fn accepted(&self) -> Vec<i64> {
        let added = self.added();
        let accepted = added["sqn"]["accepted"].as_array().unwrap();
        accepted.iter().map(|seq| seq.as_integer().unwrap()).collect()
    }

    pub fn cseq(&self) -> i64 {
        self.added()["registration"]["agent"]["cseq"].as_integer().unwrap()
    }
}

impl Drop for State {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.0.parent().unwrap());
    }
}

/// The part of a state file that its user writes.
pub fn by_hand(csc4: SocketAddr, core: SocketAddr) -> String {
    format!(
        "# Alice's phone\n[user]\nmc_service_id = \"sip:alice@a.example\"\ntoken = \"{TOKEN}\"\n\
         [home]\nmc_system_id = \"sip:a.example\"\ncsc4 = \"http://{csc4}\"\nimpi = \"alice@a.example\"\n\
         impu = \"sip:alice@a.example\"\nsip_core = [\"udp:{core}\", \"tcp:{core}\"]\n\
         [isim]\nk = \"{K}\"\nop = \"{OP}\"\n"
    )
}

pub fn key(digits: &str) -> Secret<16> {
    let octet = |at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    Secret::new(std::array::from_fn(|at| octet(2 * at)))
}

pub fn alice() -> UserIdentity {
    UserIdentity {
        impi: Impi::parse("alice@a.example").unwrap(),
        impu: Impu::parse("sip:alice@a.example").unwrap(),
    }
}

pub const A_TO_B: &str = "token-of-a-at-b-0123456789";
pub const B_TO_A: &str = "token-of-b-at-a-0123456789";

pub fn agreement(partner: &str, direction: Direction) -> Agreement {
    Agreement {
        key: AgreementKey { partner: partner.parse().unwrap(), direction, users: Users::Everybody },
        valid_from: Timestamp::default(),
        valid_until: Timestamp::from_secs(4_000_000_000),
        hide_identities: direction == Direction::Outbound,
    }
}

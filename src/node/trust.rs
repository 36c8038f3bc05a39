//! `migcore trust`: systems without a link tell each other by files what their tokens are verified with.
//!
//! It asks the management interface of a running system. Files hold certificates, which are no secrets; who hands one
//! over has to be known, though: the fingerprint can be compared by another way.

use std::{
    fmt::Write as _,
    fs, io,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    Clock,
    client::{ClientError, ManagementClient},
    http_client::url,
    management::escape,
    operator::{Table, printable},
    tls::dev_ca::{DevCa, DevCaError, EXAMPLE_FILE},
};
use crate::{
    api::identity_management::IssuerUrl, time::Timestamp, token::certificate::TRUST_FILE_OCTETS_MAX,
};

/// What `migcore trust --help` ends with.
pub const EXAMPLES: &str = "\
Examples, for systems A and B that have no link:
  At A, a file for B, and the fingerprint to compare by telephone:
    migcore trust export --output a.pem
  At B, A's users may bring security tokens from then on:
    migcore trust import a.pem --issuer https://idms.a.example
    migcore trust list
  A's key was stolen; at B:
    migcore trust revoke 3fb1..e9 --reason 'A told us by telephone'
  and at A, a new key that signs at once, then export again:
    migcore trust rotate
  Certificates for TLS between two systems in a lab, and the lines for their configurations:
    migcore trust dev-ca --out tls
    cat tls/a.example/tls.toml >> a.toml

A file may also hold lists of revoked certificates (X509 CRL) and the certificate of the authority that signed both.

Exit codes: 0 done, 1 failed or refused, 2 wrong arguments or file.";

/// What an operator can do about trust.
#[derive(Args, Debug)]
pub struct TrustCommand {
    #[command(subcommand)]
    action: Action,
    /// The management interface of the system.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        default_value = "http://127.0.0.1:8080",
        value_parser = url
    )]
    system: String,
    /// Print JSON, one object a line, instead of text.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Write the certificates of this system's own signing keys, the next one's among them, for a partner.
    Export {
        /// The file to write; standard output without it.
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Trust a partner's signing certificates, besides those imported before.
    Import {
        /// The file from the partner; - is standard input.
        file: PathBuf,
        /// The partner's identity management server: the issuer of its tokens.
        #[arg(long, value_name = "URL")]
        issuer: IssuerUrl,
    },
    /// Show every certificate that is and was trusted.
    List,
    /// End the trust in a certificate, for ever.
    Revoke {
        /// Its SHA-256, as `list` shows it.
        fingerprint: String,
        /// Why, for the list.
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
    },
    /// Make certificates for TLS, for trials: an authority for each system, and what its servers and clients show.
    ///
    /// Each system gets a directory with ca.pem, ca-key.pem, certificate.pem, key.pem and tls.toml, the section for
    /// its configuration. Run again, it issues new certificates by the authorities that are there; systems that run
    /// take them over.
    DevCa {
        /// The directory to write to.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// The domains of the systems. May be repeated.
        #[arg(long, value_name = "DOMAIN", default_values = ["a.example", "b.example"])]
        domain: Vec<String>,
        /// Another host name or address of the systems, besides localhost and those of their domains. May be repeated.
        #[arg(long, value_name = "NAME")]
        host: Vec<String>,
        /// How many days the certificates hold.
        #[arg(long, value_name = "N", default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3_650))]
        days: u32,
    },
    /// Make a new signing key of this system. What the one before has signed holds until it expires.
    Rotate {
        /// From when on it signs, such as 2031-01-01T00:00:00Z; at once without it. Partners need its certificate by
        /// then.
        #[arg(long, value_name = "TIME", value_parser = time)]
        from: Option<Timestamp>,
    },
}

/// Why a command did not work.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The system could not be asked, or refused.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// There are no certificates for TLS.
    #[error(transparent)]
    DevCa(#[from] DevCaError),
    /// The answer is not that of a management interface of this release.
    #[error(
        "the system answered what this release does not know; is it a migcore of the same release?"
    )]
    Unknown,
    /// The file cannot be read.
    #[error("cannot read {path}: {error}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The file or standard output cannot be written.
    #[error("cannot write: {0}")]
    Write(io::Error),
}

impl TrustError {
    /// Whether the arguments or the file are to blame.
    pub const fn is_wrong_input(&self) -> bool {
        match self {
            Self::Read { .. } | Self::Client(ClientError::Refused { status: 400 | 422, .. }) => {
                true
            }
            Self::DevCa(error) => error.is_wrong_input(),
            Self::Client(_) | Self::Unknown | Self::Write(_) => false,
        }
    }
}

impl TrustCommand {
    /// Does it, and prints what came of it.
    ///
    /// # Errors
    ///
    /// [`TrustError`].
    pub async fn run(self) -> Result<(), TrustError> {
        let Self { action, system, json } = self;
        let client = ManagementClient::new(&system);
        match action {
            Action::Export { output } => {
                let keys: Value = client.get("show its keys", "/v1/idms/keys").await?;
                export(&keys, output.as_deref(), json)
            }
            Action::Import { file, issuer } => import(&client, &file, &issuer, json).await,
            Action::List => {
                let trust: Value = client.get("list what it trusts", "/v1/idms/trust").await?;
                list(&trust, json)
            }
            Action::Revoke { fingerprint, reason } => {
                let body = json!({ "fingerprint": fingerprint, "reason": reason });
                client.post_done("end the trust", "/v1/idms/trust-revocations", &body).await?;
                told(json, &json!({ "revoked": fingerprint }), "revoked, for ever\n")
            }
            Action::DevCa { out, domain, host, days } => {
                let valid_for = Duration::from_secs(u64::from(days) * 24 * 3_600);
                let wanted = DevCa { directory: out, domains: domain, valid_for, hosts: host };
                wanted.make(Clock::start().now())?;
                dev_ca_made(&wanted, json)
            }
            Action::Rotate { from } => {
                let body = json!({ "from": from.map(Timestamp::as_secs) });
                let keys = client.post_json("make a new key", "/v1/idms/keys", &body).await?;
                show_keys(&keys, json)
            }
        }
    }
}

/// Tells where everything is.
fn dev_ca_made(made: &DevCa, json: bool) -> Result<(), TrustError> {
    let mut text = String::new();
    for domain in &made.domains {
        let directory = made.directory.join(domain.to_ascii_lowercase());
        let directory = directory.display();
        if json {
            let system = format!("sip:{}", domain.to_ascii_lowercase());
            let _ = writeln!(
                text,
                "{}",
                json!({ "system": system, "directory": directory.to_string() })
            );
        } else {
            let _ = writeln!(
                text,
                "sip:{domain}: {directory}; its configuration gets {directory}/{EXAMPLE_FILE}"
            );
        }
    }
    print(&text)
}

fn export(keys: &Value, output: Option<&Path>, json: bool) -> Result<(), TrustError> {
    let items = items(keys)?;
    let mut file = String::new();
    for key in items {
        let field = |pointer: &str| key.pointer(pointer).and_then(Value::as_str).unwrap_or("-");
        let (fingerprint, from) = (field("/certificate/fingerprint"), field("/signs_from"));
        let _ = write!(file, "SHA-256 {fingerprint}, signs from {from}\n{}", field("/pem"));
    }
    let Some(path) = output else { return print(&file) };
    fs::write(path, &file).map_err(TrustError::Write)?;
    show_keys(keys, json)
}

/// Shows keys without their certificates.
fn show_keys(keys: &Value, json: bool) -> Result<(), TrustError> {
    const COLUMNS: [(&str, &str); 4] = [
        ("SHA-256", "/certificate/fingerprint"),
        ("SIGNS", "/signs"),
        ("FROM", "/signs_from"),
        ("KNOWN UNTIL", "/certificate/not_after"),
    ];
    show(items(keys)?, &COLUMNS, json)
}

async fn import(
    client: &ManagementClient,
    file: &Path,
    issuer: &IssuerUrl,
    json: bool,
) -> Result<(), TrustError> {
    let path = || file.to_owned();
    let pem = read(file).map_err(|error| TrustError::Read { path: path(), error })?;
    let path = format!("/v1/idms/trust/{}", escape(issuer.as_str()));
    let imported: Value =
        client.post_json("trust a certificate", &path, &json!({ "pem": pem })).await?;
    let of = |name: &str| imported.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let mut text = String::new();
    for (name, what) in [("added", "trusted"), ("revoked", "revoked")] {
        for fingerprint in of(name) {
            let _ = writeln!(text, "{what}: {}", fingerprint.as_str().unwrap_or_default());
        }
    }
    if text.is_empty() {
        "nothing new\n".clone_into(&mut text);
    }
    told(json, &imported, &text)
}

/// Reads a file of certificates, and no more of a wrong one than any such file has.
fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let most = TRUST_FILE_OCTETS_MAX as u64 + 1;
    if path == Path::new("-") {
        io::stdin().lock().take(most).read_to_string(&mut text)?;
    } else {
        fs::File::open(path)?.take(most).read_to_string(&mut text)?;
    }
    Ok(text)
}

fn list(trust: &Value, json: bool) -> Result<(), TrustError> {
    const COLUMNS: [(&str, &str); 7] = [
        ("ISSUER", "/issuer"),
        ("SHA-256", "/certificate/fingerprint"),
        ("STATE", "/state"),
        ("IMPORTED", "/imported"),
        ("VALID UNTIL", "/certificate/not_after"),
        ("REVOKED", "/revoked"),
        ("REASON", "/reason"),
    ];
    show(items(trust)?, &COLUMNS, json)
}

fn show(items: &[Value], columns: &[(&str, &str)], json: bool) -> Result<(), TrustError> {
    if json {
        let lines = items.iter().map(|item| {
            let mut item = item.clone();
            if let Some(fields) = item.as_object_mut() {
                fields.remove("pem");
            }
            format!("{item}\n")
        });
        return print(&lines.collect::<String>());
    }
    let headings: Vec<&str> = columns.iter().map(|(heading, _)| *heading).collect();
    let cell = |item: &Value, pointer: &str| {
        let value = item.pointer(pointer).unwrap_or(&Value::Null);
        let flag = || value.as_bool().map(|flag| if flag { "yes" } else { "no" });
        value.as_str().or_else(flag).unwrap_or("-").to_owned()
    };
    let rows = items.iter().map(|item| columns.iter().map(|(_, name)| cell(item, name)).collect());
    print(&Table::new(&headings).lines(rows.collect()))
}

fn items(answer: &Value) -> Result<&[Value], TrustError> {
    let items = answer.get("items").and_then(Value::as_array);
    items.map(Vec::as_slice).ok_or(TrustError::Unknown)
}

fn told(json: bool, object: &Value, text: &str) -> Result<(), TrustError> {
    if json { print(&format!("{object}\n")) } else { print(text) }
}

fn print(text: &str) -> Result<(), TrustError> {
    let mut out = io::stdout().lock();
    match out.write_all(printable(text).as_bytes()).and_then(|()| out.flush()) {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(TrustError::Write),
    }
}

fn time(text: &str) -> Result<Timestamp, &'static str> {
    Timestamp::parse_rfc3339(text).ok_or("is no date and time such as 2031-01-01T00:00:00Z")
}

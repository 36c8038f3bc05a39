//! State files for `migcore ue`, one for each user loaded.

use std::{
    fmt::Write as _,
    fs, io,
    io::Write as _,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::load::LoadError;
use crate::{
    identity::McSystemId,
    node::{client::ManagementClient, management::escape},
};

/// Where to write state files, and what all UEs of one system have in common.
#[derive(Clone, Debug)]
pub struct UeFiles {
    /// The directory; it is created.
    pub directory: PathBuf,
    /// The configuration management server, as the UEs reach it (CSC-4).
    pub csc4: String,
    /// The SIP core, as the UEs reach it: `udp:` or `tcp:`, address and port.
    pub sip_core: Vec<String>,
}

/// What a UE needs. All of it has been found well-formed.
pub(super) struct Ue {
    pub(super) mc_service_id: String,
    pub(super) token: Zeroizing<String>,
    pub(super) impi: String,
    pub(super) impu: String,
    pub(super) k: Zeroizing<String>,
    /// `op` or `opc`, and its digits.
    pub(super) operator: (&'static str, Zeroizing<String>),
}

/// Writes the files that are not there yet: those that are hold sequence numbers. Returns how many were
/// written, and how many were there.
pub(super) async fn write(
    files: &UeFiles,
    client: &ManagementClient,
    ues: &[Ue],
) -> Result<(usize, usize), LoadError> {
    let system = client.system().await.map_err(LoadError::NotChecked)?;
    let home = Home { files, mc_system_id: system.mc_system_id };
    let failed = |path: &Path, error| LoadError::UeFile { path: path.to_owned(), error };
    fs::create_dir_all(&files.directory).map_err(|error| failed(&files.directory, error))?;
    let (mut written, mut kept) = (0, 0);
    for ue in ues {
        let path = files.directory.join(file_name(&ue.mc_service_id));
        match create(&path, home.text(ue).as_bytes()) {
            Ok(()) => written += 1,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => kept += 1,
            Err(error) => return Err(failed(&path, error)),
        }
    }
    Ok((written, kept))
}

/// `alice@a.example.toml` for `sip:alice@a.example`.
fn file_name(mc_service_id: &str) -> String {
    format!("{}.toml", escape(mc_service_id.strip_prefix("sip:").unwrap_or(mc_service_id)))
}

/// Creates a file that nobody else may read: it holds keys.
fn create(path: &Path, octets: &[u8]) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).open(path)?.write_all(octets)
}

struct Home<'a> {
    files: &'a UeFiles,
    mc_system_id: McSystemId,
}

impl Home<'_> {
    fn text(&self, ue: &Ue) -> Zeroizing<String> {
        let quoted = |text: &str| toml::Value::from(text).to_string();
        let cores: Vec<String> = self.files.sip_core.iter().map(|core| quoted(core)).collect();
        let (operator, digits) = &ue.operator;
        let mut text = Zeroizing::new(String::new());
        // A String takes everything.
        let _ = write!(
            text,
            "[user]\nmc_service_id = {}\ntoken = {}\n\n\
             [home]\nmc_system_id = {}\ncsc4 = {}\nimpi = {}\nimpu = {}\nsip_core = [{}]\n\n\
             [isim]\nk = {}\n{operator} = {}\n",
            quoted(&ue.mc_service_id),
            quoted(&ue.token),
            quoted(self.mc_system_id.as_str()),
            quoted(&self.files.csc4),
            quoted(&ue.impi),
            quoted(&ue.impu),
            cores.join(", "),
            quoted(&ue.k),
            quoted(digits),
        );
        text
    }
}

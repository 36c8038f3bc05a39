//! State files for `migcore ue`, one for each user loaded.

use std::{
    fmt::Write as _,
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::load::LoadError;
use crate::{
    api::connection_details::SipCoreAddress,
    node::{
        http_client::Endpoint,
        management::{SystemView, escape},
        private_file,
    },
};

/// Where to write state files, and what all UEs of one system have in common.
#[derive(Clone, Debug)]
pub struct UeFiles {
    /// The directory; it is created.
    pub directory: PathBuf,
    /// The configuration management server, as the UEs reach it (CSC-4).
    pub csc4: Endpoint,
    /// The SIP core, as the UEs reach it: 1 to 16 addresses.
    pub sip_core: Vec<SipCoreAddress>,
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
pub(super) fn write(
    files: &UeFiles,
    system: SystemView,
    ues: &[Ue],
) -> Result<(usize, usize), LoadError> {
    let home = Home { files, system };
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

/// Creates a file, whole or not at all.
fn create(path: &Path, octets: &[u8]) -> io::Result<()> {
    if fs::symlink_metadata(path).is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let partial = private_file::partial_path(path);
    let mut file = private_file::create(&partial)?;
    let created =
        file.write_all(octets).and_then(|()| private_file::publish(&file, &partial, path));
    if created.is_err() {
        // It holds keys. The first error is the one to tell.
        let _ = fs::remove_file(&partial);
    }
    created
}

struct Home<'a> {
    files: &'a UeFiles,
    system: SystemView,
}

impl Home<'_> {
    fn text(&self, ue: &Ue) -> Zeroizing<String> {
        let quoted = |text: &str| toml::Value::from(text).to_string();
        let cores: Vec<String> =
            self.files.sip_core.iter().map(|core| quoted(&core.to_string())).collect();
        let (operator, digits) = &ue.operator;
        let token = if ue.token.is_empty() {
            Zeroizing::new("# Log in: see `migcore ue template` for [log_in].\n".to_owned())
        } else {
            Zeroizing::new(format!("token = {}\n", quoted(&ue.token)))
        };
        let token = token.as_str();
        let mut text = Zeroizing::new(String::new());
        // A String takes everything.
        let _ = write!(
            text,
            "[user]\nmc_service_id = {}\n{token}\n\
             [home]\nmc_system_id = {}\ncsc4 = {}\nimpi = {}\nimpu = {}\nsip_core = [{}]\n\n\
             [isim]\nk = {}\n{operator} = {}\nind_bits = {}\n",
            quoted(&ue.mc_service_id),
            quoted(self.system.mc_system_id.as_str()),
            quoted(&self.files.csc4.to_string()),
            quoted(&ue.impi),
            quoted(&ue.impu),
            cores.join(", "),
            quoted(&ue.k),
            quoted(digits),
            self.system.ind_bits,
        );
        text
    }
}

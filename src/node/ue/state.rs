//! The state file of a UE: what its user wrote, and what must outlive a process.
//!
//! TOML in two parts. The first is written by hand and never changed; below a line of its own follows what
//! migcore adds: sequence numbers of the ISIM, the registration, the records of partner systems. The file
//! is replaced as a whole and locked while in use, so that no two processes accept one challenge.

mod by_hand;
mod guest;

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

pub use guest::{Kept, LocalAccess, LogIn, Ticket};
use serde::{Deserialize, Serialize};
use toml::de::DeTable;
use zeroize::Zeroizing;

use crate::{
    aka::SqnArray,
    api::connection_details::SipCoreAddress,
    identity::{McSystemId, UserIdentity},
    node::{
        config::{
            Problem,
            read::{Document, Wrong},
        },
        http_client::Endpoint,
        private_file,
    },
    token::BearerToken,
    ue::{Credentials, Isim, PartnerRecord, Records, Saved, UserAgent},
};

/// A state file to fill in: every key and its meaning.
pub const TEMPLATE: &str = include_str!("template.toml");

/// The line that what migcore writes begins with.
const MARK: &str = "# ---- migcore writes from here on; what is above stays as it is ----";

/// Longest state file, octets: 64 records with the longest documents, escaped.
const FILE_OCTETS_MAX: u64 = 16 * 1_024 * 1_024;

/// Highest CSeq that leaves room for another one (RFC 3261 clause 8.1.1.5).
const CSEQ_MAX: u32 = 0x7fff_0000;

/// What a UE knows and must not forget.
#[derive(Debug)]
pub struct UeState {
    /// The user's static token on CSC-4, if there is one.
    pub token: Option<BearerToken>,
    /// How the user logs in at home.
    pub log_in: Option<LogIn>,
    /// The access token that the home gave last.
    pub access_token: Option<Kept>,
    /// Credentials that partners gave.
    pub locals: Vec<LocalAccess>,
    /// What was taken along for partners, the newest last.
    pub tickets: Vec<Ticket>,
    /// The configuration management server at home.
    pub csc4: Endpoint,
    /// Its keys, and the sequence numbers accepted so far.
    pub isim: Isim,
    /// What it knows of MC systems.
    pub records: Records,
    /// Where it registered last.
    pub registration: Option<Registration>,
}

/// A registration, or what is left of it to go on with.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    /// In which system.
    pub at: McSystemId,
    /// The pair.
    pub identity: UserIdentity,
    /// The SIP core.
    pub core: SipCoreAddress,
    /// The user agent's part.
    pub agent: Saved,
}

/// A state file in use: nobody else uses it. It does not print.
pub struct StateFile {
    /// What is in it. [`StateFile::save`] makes changes durable.
    pub state: UeState,
    path: PathBuf,
    /// Locked as long as this lives.
    lock: File,
    /// What was written by hand. It holds keys.
    by_hand: Zeroizing<String>,
    /// What migcore wrote last.
    written: String,
}

/// Why a state file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It cannot be read.
    #[error("cannot read {}: {error}; `migcore ue template` prints a file to fill in", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// It cannot be written.
    #[error("cannot write {}: {error}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// Another process uses it.
    #[error("{} is in use by another process; wait until that ends", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// Something in it is wrong.
    #[error("{} is no valid state file:{}", path.display(), lines_of(problems))]
    Wrong {
        /// The file.
        path: PathBuf,
        /// Everything that is wrong, by line.
        problems: Vec<Problem>,
    },
}

/// What migcore adds to the file.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Added {
    access_token: Option<Kept>,
    sqn: Option<Sqn>,
    registration: Option<Registration>,
    #[serde(default, rename = "partner")]
    partners: Vec<PartnerRecord>,
    #[serde(default, rename = "local")]
    locals: Vec<LocalSqn>,
    #[serde(default, rename = "ticket")]
    tickets: Vec<Ticket>,
}

/// The sequence numbers that an ISIM for a partner accepted.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct LocalSqn {
    at: McSystemId,
    accepted: SqnArray,
}

/// The sequence numbers that the ISIM accepted: the highest SEQ by IND.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Sqn {
    accepted: SqnArray,
}

impl UeState {
    /// The token to ask the home's configuration management server with, if there is one.
    pub fn csc4_token(&self) -> Option<BearerToken> {
        let access = self.access_token.as_ref();
        let access = access.and_then(|Kept(token)| BearerToken::parse(token.expose()).ok());
        access.or_else(|| self.token.clone())
    }

    /// The credentials that a partner gave; `None` if there are none.
    pub fn local(&self, at: &McSystemId) -> Option<&LocalAccess> {
        self.locals.iter().find(|local| local.at == *at)
    }

    /// What a pair is registered with in a system: the home's ISIM, unless the pair is one that a partner gave.
    pub(super) fn credentials_for(&self, at: &McSystemId, identity: &UserIdentity) -> Credentials {
        let local = self.local(at).filter(|local| local.identity == *identity);
        local.map_or_else(|| self.isim.clone().into(), |local| local.credentials.clone())
    }

    fn local_mut(&mut self, at: &McSystemId, identity: &UserIdentity) -> Option<&mut LocalAccess> {
        self.locals.iter_mut().find(|local| local.at == *at && local.identity == *identity)
    }

    /// Keeps what was taken along in place of what was before for the same partner.
    pub fn keep_ticket(&mut self, ticket: Ticket) {
        self.tickets.retain(|kept| kept.at != ticket.at);
        if self.tickets.len() >= guest::GUEST_SYSTEMS_MAX {
            self.tickets.remove(0);
        }
        self.tickets.push(ticket);
    }
}

impl StateFile {
    /// Reads a state file and keeps others from using it.
    ///
    /// # Errors
    ///
    /// [`StateError`].
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let failed = |error| StateError::Read { path: path.to_owned(), error };
        // A link stays one: what it leads to is replaced.
        let path = fs::canonicalize(path).map_err(failed)?;
        let lock = lock(&path)?;
        let text = read(&lock).map_err(failed)?;
        let (state, by_hand, written) =
            parse(&text).map_err(|problems| StateError::Wrong { path: path.clone(), problems })?;
        Ok(Self { state, path, lock, by_hand, written })
    }

    /// Whether others than its owner may read it. It is private once it was written.
    pub fn is_exposed(&self) -> bool {
        self.lock.metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
    }

    /// Makes durable what a message of `agent` is about to rely on: the SQN that its response accepts, its
    /// CSeq. Afterwards: what it was granted.
    pub(super) fn keep(&mut self, agent: &UserAgent) -> Result<(), StateError> {
        let registered = self.state.registration.clone();
        let local = registered.and_then(|it| self.state.local_mut(&it.at, &it.identity));
        if let Some(local) = local {
            local.credentials = agent.credentials().clone();
        } else if let Some(isim) = agent.credentials().isim() {
            self.state.isim = isim.clone();
        }
        if let Some(registration) = &mut self.state.registration {
            registration.agent = agent.saved();
        }
        self.save()
    }

    /// Makes the state durable, unless it is already.
    ///
    /// # Errors
    ///
    /// [`StateError::Write`]; the file is then as it was.
    pub fn save(&mut self) -> Result<(), StateError> {
        let failed = |error| StateError::Write { path: self.path.clone(), error };
        let added = render(&self.state).map_err(|error| failed(io::Error::other(error)))?;
        if added == self.written {
            return Ok(());
        }
        let text = Zeroizing::new([self.by_hand.as_str(), &added].concat());
        self.lock = replace(&self.path, text.as_bytes()).map_err(failed)?;
        self.written = added;
        Ok(())
    }
}

/// Reads the two parts: what the state is, the text of the first, the text of the second.
fn parse(text: &str) -> Result<(UeState, Zeroizing<String>, String), Vec<Problem>> {
    let (by_hand, added) = text.find(MARK).map_or((text, ""), |at| text.split_at(at));
    let document = Document::new(by_hand);
    let (table, errors) = DeTable::parse_recoverable(by_hand);
    for error in errors {
        let line = document.line_at(error.span().map_or(0, |span| span.start));
        document.report(
            line,
            "",
            Wrong::new(error.message(), "see https://toml.io for the syntax"),
        );
    }
    let read = by_hand::read(&document, table.get_ref());
    let mut problems = document.into_problems();
    let added = parse_added(by_hand, added).map_err(|problem| problems.push(problem));
    let (Some(read), Ok(added), true) = (read, added, problems.is_empty()) else {
        return Err(problems);
    };
    let state = combine(read, added).map_err(|problem| vec![problem])?;
    let mut by_hand = Zeroizing::new(by_hand.to_owned());
    if !by_hand.is_empty() && !by_hand.ends_with('\n') {
        by_hand.push('\n');
    }
    let written = text.get(text.find(MARK).unwrap_or(text.len())..).unwrap_or_default();
    Ok((state, by_hand, written.to_owned()))
}

/// Reads what migcore wrote. Somebody may have edited it.
fn parse_added(by_hand: &str, added: &str) -> Result<Added, Problem> {
    toml::from_str(added).map_err(|error: toml::de::Error| {
        let before = by_hand.lines().count();
        let offset = error.span().map_or(0, |span| span.start);
        let lines = added.bytes().take(offset).filter(|octet| *octet == b'\n').count();
        spoiled(before + lines + 1, error.message())
    })
}

fn combine(read: by_hand::ByHand, added: Added) -> Result<UeState, Problem> {
    let by_hand::ByHand { token, log_in, mut locals, csc4, primary, k, opc, ind_bits } = read;
    let unused = SqnArray::new(ind_bits).map_err(|error| spoiled(1, &error.to_string()))?;
    let accepted = added.sqn.map_or_else(|| unused.clone(), |sqn| sqn.accepted);
    if accepted.ind_bits() != unused.ind_bits() {
        return Err(Problem {
            line: 1,
            key: "isim.ind_bits".to_owned(),
            what: "is not as when the sequence numbers below were accepted".to_owned(),
            fix: "change it back, or remove [sqn]".to_owned(),
        });
    }
    if added.registration.as_ref().is_some_and(|it| it.agent.cseq > CSEQ_MAX) {
        return Err(spoiled(1, "registration.agent.cseq is out of range"));
    }
    let mut records = Records::new(primary);
    for record in added.partners {
        records.keep(record).map_err(|full| spoiled(1, &full.to_string()))?;
    }
    let isim = Isim::new(&k, &opc, accepted);
    for LocalSqn { at, accepted } in added.locals {
        let local = locals.iter_mut().find(|local| local.at == at);
        if let Some(Credentials::Isim(isim)) = local.map(|local| &mut local.credentials) {
            if isim.sqn().ind_bits() != accepted.ind_bits() {
                return Err(spoiled(
                    1,
                    "local.accepted has another number of IND than ind_bits says",
                ));
            }
            *isim = isim.clone().with_sqn(accepted);
        }
    }
    Ok(UeState {
        token,
        log_in,
        access_token: added.access_token,
        locals,
        tickets: added.tickets,
        csc4,
        isim,
        records,
        registration: added.registration,
    })
}

/// What migcore wrote is not as it wrote it.
fn spoiled(line: usize, what: &str) -> Problem {
    Problem {
        line,
        key: String::new(),
        what: format!("in what migcore wrote: {what}"),
        fix: "restore it, or remove that section and migrate or register again".to_owned(),
    }
}

fn render(state: &UeState) -> Result<String, toml::ser::Error> {
    let of_local = |local: &LocalAccess| {
        let accepted = local.credentials.isim()?.sqn().clone();
        Some(LocalSqn { at: local.at.clone(), accepted })
    };
    let added = Added {
        access_token: state.access_token.clone(),
        locals: state.locals.iter().filter_map(of_local).collect(),
        tickets: state.tickets.clone(),
        sqn: Some(Sqn { accepted: state.isim.sqn().clone() }),
        registration: state.registration.clone(),
        partners: state.records.partners().to_vec(),
    };
    Ok(format!("{MARK}\n\n{}", toml::to_string(&added)?))
}

/// Locks the file of this name. It may be replaced while we wait for nobody: then the new one counts.
fn lock(path: &Path) -> Result<File, StateError> {
    let failed = |error| StateError::Read { path: path.to_owned(), error };
    let in_use = || StateError::InUse { path: path.to_owned() };
    let file = File::open(path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(in_use()),
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    let locked = file.metadata().map_err(failed)?;
    let named = fs::metadata(path).map_err(failed)?;
    let is_same = (locked.dev(), locked.ino()) == (named.dev(), named.ino());
    if is_same { Ok(file) } else { Err(in_use()) }
}

fn read(file: &File) -> io::Result<Zeroizing<String>> {
    use io::Read;

    let mut text = Zeroizing::new(String::new());
    file.take(FILE_OCTETS_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_OCTETS_MAX {
        return Err(io::Error::other(format!("longer than {FILE_OCTETS_MAX} octets")));
    }
    Ok(text)
}

/// Replaces a file so that after a crash the old or the new one is there, locked and private from its
/// first octet on.
fn replace(path: &Path, octets: &[u8]) -> io::Result<File> {
    let partial = private_file::partial_path(path);
    let mut file = private_file::create(&partial)?;
    file.try_lock().map_err(io::Error::from)?;
    file.write_all(octets)?;
    private_file::replace(&file, &partial, path)?;
    Ok(file)
}

fn lines_of(problems: &[Problem]) -> String {
    problems.iter().fold(String::new(), |lines, problem| lines + "\n  " + &problem.to_string())
}

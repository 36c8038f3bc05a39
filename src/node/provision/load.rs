//! Fills one running system with what files say: all of it, or nothing if any of it is wrong.

use std::{collections::BTreeMap, io, path::PathBuf, sync::Arc};

use tokio::task::JoinSet;

use super::{
    CONCURRENT,
    changes::{Change, Changes, Findings},
    progress_bar, sections, table,
    ue_files::{self, UeFiles},
};
use crate::node::client::{ClientError, ManagementClient};

/// What to load, and where.
#[derive(Clone, Debug)]
pub struct Load {
    /// CSV and TOML files.
    pub files: Vec<PathBuf>,
    /// The management interface of the system.
    pub system: String,
    /// State files for the UEs of the users loaded.
    pub ue_files: Option<UeFiles>,
}

/// What was done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Loaded {
    /// Changes made.
    pub changes: usize,
    /// State files written.
    pub ue_files: usize,
    /// State files that were there already, and stayed as they were.
    pub ue_files_kept: usize,
}

/// Why a load did not work.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// Something in the files is wrong; nothing was sent.
    #[error("nothing was changed, for this is wrong:{0}")]
    Wrong(Findings),
    /// The system would refuse something; nothing was changed.
    #[error("nothing was changed, for the system would refuse this:{0}")]
    WouldRefuse(Findings),
    /// The system cannot be asked; nothing was changed.
    #[error("nothing was changed: {0}")]
    NotChecked(ClientError),
    /// It stopped half way.
    #[error(
        "{done} of {all} changes were made, then at {at}: {error}; run it again, what was made is made again without harm"
    )]
    Stopped {
        /// Changes made.
        done: usize,
        /// Changes to make.
        all: usize,
        /// File and line of the first that was not made.
        at: String,
        /// What happened.
        error: ClientError,
    },
    /// A state file of a UE cannot be written.
    #[error("the system was changed, but {} cannot be written: {error}", path.display())]
    UeFile {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
}

impl LoadError {
    /// Whether the files are to blame.
    pub const fn is_wrong_input(&self) -> bool {
        matches!(self, Self::Read { .. } | Self::Wrong(_) | Self::WouldRefuse(_))
    }
}

/// Loads the files. Repeatable: what is there already stays as it is.
///
/// # Errors
///
/// [`LoadError`].
pub async fn load(job: &Load) -> Result<Loaded, LoadError> {
    let mut changes = Changes::default();
    for path in &job.files {
        let is_table =
            path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
        let read = if is_table { table::read } else { sections::read };
        read(path, &mut changes).map_err(|error| LoadError::Read { path: path.clone(), error })?;
    }
    let Changes { mut list, ues, findings, .. } = changes;
    if !findings.is_empty() {
        return Err(LoadError::Wrong(findings));
    }
    // What others rely on comes first.
    list.sort_by(|one, other| one.target.cmp(&other.target));
    let client = ManagementClient::new(&job.system);
    let list = Arc::new(list);
    let system = client.system().await.map_err(LoadError::NotChecked)?;
    check(&client, &list).await?;
    apply(&client, &list).await?;
    let changes = list.len();
    let (ue_files, ue_files_kept) = match &job.ue_files {
        Some(files) => ue_files::write(files, system, &ues)?,
        None => (0, 0),
    };
    Ok(Loaded { changes, ue_files, ue_files_kept })
}

/// Asks the system about every change before the first is made.
async fn check(client: &ManagementClient, list: &Arc<Vec<Change>>) -> Result<(), LoadError> {
    let progress = progress_bar(list.len(), "checked");
    let mut refused = BTreeMap::new();
    let mut requests = Requests::new(client, list, true);
    while let Some((number, _, outcome)) = requests.next().await {
        match outcome {
            Ok(()) => {}
            // What the system cannot do now is not for the files to mend.
            Err(ClientError::Refused { status: ..500, problem, .. }) => {
                refused.insert(number, problem);
            }
            Err(error) => return Err(LoadError::NotChecked(error)),
        }
        progress.inc(1);
    }
    progress.finish_and_clear();
    let mut findings = Findings::default();
    for (number, problem) in refused {
        if let Some(change) = list.get(number) {
            findings.add(&change.origin, &problem);
        }
    }
    if findings.is_empty() { Ok(()) } else { Err(LoadError::WouldRefuse(findings)) }
}

/// Makes the changes, kind after kind.
async fn apply(client: &ManagementClient, list: &Arc<Vec<Change>>) -> Result<(), LoadError> {
    let all = list.len();
    let progress = progress_bar(all, "changes");
    let (mut done, mut failed) = (0, None);
    let mut requests = Requests::new(client, list, false);
    while let Some((_, change, outcome)) = requests.next().await {
        match outcome {
            Ok(()) => done += 1,
            Err(error) => {
                requests.stop();
                failed.get_or_insert_with(|| (change.origin.to_string(), error));
            }
        }
        progress.inc(1);
    }
    progress.finish_and_clear();
    failed.map_or(Ok(()), |(at, error)| Err(LoadError::Stopped { done, all, at, error }))
}

/// Requests in order, [`CONCURRENT`] at a time, but none of a kind before those of the last are answered.
struct Requests<'a> {
    client: &'a ManagementClient,
    list: &'a Arc<Vec<Change>>,
    check: bool,
    next: usize,
    running: JoinSet<(usize, Result<(), ClientError>)>,
}

impl<'a> Requests<'a> {
    fn new(client: &'a ManagementClient, list: &'a Arc<Vec<Change>>, check: bool) -> Self {
        Self { client, list, check, next: 0, running: JoinSet::new() }
    }

    /// Sends no more.
    fn stop(&mut self) {
        self.next = self.list.len();
    }

    /// The next answer, and to which change.
    async fn next(&mut self) -> Option<(usize, &'a Change, Result<(), ClientError>)> {
        while self.running.len() < CONCURRENT && self.may_send() {
            let (client, list) = (self.client.clone(), Arc::clone(self.list));
            let (number, check) = (self.next, self.check);
            self.next += 1;
            self.running.spawn(async move {
                let outcome = match list.get(number) {
                    Some(change) => client.put(&change.target, &change.body, check).await,
                    None => Ok(()),
                };
                (number, outcome)
            });
        }
        // A request does not panic; if one did, its answer is missing and the rest goes on.
        let (number, outcome) = self.running.join_next().await?.ok()?;
        Some((number, self.list.get(number)?, outcome))
    }

    fn may_send(&self) -> bool {
        let Some(change) = self.list.get(self.next) else { return false };
        let before = self.next.checked_sub(1).and_then(|before| self.list.get(before));
        let same_kind = before.is_none_or(|before| {
            std::mem::discriminant(&before.target) == std::mem::discriminant(&change.target)
        });
        same_kind || self.check || self.running.is_empty()
    }
}

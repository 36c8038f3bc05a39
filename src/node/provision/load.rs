//! Fills one running system with what files say: all of it, or nothing if any of it is wrong.

use std::{collections::BTreeMap, io, path::PathBuf, sync::Arc};

use super::{
    changes::{Change, Changes, Findings},
    progress_bar,
    requests::{self, Outcome},
    rows, sections, table,
    ue_files::{self, UeFiles},
};
use crate::node::client::{ClientError, ManagementClient};

/// What to load, and where.
#[derive(Clone, Debug)]
pub struct Load {
    /// CSV, TOML and JSON lines files.
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
    /// The system has changed since it was asked.
    #[error("{done} of {all} changes were made, but not at {at}: {problem}; run it again")]
    Refused {
        /// Changes made.
        done: usize,
        /// Changes to make.
        all: usize,
        /// File and line of the first that was not made.
        at: String,
        /// What the system said.
        problem: String,
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
        let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
        let read = match extension.to_str() {
            Some("csv") => table::read,
            Some("jsonl" | "ndjson") => rows::read,
            Some(_) | None => sections::read,
        };
        read(path, &mut changes).map_err(|error| LoadError::Read { path: path.clone(), error })?;
    }
    let Changes { mut list, ues, findings, .. } = changes;
    if !findings.is_empty() {
        return Err(LoadError::Wrong(findings));
    }
    // What others rely on comes first.
    list.sort_by(|one, other| one.target.cmp(&other.target));
    let client = ManagementClient::new(&job.system);
    let mut list = Arc::new(list);
    let system = client.system().await.map_err(LoadError::NotChecked)?;
    check(&client, &mut list).await?;
    apply(&client, &list).await?;
    let changes = list.len();
    let (ue_files, ue_files_kept) = match &job.ue_files {
        Some(files) => ue_files::write(files, system, &ues)?,
        None => (0, 0),
    };
    Ok(Loaded { changes, ue_files, ue_files_kept })
}

/// Asks the system about every change before the first is made, and notes which are to be made alone.
async fn check(client: &ManagementClient, list: &mut Arc<Vec<Change>>) -> Result<(), LoadError> {
    let progress = progress_bar(list.len(), "checked");
    let (mut refused, mut alone) = (BTreeMap::new(), Vec::new());
    let mut each = |number, outcome| match outcome {
        Outcome::Done => {}
        Outcome::Refused(problem) => drop(refused.insert(number, problem)),
        Outcome::Alone => alone.push(number),
    };
    let sent = requests::send(client, list, true, &progress, &mut each).await;
    progress.finish_and_clear();
    sent.map_err(|(_, error)| LoadError::NotChecked(error))?;
    let mut findings = Findings::default();
    for (number, problem) in refused {
        if let Some(change) = list.get(number) {
            findings.add(&change.origin, &problem);
        }
    }
    if !findings.is_empty() {
        return Err(LoadError::WouldRefuse(findings));
    }
    if let (false, Some(list)) = (alone.is_empty(), Arc::get_mut(list)) {
        for number in alone {
            if let Some(change) = list.get_mut(number) {
                change.alone = true;
            }
        }
        // By kind, as before, and within a kind by one request first.
        list.sort_by(|one, other| {
            let kind = |change: &Change| (change.target.kind(), change.alone);
            kind(one).cmp(&kind(other))
        });
    }
    Ok(())
}

/// Makes the changes, kind after kind.
async fn apply(client: &ManagementClient, list: &Arc<Vec<Change>>) -> Result<(), LoadError> {
    let all = list.len();
    let progress = progress_bar(all, "changes");
    let (mut done, mut refused) = (0, None);
    let mut each = |number, outcome| match outcome {
        Outcome::Done => done += 1,
        Outcome::Refused(problem) => drop(refused.get_or_insert((number, problem))),
        Outcome::Alone => {
            let problem = "it was changed meanwhile; run it again".to_owned();
            refused.get_or_insert((number, problem));
        }
    };
    let sent = requests::send(client, list, false, &progress, &mut each).await;
    progress.finish_and_clear();
    let at = |number: usize| {
        list.get(number).map_or_else(String::new, |change| change.origin.to_string())
    };
    match (sent, refused) {
        (Ok(()), None) => Ok(()),
        (Ok(()), Some((number, problem))) => {
            Err(LoadError::Refused { done, all, at: at(number), problem })
        }
        (Err((number, error)), _) => Err(LoadError::Stopped { done, all, at: at(number), error }),
    }
}

//! What the files ask for: one request for each row or section, found well-formed before any is sent.

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt,
    sync::Arc,
};

use serde_json::Value;
use zeroize::Zeroizing;

use super::ue_files::Ue;
use crate::node::{http::Problem, management::Target};

/// Findings shown; the others are counted.
const FINDINGS_SHOWN_MAX: usize = 20;

/// One request.
pub(super) struct Change {
    pub(super) target: Target,
    pub(super) origin: Origin,
    /// Whether it is made by a request of its own, although there could be one for many.
    pub(super) alone: bool,
    /// The JSON body. It may hold keys.
    pub(super) body: Zeroizing<Vec<u8>>,
}

/// Where a change comes from.
#[derive(Clone)]
pub(super) struct Origin {
    pub(super) file: Arc<str>,
    pub(super) line: u64,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// What is wrong with the files, each with its place.
#[derive(Debug, Default)]
pub struct Findings {
    shown: Vec<String>,
    more: usize,
}

impl Findings {
    pub(super) fn add(&mut self, origin: &Origin, what: &str) {
        if self.shown.len() < FINDINGS_SHOWN_MAX {
            self.shown.push(format!("{origin}: {what}"));
        } else {
            self.more += 1;
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.shown.is_empty()
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.shown {
            write!(f, "\n  {finding}")?;
        }
        if self.more > 0 {
            write!(f, "\n  and {} more", self.more)?;
        }
        Ok(())
    }
}

/// All changes of all files, and all that is wrong with them.
#[derive(Default)]
pub(super) struct Changes {
    pub(super) list: Vec<Change>,
    /// Users with all that their UEs need.
    pub(super) ues: Vec<Ue>,
    pub(super) findings: Findings,
    seen: HashMap<Target, Origin>,
}

impl Changes {
    /// Adds a change in one or more parts, or what is wrong with it. `columns` leads from the name of a
    /// field to what the file calls it.
    pub(super) fn add(
        &mut self,
        origin: &Origin,
        target: &Target,
        bodies: &[Value],
        columns: fn(&str) -> &str,
    ) {
        match self.seen.entry(target.canonical()) {
            Entry::Occupied(earlier) => {
                let what = format!("is there twice, first in {}", earlier.get());
                return self.findings.add(origin, &what);
            }
            Entry::Vacant(new) => drop(new.insert(origin.clone())),
        }
        for body in bodies {
            let body = Zeroizing::new(body.to_string().into_bytes());
            match target.validate(&body) {
                Ok(()) => {
                    let (target, origin) = (target.clone(), origin.clone());
                    self.list.push(Change { target, origin, alone: false, body });
                }
                Err(problem) => self.findings.add(origin, &told(&problem, columns)),
            }
        }
    }
}

/// A problem in the words of the file.
fn told(problem: &Problem, columns: fn(&str) -> &str) -> String {
    let field = problem.field.as_deref().unwrap_or_default();
    let what = problem.detail.strip_prefix(field).unwrap_or(&problem.detail);
    // The place is one in the body of the request.
    let what = what.rsplit_once(" (line ").map_or(what, |(what, _)| what);
    format!("{}{what}; {}", columns(field), problem.fix)
}

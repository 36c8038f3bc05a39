//! The requests that a load makes: many subscribers or users by one, all else one by one.

use std::{ops::Range, sync::Arc};

use indicatif::ProgressBar;
use tokio::task::JoinSet;
use zeroize::Zeroizing;

use super::{CONCURRENT, changes::Change};
use crate::node::{
    client::{ClientError, ManagementClient},
    http::RowProblem,
    management::many::{OCTETS_MAX, ROWS_MAX},
};

/// What became of one change.
pub(super) enum Outcome {
    /// It is made, or would be.
    Done,
    /// It is refused.
    Refused(String),
    /// It would be made by a request of its own.
    Alone,
}

/// One part of the changes: kinds follow each other, since what others rely on comes first.
enum Part {
    /// One request each.
    Each(Range<usize>),
    /// One request for all, at this path.
    Many(&'static str, Range<usize>),
}

/// Makes all changes, or asks whether they would be made. Gives every outcome to `each`. Ends after the first
/// request about many that is refused.
///
/// # Errors
///
/// The number of a change that nothing became of, and why. Of those of later kinds nothing became either.
pub(super) async fn send(
    client: &ManagementClient,
    list: &Arc<Vec<Change>>,
    check: bool,
    progress: &ProgressBar,
    each: &mut (dyn FnMut(usize, Outcome) + Send),
) -> Result<(), (usize, ClientError)> {
    for part in parts(list) {
        match part {
            Part::Each(range) => send_each(client, list, range, check, progress, each).await?,
            Part::Many(path, range) => {
                let rows = rows_of(list, range.clone());
                let first = range.start;
                let refused = client.put_many(path, rows, check).await;
                let refused = refused.map_err(|error| (first, error))?;
                // If any is refused, none of them is made.
                let stops = !check && !refused.is_empty();
                let mut refused = refused.into_iter().peekable();
                for number in range.clone() {
                    let row = number - first + 1;
                    match refused.next_if(|problem| problem.row == row) {
                        None if stops => {}
                        None => each(number, Outcome::Done),
                        Some(problem) if problem.alone => each(number, Outcome::Alone),
                        Some(RowProblem { detail, fix, .. }) => {
                            each(number, Outcome::Refused(format!("{detail}; {fix}")));
                        }
                    }
                }
                if stops {
                    return Ok(());
                }
                progress.inc(range.len() as u64);
            }
        }
    }
    Ok(())
}

/// Sends one request each, [`CONCURRENT`] at a time.
async fn send_each(
    client: &ManagementClient,
    list: &Arc<Vec<Change>>,
    mut range: Range<usize>,
    check: bool,
    progress: &ProgressBar,
    each: &mut (dyn FnMut(usize, Outcome) + Send),
) -> Result<(), (usize, ClientError)> {
    let mut running = JoinSet::new();
    let mut failed = None;
    loop {
        while failed.is_none() && running.len() < CONCURRENT {
            let Some(number) = range.next() else { break };
            let (client, list) = (client.clone(), Arc::clone(list));
            running.spawn(async move {
                let outcome = match list.get(number) {
                    Some(change) => client.put(&change.target, &change.body, check).await,
                    None => Ok(()),
                };
                (number, outcome)
            });
        }
        // A request does not panic; if one did, its answer is missing and the rest goes on.
        let Some(Ok((number, outcome))) = running.join_next().await else { break };
        match outcome {
            Ok(()) => each(number, Outcome::Done),
            // What the system cannot do now is not for the files to mend.
            Err(ClientError::Refused { status: ..500, problem, .. }) if check => {
                each(number, Outcome::Refused(problem));
            }
            Err(error) => drop(failed.get_or_insert((number, error))),
        }
        progress.inc(1);
    }
    failed.map_or(Ok(()), Err)
}

/// Divides the changes by kind, and so that no request about many is too large.
fn parts(list: &[Change]) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut octets = 0;
    for (number, change) in list.iter().enumerate() {
        let path = if change.alone { None } else { change.target.path_of_many() };
        let kind = std::mem::discriminant(&change.target);
        let before = number.checked_sub(1).and_then(|before| list.get(before));
        let same = before.is_some_and(|before| std::mem::discriminant(&before.target) == kind);
        // The row, and the names around it.
        let added = change.body.len() + 2 * change.target.path().len() + 64;
        octets += added;
        match (parts.last_mut(), path) {
            (Some(Part::Each(range)), None) if same => range.end = number + 1,
            (Some(Part::Many(_, range)), Some(_))
                if same && range.len() < ROWS_MAX && octets < OCTETS_MAX =>
            {
                range.end = number + 1;
            }
            (_, Some(path)) => {
                octets = added;
                parts.push(Part::Many(path, number..number + 1));
            }
            (_, None) => parts.push(Part::Each(number..number + 1)),
        }
    }
    parts
}

fn rows_of(list: &[Change], range: Range<usize>) -> Vec<u8> {
    let mut rows = Zeroizing::new(Vec::new());
    for change in list.get(range).unwrap_or_default() {
        change.target.append_row(&change.body, &mut rows);
    }
    std::mem::take(&mut *rows)
}

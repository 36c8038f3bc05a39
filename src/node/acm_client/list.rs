//! What is pending, page after page.

use std::{fmt::Write as _, num::NonZeroUsize};

use super::{
    command::{AcmError, name_of, print},
    connection::AcmClient,
};
use crate::{
    api::acm_client::{PAGE_ITEMS_MAX, Summary},
    node::operator::Table,
};

const COLUMNS: [&str; 8] =
    ["NUMBER", "KIND", "PARTNER", "FROM", "STATE", "RESULT", "EXPIRES", "TRANSACTION"];

/// Prints a list, page after page as they come.
pub(super) async fn run(
    client: &AcmClient,
    limit: Option<NonZeroUsize>,
    json: bool,
) -> Result<(), AcmError> {
    let mut table = Table::new(&COLUMNS);
    let (mut left, mut after) = (limit.map_or(usize::MAX, NonZeroUsize::get), None);
    let mut is_empty = true;
    loop {
        let page = client.list(after, left.min(PAGE_ITEMS_MAX)).await?;
        left = left.saturating_sub(page.items.len());
        is_empty &= page.items.is_empty();
        let text = if json {
            page.items.iter().try_fold(String::new(), |mut lines, item| {
                let line = serde_json::to_string(item).map_err(AcmError::Json)?;
                let _ = writeln!(lines, "{line}");
                Ok::<_, AcmError>(lines)
            })?
        } else if is_empty {
            "nothing is pending\n".to_owned()
        } else {
            table.lines(page.items.iter().map(cells).collect())
        };
        print(&text)?;
        after = page.next;
        if after.is_none() || left == 0 {
            return Ok(());
        }
    }
}

fn cells(item: &Summary) -> Vec<String> {
    vec![
        item.number.to_string(),
        item.kind.as_str().to_owned(),
        item.partner.to_string(),
        item.originator.as_str().to_owned(),
        name_of(&item.state),
        item.result.map_or_else(|| "-".to_owned(), |result| name_of(&result)),
        item.expires.to_rfc3339(),
        format!("{}/{}", item.key.origin, item.key.transaction),
    ]
}

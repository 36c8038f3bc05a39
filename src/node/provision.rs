//! Fills running systems: with what files say, and with users for a load generator.

mod changes;
mod load;
mod requests;
mod rows;
mod sections;
mod sipp_csv;
mod table;
mod ue_files;

use std::io::{self, IsTerminal};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

pub use changes::Findings;
pub use load::{Load, LoadError, Loaded, load};
pub(in crate::node) use sipp_csv::prepare_migration;
pub use sipp_csv::{ProvisionError, SippCsv, TEST_PLMN, write_sipp_csv};
pub use ue_files::UeFiles;

/// Requests under way at a time.
const CONCURRENT: usize = 32;

/// A progress bar on standard error, if that is a terminal. `what` continues "so many of so many".
pub(super) fn progress_bar(length: usize, what: &str) -> ProgressBar {
    let target = if io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let style = format!("{{bar:40}} {{pos}}/{{len}} {what}, {{per_sec}}, {{eta}} left");
    let style =
        ProgressStyle::with_template(&style).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(Some(length as u64), target).with_style(style)
}

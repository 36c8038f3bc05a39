//! A configuration in a file.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use super::{Config, Problem};

/// Why a file gives no configuration.
#[derive(Debug, thiserror::Error)]
pub enum InvalidFile {
    /// It cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// Something in it is wrong.
    #[error("{} is no valid configuration:{}", path.display(), Lines(problems))]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// Everything that is wrong.
        problems: Vec<Problem>,
    },
}

impl Config {
    /// Reads a configuration file.
    ///
    /// # Errors
    ///
    /// [`InvalidFile`].
    pub fn read(path: &Path) -> Result<Self, InvalidFile> {
        let text = fs::read_to_string(path)
            .map_err(|error| InvalidFile::Unreadable { path: path.to_owned(), error })?;
        Self::parse(&text)
            .map_err(|problems| InvalidFile::Invalid { path: path.to_owned(), problems })
    }
}

/// Each on a line of its own.
struct Lines<'a>(&'a [Problem]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

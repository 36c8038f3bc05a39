//! Where the ACM server is, and who asks: from arguments, from the environment, from a file. The token is in no
//! argument, for everybody on a host may see those.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use clap::Args;
use toml::de::{DeTable, DeValue};
use zeroize::Zeroizing;

use crate::{
    identity::McServiceId,
    node::{
        config::{
            Problem,
            read::{Document, Section, Wrong, parsed, secret, text as string},
        },
        http_client::Endpoint,
        tls::{TlsError, Trust},
    },
    token::{BearerToken, InvalidToken},
};

/// A file to fill in: every key and its meaning.
pub(super) const TEMPLATE: &str = include_str!("template.toml");

/// Longest file, octets.
const FILE_OCTETS_MAX: u64 = 64 * 1_024;

const SERVER: &str = "MIGCORE_ACM_SERVER";
const USER: &str = "MIGCORE_ACM_USER";
const TOKEN: &str = "MIGCORE_ACM_TOKEN";
const FILE: &str = "MIGCORE_ACM_FILE";
/// Where to write a token.
const TOKEN_FIX: &str = "give --as FILE with token = \"..\" (`migcore acm template` prints one), or set MIGCORE_ACM_TOKEN";

const MANAGEMENT: &str = "MIGCORE_ACM_MANAGEMENT";

/// Whom to ask, and in whose name. What is no argument comes from the environment, or else from the file.
#[derive(Args, Debug)]
pub(super) struct Access {
    /// The ACM server: its address for ACM clients [environment: `MIGCORE_ACM_SERVER`].
    #[arg(long, global = true, value_name = "URL")]
    server: Option<Endpoint>,
    /// The administrator [environment: `MIGCORE_ACM_USER`].
    #[arg(long, global = true, value_name = "MC-SERVICE-ID")]
    user: Option<McServiceId>,
    /// A file with server, user and token that only its owner may read [environment: `MIGCORE_ACM_FILE`].
    ///
    /// `migcore acm template` prints one to fill in. Without a file the token is in `MIGCORE_ACM_TOKEN`.
    #[arg(long = "as", global = true, value_name = "FILE")]
    credentials: Option<PathBuf>,
    /// The management interface of the same system [environment: `MIGCORE_ACM_MANAGEMENT`].
    ///
    /// For `alias`, and for `show` to tell what is in force.
    #[arg(long, global = true, value_name = "URL")]
    management: Option<Endpoint>,
}

/// Whom to ask, and in whose name. The token does not print.
#[derive(Clone, Debug)]
pub(in crate::node) struct Administrator {
    pub(in crate::node) server: Endpoint,
    pub(in crate::node) user: McServiceId,
    pub(in crate::node) token: BearerToken,
}

/// Why it is not known whom to ask, or in whose name.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// Nobody says.
    #[error("no {what}: {fix}")]
    Missing {
        /// What is missing.
        what: &'static str,
        /// Where to write it.
        fix: &'static str,
    },
    /// What the environment says is wrong.
    #[error("{name} {why}")]
    Environment {
        /// The variable.
        name: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The authority that the file names cannot be used.
    #[error(transparent)]
    Authority(#[from] TlsError),
    /// The file cannot be read.
    #[error("cannot read {}: {error}; `migcore acm template` prints a file to fill in", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// Others may read the file.
    #[error("others may read {}, and it holds a token: run chmod 600 {}", path.display(), path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// The file is another administrator's.
    #[error("{} is the file of {}: name that user, or another file", path.display(), user.as_str())]
    OfAnother {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        user: McServiceId,
    },
    /// Something in the file is wrong.
    #[error("{} is no valid file of an administrator:{}", path.display(), Lines(problems))]
    Wrong {
        /// The file.
        path: PathBuf,
        /// Everything that is wrong, by line.
        problems: Vec<Problem>,
    },
}

struct Lines<'a>(&'a [Problem]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

/// What the file says.
#[derive(Default)]
struct Written {
    server: Option<Endpoint>,
    user: Option<McServiceId>,
    token: Option<BearerToken>,
    management: Option<Endpoint>,
    ca: Option<PathBuf>,
}

impl Access {
    /// Whom to ask, and in whose name.
    ///
    /// # Errors
    ///
    /// [`AccessError`].
    pub(super) fn administrator(&self) -> Result<Administrator, AccessError> {
        let written = self.written()?;
        let server = first(self.server.clone(), SERVER, str::parse, written.server)?;
        let user = first(self.user.clone(), USER, McServiceId::parse, written.user)?;
        let token = token_of_environment()?.or(written.token);
        let missing = |what, fix| AccessError::Missing { what, fix };
        Ok(Administrator {
            server: server.ok_or(missing(
                "ACM server named",
                "give --server URL, set MIGCORE_ACM_SERVER, or write server = \"URL\" in the file of --as",
            ))?,
            user: user.ok_or(missing(
                "administrator named",
                "give --user MC-SERVICE-ID, set MIGCORE_ACM_USER, or write mc_service_id in the file of --as",
            ))?,
            token: token.ok_or(missing("token", TOKEN_FIX))?,
        })
    }

    /// The management interface, if somebody says where it is.
    ///
    /// # Errors
    ///
    /// [`AccessError`].
    pub(super) fn management(&self) -> Result<Option<Endpoint>, AccessError> {
        let written = self.written()?.management;
        first(self.management.clone(), MANAGEMENT, str::parse::<Endpoint>, written)
    }

    /// The management interface of a command that needs one.
    ///
    /// # Errors
    ///
    /// [`AccessError`].
    pub(super) fn needed_management(&self) -> Result<Endpoint, AccessError> {
        self.management()?.ok_or(AccessError::Missing {
            what: "management interface named",
            fix: "give --management URL, set MIGCORE_ACM_MANAGEMENT, or write management in the file of --as",
        })
    }

    fn written(&self) -> Result<Written, AccessError> {
        let named = environment(FILE)?.map(PathBuf::from);
        match self.credentials.clone().or(named) {
            Some(path) => {
                let written = read(&path)?;
                if written.ca.is_some() {
                    // An argument or the environment has been before.
                    Trust::of_commands(written.ca.clone())?;
                }
                Ok(written)
            }
            None => Ok(Written::default()),
        }
    }
}

/// The token of `user`, whom an operator makes an administrator: in a file such as `migcore acm` reads, or in the
/// environment.
///
/// # Errors
///
/// [`AccessError`].
pub(in crate::node) fn token_for(
    user: &McServiceId,
    file: Option<&Path>,
) -> Result<BearerToken, AccessError> {
    let token = match file {
        None => token_of_environment()?,
        Some(path) => {
            let written = read(path)?;
            if let Some(other) = written.user.filter(|other| other != user) {
                return Err(AccessError::OfAnother { path: path.to_owned(), user: other });
            }
            written.token
        }
    };
    token.ok_or(AccessError::Missing { what: "token", fix: TOKEN_FIX })
}

fn token_of_environment() -> Result<Option<BearerToken>, AccessError> {
    let text = environment(TOKEN)?.map(Zeroizing::new);
    let token = text.map(|text| BearerToken::parse(&text)).transpose();
    token.map_err(|error: InvalidToken| AccessError::Environment {
        name: TOKEN,
        why: error.to_string(),
    })
}

/// What is said first: by an argument, by the environment, by the file.
fn first<T, E: fmt::Display>(
    argument: Option<T>,
    name: &'static str,
    parse: impl Fn(&str) -> Result<T, E>,
    written: Option<T>,
) -> Result<Option<T>, AccessError> {
    if argument.is_some() {
        return Ok(argument);
    }
    let told = environment(name)?.map(|text| parse(&text));
    let told = told.transpose();
    let told = told.map_err(|error| AccessError::Environment { name, why: error.to_string() })?;
    Ok(told.or(written))
}

fn environment(name: &'static str) -> Result<Option<String>, AccessError> {
    match std::env::var(name) {
        Ok(text) if text.is_empty() => Ok(None),
        Ok(text) => Ok(Some(text)),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => {
            Err(AccessError::Environment { name, why: "is no text".to_owned() })
        }
    }
}

fn read(path: &Path) -> Result<Written, AccessError> {
    let failed = |error| AccessError::Read { path: path.to_owned(), error };
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(AccessError::Exposed { path: path.to_owned() });
    }
    if metadata.len() > FILE_OCTETS_MAX {
        return Err(failed(io::Error::other(format!("it has more than {FILE_OCTETS_MAX} octets"))));
    }
    let mut text = Zeroizing::new(String::new());
    file.take(FILE_OCTETS_MAX).read_to_string(&mut text).map_err(failed)?;
    parse(&text).map_err(|problems| AccessError::Wrong { path: path.to_owned(), problems })
}

fn parse(text: &str) -> Result<Written, Vec<Problem>> {
    let document = Document::new(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let line = document.line_at(error.span().map_or(0, |span| span.start));
        let wrong = Wrong::new(error.message(), "see https://toml.io for the syntax");
        document.report(line, "", wrong);
    }
    let mut root = Section::root(&document, table.get_ref());
    let endpoint = |example: &'static str| {
        move |value: &DeValue<'_>| {
            parsed(value, str::parse::<Endpoint>, example) as Result<Endpoint, Wrong>
        }
    };
    let id = |value: &DeValue<'_>| parsed(value, McServiceId::parse, "sip:admin@a.example");
    let written = Written {
        server: root.optional("server", endpoint("http://127.0.0.1:8083")),
        user: root.optional("mc_service_id", id),
        token: root.optional("token", |value| {
            secret(
                value,
                BearerToken::parse,
                "write the token that the ACM server knows the user by",
            )
        }),
        management: root.optional("management", endpoint("http://127.0.0.1:8080")),
        ca: root.optional("ca", |value| string(value).map(PathBuf::from)),
    };
    root.finish();
    match document.into_problems() {
        problems if problems.is_empty() => Ok(written),
        problems => Err(problems),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_is_a_valid_file_but_for_its_token() {
        let problems = parse(TEMPLATE).err().unwrap();
        let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert!(
            matches!(told.as_slice(), [one] if one.contains("line 8: token is shorter")),
            "{told:?}"
        );
        let filled = TEMPLATE.replace("token = \"\"", "token = \"0123456789abcdefghijkl\"");
        let written = parse(&filled).ok().unwrap();
        assert_eq!(written.server.unwrap().to_string(), "http://127.0.0.1:8083");
        assert_eq!(written.user.unwrap().as_str(), "sip:admin@a.example");
        assert!(written.token.is_some() && written.management.is_none());
    }

    #[test]
    fn a_mistake_is_told_with_its_line_and_no_secret() {
        let problems = parse("tokn = \"secret-secret-secret-s\"\n\nserver = \"ftp://a\"\n");
        let told: Vec<String> = problems.err().unwrap().iter().map(ToString::to_string).collect();
        let told = told.join("\n");
        assert!(told.contains("line 1: tokn is not a known key; did you mean token?"), "{told}");
        assert!(told.contains("line 3: server"), "{told}");
        assert!(!told.contains("secret-"), "{told}");
    }
}

//! The command line of `migcore admin`.

use std::{io, num::NonZeroUsize, path::PathBuf};

use clap::{Args, Subcommand, ValueEnum};

use super::{
    list::{self, Listed, Selection},
    object::{self, Object},
};
use crate::{
    api::{acm_payload::Kind, identity_management::IssuerUrl},
    identity::{Impi, McServiceId, McSystemId, SipDatabaseId},
    node::{
        acm_client::{AccessError, token_for},
        client::{ClientError, ManagementClient},
        http_client::url,
    },
};

/// What `migcore admin --help` ends with.
pub const EXAMPLES: &str = "\
Examples:
  Who of system A is here, and with which identities?
    migcore admin list bindings inbound --partner sipdb.a.example
  What does alice hold at our partners?
    migcore admin list bindings outbound --holder alice@a.example
  Is this pair in use, whose is it, and until when?
    migcore admin show binding inbound mig-7f3c@b.example
  Is the user registered, and where?
    migcore admin show registration mig-7f3c@b.example
  Throw a user out, now:
    migcore admin revoke binding inbound mig-7f3c@b.example
  Let nobody of ours go to system B any more, from the next vector on:
    migcore admin revoke agreement sip:b.example outbound everybody
  Let bob decide groups and updates of partners; his token is in the file of his `migcore acm`:
    migcore admin put acm-user sip:bob@b.example --may-decide groups,update --as bob.toml
  Who may exchange what with partners?
    migcore admin list acm-users
  What were UEs told of system B before, and who accepted it?
    migcore admin list configuration-versions --partner sip:b.example
  Everything, for a script:
    migcore admin list registrations --json | jq -r .key

Release or revoke? A released pair goes back to its pool, and its user gets no further vector; who is registered
stays so until the registration ends. A revoked one is also thrown out of the SIP core at once. Both may ask for
another pair as long as an agreement allows it: to keep a user out, revoke the agreement, or put the user with
may_migrate false.

Exit codes: 0 done, 1 failed or not found, 2 wrong arguments.";

/// What an operator can ask of a running system.
#[derive(Args, Debug)]
pub struct AdminCommand {
    #[command(subcommand)]
    action: Action,
    /// The management interface of the system.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        default_value = "http://127.0.0.1:8080",
        value_parser = url
    )]
    system: String,
    /// Print JSON, one object a line, instead of a table.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List what the system holds, in the order of the names.
    #[command(subcommand)]
    List(ListCommand),
    /// Show one of them, with all that belongs to it.
    #[command(subcommand)]
    Show(ShowCommand),
    /// Take a lent pair back; who is registered with it stays so until the registration ends.
    #[command(subcommand)]
    Release(ReleaseCommand),
    /// End it, at once and not only when its time is over.
    #[command(subcommand)]
    Revoke(RevokeCommand),
    /// Create or replace one; `migcore provision load` does it for many.
    #[command(subcommand)]
    Put(PutCommand),
    /// Remove one.
    #[command(subcommand)]
    Delete(DeleteCommand),
}

#[derive(Debug, Subcommand)]
enum PutCommand {
    /// A user of ACM clients, whose token and rights these are from now on.
    #[command(visible_alias = "acm-users")]
    AcmUser {
        /// The MC service ID, such as sip:bob@b.example.
        mc_service_id: McServiceId,
        /// The kinds of transactions that the user may begin: all, or some with commas between, such as
        /// groups,update; none if left out.
        #[arg(long, value_name = "KINDS", value_parser = kinds)]
        may_request: Option<Kinds>,
        /// The kinds of transactions of partners that the user may decide; none if left out.
        #[arg(long, value_name = "KINDS", value_parser = kinds)]
        may_decide: Option<Kinds>,
        /// The file of the user's `migcore acm`, which has the token; without it that is in `MIGCORE_ACM_TOKEN`.
        #[arg(long = "as", value_name = "FILE")]
        credentials: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
enum DeleteCommand {
    /// A user of ACM clients, whose log-ons end. What waits for the user stays until it expires.
    #[command(visible_alias = "acm-users")]
    AcmUser {
        /// The MC service ID.
        mc_service_id: McServiceId,
    },
}

/// Kinds of transactions.
#[derive(Clone, Debug, Default)]
struct Kinds(Vec<Kind>);

/// Reads `all`, or names with commas between.
fn kinds(text: &str) -> Result<Kinds, String> {
    if text == "all" {
        return Ok(Kinds(Kind::ALL.to_vec()));
    }
    let mut kinds = Vec::new();
    for name in text.split(',').map(str::trim) {
        let kind = Kind::from_name(name).ok_or_else(|| {
            let known = Kind::ALL.map(Kind::as_str).join(", ");
            format!("{name:?} is no kind of transactions; write all, or some of {known}")
        })?;
        if kinds.contains(&kind) {
            return Err(format!("{name} is there twice"));
        }
        kinds.push(kind);
    }
    Ok(Kinds(kinds))
}

#[derive(Debug, Subcommand)]
enum ListCommand {
    /// Lent migration identities, and who holds them.
    #[command(visible_alias = "binding")]
    Bindings {
        /// Which way they are lent.
        direction: Direction,
        #[command(flatten)]
        concerned: Concerned,
        #[command(flatten)]
        most: Most,
    },
    /// Who is registered in the SIP core.
    #[command(visible_alias = "registration")]
    Registrations {
        #[command(flatten)]
        most: Most,
    },
    /// Agreements with partners.
    #[command(visible_alias = "agreement")]
    Agreements {
        /// Only those with this MC system, such as sip:b.example.
        #[arg(long, value_name = "MC-SYSTEM-ID")]
        partner: Option<McSystemId>,
        #[command(flatten)]
        most: Most,
    },
    /// Leave to use real identities at partners.
    #[command(visible_alias = "grant")]
    Grants {
        #[command(flatten)]
        concerned: Concerned,
        #[command(flatten)]
        most: Most,
    },
    /// Subscribers of the SIP database.
    #[command(visible_alias = "subscriber")]
    Subscribers {
        #[command(flatten)]
        most: Most,
    },
    /// Users of the configuration management server.
    #[command(visible_alias = "user")]
    Users {
        #[command(flatten)]
        most: Most,
    },
    /// Users of ACM clients, and what they may.
    #[command(visible_alias = "acm-user")]
    AcmUsers {
        #[command(flatten)]
        most: Most,
    },
    /// What UEs are and were told of each system: the latest 16 versions, and who brought them into force.
    #[command(visible_alias = "configuration-version")]
    ConfigurationVersions {
        /// Only those of this MC system, such as sip:b.example.
        #[arg(long, value_name = "MC-SYSTEM-ID")]
        partner: Option<McSystemId>,
        #[command(flatten)]
        most: Most,
    },
    /// Identity pools; `show pool` tells how full one is.
    #[command(visible_alias = "pool")]
    Pools {
        #[command(flatten)]
        most: Most,
    },
    /// Clients of the identity management server.
    #[command(visible_alias = "idms-client")]
    IdmsClients {
        #[command(flatten)]
        most: Most,
    },
    /// Users who log in at the identity management server, with the subject that partners know them by.
    #[command(visible_alias = "idms-user")]
    IdmsUsers {
        #[command(flatten)]
        most: Most,
    },
    /// Users of partners, who come with a security token.
    #[command(visible_alias = "visitor")]
    Visitors {
        #[command(flatten)]
        most: Most,
    },
    /// Security tokens that were given and have not expired; not the tokens themselves.
    #[command(visible_alias = "security-token")]
    SecurityTokens {
        #[command(flatten)]
        most: Most,
    },
}

/// Whom it concerns.
#[derive(Args, Debug)]
struct Concerned {
    /// Only those of the system with this SIP database, such as sipdb.b.example.
    #[arg(long, value_name = "DIAMETER-IDENTITY")]
    partner: Option<SipDatabaseId>,
    /// Only those of this user: the real private identity, or of an inbound binding the one by which the
    /// primary system knows the user.
    #[arg(long, value_name = "IMPI")]
    holder: Option<Impi>,
}

/// How many.
#[derive(Args, Debug)]
struct Most {
    /// Stop after so many.
    #[arg(long, value_name = "N")]
    limit: Option<NonZeroUsize>,
}

#[derive(Debug, Subcommand)]
enum ShowCommand {
    /// A lent migration identity: who holds it, how long, under which agreement.
    #[command(visible_alias = "bindings")]
    Binding(LentIdentity),
    /// A registration: contacts with the seconds they have left, public identities.
    #[command(visible_alias = "registrations")]
    Registration {
        /// The private identity.
        impi: Impi,
    },
    /// An agreement.
    #[command(visible_alias = "agreements")]
    Agreement(AgreementName),
    /// A subscriber.
    #[command(visible_alias = "subscribers")]
    Subscriber {
        /// The private identity.
        impi: Impi,
    },
    /// A user of the configuration management server.
    #[command(visible_alias = "users")]
    User {
        /// The MC service ID, such as sip:alice@a.example.
        mc_service_id: McServiceId,
    },
    /// A user of ACM clients.
    #[command(visible_alias = "acm-users")]
    AcmUser {
        /// The MC service ID, such as sip:admin@a.example.
        mc_service_id: McServiceId,
    },
    /// What UEs are or were told of a system, and who brought it into force.
    #[command(visible_alias = "configuration-versions")]
    ConfigurationVersion {
        /// The MC system ID, such as sip:b.example.
        mc_system_id: McSystemId,
        /// The revision.
        revision: u64,
        /// Show the document too, with the secrets that UEs are told in it.
        #[arg(long)]
        secrets: bool,
    },
    /// An identity pool, and how full it is.
    #[command(visible_alias = "pools")]
    Pool {
        /// Its name.
        name: String,
    },
    /// A client of the identity management server.
    #[command(visible_alias = "idms-clients")]
    IdmsClient {
        /// Its name.
        name: String,
    },
    /// A user who logs in at the identity management server.
    #[command(visible_alias = "idms-users")]
    IdmsUser {
        /// The name to log in with.
        name: String,
    },
    /// A user of a partner.
    #[command(visible_alias = "visitors")]
    Visitor {
        /// The issuer URL of the partner.
        issuer: IssuerUrl,
        /// Who the user is to it: the `sub` of its tokens.
        subject: String,
    },
}

#[derive(Debug, Subcommand)]
enum ReleaseCommand {
    /// A lent migration identity.
    #[command(visible_alias = "bindings")]
    Binding(LentIdentity),
}

#[derive(Debug, Subcommand)]
enum RevokeCommand {
    /// A lent migration identity, and the registration made with it in this system.
    #[command(visible_alias = "bindings")]
    Binding(LentIdentity),
    /// A registration, and every attempt under way; the user may register anew, if that is still allowed.
    #[command(visible_alias = "registrations")]
    Registration {
        /// The private identity.
        impi: Impi,
    },
    /// An agreement: nothing lent under it is good for a vector any more.
    #[command(visible_alias = "agreements")]
    Agreement(AgreementName),
    /// Leave to use a real identity at a partner.
    #[command(visible_alias = "grants")]
    Grant {
        /// The real private identity.
        impi: Impi,
        /// The SIP database of the partner, such as sipdb.b.example.
        partner: SipDatabaseId,
    },
}

/// A lent pair, by its private identity.
#[derive(Args, Debug)]
struct LentIdentity {
    /// Which way it is lent.
    direction: Direction,
    /// The lent private identity.
    impi: Impi,
}

/// What names an agreement.
#[derive(Args, Debug)]
struct AgreementName {
    /// The MC system ID of the partner, such as sip:b.example.
    partner: McSystemId,
    /// Whether ours may go there (outbound), or theirs may come here (inbound).
    direction: Direction,
    /// Whose: everybody, class:NAME or user:MC-SERVICE-ID.
    users: String,
}

/// Which way.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Direction {
    /// To users of partners, for use here.
    Inbound,
    /// To users of this system, for use at a partner.
    Outbound,
}

impl Direction {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}

/// Why a command did not work.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The system could not be asked, or refused.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The answer is not that of a management interface of this release.
    #[error("{url} answered what this release does not know; is it a migcore of the same release?")]
    Unknown {
        /// The address as given.
        url: String,
    },
    /// There is no token for a user.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// What was found cannot be printed.
    #[error("cannot print: {0}")]
    Print(io::Error),
}

impl AdminError {
    /// Whether the arguments are to blame.
    pub const fn is_wrong_input(&self) -> bool {
        matches!(
            self,
            Self::Client(ClientError::Refused { status: 400 | 422, .. }) | Self::Access(_)
        )
    }
}

impl AdminCommand {
    /// Does it, and prints what came of it.
    ///
    /// # Errors
    ///
    /// [`AdminError`].
    pub async fn run(self) -> Result<(), AdminError> {
        let Self { action, system, json } = self;
        let client = ManagementClient::new(&system);
        let outcome = match action {
            Action::List(what) => list::run(&client, what.selection(), json).await,
            Action::Show(what) => object::show(&client, what.object(), json).await,
            Action::Release(ReleaseCommand::Binding(lent)) => {
                object::release(&client, lent.object(), json).await
            }
            Action::Revoke(what) => object::revoke(&client, what.object(), json).await,
            Action::Put(what) => what.run(&client, json).await,
            Action::Delete(DeleteCommand::AcmUser { mc_service_id }) => {
                object::delete(&client, Object::AcmUser(mc_service_id), json).await
            }
        };
        match outcome {
            // Whoever reads has seen enough.
            Err(AdminError::Print(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            outcome => outcome,
        }
    }
}

impl PutCommand {
    async fn run(self, client: &ManagementClient, json: bool) -> Result<(), AdminError> {
        let Self::AcmUser { mc_service_id, may_request, may_decide, credentials } = self;
        let token = token_for(&mc_service_id, credentials.as_deref())?;
        let [Kinds(may_request), Kinds(may_decide)] =
            [may_request, may_decide].map(Option::unwrap_or_default);
        client.put_acm_user(&mc_service_id, &token, &may_request, &may_decide).await?;
        object::told_put(json, &Object::AcmUser(mc_service_id))
    }
}

impl ListCommand {
    fn selection(self) -> Selection {
        let concerned = |Concerned { partner, holder }: Concerned| {
            let partner = partner.map(|partner| partner.as_str().to_owned());
            (partner, holder.map(|holder| holder.as_str().to_owned()))
        };
        let (listed, (partner, holder), most) = match self {
            Self::Bindings { direction: Direction::Inbound, concerned: of, most } => {
                (Listed::Inbound, concerned(of), most)
            }
            Self::Bindings { direction: Direction::Outbound, concerned: of, most } => {
                (Listed::Outbound, concerned(of), most)
            }
            Self::Registrations { most } => (Listed::Registrations, (None, None), most),
            Self::Agreements { partner, most } => {
                let partner = partner.map(|partner| partner.as_str().to_owned());
                (Listed::Agreements, (partner, None), most)
            }
            Self::Grants { concerned: of, most } => (Listed::Grants, concerned(of), most),
            Self::Subscribers { most } => (Listed::Subscribers, (None, None), most),
            Self::Users { most } => (Listed::Users, (None, None), most),
            Self::AcmUsers { most } => (Listed::AcmUsers, (None, None), most),
            Self::ConfigurationVersions { partner, most } => {
                let partner = partner.map(|partner| partner.as_str().to_owned());
                (Listed::ConfigurationVersions, (partner, None), most)
            }
            Self::Pools { most } => (Listed::Pools, (None, None), most),
            Self::IdmsClients { most } => (Listed::IdmsClients, (None, None), most),
            Self::IdmsUsers { most } => (Listed::IdmsUsers, (None, None), most),
            Self::Visitors { most } => (Listed::Visitors, (None, None), most),
            Self::SecurityTokens { most } => (Listed::SecurityTokens, (None, None), most),
        };
        Selection { listed, partner, holder, limit: most.limit.unwrap_or(NonZeroUsize::MAX) }
    }
}

impl ShowCommand {
    fn object(self) -> Object {
        match self {
            Self::Binding(lent) => lent.object(),
            Self::Registration { impi } => Object::Registration(impi),
            Self::Agreement(name) => name.object(),
            Self::Subscriber { impi } => Object::Subscriber(impi),
            Self::User { mc_service_id } => Object::User(mc_service_id),
            Self::AcmUser { mc_service_id } => Object::AcmUser(mc_service_id),
            Self::ConfigurationVersion { mc_system_id, revision, secrets } => {
                Object::ConfigurationVersion(mc_system_id, revision, secrets)
            }
            Self::Pool { name } => Object::Pool(name),
            Self::IdmsClient { name } => Object::IdmsClient(name),
            Self::IdmsUser { name } => Object::IdmsUser(name),
            Self::Visitor { issuer, subject } => Object::Visitor(issuer, subject),
        }
    }
}

impl RevokeCommand {
    fn object(self) -> Object {
        match self {
            Self::Binding(lent) => lent.object(),
            Self::Registration { impi } => Object::Registration(impi),
            Self::Agreement(name) => name.object(),
            Self::Grant { impi, partner } => Object::Grant(impi, partner),
        }
    }
}

impl LentIdentity {
    fn object(self) -> Object {
        Object::Binding(self.direction, self.impi)
    }
}

impl AgreementName {
    fn object(self) -> Object {
        Object::Agreement(self.partner, self.direction, self.users)
    }
}

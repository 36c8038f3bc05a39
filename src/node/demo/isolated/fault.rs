//! What a partner refuses a UE that comes without its home's help, each played until it is seen.

use std::{fmt, time::Duration};

use serde_json::json;

use super::{
    super::{DemoError, Show, cast::CLIENT},
    JOURNEY, RunningIsolatedDemo, Scene,
    people::{OTHER_CLIENT, SCOPE, Way, fingerprints_of_home, subject_of_user},
    places::Which,
};
use crate::{
    node::{ladder::Entry, management::escape},
    secret::SecretText,
    ue::{Failure, State},
};

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// After how long no access token is good any more, whatever the settings say.
const ACCESS_TOKEN_OVER_AFTER: Duration = Duration::from_secs(2 * DAY.as_secs());

/// What lets the UE fetch its profile, and no more.
const SCOPE_WITHOUT_SERVICE: &str = "openid 3gpp:mc:ptt_config_management_service";

/// A failure branch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum IsolatedFault {
    /// The partner does not know the user's system.
    UnknownIssuer,
    /// The partner's operator has revoked the home's certificate.
    RevokedCertificate,
    /// The home's certificate is over.
    ExpiredCertificate,
    /// The signature is another one.
    BadSignature,
    /// The UE was under way longer than its token holds.
    ExpiredToken,
    /// The token is from the future: the home's clock is wrong.
    FutureToken,
    /// The token is for another partner.
    OtherAudience,
    /// Another client presents the token after the one that it was given to.
    OtherClient,
    /// The partner knows nothing of the user.
    NoProfile,
    /// The partner's record of the user says that she may not come.
    MayNotMigrate,
    /// The user is on the partner's deny list.
    DeniedUser,
    /// The client asks for a service that the user does not have.
    ScopeNotAllowed,
    /// The partner's SIP database has no credentials for the user.
    NoSipCredentials,
    /// The UE shows the partner's MC server the home's access token.
    ForeignAccessToken,
    /// The partner's access token is over when the UE registers with it.
    ExpiredAccessToken,
    /// The partner's access token does not have the service in its scope.
    NoServiceScope,
}

impl IsolatedFault {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::UnknownIssuer,
        Self::RevokedCertificate,
        Self::ExpiredCertificate,
        Self::BadSignature,
        Self::ExpiredToken,
        Self::FutureToken,
        Self::OtherAudience,
        Self::OtherClient,
        Self::NoProfile,
        Self::MayNotMigrate,
        Self::DeniedUser,
        Self::ScopeNotAllowed,
        Self::NoSipCredentials,
        Self::ForeignAccessToken,
        Self::ExpiredAccessToken,
        Self::NoServiceScope,
    ];

    /// The identity management server of a third system, which takes no part.
    pub(super) const THIRD_ISSUER: &str = "http://127.0.0.4:8085";

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnknownIssuer => "unknown-issuer",
            Self::RevokedCertificate => "revoked-certificate",
            Self::ExpiredCertificate => "expired-certificate",
            Self::BadSignature => "bad-signature",
            Self::ExpiredToken => "expired-token",
            Self::FutureToken => "future-token",
            Self::OtherAudience => "other-audience",
            Self::OtherClient => "other-client",
            Self::NoProfile => "no-profile",
            Self::MayNotMigrate => "may-not-migrate",
            Self::DeniedUser => "denied-user",
            Self::ScopeNotAllowed => "scope-not-allowed",
            Self::NoSipCredentials => "no-sip-credentials",
            Self::ForeignAccessToken => "foreign-access-token",
            Self::ExpiredAccessToken => "expired-access-token",
            Self::NoServiceScope => "no-service-scope",
        }
    }

    /// What must be seen, in this order: parts of summaries. Why no tokens are given, or none is taken, the client is
    /// not told, the operator is.
    const fn evidence(self) -> &'static [&'static str] {
        const SIGNATURE: &str = "no tokens: signature, or certificate revoked or over";
        const CLAIMS: &str = "no tokens: time or audience";
        const USER: &str = "no tokens: user may not migrate here";
        const REFUSED: &str = "400 Bad Request invalid_grant";
        // By REGISTER it is not taken, which does not fail the registration; by PUBLISH neither.
        const REGISTERED: &str = "REGISTER sip:mc.b.example";
        const FOREIGN: &str = "mcptt not authorised: it is no access token of a key known here";
        const EXPIRED: &str = "mcptt not authorised: it has expired";
        const SCOPE: &str = "mcptt not authorised: its scope does not have the service";
        const UNKNOWN: &str = "404 Not Found, warning 141";
        const FAILED: &str = "403 Forbidden, warning 101";
        match self {
            Self::UnknownIssuer => &["no tokens: unknown issuer", REFUSED],
            Self::RevokedCertificate | Self::ExpiredCertificate | Self::BadSignature => {
                &[SIGNATURE, REFUSED]
            }
            Self::ExpiredToken | Self::FutureToken | Self::OtherAudience | Self::OtherClient => {
                &[CLAIMS, REFUSED]
            }
            Self::NoProfile | Self::MayNotMigrate => &[USER, REFUSED],
            Self::DeniedUser => &["no tokens: deny list", REFUSED],
            Self::ScopeNotAllowed => &["no tokens: scope", "400 Bad Request invalid_scope"],
            Self::NoSipCredentials => &["the user may migrate", "403 Forbidden"],
            Self::ForeignAccessToken => &[REGISTERED, FOREIGN, UNKNOWN, FOREIGN, FAILED],
            Self::ExpiredAccessToken => &[REGISTERED, EXPIRED, UNKNOWN, EXPIRED, FAILED],
            Self::NoServiceScope => &[REGISTERED, SCOPE, UNKNOWN, SCOPE, FAILED],
        }
    }

    /// How long the UE is under way.
    const fn journey(self) -> Duration {
        match self {
            // Longer than a key is used and a token of it holds.
            Self::ExpiredCertificate => Duration::from_secs(800 * DAY.as_secs()),
            Self::ExpiredToken => Duration::from_secs(31 * DAY.as_secs()),
            // Nothing else may be wrong with the tokens.
            Self::FutureToken | Self::ForeignAccessToken => Duration::ZERO,
            Self::UnknownIssuer
            | Self::RevokedCertificate
            | Self::BadSignature
            | Self::OtherAudience
            | Self::OtherClient
            | Self::NoProfile
            | Self::MayNotMigrate
            | Self::DeniedUser
            | Self::ScopeNotAllowed
            | Self::NoSipCredentials
            | Self::ExpiredAccessToken
            | Self::NoServiceScope => JOURNEY,
        }
    }
}

impl fmt::Display for IsolatedFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The title of the time under way.
struct Journey(IsolatedFault);

impl fmt::Display for Journey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days = self.0.journey().as_secs() / DAY.as_secs();
        write!(f, "{days} days later: the home is out of reach")
    }
}

impl RunningIsolatedDemo {
    /// Plays a failure branch, and shows what passed.
    ///
    /// # Errors
    ///
    /// [`DemoError`] if the branch was not seen, or something was sent to the home.
    pub async fn play_fault(
        &mut self,
        fault: IsolatedFault,
        show: &mut Show<'_>,
    ) -> Result<(), DemoError> {
        let prepared = self.prepare_fault(fault).await;
        show(&Scene::AtHome, &self.take_ladder()).map_err(DemoError::Show)?;
        prepared?;
        self.leave_home(fault.journey()).await?;
        show(&Journey(fault), &self.take_ladder()).map_err(DemoError::Show)?;
        let outcome = self.act_fault(fault).await;
        let entries = self.take_ladder();
        show(&fault, &entries).map_err(DemoError::Show)?;
        outcome?;
        check_seen(fault, &entries)?;
        self.check_nothing_was_sent()?;
        show(&Scene::Nothing, &self.take_ladder()).map_err(DemoError::Show)
    }

    async fn prepare_fault(&mut self, fault: IsolatedFault) -> Result<(), DemoError> {
        if fault == IsolatedFault::FutureToken {
            self.places.restart_home(Duration::from_secs(3_600)).await?;
        }
        let third = (fault == IsolatedFault::OtherAudience).then_some(IsolatedFault::THIRD_ISSUER);
        self.traveller.take_along_for(third).await?;
        self.spoil(fault).await
    }

    async fn act_fault(&mut self, fault: IsolatedFault) -> Result<(), DemoError> {
        match fault {
            IsolatedFault::NoSipCredentials => {
                self.traveller.contact_partner().await?;
                let core = self.places.sip_of(Which::Partner)?;
                for way in [Way::Key, Way::Password] {
                    let state = self.traveller.try_to_register(way, core, Vec::new()).await?;
                    if state != State::Failed(Failure::Refused(403)) {
                        return Err(DemoError::Differs(format!("the UE is {state:?}")));
                    }
                }
            }
            IsolatedFault::OtherClient => {
                self.traveller.contact_partner().await?;
                self.traveller.use_client(OTHER_CLIENT);
                self.expect_refusal(SCOPE).await?;
                // The one that it was given to may present it again.
                self.traveller.use_client(CLIENT);
                self.traveller.contact_partner().await?;
            }
            IsolatedFault::ScopeNotAllowed => {
                self.expect_refusal("openid 3gpp:mc:video_service").await?;
            }
            IsolatedFault::ForeignAccessToken
            | IsolatedFault::ExpiredAccessToken
            | IsolatedFault::NoServiceScope => self.expect_no_service(fault).await?,
            IsolatedFault::UnknownIssuer
            | IsolatedFault::RevokedCertificate
            | IsolatedFault::ExpiredCertificate
            | IsolatedFault::BadSignature
            | IsolatedFault::ExpiredToken
            | IsolatedFault::FutureToken
            | IsolatedFault::OtherAudience
            | IsolatedFault::NoProfile
            | IsolatedFault::MayNotMigrate
            | IsolatedFault::DeniedUser => self.expect_refusal(SCOPE).await?,
        }
        Ok(())
    }

    async fn expect_refusal(&self, scope: &str) -> Result<(), DemoError> {
        match self.traveller.present(scope).await {
            Err(_) => Ok(()), // that it was the right one is seen in the ladder
            Ok(_) => Err(DemoError::Differs("the partner gave tokens".to_owned())),
        }
    }

    /// The UE is registered, and the MC server takes its token neither by REGISTER nor by PUBLISH.
    async fn expect_no_service(&mut self, fault: IsolatedFault) -> Result<(), DemoError> {
        let is_for_service = fault != IsolatedFault::NoServiceScope;
        let scope = if is_for_service { SCOPE } else { SCOPE_WITHOUT_SERVICE };
        self.traveller.contact_partner_for(scope).await?;
        if fault == IsolatedFault::ForeignAccessToken {
            self.traveller.confuse_tokens();
        }
        if fault == IsolatedFault::ExpiredAccessToken {
            self.places.stop_both().await;
            self.go_on_at_partner(fault.journey() + ACCESS_TOKEN_OVER_AFTER)?;
        }
        let core = self.places.sip_of(Which::Partner)?;
        self.traveller.register(Way::Key, core).await?;
        self.await_mc_registration().await?;
        self.traveller.find_no_service().await?;
        self.deregister().await
    }

    /// Does what the fault is about, that is not left out from the beginning.
    async fn spoil(&mut self, fault: IsolatedFault) -> Result<(), DemoError> {
        match fault {
            IsolatedFault::RevokedCertificate => {
                let client = self.places.management(Which::Partner)?;
                for fingerprint in fingerprints_of_home(&self.places).await? {
                    let body = json!({ "fingerprint": fingerprint, "reason": "stolen" });
                    client.post_done("end the trust", "/v1/idms/trust-revocations", &body).await?;
                }
            }
            IsolatedFault::DeniedUser => {
                let issuer = escape(&self.places.issuer_of(Which::Home));
                let subject = escape(&subject_of_user(&self.places).await?);
                let path = format!("/v1/idms/denied/{issuer}/subject/{subject}");
                self.places.management(Which::Partner)?.put_nothing("deny a user", &path).await?;
            }
            IsolatedFault::BadSignature => {
                if let Some(taken) = &mut self.traveller.taken {
                    taken.token = with_other_signature(&taken.token);
                }
            }
            IsolatedFault::UnknownIssuer
            | IsolatedFault::ExpiredCertificate
            | IsolatedFault::ExpiredToken
            | IsolatedFault::FutureToken
            | IsolatedFault::OtherAudience
            | IsolatedFault::OtherClient
            | IsolatedFault::NoProfile
            | IsolatedFault::MayNotMigrate
            | IsolatedFault::ScopeNotAllowed
            | IsolatedFault::NoSipCredentials
            | IsolatedFault::ForeignAccessToken
            | IsolatedFault::ExpiredAccessToken
            | IsolatedFault::NoServiceScope => {}
        }
        Ok(())
    }
}

/// The token with the first character of its signature changed: all bits of that one count.
fn with_other_signature(token: &SecretText) -> SecretText {
    let (signed, signature) = token.expose().rsplit_once('.').unwrap_or_default();
    let mut characters = signature.chars();
    let other = if characters.next() == Some('A') { 'B' } else { 'A' };
    SecretText::new(format!("{signed}.{other}{}", characters.as_str()))
}

fn check_seen(fault: IsolatedFault, entries: &[Entry]) -> Result<(), DemoError> {
    let mut entries = entries.iter();
    for &part in fault.evidence() {
        if !entries.any(|entry| entry.summary.contains(part)) {
            return Err(DemoError::Differs(format!(
                "{fault} was not seen: {part} is missing in its place"
            )));
        }
    }
    Ok(())
}

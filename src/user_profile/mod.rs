//! MC service user profiles (TS 24.484 clauses 8.3, 9.3 and 10.3), as far as migration is concerned: which document
//! it is, and the partner systems that it carries.
//!
//! A profile is kept as it came. Where a user may migrate, the primary system adds to its `anyExt` an element
//! `MigratablePartnerMCPTTSystemInfo` (or `..MCVideo..`, `..MCData..`) for each partner: the partner's MC system ID and,
//! unchanged, its initial UE configuration document (table A.6-1). That is all a UE takes along to a partner that has no
//! link to its home (TR 23.700-90).

mod scan;

use std::{fmt, sync::Arc};

use zeroize::Zeroizing;

use crate::{
    identity::McSystemId,
    ue_configuration::{DOCUMENT_OCTETS_MAX, InitialUeConfiguration},
};

use self::scan::{AnyExt, Scan, scan};

/// Longest profile as it is stored, octets.
pub const PROFILE_OCTETS_MAX: usize = 65_536;
/// Most partner systems in one profile.
pub const PARTNERS_MAX: usize = 16;
/// Longest profile with its partner systems, octets.
pub const FULL_PROFILE_OCTETS_MAX: usize =
    PROFILE_OCTETS_MAX + PARTNERS_MAX * (DOCUMENT_OCTETS_MAX + 1_024);
/// Highest index of a profile: 8 bits, as `user-profile-index` has.
pub const INDEX_MAX: u8 = 255;

/// The service that a profile is for.
#[derive(
    Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, serde::Deserialize, serde::Serialize,
)]
#[serde(rename_all = "lowercase")]
pub enum ProfileService {
    /// Push to talk.
    Mcptt,
    /// Video.
    Mcvideo,
    /// Data.
    Mcdata,
}

impl ProfileService {
    /// Every service.
    pub const ALL: [Self; 3] = [Self::Mcptt, Self::Mcvideo, Self::Mcdata];

    /// Its name in lower case, as in the names of documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mcptt => "mcptt",
            Self::Mcvideo => "mcvideo",
            Self::Mcdata => "mcdata",
        }
    }

    /// The service of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|service| service.as_str() == name)
    }

    /// XCAP application unique ID of its profiles.
    pub const fn auid(self) -> &'static str {
        match self {
            Self::Mcptt => "org.3gpp.mcptt.user-profile",
            Self::Mcvideo => "org.3gpp.mcvideo.user-profile",
            Self::Mcdata => "org.3gpp.mcdata.user-profile",
        }
    }

    /// Media type of its profiles.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Mcptt => "application/vnd.3gpp.mcptt-user-profile+xml",
            Self::Mcvideo => "application/vnd.3gpp.mcvideo-user-profile+xml",
            Self::Mcdata => "application/vnd.3gpp.mcdata-user-profile+xml",
        }
    }

    /// Namespace of its profiles.
    pub const fn namespace(self) -> &'static str {
        match self {
            Self::Mcptt => "urn:3gpp:mcptt:user-profile:1.0",
            Self::Mcvideo => "urn:3gpp:mcvideo:user-profile:1.0",
            Self::Mcdata => "urn:3gpp:mcdata:user-profile:1.0",
        }
    }

    /// Local name of the root element.
    const fn root(self) -> &'static str {
        match self {
            Self::Mcptt => "mcptt-user-profile",
            Self::Mcvideo => "mcvideo-user-profile",
            Self::Mcdata => "mcdata-user-profile",
        }
    }

    /// Local names of the element of a partner system, and of the ID in it.
    const fn partner_elements(self) -> (&'static str, &'static str) {
        match self {
            Self::Mcptt => ("MigratablePartnerMCPTTSystemInfo", "PartnerMCPTTSystemId"),
            Self::Mcvideo => ("MigratablePartnerMCVideoSystemInfo", "PartnerMCVideoSystemId"),
            Self::Mcdata => ("MigratablePartnerMCDataSystemInfo", "PartnerMCDataSystemId"),
        }
    }

    /// Path of a document below the XCAP root (TS 24.484 clause 8.3.2.8): `user` is the MC service ID.
    pub fn document_path(self, user: &str, index: u8) -> String {
        format!("{}/users/{user}/{}-user-profile-{index}.xml", self.auid(), self.as_str())
    }
}

impl fmt::Display for ProfileService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A profile: well-formed, of its service, within its bounds. It may hold credentials and names its user: only its
/// length prints.
#[derive(Clone, Eq, PartialEq)]
pub struct UserProfile {
    service: ProfileService,
    text: Arc<str>,
}

/// Why a text is no profile.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct ProfileError(pub(crate) &'static str);

/// A partner system that a profile carries.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MigratablePartner {
    /// The partner.
    pub system: McSystemId,
    /// Its initial UE configuration.
    pub configuration: Arc<InitialUeConfiguration>,
}

impl UserProfile {
    /// Takes a profile of `service`. What the service's schema says of its content is not checked.
    ///
    /// # Errors
    ///
    /// [`ProfileError`]: it is too long, not well-formed, of another service, or carries a partner system that cannot be
    /// read.
    pub fn parse(service: ProfileService, text: &str) -> Result<Self, ProfileError> {
        Self::parse_within(service, text, PROFILE_OCTETS_MAX)
    }

    /// Takes a profile as a configuration server serves it, with partner systems.
    ///
    /// # Errors
    ///
    /// As [`Self::parse`].
    pub fn parse_full(service: ProfileService, text: &str) -> Result<Self, ProfileError> {
        Self::parse_within(service, text, FULL_PROFILE_OCTETS_MAX)
    }

    fn parse_within(
        service: ProfileService,
        text: &str,
        octets_max: usize,
    ) -> Result<Self, ProfileError> {
        if text.len() > octets_max {
            return Err(ProfileError("has too many octets"));
        }
        read_partners(text, &scan(service, text)?)?;
        Ok(Self { service, text: text.into() })
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The service that it is for.
    pub const fn service(&self) -> ProfileService {
        self.service
    }

    /// The partner systems that it carries, in their order.
    ///
    /// # Errors
    ///
    /// None of a profile that was parsed.
    pub fn partners(&self) -> Result<Vec<MigratablePartner>, ProfileError> {
        read_partners(&self.text, &scan(self.service, &self.text)?)
    }

    /// The profile with these partner systems besides, up to [`PARTNERS_MAX`] in all. A partner that it carries already
    /// is not added.
    ///
    /// # Errors
    ///
    /// None of a profile that was parsed.
    pub fn with_partners(&self, partners: &[MigratablePartner]) -> Result<Self, ProfileError> {
        let found = scan(self.service, &self.text)?;
        let there = read_partners(&self.text, &found)?;
        let new = partners.iter().filter(|new| !there.iter().any(|it| it.system == new.system));
        let room = PARTNERS_MAX.saturating_sub(there.len());
        let mut added = Zeroizing::new(String::new());
        for partner in new.take(room) {
            self.service.append_partner(&mut added, partner);
        }
        if added.is_empty() {
            return Ok(self.clone());
        }
        let split = |at: usize| self.text.split_at_checked(at).ok_or(ProfileError("is cut"));
        let text = match found.any_ext {
            Some(AnyExt::Open { end }) => {
                let (before, behind) = split(end)?;
                [before, &added, behind].concat()
            }
            Some(AnyExt::Empty { slash, end, name }) => {
                let (before, _) = split(slash)?;
                let (_, behind) = split(end)?;
                [before, ">", &added, "</", &name, ">", behind].concat()
            }
            None => {
                let (before, behind) = split(found.root_end)?;
                let open = format!("<anyExt xmlns=\"{}\">", self.service.namespace());
                [before, &open, &added, "</anyExt>", behind].concat()
            }
        };
        Ok(Self { service: self.service, text: text.into() })
    }
}

impl ProfileService {
    fn append_partner(self, to: &mut String, partner: &MigratablePartner) {
        let (element, id) = self.partner_elements();
        let document = Zeroizing::new(partner.configuration.render());
        // As it stands in a document of its own, without the line that only such a one has.
        let document = document.find("?>").map_or(&**document, |end| &document[end + 2..]);
        let system = quick_xml::escape::escape(partner.system.as_str());
        let parts = [
            "<",
            element,
            " xmlns=\"",
            self.namespace(),
            "\"><",
            id,
            ">",
            &system,
            "</",
            id,
            ">",
            document,
            "</",
            element,
            ">",
        ];
        to.extend(parts);
    }
}

fn read_partners(text: &str, found: &Scan) -> Result<Vec<MigratablePartner>, ProfileError> {
    if found.partners.len() > PARTNERS_MAX {
        return Err(ProfileError("carries more than 16 partner systems"));
    }
    let read = |partner: &scan::Partner| {
        let system = McSystemId::parse(partner.id.trim())
            .map_err(|_| ProfileError("carries a partner system whose ID is no MC system ID"))?;
        let document = text.get(partner.document.clone()).unwrap_or_default();
        let configuration = InitialUeConfiguration::parse(document).map_err(|_| {
            ProfileError("carries a partner system whose UE configuration is not valid by itself")
        })?;
        Ok(MigratablePartner { system, configuration: Arc::new(configuration) })
    };
    found.partners.iter().map(read).collect()
}

impl fmt::Debug for UserProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UserProfile({}, {} octets)", self.service, self.text.len())
    }
}

#[cfg(test)]
mod tests;

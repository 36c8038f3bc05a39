//! Service settings that a client publishes: `poc-settings` (RFC 4354, extended by TS 24.379 clause 7.4.1), as far as an
//! MC server acts on them.

use quick_xml::{
    NsReader,
    events::Event,
    name::{Namespace, ResolveResult},
};
use serde::{Deserialize, Serialize};

use super::read::{DOC_TYPE, InfoError, NOT_XML, check_bounds};

/// Media type of the document.
pub const MEDIA_TYPE: &str = "application/poc-settings+xml";

/// The event package (RFC 4354 section 4.1).
pub const EVENT: &str = "poc-settings";

const NAMESPACE: &str = "urn:oma:params:xml:ns:poc:poc-settings";

const NO_SETTINGS: InfoError = InfoError::Malformed("Body part is no poc-settings");

/// How the client wants calls answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AnswerMode {
    /// At once.
    Automatic,
    /// By the user.
    Manual,
}

/// What a client published.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize, Serialize)]
pub struct Settings {
    /// How it wants calls answered.
    pub answer_mode: Option<AnswerMode>,
    /// Which of the user's profiles is in use.
    pub profile_index: Option<u8>,
}

/// What an open element is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Root,
    Entity,
    AnswerMode,
    SelectedProfile,
    ProfileIndex,
    Other,
}

impl Settings {
    /// Reads a document: what its first entity wants.
    ///
    /// # Errors
    ///
    /// [`InfoError::Malformed`]: the first thing that is wrong.
    pub fn parse(document: &str) -> Result<Self, InfoError> {
        let mut reader = NsReader::from_str(document);
        let mut settings = Self::default();
        let mut open: Vec<Kind> = Vec::new();
        let mut text = String::new();
        let (mut elements, mut has_root) = (0, false);
        loop {
            let (namespace, event) =
                reader.read_resolved_event().map_err(|_| InfoError::Malformed(NOT_XML))?;
            let is_own = namespace == ResolveResult::Bound(Namespace(NAMESPACE));
            match event {
                Event::Start(start) if open.is_empty() => {
                    let is_root = is_own && start.local_name().into_inner() == "poc-settings";
                    if !is_root || std::mem::replace(&mut has_root, true) {
                        return Err(NO_SETTINGS);
                    }
                    open.push(Kind::Root);
                }
                Event::Empty(_) if open.is_empty() => return Err(NO_SETTINGS),
                Event::Start(start) => {
                    elements += 1;
                    check_bounds(&start, elements, open.len())?;
                    // Those of the extension are in a namespace of 3GPP's.
                    let kind = match (open.last(), start.local_name().into_inner()) {
                        (Some(Kind::Root), "entity") if is_own => Kind::Entity,
                        (_, "answer-mode") if is_own && has(&open) => Kind::AnswerMode,
                        (_, "selected-user-profile-index") if has(&open) => Kind::SelectedProfile,
                        (Some(Kind::SelectedProfile), "user-profile-index") => Kind::ProfileIndex,
                        _ => Kind::Other,
                    };
                    open.push(kind);
                    text.clear();
                }
                Event::Empty(start) => {
                    elements += 1;
                    check_bounds(&start, elements, open.len())?;
                }
                Event::End(_) => {
                    match open.pop() {
                        Some(Kind::AnswerMode) => settings.set_answer_mode(text.trim())?,
                        Some(Kind::ProfileIndex) => settings.set_profile_index(text.trim())?,
                        Some(Kind::Root | Kind::Entity | Kind::SelectedProfile | Kind::Other)
                        | None => {}
                    }
                    text.clear();
                }
                Event::Text(part) => text.push_str(&part),
                Event::CData(part) => text.push_str(&part),
                // None of the values has a character that is written like that.
                Event::GeneralRef(_) => text.push('&'),
                Event::DocType(_) => return Err(InfoError::Malformed(DOC_TYPE)),
                Event::Decl(_) | Event::PI(_) | Event::Comment(_) => {}
                Event::Eof if has_root && open.is_empty() => return Ok(settings),
                Event::Eof => return Err(InfoError::Malformed(NOT_XML)),
            }
        }
    }

    /// Writes a document.
    pub fn render(&self) -> String {
        let mut document = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<poc-settings xmlns=\"{NAMESPACE}\"><entity id=\"1\">"
        );
        if let Some(mode) = self.answer_mode {
            let mode = match mode {
                AnswerMode::Automatic => "automatic",
                AnswerMode::Manual => "manual",
            };
            for part in ["<am-settings><answer-mode>", mode, "</answer-mode></am-settings>"] {
                document.push_str(part);
            }
        }
        if let Some(index) = self.profile_index {
            let index = index.to_string();
            for part in [
                "<selected-user-profile-index xmlns=\"urn:3gpp:mcpttSettings:1.0\"><user-profile-index>",
                &index,
                "</user-profile-index></selected-user-profile-index>",
            ] {
                document.push_str(part);
            }
        }
        document + "</entity></poc-settings>\r\n"
    }

    fn set_answer_mode(&mut self, value: &str) -> Result<(), InfoError> {
        let mode = match value {
            "automatic" => AnswerMode::Automatic,
            "manual" => AnswerMode::Manual,
            _ => return Err(InfoError::Malformed("answer-mode is neither automatic nor manual")),
        };
        self.answer_mode.get_or_insert(mode);
        Ok(())
    }

    fn set_profile_index(&mut self, value: &str) -> Result<(), InfoError> {
        let index = value.parse();
        let index =
            index.map_err(|_| InfoError::Malformed("user-profile-index is not from 0 to 255"))?;
        self.profile_index.get_or_insert(index);
        Ok(())
    }
}

fn has(open: &[Kind]) -> bool {
    open.contains(&Kind::Entity)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_rendered_reads_as_it_was() {
        for answer_mode in [None, Some(AnswerMode::Automatic), Some(AnswerMode::Manual)] {
            for profile_index in [None, Some(0), Some(255)] {
                let settings = Settings { answer_mode, profile_index };
                assert_eq!(Settings::parse(&settings.render()), Ok(settings));
            }
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let full = Settings { answer_mode: Some(AnswerMode::Manual), profile_index: Some(7) };
        let full = full.render();
        for (document, reason) in [
            (full.replace("manual", "never"), "answer-mode is neither automatic nor manual"),
            (full.replace(">7<", ">256<"), "user-profile-index is not from 0 to 255"),
            (full.replace(":poc:poc", ":poc:other"), "Body part is no poc-settings"),
            (full.replace("</entity>", ""), NOT_XML),
            (format!("{full}<poc-settings/>"), "Body part is no poc-settings"),
            (format!("<!DOCTYPE a>{full}"), DOC_TYPE),
        ] {
            assert_eq!(Settings::parse(&document), Err(InfoError::Malformed(reason)), "{document}");
        }
    }

    #[test]
    fn what_no_server_acts_on_is_passed_over() {
        let document = format!(
            "<p:poc-settings xmlns:p=\"{NAMESPACE}\"><p:entity id=\"a\"><p:isb-settings>\
             <p:incoming-session-barring active=\"true\"/></p:isb-settings></p:entity></p:poc-settings>"
        );
        assert_eq!(Settings::parse(&document), Ok(Settings::default()));
    }
}

//! Text to what an MC client says of itself.

use quick_xml::{
    NsReader,
    escape::resolve_predefined_entity,
    events::{BytesStart, Event},
    name::{Namespace, ResolveResult},
};
use zeroize::Zeroizing;

use super::{CLIENT_ID_OCTETS_MAX, ServiceInfo, names};
use crate::{secret::SecretText, token::TOKEN_OCTETS_MAX, user_profile::ProfileService};

/// Deepest nesting, elements.
pub(super) const DEPTH_MAX: usize = 16;
/// Most elements.
pub(super) const ELEMENTS_MAX: usize = 256;
/// Most attributes of an element, declarations of namespaces included.
const ATTRIBUTES_MAX: usize = 32;

/// Why a document cannot be used: the reason phrase of a 400.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InfoError {
    /// It is malformed, or not the one that its media type says.
    #[error("{0}")]
    Malformed(&'static str),
    /// What is needed of it is encrypted; this side has no keys for that.
    #[error("MC service info is encrypted")]
    Encrypted,
}

pub(super) const NOT_XML: &str = "Body part is no well-formed XML";
pub(super) const DOC_TYPE: &str = "Body part has a document type";
pub(super) const ENTITY: &str = "Body part refers to an entity";
pub(super) const TOO_MUCH: &str = "Body part has too many elements or attributes";
const OTHER_ROOT: &str = "MC service info has another root element";
const TWICE: &str = "MC service info has an element twice";
const TOO_LONG: &str = "MC service info has a value that is empty or too long";

/// What an open element is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Root,
    Params,
    Token,
    ClientId,
    TokenText,
    ClientIdText,
    Other,
}

/// What has been read so far. Text is collected with room for all of it, so that no copy of a token is left behind.
struct Found {
    token: Option<Zeroizing<String>>,
    client_id: Option<String>,
    room: usize,
}

/// Reads all of `document`.
pub(super) fn read(service: ProfileService, document: &str) -> Result<ServiceInfo, InfoError> {
    let mut reader = NsReader::from_str(document);
    let mut found = Found { token: None, client_id: None, room: document.len() };
    let mut open: Vec<Kind> = Vec::new();
    let (mut elements, mut has_root) = (0, false);
    loop {
        let (namespace, event) =
            reader.read_resolved_event().map_err(|_| InfoError::Malformed(NOT_XML))?;
        let is_own = namespace == ResolveResult::Bound(Namespace(names(service).namespace));
        let is_empty = matches!(event, Event::Empty(_));
        match event {
            Event::Start(start) | Event::Empty(start) => {
                elements += 1;
                check_bounds(&start, elements, open.len())?;
                let kind = kind_of(service, &start, is_own, open.last())?;
                if kind == Kind::Root && std::mem::replace(&mut has_root, true) {
                    return Err(InfoError::Malformed(NOT_XML));
                }
                found.open(kind)?;
                if !is_empty {
                    open.push(kind);
                }
            }
            Event::End(_) => drop(open.pop()),
            Event::Text(text) => match open.last() {
                Some(kind) => found.push(*kind, &text),
                None if text.trim().is_empty() => {}
                None => return Err(InfoError::Malformed(NOT_XML)),
            },
            Event::CData(text) => match open.last() {
                Some(kind) => found.push(*kind, &text),
                None => return Err(InfoError::Malformed(NOT_XML)),
            },
            Event::GeneralRef(reference) => {
                let character = reference.resolve_char_ref();
                let character = character.map_err(|_| InfoError::Malformed(NOT_XML))?;
                let kind = *open.last().ok_or(InfoError::Malformed(NOT_XML))?;
                if let Some(character) = character {
                    found.push(kind, character.encode_utf8(&mut [0; 4]));
                } else {
                    let text = resolve_predefined_entity(&reference);
                    found.push(kind, text.ok_or(InfoError::Malformed(ENTITY))?);
                }
            }
            Event::DocType(_) => return Err(InfoError::Malformed(DOC_TYPE)),
            Event::Decl(_) | Event::PI(_) | Event::Comment(_) => {}
            Event::Eof if has_root && open.is_empty() => return found.finish(),
            Event::Eof => return Err(InfoError::Malformed(NOT_XML)),
        }
    }
}

impl Found {
    /// Begins an element, which may be there once.
    fn open(&mut self, kind: Kind) -> Result<(), InfoError> {
        let twice = match kind {
            Kind::TokenText => {
                let empty = Zeroizing::new(String::with_capacity(self.room));
                self.token.replace(empty).is_some()
            }
            Kind::ClientIdText => self.client_id.replace(String::new()).is_some(),
            Kind::Root | Kind::Params | Kind::Token | Kind::ClientId | Kind::Other => false,
        };
        if twice { Err(InfoError::Malformed(TWICE)) } else { Ok(()) }
    }

    fn push(&mut self, kind: Kind, text: &str) {
        match (kind, &mut self.token, &mut self.client_id) {
            (Kind::TokenText, Some(token), _) => token.push_str(text),
            (Kind::ClientIdText, _, Some(id)) => id.push_str(text),
            _ => {}
        }
    }

    fn finish(self) -> Result<ServiceInfo, InfoError> {
        let bounded = |text: &str, max: usize| {
            let text = text.trim();
            let fits = (1..=max).contains(&text.len()) && !text.chars().any(char::is_control);
            fits.then(|| text.to_owned()).ok_or(InfoError::Malformed(TOO_LONG))
        };
        let token = self.token.map(|token| bounded(&token, TOKEN_OCTETS_MAX));
        let client_id = self.client_id.map(|id| bounded(&id, CLIENT_ID_OCTETS_MAX));
        Ok(ServiceInfo {
            access_token: token.transpose()?.map(SecretText::new),
            client_id: client_id.transpose()?,
        })
    }
}

pub(super) fn check_bounds(
    start: &BytesStart<'_>,
    elements: usize,
    depth: usize,
) -> Result<(), InfoError> {
    if elements > ELEMENTS_MAX || depth >= DEPTH_MAX {
        return Err(InfoError::Malformed(TOO_MUCH));
    }
    // Malformed attributes come to light only when they are read. Each is compared with all before it.
    for (count, attribute) in start.attributes().enumerate() {
        if count == ATTRIBUTES_MAX {
            return Err(InfoError::Malformed(TOO_MUCH));
        }
        attribute.map_err(|_| InfoError::Malformed(NOT_XML))?;
    }
    Ok(())
}

/// What an element is by its name and where it stands.
fn kind_of(
    service: ProfileService,
    start: &BytesStart<'_>,
    is_own: bool,
    parent: Option<&Kind>,
) -> Result<Kind, InfoError> {
    let name = start.local_name();
    // As in `mcptt-Params`: what follows the name of the service.
    let rest = name.into_inner().strip_prefix(service.as_str()).filter(|_| is_own);
    Ok(match (parent, rest) {
        (None, Some("info")) => Kind::Root,
        (None, _) => return Err(InfoError::Malformed(OTHER_ROOT)),
        (Some(Kind::Root), Some("-Params")) => Kind::Params,
        (Some(Kind::Params), Some("-access-token")) => readable(start, Kind::Token)?,
        (Some(Kind::Params), Some("-client-id")) => readable(start, Kind::ClientId)?,
        (Some(Kind::Token), Some("String")) => Kind::TokenText,
        (Some(Kind::ClientId), Some("String")) => Kind::ClientIdText,
        (Some(_), _) => Kind::Other,
    })
}

/// An element whose content is of the type `Normal`, as it is without one.
fn readable(start: &BytesStart<'_>, kind: Kind) -> Result<Kind, InfoError> {
    let mut attributes = start.attributes().flatten();
    let of_type = attributes.find(|attribute| attribute.key.into_inner() == "type");
    match of_type {
        None => Ok(kind),
        Some(attribute) if &*attribute.value == "Normal" => Ok(kind),
        Some(attribute) if &*attribute.value == "Encrypted" => Err(InfoError::Encrypted),
        Some(_) => Err(InfoError::Malformed("MC service info has a value of an unknown type")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MCPTT: ProfileService = ProfileService::Mcptt;

    fn document(params: &str) -> String {
        format!(
            "<?xml version=\"1.0\"?>\n<i:mcpttinfo xmlns:i=\"urn:3gpp:ns:mcpttInfo:1.0\">{params}</i:mcpttinfo>"
        )
    }

    #[test]
    fn what_is_not_of_authorisation_is_passed_over() {
        let document = document(
            "<i:mcptt-Params><i:session-type>x</i:session-type><!-- --><mcptt-access-token>\
             <mcpttString>not this namespace</mcpttString></mcptt-access-token>\
             <i:mcptt-client-id> <i:mcpttString>\n urn:uuid:1 &#x26; \n</i:mcpttString></i:mcptt-client-id>\
             <i:anyExt><i:mcptt-access-token/></i:anyExt></i:mcptt-Params>",
        );
        let info = read(MCPTT, &document).unwrap();
        assert_eq!((info.access_token, info.client_id.as_deref()), (None, Some("urn:uuid:1 &")));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let token = "<i:mcptt-access-token><i:mcpttString>t</i:mcpttString></i:mcptt-access-token>";
        let params = |inner: &str| document(&format!("<i:mcptt-Params>{inner}</i:mcptt-Params>"));
        let long = "x".repeat(4_097);
        let many: Vec<String> = (0..40).map(|at| format!("a{at}=''")).collect();
        let many = many.join(" ");
        let deep = "<a>".repeat(20) + &"</a>".repeat(20);
        for (document, reason) in [
            (params(token).replace("mcpttInfo:1.0", "mcpttInfo:2.0"), OTHER_ROOT),
            (params(token).replace("mcptt", "mcdata"), OTHER_ROOT),
            (String::new(), NOT_XML),
            ("<a".to_owned(), NOT_XML),
            (params(token) + "x", NOT_XML),
            (params("<a></b>"), NOT_XML),
            (params("<a b='' b=''/>"), NOT_XML),
            (format!("<!DOCTYPE a>{}", params(token)), DOC_TYPE),
            (params("&a;"), ENTITY),
            (params(&token.repeat(2)), TWICE),
            (params(&token.replace(">t<", "> <")), TOO_LONG),
            (params(&token.replace(">t<", &format!(">{long}<"))), TOO_LONG),
            (params(&deep), TOO_MUCH),
            (params(&"<a/>".repeat(300)), TOO_MUCH),
            (params(&format!("<a {many}/>")), TOO_MUCH),
            (
                params(&token.replace("token>", "token type='Other'>").replacen(
                    "</i:mcptt-access-token type='Other'>",
                    "</i:mcptt-access-token>",
                    1,
                )),
                "MC service info has a value of an unknown type",
            ),
        ] {
            assert_eq!(read(MCPTT, &document), Err(InfoError::Malformed(reason)), "{document}");
        }
        let encrypted = params("<i:mcptt-access-token type=\"Encrypted\"/>");
        assert_eq!(read(MCPTT, &encrypted), Err(InfoError::Encrypted));
    }
}

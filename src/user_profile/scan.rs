//! Where in a profile its `anyExt` and its partner systems are, without making a tree of it.

use std::ops::Range;

use quick_xml::{
    NsReader,
    escape::resolve_predefined_entity,
    events::{BytesStart, Event},
    name::{Namespace, ResolveResult},
};

use super::{ProfileError, ProfileService};
use crate::ue_configuration;

/// Deepest nesting, elements.
const DEPTH_MAX: usize = 48;
/// Most elements.
const ELEMENTS_MAX: usize = 32_768;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Where the end tag of the root begins.
    pub(super) root_end: usize,
    /// The `anyExt` of the root.
    pub(super) any_ext: Option<AnyExt>,
    pub(super) partners: Vec<Partner>,
}

/// An `anyExt` in the root.
#[derive(Clone, Debug)]
pub(super) enum AnyExt {
    /// With an end tag, which begins there.
    Open { end: usize },
    /// Without: where its slash is, where it ends, and its name with its prefix.
    Empty { slash: usize, end: usize, name: String },
}

/// An element of a partner system.
#[derive(Debug, Default)]
pub(super) struct Partner {
    /// The text of the ID.
    pub(super) id: String,
    /// Where the UE configuration is.
    pub(super) document: Range<usize>,
}

/// What an open element is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Root,
    AnyExt,
    Partner,
    PartnerId,
    Document,
    Other,
}

/// Reads all of `text`.
pub(super) fn scan(service: ProfileService, text: &str) -> Result<Scan, ProfileError> {
    const NOT_XML: ProfileError = ProfileError("is no well-formed XML document");
    let mut reader = NsReader::from_str(text);
    let mut found = Scan::default();
    let mut open: Vec<Kind> = Vec::new();
    let (mut elements, mut has_root) = (0, false);
    loop {
        let begin = position(&reader);
        let (namespace, event) = reader.read_resolved_event().map_err(|_| NOT_XML)?;
        let is_own = namespace == ResolveResult::Bound(Namespace(service.namespace()));
        let is_document = namespace == ResolveResult::Bound(Namespace(ue_configuration::NAMESPACE));
        match event {
            Event::Start(start) => {
                elements += 1;
                check_bounds(&start, elements, open.len())?;
                let kind = kind_of(service, &start, (is_own, is_document), &open)?;
                if kind == Kind::Root && std::mem::replace(&mut has_root, true) {
                    return Err(NOT_XML);
                }
                match (kind, found.partners.last_mut()) {
                    (Kind::Partner, _) => found.partners.push(Partner::default()),
                    (Kind::Document, Some(partner)) => partner.document.start = begin,
                    _ => {}
                }
                open.push(kind);
            }
            Event::Empty(start) => {
                elements += 1;
                check_bounds(&start, elements, open.len())?;
                let name = start.name().into_inner().to_owned();
                let end = begin + start.len() + 3; // with < and />
                match kind_of(service, &start, (is_own, is_document), &open)? {
                    Kind::Root => return Err(ProfileError("has no content")),
                    Kind::AnyExt => {
                        found.any_ext = Some(AnyExt::Empty { slash: end - 2, end, name });
                    }
                    Kind::Partner => return Err(INCOMPLETE),
                    Kind::PartnerId | Kind::Document | Kind::Other => {}
                }
            }
            Event::End(_) => {
                let end = position(&reader);
                match (open.pop(), found.partners.last_mut()) {
                    (Some(Kind::Root), _) => found.root_end = begin,
                    (Some(Kind::AnyExt), _) => found.any_ext = Some(AnyExt::Open { end: begin }),
                    (Some(Kind::Document), Some(partner)) => partner.document.end = end,
                    (Some(Kind::Partner), Some(partner))
                        if partner.id.is_empty() || partner.document.is_empty() =>
                    {
                        return Err(INCOMPLETE);
                    }
                    _ => {}
                }
            }
            Event::Text(text) => match (open.last(), found.partners.last_mut()) {
                (Some(Kind::PartnerId), Some(partner)) => partner.id.push_str(&text),
                (None, _) if !text.trim().is_empty() => return Err(NOT_XML),
                _ => {}
            },
            Event::GeneralRef(reference) => {
                let character = reference.resolve_char_ref().map_err(|_| NOT_XML)?;
                let text = match character {
                    Some(character) => character.to_string(),
                    None => resolve_predefined_entity(&reference)
                        .ok_or(ProfileError("refers to an entity: write its text instead"))?
                        .to_owned(),
                };
                if let (Some(Kind::PartnerId), Some(partner)) =
                    (open.last(), found.partners.last_mut())
                {
                    partner.id.push_str(&text);
                }
            }
            Event::DocType(_) => {
                return Err(ProfileError("has a document type: leave it out"));
            }
            Event::CData(_) | Event::Decl(_) | Event::PI(_) | Event::Comment(_) => {}
            Event::Eof if has_root && open.is_empty() => return Ok(found),
            Event::Eof => return Err(NOT_XML),
        }
    }
}

const INCOMPLETE: ProfileError =
    ProfileError("carries a partner system without its ID or without its UE configuration");

fn position(reader: &NsReader<&[u8]>) -> usize {
    usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX)
}

fn check_bounds(start: &BytesStart<'_>, elements: usize, depth: usize) -> Result<(), ProfileError> {
    if elements > ELEMENTS_MAX || depth >= DEPTH_MAX {
        return Err(ProfileError("has too many elements, or nests them too deeply"));
    }
    // Malformed attributes come to light only when they are read.
    if start.attributes().any(|attribute| attribute.is_err()) {
        return Err(ProfileError("has an attribute that is malformed or there twice"));
    }
    Ok(())
}

/// What an element is by its name and where it stands.
fn kind_of(
    service: ProfileService,
    start: &BytesStart<'_>,
    (is_own, is_document): (bool, bool),
    open: &[Kind],
) -> Result<Kind, ProfileError> {
    let name = start.local_name();
    let name = name.into_inner();
    let (partner, id) = service.partner_elements();
    Ok(match open.last() {
        None if is_own && name == service.root() => Kind::Root,
        None => {
            return Err(ProfileError("has a root element that is not the service's user profile"));
        }
        Some(Kind::Root) if is_own && name == "anyExt" => Kind::AnyExt,
        Some(Kind::AnyExt) if is_own && name == partner => Kind::Partner,
        Some(Kind::Partner) if is_own && name == id => Kind::PartnerId,
        Some(Kind::Partner) if is_document => Kind::Document,
        Some(_) => Kind::Other,
    })
}

//! A configuration as a list of its elements, and the difference of two.

use quick_xml::events::{BytesStart, Event};

use crate::{
    api::{acm_payload::Kind, connection_details::SystemConfiguration},
    ue_configuration::{InitialUeConfiguration, MASK},
};

/// One element or attribute with a value: its path below the root, and the value.
pub(super) type Named = (String, String);

/// An element of two configurations: what the one says, what the other says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Compared {
    pub(super) path: String,
    pub(super) offered: Option<String>,
    pub(super) in_force: Option<String>,
}

impl Compared {
    fn differs(&self) -> bool {
        self.offered != self.in_force
    }

    /// Whether both sides have it, and only the server knows what it says.
    fn is_masked(&self) -> bool {
        let is_mask = |value: &Option<String>| value.as_deref() == Some(MASK);
        is_mask(&self.offered) && is_mask(&self.in_force)
    }
}

/// What is offered held against what is in force.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    /// What differs, as everybody can see.
    pub(super) changed: Vec<Compared>,
    /// What the server says differs besides: the values are masked.
    pub(super) masked: Vec<String>,
    /// Masked values of which the server does not say whether they differ.
    pub(super) unknown: Vec<String>,
    /// What is the same.
    pub(super) same: Vec<Compared>,
}

/// What a server says differs when it is only what belongs to users: passwords among that.
const OF_USERS: &str = "elements of users";

/// What a server says differs when nothing is in force.
const EVERYTHING: &str = "configuration";

impl Comparison {
    /// Compares; `differing` is what the server says differs of a request of a kind.
    pub(super) fn of(
        (kind, differing): (Kind, &[String]),
        offered: &[Named],
        in_force: &[Named],
    ) -> Self {
        let (changed, rest): (Vec<Compared>, Vec<Compared>) =
            compare(offered, in_force).into_iter().partition(Compared::differs);
        let is_seen = |name: &String| {
            let names = std::slice::from_ref(name);
            *name == EVERYTHING || changed.iter().any(|it| is_named(&it.path, names))
        };
        let masked: Vec<String> = differing.iter().filter(|name| !is_seen(name)).cloned().collect();
        // Of the whole of a configuration, and only of that, it would say.
        let says_all = kind == Kind::Configuration && differing.is_empty();
        let is_told = |path: &str| {
            says_all || is_named(path, &masked) || masked.iter().any(|it| it == OF_USERS)
        };
        let (unknown, same): (Vec<Compared>, Vec<Compared>) =
            rest.into_iter().partition(|it| it.is_masked() && !is_told(&it.path));
        let same = same.into_iter().filter(|it| says_all || !it.is_masked()).collect();
        let unknown = unknown.into_iter().map(|it| it.path).collect();
        Self { changed, masked, unknown, same }
    }
}

/// The elements of a configuration that have a value, secrets masked, in the order of the schema.
pub(super) fn elements(configuration: &SystemConfiguration) -> Vec<Named> {
    let mut all: Vec<Named> = configuration
        .sip_core
        .iter()
        .enumerate()
        .map(|(index, core)| (format!("sip_core[{index}]"), core.to_string()))
        .collect();
    all.extend(of_document(&configuration.document));
    number(&mut all);
    all
}

fn of_document(document: &InitialUeConfiguration) -> Vec<Named> {
    let text = document.masked().render();
    let mut reader = quick_xml::Reader::from_str(&text);
    let mut path: Vec<String> = Vec::new();
    let mut all = Vec::new();
    // Whether text is the value of the element named last, and no white space between elements.
    let mut is_value = false;
    // What renders is well-formed: there is no error to tell of.
    while let Ok(event) = reader.read_event() {
        match event {
            Event::Start(element) => {
                open(&mut path, &element, &mut all);
                all.push((path_of(&path), String::new()));
                is_value = true;
            }
            Event::Empty(element) => {
                open(&mut path, &element, &mut all);
                path.pop();
                is_value = false;
            }
            Event::Text(text) if is_value => append(&mut all, &text),
            Event::GeneralRef(reference) if is_value => append(&mut all, &resolve(&reference)),
            Event::End(_) => {
                path.pop();
                is_value = false;
            }
            Event::Eof => break,
            Event::Text(_)
            | Event::GeneralRef(_)
            | Event::CData(_)
            | Event::Comment(_)
            | Event::Decl(_)
            | Event::PI(_)
            | Event::DocType(_) => {}
        }
    }
    all.retain(|(name, value)| !name.is_empty() && !value.trim().is_empty());
    all
}

fn open(path: &mut Vec<String>, element: &BytesStart<'_>, all: &mut Vec<Named>) {
    path.push(element.local_name().as_ref().to_owned());
    for attribute in element.attributes().flatten() {
        let name = attribute.key.as_ref().to_owned();
        if name == "xmlns" || name.starts_with("xmlns:") {
            continue;
        }
        let value = attribute.value.clone().into_owned();
        let at = path_of(path);
        all.push((format!("{at}@{name}"), value));
    }
}

fn append(all: &mut [Named], text: &str) {
    if let Some((_, value)) = all.last_mut() {
        value.push_str(text);
    }
}

fn resolve(reference: &quick_xml::events::BytesRef<'_>) -> String {
    if let Ok(Some(letter)) = reference.resolve_char_ref() {
        return letter.to_string();
    }
    quick_xml::escape::resolve_predefined_entity(reference).unwrap_or_default().to_owned()
}

/// The path below the root.
fn path_of(path: &[String]) -> String {
    path.get(1..).unwrap_or_default().join("/")
}

/// Tells elements of one path apart by their place.
fn number(all: &mut [Named]) {
    let paths: Vec<String> = all.iter().map(|(path, _)| path.clone()).collect();
    for (index, (path, _)) in all.iter_mut().enumerate() {
        let same = |other: &&String| *other == path;
        let count = paths.iter().filter(same).count();
        if count > 1 {
            let before = paths.iter().take(index).filter(same).count();
            *path = format!("{path}[{before}]");
        }
    }
}

/// What is offered beside what is in force; what is in force alone comes last.
fn compare(offered: &[Named], in_force: &[Named]) -> Vec<Compared> {
    let find = |all: &[Named], path: &str| {
        all.iter().find(|(name, _)| name == path).map(|(_, value)| value.clone())
    };
    let mut compared: Vec<Compared> = offered
        .iter()
        .map(|(path, value)| Compared {
            path: path.clone(),
            offered: Some(value.clone()),
            in_force: find(in_force, path),
        })
        .collect();
    let gone = in_force.iter().filter(|(path, _)| find(offered, path).is_none());
    compared.extend(gone.map(|(path, value)| Compared {
        path: path.clone(),
        offered: None,
        in_force: Some(value.clone()),
    }));
    compared
}

/// Whether the element at `path` is one of those that a server names as differing.
pub(super) fn is_named(path: &str, names: &[String]) -> bool {
    let plain: String = path.split('[').next().unwrap_or_default().replace('@', "/@");
    let plain = format!("/{plain}/");
    names.iter().any(|name| plain.contains(&format!("/{}/", name.replace('@', "/@"))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        identity::Plmn,
        secret::SecretText,
        ue_configuration::{DataNetwork, Document, Extension, PersonalText, UserPassword},
    };

    fn configuration(change: impl FnOnce(&mut Document)) -> SystemConfiguration {
        let plmn = Plmn::parse("20801").unwrap();
        let made = InitialUeConfiguration::for_domain("b.example", plmn).unwrap();
        let mut document = made.document().clone();
        change(&mut document);
        SystemConfiguration {
            revision: 1,
            sip_core: vec!["udp:192.0.2.1:5060".parse().unwrap()],
            document: InitialUeConfiguration::new(&document).unwrap().into(),
        }
    }

    #[test]
    fn elements_have_paths_and_values_and_no_secret() {
        let password = UserPassword {
            user_name: PersonalText::new("engine".to_owned()),
            password: SecretText::new("hunter2"),
        };
        let all = elements(&configuration(|document| {
            document.on_network.hplmn.service.mc_services = "mc-new".to_owned();
            document.on_network.servers.kms = "https://kms.b.example/?a=1&b=2".to_owned();
            document.on_network.extensions.push(Extension::DataNetwork(DataNetwork {
                dnn: "mc-services".to_owned(),
                aaa_server: None,
                credentials: None,
                pap: Some(password),
                chap: None,
                extensions: Vec::new(),
            }));
        }));
        let value =
            |path: &str| all.iter().find(|(name, _)| name == path).map(|(_, value)| value.as_str());
        assert_eq!(value("sip_core[0]"), Some("udp:192.0.2.1:5060"), "{all:?}");
        assert_eq!(value("on-network/HPLMN@PLMN"), Some("20801"), "{all:?}");
        assert_eq!(value("on-network/HPLMN/service/MCPTT-to-con-ref"), Some("mc-new"), "{all:?}");
        assert_eq!(
            value("on-network/App-Server-Info/kms"),
            Some("https://kms.b.example/?a=1&b=2"),
            "{all:?}"
        );
        assert!(!format!("{all:?}").contains("hunter2"), "{all:?}");
        assert!(format!("{all:?}").contains("********"), "{all:?}");
    }

    #[test]
    fn a_difference_is_found_and_named_as_the_server_names_it() {
        let live = configuration(|_| {});
        let moved = configuration(|document| {
            document.on_network.hplmn.service.mc_services = "mc-new".to_owned();
            document.on_network.hplmn.plmn = Plmn::parse("20802").unwrap();
        });
        let names: Vec<String> = live
            .document
            .differing_system_elements(&moved.document)
            .into_iter()
            .map(str::to_owned)
            .collect();
        let compared = compare(&elements(&moved), &elements(&live));
        let differing: Vec<&Compared> = compared.iter().filter(|it| it.differs()).collect();
        assert_eq!(differing.len(), 2, "{differing:?}");
        for it in differing {
            assert!(is_named(&it.path, &names), "{} in {names:?}", it.path);
        }
        assert!(!is_named("on-network/App-Server-Info/kms", &names), "{names:?}");
    }

    #[test]
    fn what_is_masked_is_told_as_the_server_tells_it_and_never_as_the_same() {
        let one = |path: &str, value: &str| (path.to_owned(), value.to_owned());
        let key = "on-network/App-Server-Info/tls-tunnel-auth-method/key";
        let offered = [one("domain", "b"), one(key, MASK), one("GMS-URI", "new")];
        let in_force = [one("domain", "b"), one(key, MASK), one("GMS-URI", "old")];
        let compared = |kind, differing: &[&str]| {
            let differing: Vec<String> = differing.iter().map(|it| (*it).to_owned()).collect();
            let Comparison { changed, masked, unknown, same } =
                Comparison::of((kind, &differing), &offered, &in_force);
            (changed.len(), masked, unknown, same.len())
        };
        let none: Vec<String> = Vec::new();
        for (kind, differing, masked, unknown, same) in [
            // Only of a whole configuration the server would say.
            (Kind::Configuration, &[][..], &[][..], &[][..], 2),
            (Kind::Update, &[], &[], &[key], 1),
            (Kind::Configuration, &["GMS-URI"], &[], &[key], 1),
            (Kind::Configuration, &["GMS-URI", "DN-Info"], &["DN-Info"], &[key], 1),
            (Kind::Configuration, &["elements of users"], &["elements of users"], &[], 1),
            (Kind::Update, &["tls-tunnel-auth-method"], &["tls-tunnel-auth-method"], &[], 1),
        ] {
            let owned =
                |names: &[&str]| names.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
            let wanted = (1, owned(masked), owned(unknown), same);
            assert_eq!(compared(kind, differing), wanted, "{kind:?} {differing:?}");
        }
        assert_eq!(compared(Kind::Configuration, &["configuration"]).1, none);
    }

    #[test]
    fn what_one_side_lacks_is_a_difference() {
        let one = |path: &str| (path.to_owned(), "1".to_owned());
        let compared = compare(&[one("a"), one("b")], &[one("b"), one("c")]);
        let told: Vec<(&str, bool)> =
            compared.iter().map(|it| (it.path.as_str(), it.differs())).collect();
        assert_eq!(told, [("a", true), ("b", false), ("c", true)]);
    }
}

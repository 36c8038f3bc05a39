//! The house rules that a compiler does not know: who may import whom.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    clippy::too_many_lines,
    reason = "test code"
)]

use std::{fs, path::Path};

/// Module to layer; a module may name modules of a lower layer only (and itself).
const LAYERS: &[(&str, u8)] = &[
    ("entropy", 0),
    ("identity", 0),
    ("secret", 0),
    ("step", 0),
    ("table", 0),
    ("time", 0),
    ("aka", 1),
    ("deadlines", 1),
    ("mc_info", 1),
    ("packed", 1),
    ("patience", 1),
    ("planted", 0),
    ("procedure", 1),
    ("token", 1),
    ("ue_configuration", 1),
    ("user_profile", 1),
    ("api", 2),
    ("diameter", 2),
    ("sip", 2),
    ("store", 3),
    ("outbox", 4),
    ("acm", 5),
    ("alias_server", 5),
    ("config_server", 5),
    ("idms", 5),
    ("mc_server", 5),
    ("sip_core", 5),
    ("sip_database", 5),
    ("ue", 5),
    ("load", 6),
    ("node", 6),
    ("sim", 6),
];

/// Within a layer a module may name its neighbours listed here; nowhere else.
const NEIGHBOURS: &[(&str, &str)] = &[
    ("table", "entropy"),
    ("deadlines", "packed"),
    ("mc_info", "token"),
    ("mc_info", "user_profile"),
    ("user_profile", "ue_configuration"),
    ("load", "node"),
    ("sim", "load"),
];

fn layer_of(module: &str) -> Option<u8> {
    LAYERS.iter().find(|(name, _)| *name == module).map(|(_, layer)| *layer)
}

/// The top-level modules that a source text names by a path: `crate::x`, or `x` first in a
/// `use crate::{..}` group.
fn named_modules(source: &str) -> Vec<String> {
    let code: String = source
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line, "\n"])
        .collect();
    let mut named = Vec::new();
    for (start, _) in code.match_indices("crate::") {
        let rest = &code[start + "crate::".len()..];
        let Some(group) = rest.strip_prefix('{') else {
            named.push(identifier(rest));
            continue;
        };
        let mut depth = 1_usize;
        let mut expects_name = true;
        for (at, character) in group.char_indices() {
            match character {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 1 => expects_name = true,
                _ if expects_name && character.is_alphabetic() => {
                    named.push(identifier(&group[at..]));
                    expects_name = false;
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    named
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|character| character.is_alphanumeric() || *character == '_').collect()
}

fn sources_below(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources_below(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn sources() -> Vec<(String, String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    sources_below(&root, &mut paths);
    paths
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
            let module = name.split(['/', '.']).next().unwrap().to_owned();
            (name, module, fs::read_to_string(&path).unwrap())
        })
        .collect()
}

#[test]
fn no_module_imports_upward_or_sideways() {
    let mut checked = 0;
    for (name, module, source) in sources() {
        if ["lib", "main"].contains(&module.as_str()) {
            continue;
        }
        let own = layer_of(&module)
            .unwrap_or_else(|| panic!("src/{name}: give `{module}` a layer in this test"));
        for imported in named_modules(&source) {
            let Some(layer) = layer_of(&imported) else {
                continue; // a macro or a re-export of the crate root
            };
            checked += 1;
            let neighbour = NEIGHBOURS.contains(&(module.as_str(), imported.as_str()));
            assert!(
                layer < own || imported == module || neighbour,
                "src/{name} (layer {own}) names crate::{imported} (layer {layer})"
            );
        }
    }
    assert!(checked > 50, "the scan found only {checked} imports: it is broken");
}

#[test]
fn the_scan_sees_paths_and_groups() {
    let source = "use crate::{\n aka::{self, AuthVector},\n sip,\n};\nlet x = crate::node::run();";
    assert_eq!(named_modules(source), ["aka", "sip", "node"]);
}

#[test]
fn only_the_worlds_touch_sockets_files_and_clocks() {
    for (name, module, source) in sources() {
        if ["main", "node", "load"].contains(&module.as_str()) {
            continue;
        }
        for forbidden in [
            "tokio::",
            "std::fs",
            "std::net::Udp",
            "std::net::Tcp",
            "Instant::now",
            "SystemTime::now",
        ] {
            assert!(!source.contains(forbidden), "src/{name} names {forbidden}");
        }
    }
}

#[test]
fn rsip_is_named_in_one_file() {
    let naming: Vec<String> = sources()
        .into_iter()
        .filter(|(_, _, source)| source.contains("rsip::"))
        .map(|(name, _, _)| name)
        .collect();
    assert!(naming.len() <= 1, "rsip is named in {naming:?}");
}

#[test]
fn files_have_at_most_800_lines_and_are_ascii() {
    for (name, _, source) in sources() {
        assert!(source.lines().count() <= 800, "src/{name} has {} lines", source.lines().count());
        assert!(source.is_ascii(), "src/{name} is not ASCII");
    }
}

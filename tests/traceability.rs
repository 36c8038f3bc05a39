//! The tables of the numbered steps are true: what they say is performed is performed, by a function that
//! exists, and shown by a test that exists.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test code")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use migcore::{
    procedure::{
        Row, configuration_exchange, configuration_update, group_provision, isolated_migration,
        migration::STEPS,
    },
    sim::{Options, World},
    step::Step,
    ue::State,
};

/// Steps reported by a procedure without faults: bindings by the management interfaces, then the
/// registration.
fn reported() -> Vec<Step> {
    let mut world = World::new(1, Options::faultless());
    world.migrate(0).unwrap().told().expect("a pair");
    assert!(matches!(world.register(0).unwrap(), State::Registered(_)));
    world.steps().iter().map(|(step, _)| *step).collect()
}

/// The rows of all procedures. That those of the ACM procedures are reported in order and no other is, is shown
/// by `tests/acm_scenarios`, which has the people and clients that take part.
fn rows() -> Vec<Row> {
    let mut rows = STEPS.to_vec();
    rows.extend(configuration_exchange::STEPS);
    rows.extend(group_provision::STEPS);
    rows.extend(configuration_update::STEPS);
    rows.extend(isolated_migration::STEPS);
    rows
}

#[test]
fn no_two_rows_have_the_same_label() {
    let mut labels: Vec<String> = rows().iter().map(|row| row.step.to_string()).collect();
    assert_eq!(labels.len(), 25 + 17 + 17 + 10 + 2);
    labels.sort();
    labels.dedup();
    assert_eq!(labels.len(), rows().len());
}

#[test]
fn every_step_is_reported_in_order_and_no_other_is() {
    let mut reported = reported();
    reported.dedup();
    let wanted: Vec<Step> = STEPS.iter().map(|row| row.step).collect();
    assert_eq!(reported, wanted);
}

#[test]
fn every_function_of_the_table_is_in_the_file_that_the_table_names() {
    for Row { step, function: place, .. } in &rows() {
        let (file, function) = place.split_once("::").expect("file.rs::function");
        let path = root().join("src").join(file);
        let source = fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{step} names src/{file}: {error}"));
        assert!(declares(&source, function), "{step}: src/{file} has no function {function}");
    }
}

#[test]
fn every_test_of_the_table_exists_once_and_asserts_something() {
    let mut sources = Vec::new();
    for folder in ["src", "tests"] {
        collect(&root().join(folder), &mut sources);
    }
    for Row { step, test, .. } in &rows() {
        let bodies: Vec<&str> =
            sources.iter().filter_map(|source| body_of_test(source, test)).collect();
        assert_eq!(bodies.len(), 1, "{step}: {} tests are called {test}", bodies.len());
        assert!(bodies[0].contains("assert"), "{step}: {test} asserts nothing");
    }
}

#[test]
fn the_scan_tells_functions_tests_and_their_bodies_apart() {
    let source = r#"
        fn helper() {}
        #[test]
        fn one() { assert!(true); }
        #[test]
        #[ignore = "it takes long"]
        fn two() { if a { b } }
    "#;
    assert!(declares(source, "helper") && !declares(source, "help"));
    assert_eq!(body_of_test(source, "one").map(|body| body.contains("assert")), Some(true));
    assert_eq!(body_of_test(source, "two").map(|body| body.contains("assert")), None, "ignored");
    assert_eq!(body_of_test(source, "helper"), None, "not a test");
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn collect(folder: &Path, sources: &mut Vec<String>) {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            collect(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push(fs::read_to_string(&path).unwrap());
        }
    }
}

fn declares(source: &str, function: &str) -> bool {
    source.contains(&format!("fn {function}(")) || source.contains(&format!("fn {function}<"))
}

/// The body of a test that is run, from its opening brace to the one that closes it.
fn body_of_test<'a>(source: &'a str, test: &str) -> Option<&'a str> {
    let at = source.find(&format!("fn {test}("))?;
    let attributes = source[..at].trim_end();
    if attributes.lines().last()?.trim() != "#[test]" {
        return None;
    }
    let body = &source[at..];
    let mut depth = 0;
    for (offset, character) in body.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => continue,
        }
        if depth == 0 {
            return Some(&body[..=offset]);
        }
    }
    None
}

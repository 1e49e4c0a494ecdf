//! The committed OpenAPI description is the one the code makes. `KEYREEVE_BLESS=1 cargo test -p keyreeve-rest openapi`
//! writes it anew.

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::PathBuf;

fn committed() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../openapi/keyreeve.json")
}

fn generated() -> Value {
    serde_json::to_value(keyreeve_rest::document()).unwrap()
}

#[test]
fn the_committed_description_is_that_of_the_code() {
    let generated = generated();
    if std::env::var_os("KEYREEVE_BLESS").is_some() {
        let mut text = serde_json::to_string_pretty(&generated).unwrap();
        text.push('\n');
        std::fs::write(committed(), text).unwrap();
    }
    let committed: Value = serde_json::from_str(&std::fs::read_to_string(committed()).unwrap()).unwrap();
    assert!(
        committed == generated,
        "openapi/keyreeve.json is not what the code makes: look at the change of the interface, then run \
         `KEYREEVE_BLESS=1 cargo test -p keyreeve-rest openapi`"
    );
}

/// Every `$ref` in a document.
fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(target)) = members.get("$ref") {
                found.insert(target.clone());
            }
            members.values().for_each(|member| references(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn references_lead_somewhere_and_everything_is_described() {
    let document = generated();
    assert_eq!(document["openapi"], "3.1.0");
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.len() > 50, "{}", found.len());
    for target in found {
        assert!(document.pointer(target.strip_prefix('#').unwrap()).is_some(), "{target}");
    }
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        for (field, property) in schema["properties"].as_object().into_iter().flatten() {
            let told = |part: &Value| part.get("description").is_some() || part.get("$ref").is_some();
            let described = told(property) || property["oneOf"].as_array().is_some_and(|one| one.iter().any(told));
            assert!(described, "{name}.{field} has no description");
        }
    }
}

#[test]
fn every_operation_has_a_name_of_its_own_and_says_what_it_takes() {
    let document = generated();
    let mut names = BTreeSet::new();
    for route in keyreeve_rest::routes() {
        let path = format!("/v1{}", route.path.replace("{*", "{"));
        let operation = &document["paths"][&path][route.verb.name().to_lowercase()];
        assert!(names.insert(operation["operationId"].as_str().unwrap().to_owned()), "{route:?}");
        assert_eq!(operation["requestBody"].is_object(), route.example().is_some(), "{route:?}");
        for parameter in operation["parameters"].as_array().unwrap() {
            assert_ne!(parameter["description"], "", "{route:?}");
        }
    }
}

#[test]
fn names_are_those_of_the_wire() {
    let schemas = &generated()["components"]["schemas"];
    let names: Vec<_> = keyreeve_wire::names::Algorithm::ALL.iter().map(|one| one.name()).collect();
    assert_eq!(schemas["Algorithm"]["enum"], serde_json::json!(names));
    for (name, schema) in schemas.as_object().unwrap() {
        for value in schema["enum"].as_array().into_iter().flatten() {
            let text = value.as_str().unwrap();
            assert!(text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'), "{name}: {text}");
        }
    }
}

#[test]
fn examples_are_accepted() {
    let examples = keyreeve_rest::routes().filter_map(|route| Some((route, route.example()?)));
    let mut count = 0;
    for (route, example) in examples {
        assert!(route.accepts(example.as_bytes()), "{route:?}");
        let unknown = format!("{{\"surprise\":1,{}", &example[1..]);
        assert!(!route.accepts(unknown.as_bytes()), "{route:?} takes unknown fields");
        count += 1;
    }
    assert!(count > 30);
}

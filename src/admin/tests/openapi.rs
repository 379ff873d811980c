//! Tests of the document: it is whole, and what it says is true.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Port, Pretended, Sent};
use crate::admin::{edge_operations, openapi, operations};

fn document() -> Value {
    let document = openapi::document(&operations::<Pretended>());
    serde_json::to_value(&document).expect("a document is JSON")
}

/// Every operation of the document: method, path, and the rest.
fn described(document: &Value) -> Vec<(String, String, &Value)> {
    let paths = document["paths"].as_object().expect("paths");
    let operations = paths.iter().flat_map(|(path, item)| {
        let item = item.as_object().expect("an item");
        item.iter()
            .map(move |(method, operation)| (method.to_uppercase(), path.clone(), operation))
    });
    operations.collect()
}

#[test]
fn every_operation_is_in_the_document_and_nothing_else() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    let described: BTreeSet<_> = described(&document)
        .iter()
        .map(|(method, path, it)| {
            let id = it["operationId"].as_str().expect("an id");
            (method.clone(), path.clone(), id.to_owned())
        })
        .collect();
    let operations = operations::<Pretended>();
    let known: BTreeSet<_> = operations
        .iter()
        .map(|it| (it.method.to_string(), it.path.to_owned(), it.id.to_owned()))
        .collect();
    assert_eq!(described, known);
    let ids: BTreeSet<_> = operations.iter().map(|it| it.id).collect();
    assert_eq!(ids.len(), operations.len(), "two have the same id");
}

#[test]
fn every_operation_says_what_it_is_for_and_whose_tokens_it_takes() {
    let document = document();
    for (method, path, operation) in described(&document) {
        let text = operation["summary"].as_str().unwrap_or_default();
        assert!(!text.is_empty(), "{method} {path} says nothing");
        let scopes = operation["security"][0]["token"].as_array();
        let scopes: Vec<_> = scopes.expect("scopes").iter().collect();
        assert_eq!(scopes[0], "server", "{method} {path}");
        let is_told = method == "GET";
        assert_eq!(
            scopes.contains(&&Value::from("read-only")),
            is_told,
            "{path}"
        );
        for status in ["401", "403"] {
            assert!(
                operation["responses"][status].is_object(),
                "{method} {path}"
            );
        }
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        for parameter in parameters.clone() {
            assert!(parameter["schema"].is_object(), "{path}: {parameter}");
        }
        let in_path = parameters
            .filter(|parameter| parameter["in"] == "path")
            .count();
        assert_eq!(in_path, path.matches('{').count(), "{path}");
    }
}

#[test]
fn every_reference_leads_somewhere() {
    fn look(document: &Value, value: &Value, found: &mut usize) {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(to)) = fields.get("$ref") {
                    let pointer = to.strip_prefix('#').expect("a place in the document");
                    assert!(document.pointer(pointer).is_some(), "{to} is nowhere");
                    *found += 1;
                }
                fields
                    .values()
                    .for_each(|value| look(document, value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| look(document, value, found)),
            _ => {}
        }
    }
    let document = document();
    let mut found = 0;
    look(&document, &document, &mut found);
    assert!(found > 20, "{found}");
    let schemas = document["components"]["schemas"]
        .as_object()
        .expect("schemas");
    for (name, schema) in schemas {
        let fields = schema["properties"].as_object().into_iter().flatten();
        for (field, schema) in fields {
            assert!(
                schema["description"].is_string() || schema.get("$ref").is_some(),
                "{name}.{field} says nothing: {schema}"
            );
        }
    }
}

/// What the node serves is this document, and each path in it has a route.
#[tokio::test]
async fn what_is_described_is_served() {
    let port = Port::open().await;
    let (status, served) = port.get("/api/v1/openapi.json").await;
    assert_eq!(status, 200);
    let served: Value = serde_json::from_str(&served).expect("JSON");
    assert_eq!(served, document());
    for (method, path, _) in described(&served) {
        let path = path
            .replace("{jid}", "r%40a.example")
            .replace("{range}", "0-1");
        let sent = Sent {
            method: &method,
            path: &format!("/api/v1{path}"),
            ..Sent::default()
        };
        let (status, body) = port.send(sent).await;
        let is_nowhere = status == 405 || body.contains("openapi.json\"}");
        assert!(!is_nowhere, "{method} {path}: {status} {body}");
    }

    let edge = Port::edge().await;
    let (_, served) = edge.get("/api/v1/openapi.json").await;
    let served: Value = serde_json::from_str(&served).expect("JSON");
    assert_eq!(
        described(&served).len(),
        edge_operations::<Pretended>().len()
    );
}

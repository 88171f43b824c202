//! `Globals` merged into the properties of the resources that they are for, by SAM's rule: mappings key by key, lists one after the
//! other (the global one first), anything else is the function's own.

use super::{
    document::{Document, Globals, Resource},
    kinds::Kind,
    yaml::{Entry, Node, Value},
};

/// The properties of each resource, with the globals in them.
pub(super) fn merged(document: &Document<'_>) -> Vec<Option<Node>> {
    document.resources.iter().map(|resource| of(resource, document.globals)).collect()
}

fn of(resource: &Resource<'_>, globals: Globals<'_>) -> Option<Node> {
    let globals = match resource.kind {
        Kind::Function => globals.function,
        Kind::HttpApi => globals.http_api,
        Kind::SimpleTable => globals.simple_table,
        _ => None,
    };
    match (globals, resource.properties) {
        (Some(globals), Some(own)) => Some(merge(globals, own)),
        (globals, own) => own.or(globals).cloned(),
    }
}

fn merge(global: &Node, own: &Node) -> Node {
    let value = match (&global.value, &own.value) {
        (Value::Map(a), Value::Map(b)) if !function(a) && !function(b) => Value::Map(maps(a, b)),
        (Value::List(a), Value::List(b)) => Value::List(a.iter().chain(b).cloned().collect()),
        _ => own.value.clone(),
    };
    Node { line: own.line, value }
}

fn maps(global: &[Entry], own: &[Entry]) -> Vec<Entry> {
    let mut merged: Vec<Entry> = own.to_vec();
    for entry in global {
        match merged.iter_mut().find(|mine| mine.key == entry.key) {
            Some(mine) => mine.value = merge(&entry.value, &mine.value),
            None => merged.push(entry.clone()),
        }
    }
    merged
}

fn function(entries: &[Entry]) -> bool {
    matches!(entries, [Entry { key, .. }] if key == "Ref" || key.starts_with("Fn::"))
}

//! The sections of a template and the attributes of its resources, before any function in them is evaluated.

use super::{
    error::Problems,
    kinds::{self, Kind},
    yaml::{Entry, Node, Value},
};

/// CloudFormation's bound on resources of one template.
const MAX_RESOURCES: usize = 500;
/// Bound on parameters, mappings, conditions and outputs, each (CloudFormation: 200).
const MAX_ENTRIES: usize = 200;
const SAM: &str = "AWS::Serverless-2016-10-31";

/// A template in its sections.
#[derive(Debug, Default)]
pub(super) struct Document<'a> {
    pub(super) parameters: &'a [Entry],
    pub(super) mappings: &'a [Entry],
    pub(super) conditions: &'a [Entry],
    pub(super) globals: Globals<'a>,
    pub(super) resources: Vec<Resource<'a>>,
    pub(super) outputs: &'a [Entry],
}

/// Properties that SAM gives every resource of a type.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Globals<'a> {
    pub(super) function: Option<&'a Node>,
    pub(super) http_api: Option<&'a Node>,
    pub(super) simple_table: Option<&'a Node>,
}

/// One resource.
#[derive(Debug)]
pub(super) struct Resource<'a> {
    pub(super) id: &'a str,
    pub(super) line: usize,
    pub(super) type_name: &'a str,
    pub(super) kind: Kind,
    pub(super) condition: Option<(&'a str, usize)>,
    pub(super) depends_on: Vec<(&'a str, usize)>,
    pub(super) properties: Option<&'a Node>,
    pub(super) metadata: Option<&'a Node>,
}

impl<'a> Document<'a> {
    /// Sorts a tree into sections; what has no place is a problem.
    pub(super) fn read(root: &'a Node, problems: &mut Problems) -> Self {
        let mut document = Self::default();
        let Some(entries) = root.as_map() else {
            problems.add(root.line, "", "", format!("a template is a mapping, not {}", root.kind()));
            return document;
        };
        let mut sam = false;
        for Entry { key, line, value } in entries {
            match key.as_str() {
                "AWSTemplateFormatVersion" | "Description" | "Metadata" => {}
                "Transform" => sam = transform(value, problems),
                "Parameters" => document.parameters = section(key, value, MAX_ENTRIES, problems),
                "Mappings" => document.mappings = section(key, value, MAX_ENTRIES, problems),
                "Conditions" => document.conditions = section(key, value, MAX_ENTRIES, problems),
                "Outputs" => document.outputs = section(key, value, MAX_ENTRIES, problems),
                "Globals" => document.globals = globals(value, problems),
                "Resources" => {
                    let entries = section(key, value, MAX_RESOURCES, problems);
                    document.resources = entries.iter().filter_map(|entry| resource(entry, problems)).collect();
                }
                _ => problems.add(*line, key, "", "this section is not supported by the platform; remove it"),
            }
        }
        document.check(root.line, sam, problems);
        document
    }

    fn check(&self, line: usize, sam: bool, problems: &mut Problems) {
        if self.resources.is_empty() && problems.is_empty() {
            problems.add(line, "Resources", "", "the template has no resources; add at least one");
        }
        let serverless = self.resources.iter().find(|r| r.type_name.starts_with("AWS::Serverless::"));
        if let Some(first) = serverless.filter(|_| !sam) {
            let message = format!("{} needs `Transform: {SAM}` at the top of the template", first.type_name);
            problems.add(first.line, first.id, "Type", message);
        }
    }
}

fn section<'a>(name: &str, node: &'a Node, most: usize, problems: &mut Problems) -> &'a [Entry] {
    match &node.value {
        Value::Map(entries) if entries.len() <= most => entries,
        Value::Map(entries) => {
            problems.add(node.line, name, "", format!("{} entries; the most is {most}", entries.len()));
            &[]
        }
        _ => {
            problems.add(node.line, name, "", format!("must be a mapping, not {}", node.kind()));
            &[]
        }
    }
}

/// Whether the SAM transform is asked for; any other is refused.
fn transform(node: &Node, problems: &mut Problems) -> bool {
    let names: Vec<&Node> = match &node.value {
        Value::List(items) => items.iter().collect(),
        _ => vec![node],
    };
    for name in &names {
        if name.as_text() != Some(SAM) {
            problems.add(name.line, "Transform", "", format!("only {SAM} is supported; remove the others"));
        }
    }
    names.iter().any(|name| name.as_text() == Some(SAM))
}

fn globals<'a>(node: &'a Node, problems: &mut Problems) -> Globals<'a> {
    let mut globals = Globals::default();
    for entry in section("Globals", node, MAX_ENTRIES, problems) {
        match entry.key.as_str() {
            "Function" => globals.function = Some(&entry.value),
            "HttpApi" => globals.http_api = Some(&entry.value),
            "SimpleTable" => globals.simple_table = Some(&entry.value),
            _ => {
                let message = "is not supported by the platform; it knows Function, HttpApi and SimpleTable";
                problems.add(entry.line, "Globals", &entry.key, message);
            }
        }
    }
    globals
}

fn resource<'a>(entry: &'a Entry, problems: &mut Problems) -> Option<Resource<'a>> {
    let (id, line) = (entry.key.as_str(), entry.line);
    if id.is_empty() || id.len() > 255 || !id.chars().all(|c| c.is_ascii_alphanumeric()) {
        problems.add(line, id, "", "a logical id is 1 to 255 letters and digits; rename the resource");
        return None;
    }
    let Some(attributes) = entry.value.as_map() else {
        problems.add(line, id, "", format!("a resource is a mapping with a Type, not {}", entry.value.kind()));
        return None;
    };
    let Some(type_node) = entry.value.get("Type") else {
        problems.add(line, id, "Type", "is missing; give the resource a Type");
        return None;
    };
    let type_name = type_node.as_text().unwrap_or_default();
    let Some(kind) = kinds::of_type(type_name) else {
        let known = kinds::RUN.join(", ");
        let message = format!("`{type_name}` is not supported by the platform; it runs {known}");
        problems.add(type_node.line, id, "Type", message);
        return None;
    };
    let mut resource = Resource { id, line, type_name, kind, condition: None, depends_on: Vec::new(), properties: None, metadata: None };
    for Entry { key, line, value } in attributes {
        match key.as_str() {
            "Properties" => resource.properties = Some(value),
            "Metadata" => resource.metadata = Some(value),
            "DependsOn" => resource.depends_on = names(id, value, problems),
            "Condition" => resource.condition = value.as_text().map(|name| (name, value.line)),
            "Type" | "DeletionPolicy" | "UpdateReplacePolicy" | "UpdatePolicy" | "CreationPolicy" => {}
            _ => problems.add(*line, id, key, "is no attribute of a resource; move it into Properties or remove it"),
        }
    }
    Some(resource)
}

/// A name or a list of names.
fn names<'a>(id: &str, node: &'a Node, problems: &mut Problems) -> Vec<(&'a str, usize)> {
    let items = if let Value::List(items) = &node.value { items.as_slice() } else { std::slice::from_ref(node) };
    let mut names = Vec::new();
    for item in items {
        match item.as_text() {
            Some(name) => names.push((name, item.line)),
            None => problems.add(item.line, id, "DependsOn", format!("must be a logical id, not {}", item.kind())),
        }
    }
    names
}

//! Which resource needs which, and an order in which their names can be worked out.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    document::Resource,
    error::Problems,
    evaluate::{Scope, three},
    kinds::Kind,
    sub,
    yaml::{Node, Value},
};

/// Indices of the resources, each after those it needs. Circles are problems; their members are left out.
pub(super) fn order(resources: &[Resource<'_>], properties: &[Option<Node>], scope: &Scope<'_>, problems: &mut Problems) -> Vec<usize> {
    let index: BTreeMap<&str, usize> = resources.iter().enumerate().map(|(i, r)| (r.id, i)).collect();
    let mut needs: Vec<BTreeSet<usize>> = Vec::new();
    for (resource, properties) in resources.iter().zip(properties) {
        let mut names = BTreeSet::new();
        for (name, line) in &resource.depends_on {
            if !index.contains_key(name) {
                let message = format!("there is no resource `{name}`; check the name");
                problems.add(*line, resource.id, "DependsOn", message);
            }
            names.insert((*name).to_owned());
        }
        if let Some(properties) = properties {
            properties_of(resource, properties, scope, &mut names);
        }
        needs.push(names.iter().filter_map(|name| index.get(name.as_str()).copied()).collect());
    }
    for (function, properties) in properties.iter().enumerate().filter(|(i, _)| resources[*i].kind == Kind::Function) {
        for bucket in properties.iter().flat_map(telling).filter_map(|name| index.get(name).copied()) {
            needs[bucket].insert(function);
        }
    }
    let order = sorted(&mut needs);
    let left: Vec<usize> = (0..resources.len()).filter(|i| !order.contains(i)).collect();
    report(&circle(&left, &needs), resources, problems);
    order
}

/// A function's events are resources of their own, made after both ends, so they are no needs of the function.
fn properties_of(resource: &Resource<'_>, properties: &Node, scope: &Scope<'_>, names: &mut BTreeSet<String>) {
    for entry in properties.as_map().unwrap_or_default() {
        if resource.kind != Kind::Function || entry.key != "Events" {
            references(&entry.value, scope, names);
        }
    }
}

/// Buckets that tell a function of their objects by an event of its own: SAM writes the function into the bucket, which so
/// needs it. Source: AWS SAM developer guide, "S3".
fn telling(properties: &Node) -> impl Iterator<Item = &str> {
    let events = properties.get("Events").and_then(Node::as_map).unwrap_or_default();
    let of_buckets = events.iter().filter(|event| event.value.get("Type").and_then(Node::as_text) == Some("S3"));
    of_buckets.filter_map(|event| event.value.get("Properties")?.get("Bucket")?.get("Ref")?.as_text())
}

/// Names that a value refers to; of an `Fn::If`, those of the branch taken.
fn references(node: &Node, scope: &Scope<'_>, names: &mut BTreeSet<String>) {
    match &node.value {
        Value::List(items) => items.iter().for_each(|item| references(item, scope, names)),
        Value::Map(entries) => {
            for entry in entries {
                match (entry.key.as_str(), &entry.value.value) {
                    ("Ref", Value::Text(name)) => names.extend([name.clone()]),
                    ("Fn::GetAtt", Value::Text(text)) => names.extend([first(text)]),
                    ("Fn::GetAtt", Value::List(items)) => {
                        names.extend(items.first().and_then(Node::as_text).map(first));
                    }
                    ("Fn::Sub", Value::Text(text)) => substituted(text, names),
                    ("Fn::If", _) => {
                        if let Some(taken) = taken(&entry.value, scope) {
                            references(taken, scope, names);
                        }
                    }
                    _ => {
                        if let ("Fn::Sub", Value::List(items)) = (entry.key.as_str(), &entry.value.value) {
                            substituted(items.first().and_then(Node::as_text).unwrap_or_default(), names);
                        }
                        references(&entry.value, scope, names);
                    }
                }
            }
        }
        _ => {}
    }
}

fn first(text: &str) -> String {
    text.split('.').next().unwrap_or(text).to_owned()
}

fn substituted(text: &str, names: &mut BTreeSet<String>) {
    for part in sub::parse(text).unwrap_or_default() {
        if let sub::Part::Name(name) = part {
            names.insert(first(name));
        }
    }
}

fn taken<'n>(node: &'n Node, scope: &Scope<'_>) -> Option<&'n Node> {
    let [name, yes, no] = three(node)?;
    let holds = scope.conditions.get(name.as_text()?).copied().flatten()?;
    Some(if holds { yes } else { no })
}

/// Takes out, again and again, whatever needs nothing that is still in; `needs` keeps the rest.
fn sorted(needs: &mut [BTreeSet<usize>]) -> Vec<usize> {
    let mut order = Vec::new();
    let mut done = vec![false; needs.len()];
    loop {
        let ready: Vec<usize> = (0..needs.len()).filter(|&i| !done[i] && needs[i].is_empty()).collect();
        if ready.is_empty() {
            return order;
        }
        for i in ready {
            done[i] = true;
            for need in needs.iter_mut() {
                need.remove(&i);
            }
            order.push(i);
        }
    }
}

/// One circle among what is left: follow any need until a node repeats.
fn circle(left: &[usize], needs: &[BTreeSet<usize>]) -> Vec<usize> {
    let mut path: Vec<usize> = Vec::new();
    let mut next = left.first().copied();
    while let Some(node) = next {
        if let Some(start) = path.iter().position(|&seen| seen == node) {
            return path.split_off(start);
        }
        path.push(node);
        next = needs.get(node).and_then(|need| need.iter().next()).copied();
    }
    Vec::new()
}

fn report(circle: &[usize], resources: &[Resource<'_>], problems: &mut Problems) {
    let Some(first) = circle.first().and_then(|&i| resources.get(i)) else { return };
    let names: Vec<&str> = circle.iter().filter_map(|&i| resources.get(i)).map(|resource| resource.id).collect();
    let message = format!(
        "these resources need one another in a circle: {} → {}; break it, for example by writing a name out \
         (a bucket needs the functions that its objects call by an event of type S3)",
        names.join(" → "),
        first.id
    );
    problems.add(first.line, first.id, "", message);
}

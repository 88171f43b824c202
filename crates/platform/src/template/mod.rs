//! SAM templates into [`Stack`]s.
//!
//! A template is read, its conditions decided, its resources put in an order in which their names are known before
//! they are used, its functions evaluated and its properties read. Nothing is skipped in silence: a type or property
//! that the platform does not know is refused by name, with the line, and all problems are told at once.
//!
//! Deliberately absent: macros and other transforms, nested stacks, `Rules`, and enforcement of `AllowedPattern`.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use crate::{
    config::TemplateSource,
    stack::{self, ACCOUNT, REGION, Stack, http_api_id},
};

mod conditions;
mod document;
mod error;
mod evaluate;
mod event_rules;
mod events;
mod function;
mod globals;
mod graph;
mod http;
mod invoking;
mod kinds;
mod lifecycle;
mod links;
mod mappings;
mod names;
mod notifications;
mod parameters;
mod policies;
mod props;
mod rights;
mod schedules;
mod storage;
mod sub;
mod table;
#[cfg(test)]
mod tests;
mod yaml;

pub use error::{Problem, TemplateError};

use document::{Document, Resource};
use error::Problems;
use evaluate::{Evaluator, Existence, Scope};
use kinds::Kind;
use links::{Links, Place};
use names::Site;
use props::Props;
use yaml::Node;

/// Reads a template and works everything in it out.
///
/// `parameters` overrides the template's defaults; the name `AWS::StackName` in it sets the stack's name (`local`
/// otherwise). `endpoint` is what URLs of queues begin with: `http://127.0.0.1:4566`.
pub fn resolve(source: &TemplateSource, parameters: &BTreeMap<String, String>, endpoint: &str) -> Result<Stack, TemplateError> {
    let mut problems = Problems::default();
    let (label, text, base_dir) = load(source, &mut problems);
    let stack = text.and_then(|text| match yaml::parse(&text) {
        Ok(root) => Some(stack_of(&root, &base_dir, parameters, endpoint, &mut problems)),
        Err(error) => {
            problems.add(error.line, "", "", error.message);
            None
        }
    });
    match stack {
        Some(stack) if problems.is_empty() => Ok(stack),
        _ => Err(problems.into_error(label)),
    }
}

/// What to call the template, its text and its directory.
fn load(source: &TemplateSource, problems: &mut Problems) -> (String, Option<String>, PathBuf) {
    match source {
        TemplateSource::Text { text, base_dir } => ("template".into(), Some(text.clone()), absolute(base_dir)),
        TemplateSource::File(path) => {
            let text = fs::read_to_string(path)
                .map_err(|error| problems.add(0, "", "", format!("it cannot be read: {error}; check the path")))
                .ok();
            let base_dir = absolute(path).parent().map(Path::to_path_buf).unwrap_or_default();
            (path.display().to_string(), text, base_dir)
        }
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

fn stack_of(root: &Node, base_dir: &Path, parameters: &BTreeMap<String, String>, endpoint: &str, problems: &mut Problems) -> Stack {
    let document = Document::read(root, problems);
    let stack_name = parameters::stack_name(parameters, problems);
    let mut scope = Scope { mappings: document.mappings, ..Scope::default() };
    scope.values = parameters::read(document.parameters, parameters, problems);
    scope.values.extend(pseudo_parameters(&stack_name));
    conditions::evaluate(document.conditions, &mut scope, problems);
    let properties = globals::merged(&document);
    let site = Site { endpoint, stack: &stack_name };
    name_all(&document, &properties, &site, &mut scope, problems);
    let mut reader = Reader { document: &document, properties: &properties, scope: &scope, base_dir, site };
    let mut stack = reader.resources(problems);
    stack.outputs = reader.outputs(problems);
    stack
}

fn pseudo_parameters(stack: &str) -> [(String, Node); 6] {
    let id = format!("arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{stack}/{}", uuid::Uuid::nil());
    [
        ("AWS::Region", REGION),
        ("AWS::AccountId", ACCOUNT),
        ("AWS::Partition", "aws"),
        ("AWS::URLSuffix", "amazonaws.com"),
        ("AWS::StackName", stack),
        ("AWS::StackId", id.as_str()),
    ]
    .map(|(name, value)| (name.to_owned(), Node::text(0, value)))
}

/// Works out the names of all resources that their conditions let in.
fn name_all(document: &Document<'_>, properties: &[Option<Node>], site: &Site<'_>, scope: &mut Scope<'_>, problems: &mut Problems) {
    scope.resources_known = true;
    for resource in &document.resources {
        let existence = match resource.condition.map(|(name, line)| (scope.conditions.get(name), name, line)) {
            Some((Some(Some(false)), ..)) => Existence::Absent,
            Some((None, name, line)) => {
                let message = format!("there is no condition `{name}`; add it to Conditions");
                problems.add(line, resource.id, "Condition", message);
                Existence::Live(names::Attributes::default())
            }
            _ => Existence::Live(names::Attributes::default()),
        };
        scope.resources.insert(resource.id.to_owned(), existence);
    }
    for index in graph::order(&document.resources, properties, scope, problems) {
        let Some(resource) = document.resources.get(index) else { continue };
        if matches!(scope.resources.get(resource.id), Some(Existence::Absent)) {
            continue;
        }
        let own = properties.get(index).and_then(Option::as_ref);
        if resource.kind == Kind::Function && own.is_some_and(events::want_an_api) {
            let known = scope.resources.entry(http::IMPLICIT.to_owned());
            known.or_insert_with(|| Existence::Live(names::implicit_http_api(http::IMPLICIT)));
        }
        let mut evaluator = Evaluator::new(scope, problems, resource.id, "Properties");
        let attributes = names::of(resource, own, &mut evaluator, site);
        let role = format!("{}Role", resource.id);
        let implicit = resource.kind == Kind::Function && own.is_none_or(|own| own.get("Role").is_none());
        if let (true, Some(name), false) = (implicit, &attributes.name, scope.resources.contains_key(&role)) {
            let role_attributes = names::implicit_role(name);
            scope.resources.insert(role, Existence::Live(role_attributes));
        }
        scope.resources.insert(resource.id.to_owned(), Existence::Live(attributes));
    }
}

/// Reads the resources of a template whose names are known.
struct Reader<'a> {
    document: &'a Document<'a>,
    properties: &'a [Option<Node>],
    scope: &'a Scope<'a>,
    base_dir: &'a Path,
    site: Site<'a>,
}

/// The function's name in a name or an ARN, which may say `$LATEST`.
fn function_name(text: &str) -> String {
    let name = text.split_once(":function:").map_or(text, |(_, name)| name);
    name.strip_suffix(":$LATEST").unwrap_or(name).to_owned()
}

/// What a name is one of, and the property whose line problems between resources are told with.
fn checked_property(kind: Kind) -> Option<(&'static str, &'static str)> {
    Some(match kind {
        Kind::Queue => ("queue", "VisibilityTimeout"),
        Kind::Bucket => ("bucket", "NotificationConfiguration"),
        Kind::Function => ("function", "Events"),
        Kind::PlainFunction => ("function", "DeadLetterConfig"),
        Kind::Rule => ("rule", "Name"),
        Kind::Table | Kind::SimpleTable => ("table", "TableName"),
        Kind::LogGroup => ("log group", "LogGroupName"),
        Kind::ServerlessLayer | Kind::PlainLayer => ("layer", "LayerName"),
        Kind::HttpApi | Kind::Mapping | Kind::InvokeConfig | Kind::Read | Kind::Noted => return None,
    })
}

/// A resource with its name and its plain properties.
struct Named<'a> {
    resource: &'a Resource<'a>,
    name: String,
    properties: Option<Node>,
}

impl Reader<'_> {
    fn resources(&mut self, problems: &mut Problems) -> Stack {
        let named = self.evaluated(problems);
        let mut stack = Stack::default();
        let mut links = Links::default();
        let layers = self.layers(&named, problems);
        for Named { resource, name, properties } in &named {
            let props = Props::new(resource.id, "Properties", resource.line, properties.as_ref(), problems);
            let name = name.clone();
            if let Some((kind, property)) = checked_property(resource.kind)
                && let Some(Place { resource: first, .. }) = links.lines.insert(format!("{kind} {name}"), props.place(property))
            {
                let message = format!("has the name `{name}`, like {first}; give one of them another");
                problems.add(resource.line, resource.id, "Properties", message);
            }
            match resource.kind {
                Kind::Queue => stack.queues.push(storage::queue(name, props, problems)),
                Kind::Bucket => stack.buckets.push(storage::bucket(name, props, problems)),
                Kind::Table => stack.tables.push(table::table(name, props, problems)),
                Kind::LogGroup => stack.log_groups.push(storage::log_group(name, props, problems)),
                Kind::Function | Kind::PlainFunction => {
                    stack.functions.push(self.function(resource, name, props, &layers, &mut links, problems));
                }
                Kind::InvokeConfig => links.asynchronous.extend(invoking::resource(props, problems)),
                Kind::Mapping => links.mappings.extend(mappings::plain(props, problems)),
                Kind::Rule if props.has("EventPattern") => links.event_rules.extend(event_rules::rule(&name, props, problems)),
                Kind::Rule => links.schedules.extend(schedules::rule(&name, props, problems)),
                Kind::HttpApi => links.apis.push((http_api_id(resource.id), http::api(resource.id, props, problems))),
                Kind::SimpleTable => stack.tables.push(table::simple(name, props, problems)),
                Kind::Noted => stack.noted.push((resource.id.to_owned(), resource.type_name.to_owned())),
                Kind::Read | Kind::ServerlessLayer | Kind::PlainLayer => {}
            }
            stack.policies.extend(policies::of(resource, properties.as_ref()));
        }
        stack.rights = rights::all(&named);
        self.implicit_api(&mut links, problems);
        links.tie(&mut stack, problems);
        stack
    }

    /// The resources that are there, with their properties evaluated.
    fn evaluated(&self, problems: &mut Problems) -> Vec<Named<'_>> {
        let mut named = Vec::new();
        for (resource, properties) in self.document.resources.iter().zip(self.properties) {
            let Some(Existence::Live(attributes)) = self.scope.resources.get(resource.id) else { continue };
            let mut evaluator = Evaluator::new(self.scope, problems, resource.id, "Properties");
            let properties = properties.as_ref().and_then(|node| evaluator.eval(node));
            // A broken name was reported; the properties are still read for their own problems.
            let name = attributes.name.clone().unwrap_or_else(|| resource.id.to_owned());
            named.push(Named { resource, name, properties });
        }
        named
    }

    fn layers(&self, named: &[Named<'_>], problems: &mut Problems) -> BTreeMap<String, Option<PathBuf>> {
        let mut layers = BTreeMap::new();
        for Named { resource, properties, .. } in named {
            let content = match resource.kind {
                Kind::ServerlessLayer => "ContentUri",
                Kind::PlainLayer => "Content",
                _ => continue,
            };
            let props = Props::new(resource.id, "Properties", resource.line, properties.as_ref(), problems);
            let path = function::layer(props, content, self.base_dir, problems);
            if let Some(Existence::Live(attributes)) = self.scope.resources.get(resource.id) {
                layers.extend(attributes.reference.clone().map(|arn| (arn, path)));
            }
        }
        layers
    }

    fn function(
        &self,
        resource: &Resource<'_>,
        name: String,
        mut props: Props<'_>,
        layers: &BTreeMap<String, Option<PathBuf>>,
        links: &mut Links,
        problems: &mut Problems,
    ) -> stack::Function {
        let (base_dir, logical_id, metadata) = (self.base_dir, resource.id, resource.metadata);
        let around = function::Around { base_dir, layers, logical_id, metadata };
        let function = if resource.kind == Kind::PlainFunction {
            function::plain(name, &mut props, &around, problems)
        } else {
            let function = function::serverless(name, &mut props, &around, problems);
            events::read(&mut props, &function.name, self.site.stack, links, problems);
            function
        };
        props.finish(problems);
        function
    }

    /// The API that SAM makes where routes name none.
    fn implicit_api(&self, links: &mut Links, problems: &mut Problems) {
        let reference = http_api_id(http::IMPLICIT);
        let wanted = links.routes.iter().any(|((api, _), _)| *api == reference);
        if !wanted || links.apis.iter().any(|(api, _)| *api == reference) {
            return;
        }
        let mut evaluator = Evaluator::new(self.scope, problems, "Globals", "HttpApi");
        let globals = self.document.globals.http_api.and_then(|node| evaluator.eval(node));
        links.apis.push((reference, http::implicit(globals.as_ref(), problems)));
    }

    fn outputs(&self, problems: &mut Problems) -> BTreeMap<String, String> {
        let mut outputs = BTreeMap::new();
        for entry in self.document.outputs {
            let place = format!("Outputs.{}", entry.key);
            if let Some(name) = entry.value.get("Condition").and_then(Node::as_text) {
                match self.scope.conditions.get(name) {
                    Some(Some(true)) => {}
                    Some(_) => continue,
                    None => {
                        let message = format!("there is no condition `{name}`; add it to Conditions");
                        problems.add(entry.line, &place, "Condition", message);
                    }
                }
            }
            let mut evaluator = Evaluator::new(self.scope, problems, &place, "");
            let value = entry.value.get("Value").and_then(|node| evaluator.eval(node));
            let node = value.map(|value| Node {
                line: entry.line,
                value: yaml::Value::Map(vec![yaml::Entry { key: "Value".into(), line: entry.line, value }]),
            });
            let mut props = Props::new(&place, "", entry.line, node.as_ref(), problems);
            outputs.extend(props.required("Value", problems).map(|text| (entry.key.clone(), text.to_owned())));
        }
        outputs
    }
}

//! Names of resources, and what `Ref` and `Fn::GetAtt` of each are.

use std::collections::BTreeMap;

use super::{
    document::Resource,
    evaluate::Evaluator,
    kinds::Kind,
    yaml::{Node, Value},
};
use crate::stack::{ACCOUNT, REGION, function_arn, http_api_id, policy_arn, queue_arn, role_arn};

/// What can be said about a resource in other places of the template.
#[derive(Debug, Default)]
pub(super) struct Attributes {
    /// None: broken, reported already.
    pub(super) name: Option<String>,
    /// Value of `Ref`.
    pub(super) reference: Option<String>,
    named: BTreeMap<&'static str, String>,
    /// For resources on AWS only: any attribute exists, as a made-up value.
    open: bool,
}

impl Attributes {
    /// Value of `Fn::GetAtt`: none where the resource is broken, or else the attributes that there are.
    pub(super) fn get(&self, attribute: &str) -> Result<Option<String>, String> {
        let Some(name) = &self.name else { return Ok(None) };
        match self.named.get(attribute) {
            Some(value) => Ok(Some(value.clone())),
            None if self.open => Ok(Some(format!("{name}-{attribute}"))),
            None if self.named.is_empty() => Err("none".into()),
            None => Err(self.named.keys().copied().collect::<Vec<_>>().join(", ")),
        }
    }
}

/// Where the stack is.
pub(super) struct Site<'a> {
    /// `http://127.0.0.1:4566`
    pub(super) endpoint: &'a str,
    pub(super) stack: &'a str,
}

/// Works a resource's name and attributes out.
pub(super) fn of(resource: &Resource<'_>, properties: Option<&Node>, at: &mut Evaluator<'_>, site: &Site<'_>) -> Attributes {
    let name = name(resource, properties, at, site);
    let Some(name) = name else { return Attributes { open: true, ..Attributes::default() } };
    let (reference, named) = match resource.kind {
        Kind::Function | Kind::PlainFunction => (name.clone(), vec![("Arn", function_arn(&name))]),
        Kind::Mapping => {
            let id = format!("{name}-mapping");
            let arn = format!("arn:aws:lambda:{REGION}:{ACCOUNT}:event-source-mapping:{id}");
            (id.clone(), vec![("Id", id), ("EventSourceMappingArn", arn)])
        }
        Kind::InvokeConfig => (name.clone(), Vec::new()),
        Kind::Rule => (name.clone(), vec![("Arn", format!("arn:aws:events:{REGION}:{ACCOUNT}:rule/{name}"))]),
        Kind::HttpApi => http_api(resource.id),
        Kind::ServerlessLayer | Kind::PlainLayer => {
            let arn = format!("arn:aws:lambda:{REGION}:{ACCOUNT}:layer:{name}:1");
            (arn.clone(), vec![("LayerVersionArn", arn)])
        }
        Kind::Queue => {
            let url = format!("{}/{ACCOUNT}/{name}", site.endpoint);
            let named = vec![("Arn", queue_arn(&name)), ("QueueName", name.clone()), ("QueueUrl", url.clone())];
            (url, named)
        }
        Kind::Table | Kind::SimpleTable => (name.clone(), vec![("Arn", format!("arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{name}"))]),
        Kind::Bucket => {
            let named = vec![
                ("Arn", format!("arn:aws:s3:::{name}")),
                ("DomainName", format!("{name}.s3.amazonaws.com")),
                ("RegionalDomainName", format!("{name}.s3.{REGION}.amazonaws.com")),
            ];
            (name.clone(), named)
        }
        Kind::LogGroup => (name.clone(), vec![("Arn", format!("arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{name}:*"))]),
        Kind::Read | Kind::Noted => elsewhere(resource.type_name, &name),
    };
    let open = matches!(resource.kind, Kind::Read | Kind::Noted);
    Attributes { reference: Some(reference), named: named.into_iter().collect(), open, name: Some(name) }
}

/// `Ref` and attributes of an HTTP API, which needs no properties for them: also of the one that SAM makes by itself. The
/// endpoint is that of AWS; where the platform serves it is known only when it runs.
fn http_api(logical_id: &str) -> (String, Vec<(&'static str, String)>) {
    let id = http_api_id(logical_id);
    let endpoint = format!("https://{id}.execute-api.{REGION}.amazonaws.com");
    (id.clone(), vec![("ApiId", id), ("ApiEndpoint", endpoint)])
}

/// The attributes of the HTTP API that SAM makes for events that name none.
pub(super) fn implicit_http_api(logical_id: &str) -> Attributes {
    let (reference, named) = http_api(logical_id);
    Attributes { reference: Some(reference), named: named.into_iter().collect(), open: false, name: Some(logical_id.to_owned()) }
}

/// `Ref` and `Arn` of what exists on AWS only: well-formed, and nobody answers there.
fn elsewhere(type_name: &str, name: &str) -> (String, Vec<(&'static str, String)>) {
    let arn = match type_name {
        "AWS::IAM::Role" => role_arn(name),
        "AWS::IAM::ManagedPolicy" => policy_arn(name),
        "AWS::SNS::Topic" => format!("arn:aws:sns:{REGION}:{ACCOUNT}:{name}"),
        "AWS::KMS::Key" => format!("arn:aws:kms:{REGION}:{ACCOUNT}:key/{name}"),
        "AWS::CloudWatch::Alarm" => format!("arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:{name}"),
        other => {
            let service = other.split("::").nth(1).unwrap_or("aws").to_lowercase();
            format!("arn:aws:{service}:{REGION}:{ACCOUNT}:{name}")
        }
    };
    let by_arn = matches!(type_name, "AWS::SNS::Topic" | "AWS::IAM::ManagedPolicy");
    (if by_arn { arn.clone() } else { name.to_owned() }, vec![("Arn", arn)])
}

pub(super) fn implicit_role_name(function: &str) -> String {
    format!("{function}Role")
}

/// The attributes of the role that SAM makes for a function without one.
pub(super) fn implicit_role(function: &str) -> Attributes {
    let name = implicit_role_name(function);
    let arn = role_arn(&name);
    Attributes { reference: Some(name.clone()), named: [("Arn", arn)].into_iter().collect(), open: false, name: Some(name) }
}

fn property(resource: &Resource<'_>) -> String {
    match resource.kind {
        Kind::ServerlessLayer | Kind::PlainLayer => "LayerName".into(),
        Kind::Rule | Kind::HttpApi => "Name".into(),
        Kind::SimpleTable => "TableName".into(),
        _ => format!("{}Name", resource.type_name.rsplit("::").next().unwrap_or_default()),
    }
}

/// The name given, or `<stack>-<logical id>`.
fn name(resource: &Resource<'_>, properties: Option<&Node>, at: &mut Evaluator<'_>, site: &Site<'_>) -> Option<String> {
    let property = property(resource);
    let given = properties.and_then(|properties| properties.get(&property));
    let evaluated = given.and_then(|node| at.eval_at(&property, node));
    let line = evaluated.as_ref().map_or(resource.line, |node| node.line);
    let name = match evaluated.map(|node| node.value) {
        None if resource.kind == Kind::Bucket => format!("{}-{}", site.stack, resource.id).to_lowercase(),
        None if is_fifo(resource, properties, at) => format!("{}-{}.fifo", site.stack, resource.id),
        None => format!("{}-{}", site.stack, resource.id),
        Some(Value::Text(name)) => name,
        Some(Value::Bad) => return None,
        Some(_) => {
            at.fail(line, format!("{property} must be a text"));
            return None;
        }
    };
    let fifo = name.strip_suffix(".fifo").filter(|_| resource.kind == Kind::Queue);
    if fifo.is_some() != is_fifo(resource, properties, at) {
        at.fail(line, "a queue's name ends in `.fifo` exactly if it has FifoQueue: true; change one of them");
        return None;
    }
    match check(resource.kind, fifo.unwrap_or(&name)) {
        Ok(()) => Some(name),
        Err(rule) => {
            at.fail(line, format!("`{name}` cannot be its {property}: {rule}"));
            None
        }
    }
}

/// Whether it is a queue with `FifoQueue: true`.
fn is_fifo(resource: &Resource<'_>, properties: Option<&Node>, at: &mut Evaluator<'_>) -> bool {
    let given = properties.and_then(|properties| properties.get("FifoQueue")).filter(|_| resource.kind == Kind::Queue);
    let value = given.and_then(|node| at.eval_at("FifoQueue", node));
    value.is_some_and(|node| node.as_text().is_some_and(|text| text.eq_ignore_ascii_case("true")))
}

/// AWS's rules for names.
fn check(kind: Kind, name: &str) -> Result<(), &'static str> {
    let (least, most, extra, rule) = match kind {
        Kind::Function | Kind::PlainFunction => (1, 64, "-_", "use 1 to 64 letters, digits, `-` and `_`"),
        Kind::ServerlessLayer | Kind::PlainLayer => (1, 140, "-_", "use 1 to 140 letters, digits, `-` and `_`"),
        Kind::Queue => (1, 80, "-_", "use 1 to 80 letters, digits, `-` and `_`"),
        Kind::Table | Kind::SimpleTable => (3, 255, "-_.", "use 3 to 255 letters, digits, `-`, `_` and `.`"),
        Kind::Bucket => (3, 63, "-.", "use 3 to 63 lower-case letters, digits, `-` and `.`, a letter or digit at each end"),
        Kind::LogGroup => (1, 512, "-_./#", "use 1 to 512 letters, digits, `-`, `_`, `.`, `/` and `#`"),
        Kind::Rule => (1, 64, "-_.", "use 1 to 64 letters, digits, `-`, `_` and `.`"),
        Kind::HttpApi | Kind::Mapping | Kind::InvokeConfig | Kind::Read | Kind::Noted => return Ok(()),
    };
    let edges = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let fits = (least..=most).contains(&name.len())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || extra.contains(c))
        && (kind != Kind::Bucket
            || (edges(name.chars().next())
                && edges(name.chars().last())
                && !name.contains("..")
                && !name.contains(|c: char| c.is_ascii_uppercase())));
    if fits { Ok(()) } else { Err(rule) }
}

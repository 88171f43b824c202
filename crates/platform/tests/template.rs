//! The template reader against the SAM transform itself.
//!
//! Each template is read twice: as it stands, by the platform; and by AWS's own transform, whose plain result the platform
//! reads again. Both must be the same stack. HTTP APIs have no plain form here, so their routes, CORS and stage are read from
//! the `OpenAPI` document that the transform makes. What the two readings share (defaults of plain resources, the functions of
//! `CloudFormation`) is not judged here: the unit tests of the reader do that.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use platform::{
    TemplateSource,
    stack::{HttpApi, HttpCors, Route, Stack},
    template::resolve,
};
use serde_json::{Map, Value, json};

const ENDPOINT: &str = "http://127.0.0.1:4566";

/// What was compared: lines of text by kind.
type Facts = BTreeMap<&'static str, BTreeSet<String>>;

#[test]
fn the_reader_and_the_sam_transform_make_the_same_stacks() {
    let (mut differences, mut counts) = (Vec::new(), BTreeMap::<&str, usize>::new());
    let templates = templates();
    let translated = translated(&templates);
    assert!(templates.len() >= 12, "{} templates", templates.len());
    for path in &templates {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let theirs = translated.get(&name).unwrap();
        match (stack(std::fs::read_to_string(path).unwrap()), stack(without_apis(theirs).to_string())) {
            (Ok(ours), Ok(plain)) => {
                let mut expected = facts(&plain);
                expected.insert("http api", http_apis(theirs, &ours).iter().map(line).collect());
                let found = Facts::from([("http api", ours.http_apis.iter().cloned().map(sorted).map(|api| line(&api)).collect())]);
                let found: Facts = facts(&ours).into_iter().chain(found).collect();
                differences.extend(compared(&name, &found, &expected));
                differences.extend(counted(&name, theirs, &found));
                for (kind, lines) in &found {
                    *counts.entry(kind).or_default() += lines.len();
                }
            }
            (ours, plain) => {
                differences.extend(
                    [("as it stands", ours.err()), ("as translated", plain.err())]
                        .into_iter()
                        .filter_map(|(how, error)| error.map(|error| format!("{name}, {how}: {error}"))),
                );
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert!(counts.values().all(|count| *count > 0) && counts.values().sum::<usize>() >= 60, "too little was compared: {counts:?}");
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn templates() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/templates");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// What the transform makes of the templates, by file name.
fn translated(paths: &[PathBuf]) -> Map<String, Value> {
    let python = root().join(".tools/python");
    assert!(python.join("samtranslator").is_dir(), "the transform is not installed: run `make tools`");
    let output = Command::new("python3")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/translate.py"))
        .args(paths)
        .env("PYTHONPATH", &python)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn stack(text: String) -> Result<Stack, platform::template::TemplateError> {
    let base_dir = PathBuf::from("/project");
    resolve(&TemplateSource::Text { text, base_dir }, &BTreeMap::new(), ENDPOINT)
}

/// A translated template without its HTTP APIs and what names them, and with code in local folders again.
fn without_apis(template: &Value) -> Value {
    let mut template = template.clone();
    let is_api = |resource: &Value| {
        resource["Type"].as_str().unwrap().starts_with("AWS::ApiGatewayV2::")
            || resource["Properties"]["Principal"] == "apigateway.amazonaws.com"
    };
    let resources = template["Resources"].as_object_mut().unwrap();
    let gone: Vec<String> = resources.iter().filter(|(_, resource)| is_api(resource)).map(|(id, _)| id.clone()).collect();
    resources.retain(|id, _| !gone.contains(id));
    for resource in resources.values_mut() {
        for key in ["Code", "Content"] {
            if let Some(folder) = resource["Properties"].get(key).map(|code| code["S3Key"].clone()) {
                resource["Properties"][key] = folder;
            }
        }
    }
    if let Some(outputs) = template.get_mut("Outputs").and_then(Value::as_object_mut) {
        outputs.retain(|_, output| gone.iter().all(|id| !output["Value"].to_string().contains(id)));
    }
    template
}

fn line(value: &impl Debug) -> String {
    format!("{value:?}")
}

fn lines<T: Debug>(values: &[T]) -> BTreeSet<String> {
    let lines: BTreeSet<String> = values.iter().map(line).collect();
    assert_eq!(lines.len(), values.len(), "two are the same: {values:?}");
    lines
}

/// Everything of a stack but its HTTP APIs, policies (the transform makes some of its own) and outputs.
fn facts(stack: &Stack) -> Facts {
    let mut buckets = stack.buckets.clone();
    for bucket in &mut buckets {
        bucket.notifications.sort_by_key(line);
    }
    Facts::from([
        ("bucket", lines(&buckets)),
        ("queue", lines(&stack.queues)),
        ("table", lines(&stack.tables)),
        ("function", lines(&stack.functions)),
        ("mapping", lines(&stack.mappings)),
        ("schedule", lines(&stack.schedules)),
        ("log group", lines(&stack.log_groups)),
    ])
}

fn compared(name: &str, found: &Facts, expected: &Facts) -> Vec<String> {
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    let mut differences = Vec::new();
    for (kind, expected) in expected {
        let found = &found[kind];
        differences.extend(found.difference(expected).map(|line| format!("{name}: {kind} of the reader only:    {line}")));
        differences.extend(expected.difference(found).map(|line| format!("{name}: {kind} of the transform only: {line}")));
    }
    differences
}

/// How many of each kind there are, counted in the translated JSON by hand; with conditions, at most so many.
fn counted(name: &str, translated: &Value, found: &Facts) -> Vec<String> {
    let conditional = translated.get("Conditions").is_some();
    let kinds = [
        ("bucket", "AWS::S3::Bucket"),
        ("queue", "AWS::SQS::Queue"),
        ("table", "AWS::DynamoDB::Table"),
        ("function", "AWS::Lambda::Function"),
        ("mapping", "AWS::Lambda::EventSourceMapping"),
        ("schedule", "AWS::Events::Rule"),
        ("log group", "AWS::Logs::LogGroup"),
        ("http api", "AWS::ApiGatewayV2::Api"),
    ];
    let resources = translated["Resources"].as_object().unwrap();
    let mut differences = Vec::new();
    for (kind, type_name) in kinds {
        let (made, read) = (resources.values().filter(|resource| resource["Type"] == type_name).count(), found[kind].len());
        if read > made || (read < made && !conditional) {
            differences.push(format!("{name}: the transform makes {made} of {type_name}, the reader {read}"));
        }
    }
    differences
}

fn sorted(mut api: HttpApi) -> HttpApi {
    api.routes.sort_by_key(line);
    api
}

/// The HTTP APIs of a translated template, from the `OpenAPI` documents and the stages in it.
fn http_apis(template: &Value, ours: &Stack) -> Vec<HttpApi> {
    let resources = template["Resources"].as_object().unwrap();
    let of_type = |name: &'static str| resources.iter().filter(move |(_, resource)| resource["Type"] == name);
    let stages: Vec<&Value> = of_type("AWS::ApiGatewayV2::Stage").map(|(_, stage)| &stage["Properties"]).collect();
    let apis = of_type("AWS::ApiGatewayV2::Api").map(|(id, api)| {
        let body = &api["Properties"]["Body"];
        let own: Vec<&&Value> = stages.iter().filter(|stage| stage["ApiId"]["Ref"] == id.as_str()).collect();
        let [stage] = own.as_slice() else { panic!("{id} has {} stages", own.len()) };
        let variables = stage["StageVariables"].as_object().cloned().unwrap_or_default();
        sorted(HttpApi {
            logical_id: id.clone(),
            routes: body["paths"].as_object().unwrap().iter().flat_map(|(path, methods)| routes(path, methods, ours)).collect(),
            cors: body.get("x-amazon-apigateway-cors").map(cors),
            stage: text(&stage["StageName"], template),
            stage_variables: variables.iter().map(|(key, value)| (key.clone(), text(value, template))).collect(),
        })
    });
    apis.collect()
}

/// A text, or the default of the parameter that it is.
fn text(value: &Value, template: &Value) -> String {
    match value["Ref"].as_str() {
        Some(parameter) => template["Parameters"][parameter]["Default"].as_str().unwrap().to_owned(),
        None => value.as_str().unwrap().to_owned(),
    }
}

fn routes(path: &str, methods: &Value, ours: &Stack) -> Vec<Route> {
    let route = |(method, operation): (&String, &Value)| {
        let integration = &operation["x-amazon-apigateway-integration"];
        assert_eq!(integration["payloadFormatVersion"], json!("2.0"));
        assert_eq!(operation["isDefaultRoute"] == json!(true), path == "$default");
        let uri = integration["uri"]["Fn::Sub"].as_str().unwrap();
        let (_, rest) = uri.split_once("functions/${").unwrap();
        let id = rest.strip_suffix(".Arn}/invocations").unwrap();
        let function = ours.functions.iter().find(|function| function.logical_id == id).unwrap();
        Route {
            method: (method != "x-amazon-apigateway-any-method").then(|| method.to_ascii_uppercase()),
            path: path.to_owned(),
            function: function.name.clone(),
            // The default of API Gateway.
            timeout: Duration::from_millis(integration["timeoutInMillis"].as_u64().unwrap_or(30_000)),
        }
    };
    methods.as_object().unwrap().iter().map(route).collect()
}

fn cors(value: &Value) -> HttpCors {
    let known = ["allowOrigins", "allowMethods", "allowHeaders", "exposeHeaders", "maxAge", "allowCredentials"];
    assert!(value.as_object().unwrap().keys().all(|key| known.contains(&key.as_str())), "{value}");
    let list = |key: &str| serde_json::from_value::<Option<Vec<String>>>(value[key].clone()).unwrap().unwrap_or_default();
    HttpCors {
        origins: list("allowOrigins"),
        methods: list("allowMethods"),
        headers: list("allowHeaders"),
        expose_headers: list("exposeHeaders"),
        max_age_seconds: value["maxAge"].as_u64().map(|seconds| seconds.try_into().unwrap()),
        allow_credentials: value["allowCredentials"].as_bool().unwrap_or(false),
    }
}

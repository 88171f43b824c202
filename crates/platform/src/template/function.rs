//! Functions and layers.

use std::{
    collections::BTreeMap,
    path::{Component, Path, PathBuf},
    time::Duration,
};

use super::{
    error::Problems,
    invoking,
    props::Props,
    yaml::{Node, Value},
};
use crate::stack::{Asynchronous, Function, LogFormat};

/// Properties of a function that exist on AWS and change nothing on one machine.
const WITHOUT_EFFECT: [&str; 18] = [
    "FunctionName",
    "Architectures",
    "AssumeRolePolicyDocument",
    "CodeSigningConfigArn",
    "Description",
    "KmsKeyArn",
    "PermissionsBoundary",
    "Policies",
    "PropagateTags",
    "RecursiveLoop",
    "PublishToLatestPublished",
    "Role",
    "RolePath",
    "RuntimeManagementConfig",
    "Tags",
    "Tracing",
    "VersionDescription",
    "VpcConfig",
];

/// Properties that the platform cannot honour yet.
const UNSUPPORTED: [&str; 12] = [
    "AutoPublishAlias",
    "CapacityProviderConfig",
    "DeploymentPreference",
    "DurableConfig",
    "FileSystemConfigs",
    "FunctionUrlConfig",
    "ImageConfig",
    "ImageUri",
    "InlineCode",
    "ProvisionedConcurrencyConfig",
    "SnapStart",
    "TenancyConfig",
];

/// The same of `AWS::Lambda::Function`.
const PLAIN_WITHOUT_EFFECT: [&str; 11] = [
    "FunctionName",
    "Architectures",
    "CodeSigningConfigArn",
    "Description",
    "KmsKeyArn",
    "PublishToLatestPublished",
    "RecursiveLoop",
    "RuntimeManagementConfig",
    "Tags",
    "TracingConfig",
    "VpcConfig",
];
const PLAIN_UNSUPPORTED: [&str; 6] =
    ["CapacityProviderConfig", "DurableConfig", "FileSystemConfigs", "ImageConfig", "SnapStart", "TenancyConfig"];

/// Environment variables that Lambda sets and refuses from a template.
const RESERVED: [&str; 13] = [
    "_HANDLER",
    "_X_AMZN_TRACE_ID",
    "AWS_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_DEFAULT_REGION",
    "AWS_EXECUTION_ENV",
    "AWS_REGION",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SECRET_KEY",
    "AWS_SESSION_TOKEN",
    "LAMBDA_RUNTIME_DIR",
    "LAMBDA_TASK_ROOT",
    "TZ",
];
/// All variables of one function together, bytes.
const MAX_ENVIRONMENT: usize = 4_096;
const MAX_LAYERS: usize = 5;

/// What a function's properties are read against.
pub(super) struct Around<'a> {
    /// Directory of the template, absolute.
    pub(super) base_dir: &'a Path,
    /// Content directories by layer ARN; none for a broken layer.
    pub(super) layers: &'a BTreeMap<String, Option<PathBuf>>,
    pub(super) logical_id: &'a str,
    pub(super) metadata: Option<&'a Node>,
}

/// `AWS::Serverless::Function`: everything but the events.
pub(super) fn serverless(name: String, props: &mut Props<'_>, around: &Around<'_>, problems: &mut Problems) -> Function {
    props.without_effect(&WITHOUT_EFFECT);
    props.unsupported(&UNSUPPORTED, problems);
    let asynchronous = invoking::of_serverless(props, problems);
    Function { asynchronous, ..function(name, "CodeUri", props, around, problems) }
}

/// `AWS::Lambda::Function`, whose `Code` is a local directory, as before `aws cloudformation package`.
pub(super) fn plain(name: String, props: &mut Props<'_>, around: &Around<'_>, problems: &mut Problems) -> Function {
    props.without_effect(&PLAIN_WITHOUT_EFFECT);
    props.unsupported(&PLAIN_UNSUPPORTED, problems);
    props.required("Role", problems);
    let asynchronous = invoking::of_plain(props, problems);
    Function { asynchronous, ..function(name, "Code", props, around, problems) }
}

/// What both kinds have; `code` names the property of the code's directory.
fn function(name: String, code: &'static str, props: &mut Props<'_>, around: &Around<'_>, problems: &mut Problems) -> Function {
    props.only("PackageType", &["Zip"], problems);
    props.required("Handler", problems);
    runtime(props, problems);
    let code = directory(props, code, problems).unwrap_or_default();
    let mut ephemeral_mb = 512;
    if let Some(mut storage) = props.map("EphemeralStorage", problems) {
        ephemeral_mb = storage.number("Size", 512..=10_240, problems).unwrap_or(ephemeral_mb);
        storage.finish(problems);
    }
    let code_dir = against(around.base_dir, &code);
    let logging = logging(props, problems);
    Function {
        asynchronous: Asynchronous::default(),
        logical_id: around.logical_id.to_owned(),
        binary: binary(around.metadata, &code_dir),
        code_dir,
        memory_mb: props.number("MemorySize", 128..=10_240, problems).unwrap_or(128),
        timeout: props.seconds("Timeout", 1..=900, problems).unwrap_or(Duration::from_secs(3)),
        ephemeral_mb,
        environment: environment(props, problems),
        layers: layers(props, around, problems),
        reserved_concurrency: props.number("ReservedConcurrentExecutions", 0..=100_000, problems),
        log_group: logging.0.unwrap_or_else(|| format!("/aws/lambda/{name}")),
        log_format: logging.1,
        name,
    }
}

fn runtime(props: &mut Props<'_>, problems: &mut Problems) {
    if let Some(runtime) = props.required("Runtime", problems).filter(|runtime| !runtime.starts_with("provided")) {
        let message = format!("`{runtime}` is not supported by the platform; it runs provided.al2023 (a `bootstrap` program)");
        props.fail(problems, props.line_of("Runtime"), "Runtime", message);
    }
}

/// `Metadata.BuildProperties.Binary`, or else the last component of the code's directory.
fn binary(metadata: Option<&Node>, code_dir: &Path) -> String {
    let named = metadata.and_then(|metadata| metadata.get("BuildProperties")).and_then(|build| build.get("Binary"));
    let folder = || code_dir.file_name().map(|name| name.to_string_lossy().into_owned());
    named.and_then(Node::as_text).map(str::to_owned).or_else(folder).unwrap_or_else(|| "bootstrap".into())
}

fn environment(props: &mut Props<'_>, problems: &mut Problems) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    let Some(mut environment) = props.map("Environment", problems) else { return variables };
    if let Some(mut map) = environment.map("Variables", problems) {
        for entry in map.entries() {
            let Some(value) = map.text(&entry.key, problems) else { continue };
            if let Err(message) = variable(&entry.key) {
                map.fail(problems, entry.line, &entry.key, message);
            }
            variables.insert(entry.key.clone(), value.to_owned());
        }
        let bytes: usize = variables.iter().map(|(key, value)| key.len() + value.len()).sum();
        if bytes > MAX_ENVIRONMENT {
            let message = format!("{bytes} bytes of variables; Lambda takes {MAX_ENVIRONMENT}");
            environment.fail(problems, map.line, "Variables", message);
        }
    }
    environment.finish(problems);
    variables
}

fn variable(name: &str) -> Result<(), &'static str> {
    if RESERVED.contains(&name) || name.starts_with("AWS_LAMBDA_") {
        return Err("is set by Lambda itself, which refuses it here; rename the variable");
    }
    let valid = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.len() >= 2
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if valid { Ok(()) } else { Err("is no name of a variable; use a letter, then letters, digits and `_`") }
}

fn layers(props: &mut Props<'_>, around: &Around<'_>, problems: &mut Problems) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let arns = props.texts("Layers", problems);
    if arns.len() > MAX_LAYERS {
        let message = format!("{} layers; Lambda takes {MAX_LAYERS}", arns.len());
        props.fail(problems, props.line_of("Layers"), "Layers", message);
    }
    for (arn, line) in arns {
        let Some(directory) = around.layers.get(arn) else {
            let message = format!("`{arn}` is no layer of this template; name one with Ref");
            props.fail(problems, line, "Layers", message);
            continue;
        };
        if directory.as_ref().is_some_and(|directory| directory.join("extensions").is_dir()) {
            let message =
                format!("`{arn}` holds external extensions, which the platform does not start; leave `extensions/` out of it here");
            props.fail(problems, line, "Layers", message);
        }
        found.extend(directory.clone());
    }
    found
}

fn logging(props: &mut Props<'_>, problems: &mut Problems) -> (Option<String>, LogFormat) {
    let Some(mut config) = props.map("LoggingConfig", problems) else { return (None, LogFormat::Text) };
    let group = config.text("LogGroup", problems).map(str::to_owned);
    let level = config.only("ApplicationLogLevel", &["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"], problems);
    config.only("SystemLogLevel", &["DEBUG", "INFO", "WARN"], problems);
    let format = if config.only("LogFormat", &["Text", "JSON"], problems) == Some("JSON") {
        LogFormat::Json { level: level.unwrap_or("INFO").to_owned() }
    } else {
        for key in ["ApplicationLogLevel", "SystemLogLevel"] {
            if config.has(key) {
                config.fail(problems, config.line_of(key), key, "levels go with LogFormat: JSON only; set that, or leave this out");
            }
        }
        LogFormat::Text
    };
    config.finish(problems);
    (group, format)
}

/// Content directory of a layer, absolute.
pub(super) fn layer(mut props: Props<'_>, content: &'static str, base_dir: &Path, problems: &mut Problems) -> Option<PathBuf> {
    props.without_effect(&[
        "LayerName",
        "Description",
        "CompatibleArchitectures",
        "CompatibleRuntimes",
        "LicenseInfo",
        "PublishLambdaVersion",
        "RetentionPolicy",
    ]);
    let path = directory(&mut props, content, problems);
    props.finish(problems);
    path.map(|path| against(base_dir, &path))
}

/// A path of the template as an absolute one, without `.` in it.
fn against(base_dir: &Path, path: &str) -> PathBuf {
    base_dir.join(path).components().filter(|part| *part != Component::CurDir).collect()
}

/// A layer's directory as written in the template; for archives there is a problem instead.
pub(super) fn directory(props: &mut Props<'_>, key: &'static str, problems: &mut Problems) -> Option<String> {
    let line = props.line_of(key);
    if !props.has(key) {
        props.fail(problems, line, key, "is missing; give a directory relative to the template");
    }
    match props.node(key)? {
        Node { value: Value::Text(path), .. } if !archive(path) => Some(path.clone()),
        _ => {
            props.fail(problems, line, key, "must be a local directory; archives and S3 objects are not supported by the platform");
            None
        }
    }
}

fn archive(path: &str) -> bool {
    let extension = std::path::Path::new(path).extension().and_then(|extension| extension.to_str());
    path.contains("://") || extension.is_some_and(|e| e.eq_ignore_ascii_case("zip") || e.eq_ignore_ascii_case("jar"))
}

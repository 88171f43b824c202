//! `AWS::DynamoDB::Table`: into the `CreateTable` request that makes it.

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json, json};

use super::{error::Problems, props::Props};
use crate::stack::Table;

pub(super) fn table(name: String, mut props: Props<'_>, problems: &mut Problems) -> Table {
    props.without_effect(&[
        "TableName",
        "SSESpecification",
        "PointInTimeRecoverySpecification",
        "ContributorInsightsSpecification",
        "DeletionProtectionEnabled",
        "OnDemandThroughput",
        "TableClass",
        "Tags",
        "WarmThroughput",
    ]);
    props.unsupported(&["StreamSpecification", "KinesisStreamSpecification", "ImportSourceSpecification", "ResourcePolicy"], problems);
    let mut body = Map::new();
    body.insert("TableName".into(), json!(name));
    let defined = definitions(&mut props, &mut body, problems);
    let mut used = BTreeSet::new();
    keys(&mut props, &mut body, &mut used, problems);
    billing(&mut props, &mut body, problems);
    indexes("GlobalSecondaryIndexes", &mut props, &mut body, &mut used, problems);
    indexes("LocalSecondaryIndexes", &mut props, &mut body, &mut used, problems);
    if defined != used && !defined.is_empty() && !used.is_empty() {
        let odd: Vec<&str> = defined.symmetric_difference(&used).map(String::as_str).collect();
        let message = format!("must define the key attributes of table and indexes and no others; look at: {}", odd.join(", "));
        props.fail(problems, props.line_of("AttributeDefinitions"), "AttributeDefinitions", message);
    }
    let ttl_attribute = time_to_live(&mut props, problems);
    props.finish(problems);
    Table { name, create_table: Json::Object(body), ttl_attribute }
}

/// `AWS::Serverless::SimpleTable`: one key, paid by request unless throughput is given.
pub(super) fn simple(name: String, mut props: Props<'_>, problems: &mut Problems) -> Table {
    props.without_effect(&["TableName", "SSESpecification", "PointInTimeRecoverySpecification", "Tags"]);
    let (mut key, mut kind) = ("id", "S");
    if let Some(mut primary) = props.map("PrimaryKey", problems) {
        key = primary.text("Name", problems).unwrap_or(key);
        kind = match primary.only("Type", &["String", "Number", "Binary"], problems) {
            Some("Number") => "N",
            Some("Binary") => "B",
            _ => "S",
        };
        primary.finish(problems);
    }
    let mut body = Map::new();
    body.insert("TableName".into(), json!(name));
    body.insert("AttributeDefinitions".into(), json!([{ "AttributeName": key, "AttributeType": kind }]));
    body.insert("KeySchema".into(), json!([{ "AttributeName": key, "KeyType": "HASH" }]));
    let mode = if props.has("ProvisionedThroughput") { "PROVISIONED" } else { "PAY_PER_REQUEST" };
    body.insert("BillingMode".into(), json!(mode));
    throughput(&mut props, &mut body, problems);
    props.finish(problems);
    Table { name, create_table: Json::Object(body), ttl_attribute: None }
}

fn definitions(props: &mut Props<'_>, body: &mut Map<String, Json>, problems: &mut Problems) -> BTreeSet<String> {
    let (mut names, mut list) = (BTreeSet::new(), Vec::new());
    for mut definition in props.maps("AttributeDefinitions", problems) {
        let name = definition.required("AttributeName", problems);
        definition.required("AttributeType", problems);
        let kind = definition.only("AttributeType", &["S", "N", "B"], problems);
        if let (Some(name), Some(kind)) = (name, kind) {
            names.insert(name.to_owned());
            list.push(json!({ "AttributeName": name, "AttributeType": kind }));
        }
        definition.finish(problems);
    }
    body.insert("AttributeDefinitions".into(), Json::Array(list));
    names
}

/// `KeySchema`: the partition key first, then at most one sort key.
fn keys(props: &mut Props<'_>, body: &mut Map<String, Json>, used: &mut BTreeSet<String>, problems: &mut Problems) {
    let (mut list, mut kinds) = (Vec::new(), Vec::new());
    for mut key in props.maps("KeySchema", problems) {
        let name = key.required("AttributeName", problems);
        let kind = key.required("KeyType", problems);
        if let (Some(name), Some(kind)) = (name, kind) {
            used.insert(name.to_owned());
            kinds.push(kind);
            list.push(json!({ "AttributeName": name, "KeyType": kind }));
        }
        key.finish(problems);
    }
    if !matches!(kinds.as_slice(), ["HASH"] | ["HASH", "RANGE"]) {
        let message = "must be one HASH key, or a HASH key and then a RANGE key";
        props.fail(problems, props.line_of("KeySchema"), "KeySchema", message);
    }
    body.insert("KeySchema".into(), Json::Array(list));
}

fn billing(props: &mut Props<'_>, body: &mut Map<String, Json>, problems: &mut Problems) {
    let mode = props.only("BillingMode", &["PROVISIONED", "PAY_PER_REQUEST"], problems).unwrap_or("PROVISIONED");
    body.insert("BillingMode".into(), json!(mode));
    throughput(props, body, problems);
    if mode == "PROVISIONED" && !props.has("ProvisionedThroughput") {
        let message = "is missing, and BillingMode is PROVISIONED; set it, or BillingMode: PAY_PER_REQUEST";
        props.fail(problems, props.line, "ProvisionedThroughput", message);
    }
}

fn throughput(props: &mut Props<'_>, body: &mut Map<String, Json>, problems: &mut Problems) {
    let Some(mut units) = props.map("ProvisionedThroughput", problems) else { return };
    let read = units.number("ReadCapacityUnits", 1..=u32::MAX, problems).unwrap_or(1);
    let write = units.number("WriteCapacityUnits", 1..=u32::MAX, problems).unwrap_or(1);
    units.finish(problems);
    body.insert("ProvisionedThroughput".into(), json!({ "ReadCapacityUnits": read, "WriteCapacityUnits": write }));
}

fn indexes(kind: &'static str, props: &mut Props<'_>, body: &mut Map<String, Json>, used: &mut BTreeSet<String>, problems: &mut Problems) {
    let mut list = Vec::new();
    for mut index in props.maps(kind, problems) {
        index.without_effect(&["ContributorInsightsSpecification", "OnDemandThroughput", "WarmThroughput"]);
        let mut entry = Map::new();
        if let Some(name) = index.required("IndexName", problems) {
            entry.insert("IndexName".into(), json!(name));
        }
        keys(&mut index, &mut entry, used, problems);
        if let Some(projection) = projection(&mut index, problems) {
            entry.insert("Projection".into(), projection);
        }
        throughput(&mut index, &mut entry, problems);
        index.finish(problems);
        list.push(Json::Object(entry));
    }
    if !list.is_empty() {
        body.insert(kind.into(), Json::Array(list));
    }
}

fn projection(index: &mut Props<'_>, problems: &mut Problems) -> Option<Json> {
    if !index.has("Projection") {
        index.fail(problems, index.line, "Projection", "is missing; set ProjectionType: ALL, KEYS_ONLY or INCLUDE");
    }
    let mut projection = index.map("Projection", problems)?;
    let kind = projection.only("ProjectionType", &["ALL", "KEYS_ONLY", "INCLUDE"], problems);
    let attributes: Vec<&str> = projection.texts("NonKeyAttributes", problems).into_iter().map(|(name, _)| name).collect();
    projection.finish(problems);
    let mut json = json!({ "ProjectionType": kind? });
    if let (false, Some(json)) = (attributes.is_empty(), json.as_object_mut()) {
        json.insert("NonKeyAttributes".into(), json!(attributes));
    }
    Some(json)
}

fn time_to_live(props: &mut Props<'_>, problems: &mut Problems) -> Option<String> {
    let mut ttl = props.map("TimeToLiveSpecification", problems)?;
    ttl.required("Enabled", problems);
    let enabled = ttl.flag("Enabled", problems) == Some(true);
    let name = ttl.text("AttributeName", problems).map(str::to_owned);
    if enabled && name.is_none() {
        ttl.fail(problems, ttl.line, "AttributeName", "is missing; name the attribute that holds the time in seconds");
    }
    ttl.finish(problems);
    name.filter(|_| enabled)
}

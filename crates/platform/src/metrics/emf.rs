//! CloudWatch's Embedded Metric Format: metrics in a log line (CloudWatch user guide, "Specification: Embedded metric
//! format").

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Labels, Observation};

/// Values that one metric of a line may have; more are not read (the same page).
const MAX_VALUES: usize = 100;
/// Metrics that one directive may have.
const MAX_METRICS: usize = 100;

/// One observation that a line tells.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Told {
    pub(super) name: String,
    pub(super) labels: Labels,
    pub(super) observation: Observation,
}

#[derive(Debug, Deserialize)]
struct Head {
    #[serde(rename = "CloudWatchMetrics")]
    directives: Vec<Directive>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Directive {
    namespace: String,
    dimensions: Vec<Vec<String>>,
    metrics: Vec<Definition>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Definition {
    name: String,
    #[serde(default)]
    unit: String,
}

/// What the line tells; nothing where it is not of this format.
pub(super) fn read(line: &str) -> Vec<Told> {
    if !line.starts_with('{') || !line.contains("\"_aws\"") {
        return Vec::new();
    }
    let Ok(mut root) = serde_json::from_str::<Map<String, Value>>(line) else { return Vec::new() };
    let Some(head) = root.remove("_aws").and_then(|head| serde_json::from_value::<Head>(head).ok()) else { return Vec::new() };
    head.directives.iter().flat_map(|directive| of(directive, &root)).collect()
}

fn of(directive: &Directive, root: &Map<String, Value>) -> Vec<Told> {
    // Prometheus sums over labels itself: of several sets, the one that says most.
    let names: BTreeSet<&String> = directive.dimensions.iter().max_by_key(|set| set.len()).into_iter().flatten().collect();
    let label = |name: &&String| Some((word(name), root.get(name.as_str())?.as_str()?.to_owned()));
    let Some(mut labels) = names.iter().map(label).collect::<Option<Labels>>() else { return Vec::new() };
    labels.sort();
    let told = |definition: &Definition| {
        let values = match root.get(&definition.name) {
            Some(Value::Array(values)) => values.iter().take(MAX_VALUES).filter_map(Value::as_f64).collect(),
            Some(value) => value.as_f64().into_iter().collect::<Vec<f64>>(),
            None => Vec::new(),
        };
        let name = format!("{}_{}", word(&directive.namespace), word(&definition.name));
        let (unit, labels) = (definition.unit.clone(), labels.clone());
        values.into_iter().map(move |value| Told { name: name.clone(), labels: labels.clone(), observation: observation(&unit, value) })
    };
    directive.metrics.iter().take(MAX_METRICS).flat_map(told).collect()
}

/// Spans of time are told apart by their length, sizes and counts are summed, anything else stands at its last value.
fn observation(unit: &str, value: f64) -> Observation {
    match unit {
        "Seconds" => Observation::Seconds(value),
        "Milliseconds" => Observation::Seconds(value / 1e3),
        "Microseconds" => Observation::Seconds(value / 1e6),
        "Count" | "Bytes" => Observation::Count(value),
        _ => Observation::Level(value),
    }
}

/// A name as Prometheus takes it: letters, digits and `_`, the first no digit.
fn word(name: &str) -> String {
    let fit = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' };
    let word: String = name.chars().map(fit).collect();
    if word.starts_with(|c: char| c.is_ascii_digit()) || word.is_empty() { format!("_{word}") } else { word }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(metrics: &Value, dimensions: &Value, mut fields: Value) -> Vec<(String, Observation)> {
        fields["_aws"] = json!({
            "Timestamp": 1_795_248_000_000_u64,
            "CloudWatchMetrics": [{ "Namespace": "films", "Dimensions": dimensions, "Metrics": metrics }],
        });
        let label = |labels: &Labels| labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",");
        read(&fields.to_string()).iter().map(|told| (format!("{}{{{}}}", told.name, label(&told.labels)), told.observation)).collect()
    }

    #[test]
    fn a_line_tells_what_its_directives_name() {
        let metrics = json!([{ "Name": "task-time", "Unit": "Milliseconds" }, { "Name": "bytes", "Unit": "Bytes" }, { "Name": "missing" }]);
        let fields = json!({ "stage": "split", "host": "a", "task-time": [1500, 20], "bytes": 7, "other": 1 });
        assert_eq!(
            told(&metrics, &json!([["stage"], ["stage", "host"]]), fields),
            [
                ("films_task_time{host=a,stage=split}".to_owned(), Observation::Seconds(1.5)),
                ("films_task_time{host=a,stage=split}".to_owned(), Observation::Seconds(0.02)),
                ("films_bytes{host=a,stage=split}".to_owned(), Observation::Count(7.0)),
            ]
        );
        let level = told(&json!([{ "Name": "speed" }]), &json!([[]]), json!({ "speed": 1.5 }));
        assert_eq!(level, [("films_speed{}".to_owned(), Observation::Level(1.5))]);
    }

    #[test]
    fn what_is_not_of_the_format_tells_nothing() {
        let count = json!([{ "Name": "n", "Unit": "Count" }]);
        assert!(told(&count, &json!([["stage"]]), json!({ "n": 1 })).is_empty(), "CloudWatch has no metric without its dimension");
        assert!(told(&count, &json!([[]]), json!({ "n": "1" })).is_empty());
        for line in ["", "{", "text \"_aws\"", "{\"_aws\":1}", "{\"_aws\":{\"CloudWatchMetrics\":[{\"Namespace\":1}]}}"] {
            assert!(read(line).is_empty(), "{line}");
        }
    }
}

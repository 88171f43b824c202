//! The query protocol's parameters, read into the fields of the JSON protocol.
//!
//! Source: SQS API reference (2012-11-05), "Making query requests to Amazon SQS using HTTP": lists are `Name.1`, `Name.2`,
//! maps are `Name.1.Name` and `Name.1.Value`.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use crate::sqs::error::{Kind, SqsError};

/// Bounds of one request: a batch of ten messages with ten attributes each has about 350 parameters.
const MAX_PARAMETERS: usize = 2_000;
const MAX_DEPTH: usize = 8;

/// A request of either protocol.
#[derive(Debug)]
pub(super) struct Request {
    pub action: String,
    pub fields: Value,
}

/// A parameter's value, or the parameters below it.
#[derive(Debug, Default)]
struct Node {
    value: Option<String>,
    below: BTreeMap<String, Node>,
}

impl Node {
    fn put(&mut self, path: &[&str], value: String) {
        match path {
            [] => self.value = Some(value),
            [first, rest @ ..] => self.below.entry((*first).to_owned()).or_default().put(rest, value),
        }
    }

    /// The members of a list in order. A list of one may be written without its number.
    fn members(&self) -> Vec<&Self> {
        if self.value.is_some() {
            return vec![self];
        }
        let mut members: Vec<(u32, &Self)> = self.below.iter().filter_map(|(number, node)| Some((number.parse().ok()?, node))).collect();
        members.sort_by_key(|(number, _)| *number);
        members.into_iter().map(|(_, node)| node).collect()
    }

    fn text(&self) -> Value {
        Value::from(self.value.clone().unwrap_or_default())
    }

    fn text_of(&self, name: &str) -> Option<&str> {
        self.below.get(name)?.value.as_deref()
    }

    fn list(&self) -> Value {
        self.members().into_iter().map(Self::text).collect()
    }

    /// A map of texts.
    fn map(&self, key: &str) -> Value {
        let pair = |node: &Self| Some((node.text_of(key)?.to_owned(), Value::from(node.text_of("Value").unwrap_or_default())));
        Value::Object(self.members().into_iter().filter_map(pair).collect())
    }

    /// Message attributes.
    fn attributes(&self) -> Result<Value, SqsError> {
        let mut all = Map::new();
        for node in self.members() {
            let name = node.text_of("Name").ok_or_else(|| SqsError::missing("MessageAttribute.N.Name"))?;
            let value = node.below.get("Value").map_or_else(|| Ok(Value::Object(Map::new())), Self::fields)?;
            all.insert(name.to_owned(), value);
        }
        Ok(Value::Object(all))
    }

    fn entries(&self) -> Result<Value, SqsError> {
        self.members().into_iter().map(Self::fields).collect()
    }

    fn number(&self, name: &str) -> Result<Value, SqsError> {
        let text = self.value.as_deref().unwrap_or_default();
        text.parse::<i64>().map(Value::from).map_err(|_| {
            let shown: String = text.chars().take(64).collect();
            SqsError::invalid(format!("Value {shown} for parameter {name} is invalid. Reason: Must be a whole number."))
        })
    }

    /// What is below this node, by the names of the JSON protocol.
    fn fields(&self) -> Result<Value, SqsError> {
        let mut fields = Map::new();
        for (name, node) in &self.below {
            let (field, value) = match name.as_str() {
                "DelaySeconds"
                | "MaxNumberOfMessages"
                | "VisibilityTimeout"
                | "WaitTimeSeconds"
                | "MaxResults"
                | "MaxNumberOfMessagesPerSecond" => (name.as_str(), node.number(name)?),
                "AttributeName" => ("AttributeNames", node.list()),
                "MessageAttributeName" => ("MessageAttributeNames", node.list()),
                "MessageSystemAttributeName" => ("MessageSystemAttributeNames", node.list()),
                "TagKey" => ("TagKeys", node.list()),
                "AWSAccountId" => ("AWSAccountIds", node.list()),
                "ActionName" => ("Actions", node.list()),
                "Attribute" => ("Attributes", node.map("Name")),
                "Tag" => ("Tags", node.map("Key")),
                "MessageAttribute" => ("MessageAttributes", node.attributes()?),
                "MessageSystemAttribute" => ("MessageSystemAttributes", node.attributes()?),
                "SendMessageBatchRequestEntry" | "DeleteMessageBatchRequestEntry" | "ChangeMessageVisibilityBatchRequestEntry" => {
                    ("Entries", node.entries()?)
                }
                _ => (name.as_str(), node.text()),
            };
            fields.insert(field.to_owned(), value);
        }
        Ok(Value::Object(fields))
    }
}

/// The request in the query of `path_and_query` and in `body`. The path names the queue where no parameter does.
pub(super) fn read(path_and_query: &str, body: &[u8], endpoint: &str) -> Result<Request, SqsError> {
    let malformed = |why: &str| SqsError::new(Kind::Serialization, format!("The request is not valid: {why}"));
    let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
    let body = std::str::from_utf8(body).map_err(|_| malformed("the form is not UTF-8"))?;
    let mut root = Node::default();
    let mut count = 0;
    for pair in query.split('&').chain(body.trim_end().split('&')).filter(|pair| !pair.is_empty()) {
        count += 1;
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (decoded(name), decoded(value));
        let (Some(name), Some(value)) = (name, value) else { return Err(malformed("a parameter is not UTF-8")) };
        let steps: Vec<&str> = name.split('.').collect();
        if count > MAX_PARAMETERS || steps.len() > MAX_DEPTH {
            return Err(malformed("it has too many parameters"));
        }
        // `Attributes.entry.1.key`, as some clients write lists, is not what SQS takes.
        root.put(&steps, value);
    }
    let Some(action) = root.text_of("Action").map(str::to_owned) else {
        return Err(SqsError::new(Kind::MissingAction, "The request must contain the parameter Action."));
    };
    if !root.below.contains_key("QueueUrl") && path.trim_matches('/').contains('/') {
        root.put(&["QueueUrl"], format!("{}{path}", endpoint.trim_end_matches('/')));
    }
    Ok(Request { action, fields: root.fields()? })
}

/// A form's text: `+` is a space.
fn decoded(text: &str) -> Option<String> {
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parameters_become_fields() {
        let body = "Action=SendMessageBatch&Version=2012-11-05&SendMessageBatchRequestEntry.2.Id=b\
            &SendMessageBatchRequestEntry.2.MessageBody=two&SendMessageBatchRequestEntry.10.Id=c\
            &SendMessageBatchRequestEntry.1.Id=a&SendMessageBatchRequestEntry.1.MessageBody=a+b%2Bc%0A&SendMessageBatchRequestEntry.1.DelaySeconds=5\
            &SendMessageBatchRequestEntry.1.MessageAttribute.1.Name=n&SendMessageBatchRequestEntry.1.MessageAttribute.1.Value.DataType=Number\
            &SendMessageBatchRequestEntry.1.MessageAttribute.1.Value.StringValue=7";
        let request = read("/000000000000/q", body.as_bytes(), "http://h:1").unwrap();
        assert_eq!(request.action, "SendMessageBatch");
        let attributes = json!({ "n": { "DataType": "Number", "StringValue": "7" } });
        let first = json!({ "Id": "a", "MessageBody": "a b+c\n", "DelaySeconds": 5, "MessageAttributes": attributes });
        let entries = json!([first, { "Id": "b", "MessageBody": "two" }, { "Id": "c" }]);
        let expected =
            json!({ "Action": "SendMessageBatch", "Version": "2012-11-05", "QueueUrl": "http://h:1/000000000000/q", "Entries": entries });
        assert_eq!(request.fields, expected);
    }

    #[test]
    fn maps_and_lists_come_by_number() {
        let query = "/?Action=X&Attribute.1.Name=DelaySeconds&Attribute.1.Value=3&Tag.1.Key=k&AttributeName=All&TagKey.2=b&TagKey.1=a";
        let fields = read(query, b"QueueUrl=http%3A%2F%2Fh%2F0%2Fq", "http://h").unwrap().fields;
        let expected = json!({
            "Action": "X", "Attributes": { "DelaySeconds": "3" }, "Tags": { "k": "" }, "AttributeNames": ["All"],
            "TagKeys": ["a", "b"], "QueueUrl": "http://h/0/q",
        });
        assert_eq!(fields, expected);
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let kind = |path: &str, body: &[u8]| read(path, body, "http://h").unwrap_err().kind;
        assert_eq!(kind("/", b""), Kind::MissingAction);
        assert_eq!(kind("/", b"Action=ReceiveMessage&MaxNumberOfMessages=many"), Kind::InvalidParameterValue);
        assert_eq!(kind("/", b"Action=%ff"), Kind::Serialization);
        assert_eq!(kind("/", b"\xff"), Kind::Serialization);
        assert_eq!(kind("/", format!("Action={}", "&a=b".repeat(MAX_PARAMETERS)).as_bytes()), Kind::Serialization);
        assert_eq!(kind("/", b"Action=X&a.b.c.d.e.f.g.h.i=1"), Kind::Serialization);
    }
}

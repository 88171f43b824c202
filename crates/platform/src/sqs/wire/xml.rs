//! The query protocol's answers, written from the fields of the JSON protocol.

use bytes::Bytes;
use http::Response;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::sqs::error::SqsError;

const NAMESPACE: &str = "http://queue.amazonaws.com/doc/2012-11-05/";

/// `<ActionResponse>` with the result, if the operation has one.
pub(super) fn answer(action: &str, value: &Value) -> Response<Bytes> {
    let id = Uuid::new_v4().to_string();
    let mut xml = format!("<?xml version=\"1.0\"?><{action}Response xmlns=\"{NAMESPACE}\">");
    if let Value::Object(fields) = value {
        open(&mut xml, &format!("{action}Result"), |xml| write(xml, action, fields));
    }
    open(&mut xml, "ResponseMetadata", |xml| element(xml, "RequestId", &id));
    xml.extend(["</", action, "Response>"]);
    respond(200, xml, &id)
}

pub(super) fn refusal(refused: &SqsError) -> Response<Bytes> {
    let (_, code) = refused.kind.names();
    error(refused.kind.status(true), code, !refused.kind.is_ours(), &refused.message)
}

/// `<ErrorResponse>`
pub(super) fn error(status: u16, code: &str, sender: bool, message: &str) -> Response<Bytes> {
    let id = Uuid::new_v4().to_string();
    let mut xml = format!("<?xml version=\"1.0\"?><ErrorResponse xmlns=\"{NAMESPACE}\">");
    open(&mut xml, "Error", |xml| {
        element(xml, "Type", if sender { "Sender" } else { "Receiver" });
        element(xml, "Code", code);
        element(xml, "Message", message);
        xml.push_str("<Detail/>");
    });
    element(&mut xml, "RequestId", &id);
    xml.push_str("</ErrorResponse>");
    respond(status, xml, &id)
}

fn respond(status: u16, xml: String, id: &str) -> Response<Bytes> {
    let response = Response::builder().status(status).header("content-type", "text/xml").header("x-amzn-requestid", id);
    response.body(Bytes::from(xml)).unwrap_or_default()
}

fn write(xml: &mut String, action: &str, fields: &Map<String, Value>) {
    for (name, value) in fields {
        match (name.as_str(), value) {
            ("Attributes", Value::Object(map)) => pairs(xml, "Attribute", "Name", map),
            ("Tags", Value::Object(map)) => pairs(xml, "Tag", "Key", map),
            ("MessageAttributes", Value::Object(map)) => {
                for (name, value) in map {
                    open(xml, "MessageAttribute", |xml| {
                        element(xml, "Name", name);
                        open(xml, "Value", |xml| member(xml, action, value));
                    });
                }
            }
            (_, Value::Array(members)) => {
                for value in members {
                    open(xml, member_name(action, name), |xml| member(xml, action, value));
                }
            }
            (_, value) => open(xml, name, |xml| member(xml, action, value)),
        }
    }
}

/// What the members of a list are called.
fn member_name<'a>(action: &str, list: &'a str) -> &'a str {
    match (list, action) {
        ("Messages", _) => "Message",
        ("QueueUrls" | "queueUrls", _) => "QueueUrl",
        ("Results", _) => "ListMessageMoveTasksResultEntry",
        ("Failed", _) => "BatchResultErrorEntry",
        ("Successful", "SendMessageBatch") => "SendMessageBatchResultEntry",
        ("Successful", "DeleteMessageBatch") => "DeleteMessageBatchResultEntry",
        ("Successful", _) => "ChangeMessageVisibilityBatchResultEntry",
        (other, _) => other,
    }
}

fn member(xml: &mut String, action: &str, value: &Value) {
    match value {
        Value::Object(fields) => write(xml, action, fields),
        Value::String(text) => escape(xml, text),
        Value::Null => {}
        other => xml.push_str(&other.to_string()),
    }
}

fn pairs(xml: &mut String, name: &str, key: &str, map: &Map<String, Value>) {
    for (entry, value) in map {
        open(xml, name, |xml| {
            element(xml, key, entry);
            element(xml, "Value", value.as_str().unwrap_or_default());
        });
    }
}

fn element(xml: &mut String, name: &str, text: &str) {
    open(xml, name, |xml| escape(xml, text));
}

fn open(xml: &mut String, name: &str, inside: impl FnOnce(&mut String)) {
    xml.extend(["<", name, ">"]);
    inside(xml);
    xml.extend(["</", name, ">"]);
}

/// Also carriage returns, which readers of XML would otherwise turn into line feeds.
fn escape(xml: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => xml.push_str("&amp;"),
            '<' => xml.push_str("&lt;"),
            '>' => xml.push_str("&gt;"),
            '"' => xml.push_str("&quot;"),
            '\r' => xml.push_str("&#13;"),
            c => xml.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(response: Response<Bytes>) -> String {
        String::from_utf8(response.into_body().to_vec()).unwrap()
    }

    #[test]
    fn a_received_message_is_written_as_aws_does() {
        let message = json!({
            "Attributes": { "SenderId": "1" },
            "Body": "<a & \"b\">\r\n",
            "MessageAttributes": { "n": { "DataType": "Number", "StringValue": "7" } },
        });
        let xml = text(answer("ReceiveMessage", &json!({ "Messages": [message] })));
        let expected = "<ReceiveMessageResult><Message><Attribute><Name>SenderId</Name><Value>1</Value></Attribute>\
            <Body>&lt;a &amp; &quot;b&quot;&gt;&#13;\n</Body>\
            <MessageAttribute><Name>n</Name><Value><DataType>Number</DataType><StringValue>7</StringValue></Value></MessageAttribute>\
            </Message></ReceiveMessageResult><ResponseMetadata><RequestId>";
        assert!(xml.contains(expected), "{xml}");
        assert!(xml.starts_with("<?xml version=\"1.0\"?><ReceiveMessageResponse xmlns=\"http://queue.amazonaws.com/doc/2012-11-05/\">"));
    }

    #[test]
    fn batches_and_operations_without_a_result() {
        let failed = json!({ "Id": "a", "Code": "X", "SenderFault": true });
        let xml = text(answer("DeleteMessageBatch", &json!({ "Successful": [{ "Id": "b" }], "Failed": [failed] })));
        assert!(xml.contains("<DeleteMessageBatchResultEntry><Id>b</Id></DeleteMessageBatchResultEntry>"), "{xml}");
        assert!(xml.contains("<BatchResultErrorEntry>") && xml.contains("<SenderFault>true</SenderFault>"), "{xml}");
        assert!(!text(answer("DeleteQueue", &Value::Null)).contains("Result>"));
    }
}

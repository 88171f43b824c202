//! What a message carries: body, attributes, their bounds and AWS's digests of them.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use md5::{Digest, Md5};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::{Kind, SqsError};

/// AWS's bound on the attributes of a message.
const MAX_ATTRIBUTES: usize = 10;

/// One user attribute of a message. One of the two values is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct MessageAttribute {
    /// `String`, `Number` or `Binary`, with an optional `.label`.
    #[serde(default)]
    pub data_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub string_value: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "base64_bytes")]
    pub binary_value: Option<Vec<u8>>,
}

/// What is stored of a message beside its state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Content {
    pub body: String,
    pub attributes: BTreeMap<String, MessageAttribute>,
    /// `AWSTraceHeader`
    pub trace: Option<String>,
}

impl Content {
    /// Bytes that count against the bound on a message.
    pub(super) fn size(&self) -> usize {
        let attributes = self.attributes.iter().map(|(name, a)| name.len() + a.data_type.len() + a.value().len());
        self.body.len() + attributes.sum::<usize>()
    }

    /// Holds the message against SQS's rules, but for its size.
    pub(super) fn check(&self) -> Result<(), SqsError> {
        if self.body.is_empty() {
            return Err(SqsError::missing("MessageBody"));
        }
        if !allowed_text(&self.body) {
            return Err(SqsError::new(
                Kind::InvalidMessageContents,
                "Invalid characters found in the message body. Valid unicode characters are #x9 | #xA | #xD | [#x20 to #xD7FF] | [#xE000 to #xFFFD] | [#x10000 to #x10FFFF]",
            ));
        }
        if self.attributes.len() > MAX_ATTRIBUTES {
            let count = self.attributes.len();
            return Err(SqsError::invalid(format!(
                "Number of message attributes [{count}] exceeds the allowed maximum [{MAX_ATTRIBUTES}]."
            )));
        }
        self.attributes.iter().try_for_each(|(name, attribute)| attribute.check(name))
    }
}

impl MessageAttribute {
    fn value(&self) -> &[u8] {
        match (&self.string_value, &self.binary_value) {
            (Some(text), _) => text.as_bytes(),
            (None, Some(bytes)) => bytes,
            (None, None) => &[],
        }
    }

    fn is_binary(&self) -> bool {
        self.base_type() == "Binary"
    }

    fn base_type(&self) -> &str {
        self.data_type.split('.').next().unwrap_or_default()
    }

    fn check(&self, name: &str) -> Result<(), SqsError> {
        check_attribute_name(name)?;
        let wrong = |why: &str| Err(SqsError::invalid(format!("The message attribute '{name}' {why}")));
        if self.data_type.len() > 256 || !matches!(self.base_type(), "String" | "Number" | "Binary") {
            return wrong("has an invalid message attribute type, the set of supported type prefixes is Binary, Number, and String.");
        }
        let own = if self.is_binary() { self.binary_value.is_some() } else { self.string_value.is_some() };
        if !own || self.string_value.is_some() == self.binary_value.is_some() {
            return wrong("must have exactly one value, of the kind its type names.");
        }
        if self.value().is_empty() {
            return wrong("must contain a non-empty value.");
        }
        if let Some(text) = &self.string_value {
            if !allowed_text(text) {
                return wrong("contains invalid characters.");
            }
            if self.base_type() == "Number" && !text.parse::<f64>().is_ok_and(f64::is_finite) {
                return Err(SqsError::invalid(format!("Can't cast the value of message (user) attribute '{name}' to a number.")));
            }
        }
        Ok(())
    }
}

fn check_attribute_name(name: &str) -> Result<(), SqsError> {
    let lower = name.to_ascii_lowercase();
    let reserved = lower.starts_with("aws.") || lower.starts_with("amazon.");
    let dots = name.starts_with('.') || name.ends_with('.') || name.contains("..");
    let characters = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
    if !name.is_empty() && name.len() <= 256 && characters && !reserved && !dots {
        return Ok(());
    }
    let shown: String = name.chars().take(64).collect();
    Err(SqsError::invalid(format!(
        "The message attribute name '{shown}' is invalid: 1 to 256 of A-Z, a-z, 0-9, _ - ., no period first, last or twice in a row, no prefix AWS. or Amazon."
    )))
}

/// The characters of XML 1.0, which SQS allows.
fn allowed_text(text: &str) -> bool {
    text.chars().all(|c| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{FFFD}' | '\u{10000}'..))
}

/// `MD5OfMessageBody`, `MD5OfBody`
pub(super) fn md5_of_body(body: &str) -> String {
    hex::encode(Md5::digest(body.as_bytes()))
}

/// `MD5OfMessageAttributes`: by name, each of name, type and value with its length before it (four bytes, big endian)
/// and a 1 (text) or 2 (bytes) before the value. From AWS's developer guide, "Calculating the MD5 message digest for
/// message attributes". `None` without attributes.
pub(super) fn md5_of_attributes(attributes: &BTreeMap<String, MessageAttribute>) -> Option<String> {
    if attributes.is_empty() {
        return None;
    }
    let mut md5 = Md5::new();
    let mut part = |bytes: &[u8], kind: Option<u8>| {
        if let Some(kind) = kind {
            md5.update([kind]);
        }
        md5.update(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
        md5.update(bytes);
    };
    for (name, attribute) in attributes {
        part(name.as_bytes(), None);
        part(attribute.data_type.as_bytes(), None);
        part(attribute.value(), Some(if attribute.is_binary() { 2 } else { 1 }));
    }
    Some(hex::encode(md5.finalize()))
}

/// Blobs are base64 in AWS's JSON.
mod base64_bytes {
    use super::{BASE64, Deserialize, Deserializer, Engine, Serializer};

    #[allow(clippy::ref_option, reason = "the signature is serde's")]
    pub(super) fn serialize<S: Serializer>(bytes: &Option<Vec<u8>>, to: S) -> Result<S::Ok, S::Error> {
        match bytes {
            Some(bytes) => to.serialize_str(&BASE64.encode(bytes)),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<u8>>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| BASE64.decode(text).map_err(serde::de::Error::custom)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(data_type: &str, value: &str) -> MessageAttribute {
        MessageAttribute { data_type: data_type.into(), string_value: Some(value.into()), binary_value: None }
    }

    fn with(name: &str, attribute: MessageAttribute) -> Content {
        Content { body: "b".into(), attributes: BTreeMap::from([(name.into(), attribute)]), trace: None }
    }

    /// Digests of the same attributes as an independent implementation (moto 5.2) answers them.
    #[test]
    fn attribute_digest_is_aws_s() {
        let one = BTreeMap::from([("timestamp".to_owned(), text("Number", "1493147359900"))]);
        assert_eq!(md5_of_attributes(&one).as_deref(), Some("235c5c510d26fb653d073faed50ae77c"));
        let bytes = MessageAttribute { data_type: "Binary.x".into(), string_value: None, binary_value: Some(vec![0, 255]) };
        let two = BTreeMap::from([("b".to_owned(), bytes), ("a".to_owned(), text("String", "ü"))]);
        assert_eq!(md5_of_attributes(&two).as_deref(), Some("224fc05564db222fe6d0565229f2a7c1"));
        assert_eq!(md5_of_attributes(&BTreeMap::new()), None);
    }

    #[test]
    fn size_counts_attributes() {
        assert_eq!(with("name", text("String", "value")).size(), 1 + 4 + 6 + 5);
    }

    #[test]
    fn bad_attributes_are_refused() {
        for (name, attribute) in [
            ("AWS.x", text("String", "v")),
            (".x", text("String", "v")),
            ("x..y", text("String", "v")),
            ("x y", text("String", "v")),
            ("x", text("Text", "v")),
            ("x", text("String", "")),
            ("x", text("Binary", "v")),
            ("x", text("Number", "seven")),
            ("x", text("String", "\u{0}")),
        ] {
            let refused = with(name, attribute.clone()).check().unwrap_err();
            assert_eq!(refused.kind, Kind::InvalidParameterValue, "{name} {attribute:?}");
        }
        assert_eq!(with("a.b-c_d", text("String.label", "v")).check(), Ok(()));
    }

    #[test]
    fn bodies_hold_xml_characters_only() {
        let body = |body: &str| Content { body: body.into(), ..Content::default() };
        assert_eq!(body("tab\tnewline\n😀 \u{FFFD}").check(), Ok(()));
        for bad in ["\u{1}", "a\u{FFFE}", "\u{FFFF}"] {
            assert_eq!(body(bad).check().unwrap_err().kind, Kind::InvalidMessageContents);
        }
        assert_eq!(body("").check().unwrap_err().kind, Kind::MissingParameter);
    }
}

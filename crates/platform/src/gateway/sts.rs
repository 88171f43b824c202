//! STS, as far as asking who one is: what people ask an endpoint first. Source: STS API reference, `GetCallerIdentity`.

use bytes::Bytes;
use http::{Response, StatusCode, request::Parts};

use super::{answers, writes};
use crate::stack::ACCOUNT;

/// Answers a request whose signature is right.
pub(super) fn answer(parts: &Parts, body: &[u8]) -> Response<Bytes> {
    let action = writes::action(parts, body);
    if action == "GetCallerIdentity" {
        return answers::xml(StatusCode::OK, identity());
    }
    let shown: String = action.chars().take(64).filter(char::is_ascii_alphanumeric).collect();
    let message =
        format!("`{shown}`: of STS the platform has GetCallerIdentity alone; every request is signed with the platform's one key");
    answers::fault(StatusCode::BAD_REQUEST, "InvalidAction", &message)
}

/// There is one key and nobody to share it with: the account's root.
fn identity() -> String {
    let id = uuid::Uuid::new_v4();
    let caller = format!("<Arn>arn:aws:iam::{ACCOUNT}:root</Arn><UserId>{ACCOUNT}</UserId><Account>{ACCOUNT}</Account>");
    format!(
        "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>{caller}\
         </GetCallerIdentityResult><ResponseMetadata><RequestId>{id}</RequestId></ResponseMetadata></GetCallerIdentityResponse>"
    )
}

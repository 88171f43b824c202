//! What functions ask of the services, and whether their roles allow it.
//!
//! A function is known by the session token that it was given; whoever shows none is the account's owner and may do
//! everything. The token is a name and no proof: this tells a developer whether a role suffices, it is no wall between
//! programs of one machine.
//!
//! 1. With policies enforced, a function may do what a statement of its role's policies allows and none denies.
//! 2. A policy that cannot be judged is refused by name when the platform starts, never passed over.
//!
//! Deliberately absent: policies of buckets and queues, permissions boundaries, and conditions beyond those of `policy.rs`.

use std::{collections::BTreeMap, fmt};

use http::{HeaderMap, Uri};
use percent_encoding::percent_decode_str;
use serde_json::json;

mod known;
pub(crate) mod needs;
mod policy;

use policy::{Statement, Verdict};

use crate::stack::{ACCOUNT, EventSourceMapping, Stack};

const TOKEN: &str = "x-amz-security-token";
/// What Lambda asks of a queue under the function's role. Source: AWS Lambda developer guide, "Using Lambda with Amazon
/// SQS", execution role permissions.
const POLLING: [&str; 3] = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"];

/// An action on a resource, as policies name them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Need {
    /// `s3:GetObject`
    pub(crate) action: String,
    /// An ARN, or `*` where the action has none.
    pub(crate) resource: String,
}

/// What policies are judged against beside action and resource: condition keys and their values.
pub(crate) type Context<'a> = &'a [(&'a str, &'a str)];

/// The roles of the functions; none where policies are not enforced.
#[derive(Debug, Default)]
pub(crate) struct Iam {
    roles: BTreeMap<String, Role>,
}

#[derive(Debug)]
struct Role {
    name: String,
    statements: Vec<Statement>,
}

/// Refused: the sentence that AWS answers with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Denied(pub(crate) String);

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Iam {
    /// Reads the policies of every function's role. The error names what cannot be judged.
    pub(crate) fn of(stack: &Stack) -> Result<Self, String> {
        let mut roles = BTreeMap::new();
        for (function, rights) in &stack.rights {
            let mut statements = Vec::new();
            for policy in &rights.policies {
                let read = known::document(policy).and_then(|document| policy::read(&document));
                statements.extend(read.map_err(|reason| format!("{function} works under {}, of which {reason}", rights.role))?);
            }
            roles.insert(function.clone(), Role { name: rights.role.clone(), statements });
        }
        Ok(Self { roles })
    }

    /// Refuses a mapping whose function may not read its queue, as Lambda does.
    pub(crate) fn polls(&self, mapping: &EventSourceMapping) -> Result<(), String> {
        POLLING.iter().try_for_each(|action| {
            let need = Need { action: (*action).into(), resource: mapping.queue_arn.clone() };
            let short = action.trim_start_matches("sqs:");
            self.check(Some(&mapping.function), &need, &[]).map_err(|_| {
                format!(
                    "the event source mapping from {} to {}: the function's role does not have permissions to call {short} on SQS",
                    mapping.queue_arn, mapping.function
                )
            })
        })
    }

    /// Writes down what a caller needs, and answers whether all of it is allowed. `needs` is asked for only where that matters.
    pub(crate) fn admit(&self, caller: Option<&str>, needs: impl FnOnce() -> Vec<Need>, context: Context<'_>) -> Result<(), Denied> {
        let noted = tracing::enabled!(tracing::Level::DEBUG);
        if !noted && !caller.is_some_and(|caller| self.roles.contains_key(caller)) {
            return Ok(());
        }
        let needs = needs();
        if noted {
            let needs: Vec<_> = needs.iter().map(|need| [&need.action, &need.resource]).collect();
            tracing::debug!("{}", json!({ "caller": caller, "needs": needs }));
        }
        needs.iter().try_for_each(|need| {
            self.check(caller, need, context).inspect_err(|denied| tracing::warn!(action = need.action, "a call was refused: {denied}"))
        })
    }

    /// Whether a caller may do one thing.
    pub(crate) fn check(&self, caller: Option<&str>, need: &Need, context: Context<'_>) -> Result<(), Denied> {
        let Some((function, role)) = caller.and_then(|caller| self.roles.get_key_value(caller)) else { return Ok(()) };
        let Need { action, resource } = need;
        let why = match policy::judge(&role.statements, need, context) {
            Verdict::Allowed => return Ok(()),
            Verdict::Denied => "with an explicit deny in an identity-based policy".to_owned(),
            Verdict::Nothing => format!("because no identity-based policy allows the {action} action"),
        };
        let user = format!("arn:aws:sts::{ACCOUNT}:assumed-role/{}/{function}", role.name);
        Err(Denied(format!("User: {user} is not authorized to perform: {action} on resource: {resource} {why}")))
    }
}

/// The function that a request comes from: its session token, in a header or in a presigned address.
pub(crate) fn caller(headers: &HeaderMap, uri: &Uri) -> Option<String> {
    if let Some(token) = headers.get(TOKEN) {
        return token.to_str().ok().map(str::to_owned);
    }
    let mut pairs = uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    let (_, token) = pairs.find(|(name, _)| name.eq_ignore_ascii_case(TOKEN))?;
    percent_decode_str(token).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::stack::Rights;

    fn need(action: &str, resource: &str) -> Need {
        Need { action: action.into(), resource: resource.into() }
    }

    fn iam(policies: Vec<Value>) -> Result<Iam, String> {
        let rights = Rights { role: "SplitRole".into(), policies };
        Iam::of(&Stack { rights: BTreeMap::from([("split".to_owned(), rights)]), ..Stack::default() })
    }

    #[test]
    fn a_function_may_do_what_its_role_allows_and_the_owner_everything() {
        let policy = json!({ "Version": "2012-10-17", "Statement": [
            { "Effect": "Allow", "Action": ["s3:GetObject"], "Resource": "arn:aws:s3:::videos/uploads/*" }] });
        let iam = iam(vec![policy]).unwrap();
        let (allowed, other) =
            (need("s3:GetObject", "arn:aws:s3:::videos/uploads/a"), need("s3:PutObject", "arn:aws:s3:::videos/uploads/a"));
        assert_eq!(iam.admit(Some("split"), || vec![allowed.clone()], &[]), Ok(()));
        assert_eq!(
            iam.admit(Some("split"), || vec![allowed.clone(), other.clone()], &[]).unwrap_err().0,
            "User: arn:aws:sts::000000000000:assumed-role/SplitRole/split is not authorized to perform: s3:PutObject on resource: \
             arn:aws:s3:::videos/uploads/a because no identity-based policy allows the s3:PutObject action"
        );
        for owner in [None, Some("a person's own session")] {
            assert_eq!(iam.admit(owner, || vec![other.clone()], &[]), Ok(()));
        }
        assert_eq!(Iam::default().admit(Some("split"), || vec![other], &[]), Ok(()), "nothing is enforced");
    }

    #[test]
    fn a_policy_that_cannot_be_judged_is_named() {
        for (policy, expected) in [
            (json!("arn:aws:iam::aws:policy/AmazonPollyFullAccess"), "AmazonPollyFullAccess"),
            (json!({ "SESCrudPolicy": { "IdentityName": "a" } }), "SESCrudPolicy"),
            (
                json!({ "Statement": [{ "Effect": "Allow", "Action": "s3:*", "Resource": "*",
                     "Condition": { "IpAddress": { "aws:SourceIp": "10.0.0.0/8" } } }] }),
                "IpAddress",
            ),
            (json!({ "Statement": [{ "Effect": "Allow", "Action": "s3:*" }] }), "Resource"),
        ] {
            let error = iam(vec![policy]).unwrap_err();
            assert!(error.contains(expected) && error.starts_with("split works under SplitRole"), "{error}");
        }
    }

    #[test]
    fn a_queue_that_the_role_may_not_read_is_refused() {
        let mapping = EventSourceMapping {
            function: "split".into(),
            queue_arn: "arn:aws:sqs:us-east-1:000000000000:split".into(),
            ..EventSourceMapping::default()
        };
        let with = |actions: &[&str]| {
            let policy = json!({ "Statement": { "Effect": "Allow", "Action": actions, "Resource": mapping.queue_arn } });
            iam(vec![policy]).unwrap().polls(&mapping)
        };
        assert_eq!(with(&POLLING), Ok(()));
        assert!(with(&POLLING[..2]).unwrap_err().ends_with("does not have permissions to call GetQueueAttributes on SQS"));
    }

    #[test]
    fn a_caller_is_known_by_header_or_presigned_address() {
        let none = HeaderMap::new();
        let at = |uri: &str| caller(&none, &uri.parse().unwrap());
        assert_eq!(at("/b/k?X-Amz-Security-Token=fanreel%2Dsplit&x=y"), Some("fanreel-split".into()));
        assert_eq!(at("/b/k?x=y"), None);
        let headers = HeaderMap::from_iter([(http::HeaderName::from_static(TOKEN), "merge".parse().unwrap())]);
        assert_eq!(caller(&headers, &Uri::from_static("/b/k")), Some("merge".into()));
    }
}

//! Which resource types there are and what the platform does with each.

/// What the platform does with a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `AWS::Serverless::Function`
    Function,
    /// `AWS::Lambda::Function`
    PlainFunction,
    /// `AWS::Lambda::EventInvokeConfig`
    InvokeConfig,
    /// `AWS::Lambda::EventSourceMapping`
    Mapping,
    /// `AWS::Events::Rule`
    Rule,
    /// `AWS::Serverless::HttpApi`
    HttpApi,
    /// `AWS::Serverless::LayerVersion`
    ServerlessLayer,
    /// `AWS::Lambda::LayerVersion`
    PlainLayer,
    Queue,
    Table,
    /// `AWS::Serverless::SimpleTable`
    SimpleTable,
    Bucket,
    LogGroup,
    /// Checked for its references and otherwise without effect: everything on one machine has one owner.
    Read,
    /// On AWS only; listed at start.
    Noted,
}

/// Types that are *read*.
const READ: [&str; 9] = [
    "AWS::IAM::Role",
    "AWS::IAM::Policy",
    "AWS::IAM::RolePolicy",
    "AWS::IAM::ManagedPolicy",
    "AWS::IAM::InstanceProfile",
    "AWS::SQS::QueuePolicy",
    "AWS::SQS::QueueInlinePolicy",
    "AWS::S3::BucketPolicy",
    "AWS::Lambda::Permission",
];

/// Types that are *noted*.
const NOTED: [&str; 16] = [
    "AWS::CloudWatch::Alarm",
    "AWS::CloudWatch::CompositeAlarm",
    "AWS::CloudWatch::AnomalyDetector",
    "AWS::CloudWatch::Dashboard",
    "AWS::Budgets::Budget",
    "AWS::CE::AnomalyMonitor",
    "AWS::CE::AnomalySubscription",
    "AWS::SNS::Topic",
    "AWS::SNS::TopicPolicy",
    "AWS::SNS::Subscription",
    "AWS::KMS::Key",
    "AWS::KMS::Alias",
    "AWS::Logs::MetricFilter",
    "AWS::Logs::QueryDefinition",
    "AWS::ResourceGroups::Group",
    "AWS::ApplicationInsights::Application",
];

/// Types that are run, for messages.
pub(super) const RUN: [&str; 13] = [
    "AWS::Serverless::Function",
    "AWS::Serverless::LayerVersion",
    "AWS::Serverless::HttpApi",
    "AWS::Serverless::SimpleTable",
    "AWS::Lambda::Function",
    "AWS::Lambda::EventSourceMapping",
    "AWS::Lambda::EventInvokeConfig",
    "AWS::Events::Rule",
    "AWS::Lambda::LayerVersion",
    "AWS::SQS::Queue",
    "AWS::DynamoDB::Table",
    "AWS::S3::Bucket",
    "AWS::Logs::LogGroup",
];

/// The kind of a type; none for one that the platform does not know.
pub(super) fn of_type(name: &str) -> Option<Kind> {
    Some(match name {
        "AWS::Serverless::Function" => Kind::Function,
        "AWS::Serverless::HttpApi" => Kind::HttpApi,
        "AWS::Serverless::SimpleTable" => Kind::SimpleTable,
        "AWS::Lambda::Function" => Kind::PlainFunction,
        "AWS::Lambda::EventSourceMapping" => Kind::Mapping,
        "AWS::Lambda::EventInvokeConfig" => Kind::InvokeConfig,
        "AWS::Events::Rule" => Kind::Rule,
        "AWS::Serverless::LayerVersion" => Kind::ServerlessLayer,
        "AWS::Lambda::LayerVersion" => Kind::PlainLayer,
        "AWS::SQS::Queue" => Kind::Queue,
        "AWS::DynamoDB::Table" => Kind::Table,
        "AWS::S3::Bucket" => Kind::Bucket,
        "AWS::Logs::LogGroup" => Kind::LogGroup,
        name if READ.contains(&name) => Kind::Read,
        name if NOTED.contains(&name) => Kind::Noted,
        _ => return None,
    })
}

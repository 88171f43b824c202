//! A stack of fanreel's own template on AWS or a cloud like it, by its name.
//!
//! Names of functions and logs follow from the stack's; bucket, table and queues are what its functions are told, so that
//! nothing but Lambda is asked. Credentials, region and `AWS_ENDPOINT_URL` are those of every AWS program.

use std::collections::BTreeMap;

use anyhow::Context;
use aws_sdk_lambda::{Client, error::DisplayErrorContext};

use crate::{
    remote::{FunctionPage, StackPage},
    setup,
};

/// Its function is there only where `DoorSecret` is set.
const DOOR: &str = "WebhookFunction";

/// Names of outputs, and the variables of functions that hold the same.
const OUTPUTS: [(&str, &str); 8] = [
    ("Bucket", "BUCKET"),
    ("Table", "TABLE"),
    ("Profile", "PROFILE"),
    ("SplitQueueUrl", "SPLIT_QUEUE_URL"),
    ("TranscodeQueueUrl", "TRANSCODE_QUEUE_URL"),
    ("TranscodeLargeQueueUrl", "TRANSCODE_LARGE_QUEUE_URL"),
    ("MergeQueueUrl", "MERGE_QUEUE_URL"),
    ("EscalationQueueUrl", "ESCALATION_QUEUE_URL"),
];

/// What the platform's page would say of the stack.
pub async fn page(client: &Client, stack: &str) -> anyhow::Result<StackPage> {
    let functions = functions(stack)?;
    let told = functions.iter().find(|function| function.logical_id == "IngestFunction").context("the template has no ingest function")?;
    let answer = client.get_function_configuration().function_name(&told.name).send().await;
    let answer = answer.map_err(|error| {
        let why = DisplayErrorContext(&error).to_string();
        anyhow::anyhow!(
            "the stack {stack} cannot be asked: Lambda does not say what {} is told: {why}. Is AWS_REGION the stack's, and do the credentials \
             allow lambda:GetFunctionConfiguration?",
            told.name
        )
    })?;
    let mut functions = functions;
    if !has_door(client, &functions).await? {
        functions.retain(|function| function.logical_id != DOOR);
    }
    let variables = answer.environment.and_then(|environment| environment.variables).unwrap_or_default();
    let outputs = OUTPUTS.iter().filter_map(|(output, variable)| Some(((*output).to_owned(), variables.get(*variable)?.clone())));
    Ok(StackPage { outputs: outputs.collect(), functions, ..StackPage::default() })
}

/// Whether the stack was deployed with a secret for its door: as far as whoever asks may know.
async fn has_door(client: &Client, functions: &[FunctionPage]) -> anyhow::Result<bool> {
    let Some(door) = functions.iter().find(|function| function.logical_id == DOOR) else { return Ok(false) };
    match client.get_function_configuration().function_name(&door.name).send().await {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.raw_response().map(|answer| answer.status().as_u16()), Some(403 | 404)) => Ok(false),
        Err(error) => Err(error).with_context(|| format!("Lambda does not say whether there is a function {}", door.name)),
    }
}

/// The functions of fanreel's template under a stack's name, with the door that not every stack has.
fn functions(stack: &str) -> anyhow::Result<Vec<FunctionPage>> {
    let secret = ("DoorSecret".to_owned(), "not-the-secret-of-any-door".to_owned());
    let parameters = BTreeMap::from([("AWS::StackName".to_owned(), stack.to_owned()), secret]);
    let resolved = platform::template::resolve(&setup::own_template(), &parameters, "http://127.0.0.1:0")?;
    let page = |function: platform::stack::Function| FunctionPage {
        logical_id: function.logical_id,
        name: function.name,
        log_group: function.log_group,
    };
    Ok(resolved.functions.into_iter().map(page).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_from_the_stacks() {
        let functions = functions("prod").unwrap();
        let split = functions.iter().find(|function| function.logical_id == "SplitFunction").unwrap();
        assert_eq!((split.name.as_str(), split.log_group.as_str()), ("prod-split", "/aws/lambda/prod-split"));
        assert!(functions.iter().any(|function| function.logical_id == DOOR && function.name == "prod-webhook"));
        assert!(super::functions("1 bad name").is_err());
    }

    #[test]
    fn every_variable_is_one_that_the_template_sets() {
        let template = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../template.yaml")).unwrap();
        for (_, variable) in OUTPUTS {
            assert!(template.contains(&format!("        {variable}: !Ref ")), "{variable}");
        }
    }
}

//! `examples/s3-sqs-table`, the same template and the same binary, on the platform and on a cloud that others wrote.
//!
//! What can be seen from outside is held against AWS's documentation on both. Where `MiniStack` differs,
//! [`DIFFERENCES`] names it with the reason; a difference that is no more fails the test as well.

use std::{fmt::Write as _, path::Path};

use anyhow::{Context, Result, ensure};
use tests::{
    documents::{DOCUMENTS, Documents, Facts, PARAMETERS, documented},
    ministack::MiniStack,
    run::{Fanreel, binary},
};

/// What `MiniStack` does otherwise than AWS documents it: the fact, and what AWS's documentation says.
const DIFFERENCES: [(&str, &str); 1] = [(
    "attributes of a message",
    "each has the lists stringListValues and binaryListValues, which are empty (Lambda developer guide, \"Using Lambda with Amazon SQS\", \
     standard queue message event); MiniStack leaves them out",
)];

/// The example's folder as `sam deploy` takes it: its code is built.
fn built(to: &Path) -> Result<std::path::PathBuf> {
    let example = tests::root().join("examples/s3-sqs-table");
    std::fs::create_dir_all(to.join("function"))?;
    std::fs::copy(binary("catalogue")?, to.join("function/bootstrap"))
        .context("the example is not built: cargo build --workspace --bins")?;
    std::fs::copy(example.join("template.yaml"), to.join("template.yaml"))?;
    Ok(to.join("template.yaml"))
}

/// Each fact that is not as documented: its name and both values.
fn apart(facts: &Facts) -> Vec<(String, String)> {
    let documented = documented();
    let names: std::collections::BTreeSet<_> = documented.keys().chain(facts.keys()).collect();
    let differ = names.into_iter().filter(|name| documented.get(*name) != facts.get(*name));
    let say = |value: Option<&serde_json::Value>| value.map_or_else(|| "nothing".to_owned(), ToString::to_string);
    differ.map(|name| (name.clone(), format!("AWS: {}\n    here: {}", say(documented.get(name)), say(facts.get(name))))).collect()
}

fn listed(apart: &[(String, String)]) -> String {
    apart.iter().fold(String::new(), |mut text, (name, values)| {
        let _ = write!(text, "\n{name}\n    {values}");
        text
    })
}

pub async fn the_platform_does_with_the_chain_what_aws_documents() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let template = tests::root().join("examples/s3-sqs-table/template.yaml");
    // SAM's own policies of the example suffice.
    let fanreel = Fanreel::start_as(&dir.path().join("data"), &template, &PARAMETERS, &["--enforce-policies"]).await?;
    let facts = Documents::at(&fanreel.endpoint, fanreel.outputs.clone(), dir.path()).await.facts().await?;
    let apart = apart(&facts);
    ensure!(apart.is_empty(), "the platform differs from AWS's documentation:{}", listed(&apart));
    println!("{} facts of {} documents as documented", facts.len(), DOCUMENTS.len() + 2);
    fanreel.stop()
}

pub async fn ministack_does_with_the_chain_what_the_platform_does_or_is_known_to_differ() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let template = built(&dir.path().join("built"))?;
    let ministack = MiniStack::start(dir.path()).await?;
    let outputs = ministack.deploy(&template, "documents", &PARAMETERS)?;
    let facts = Documents::at(&ministack.endpoint, outputs, dir.path()).await.facts().await;
    let facts = facts.with_context(|| format!("MiniStack said:\n{}", ministack.log()))?;
    let apart = apart(&facts);
    let unknown: Vec<_> = apart.iter().filter(|(name, _)| !DIFFERENCES.iter().any(|(known, _)| known == name)).cloned().collect();
    ensure!(unknown.is_empty(), "MiniStack differs from AWS's documentation and from DIFFERENCES:{}", listed(&unknown));
    let gone: Vec<_> = DIFFERENCES.iter().filter(|(known, _)| !apart.iter().any(|(name, _)| name == known)).collect();
    ensure!(gone.is_empty(), "MiniStack does these as AWS now; take them out of DIFFERENCES: {gone:?}");
    println!("{} facts, {} of them known to differ:{}", facts.len(), apart.len(), listed(&apart));
    ministack.stop()
}

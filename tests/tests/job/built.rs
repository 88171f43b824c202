//! `sam build` of a function, and what it built on the platform.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tests::{
    python::{cargo_lambda, good, sam_build},
    run::Fanreel,
};

/// A function without libraries: what is built is built for a target of its own, so nothing of it is there already.
fn template() -> Result<String> {
    let function = tests::root().canonicalize()?.join("tests/functions/bare");
    Ok(format!(
        "AWSTemplateFormatVersion: '2010-09-09'
Transform: AWS::Serverless-2016-10-31
Resources:
  Bare:
    Type: AWS::Serverless::Function
    Metadata: {{ BuildMethod: rust-cargolambda, BuildProperties: {{ Binary: bare }} }}
    Properties: {{ FunctionName: bare, Runtime: provided.al2023, Handler: bootstrap, CodeUri: {}, Timeout: 20 }}
",
        function.display()
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_sam_builds_runs_on_the_platform() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let source = dir.path().join("template.yaml");
    std::fs::write(&source, template()?)?;
    good(&sam_build(&source, &dir.path().join("built"))?.output()?, "sam build")?;
    let program = std::fs::read(dir.path().join("built/Bare/bootstrap")).context("sam built no bootstrap")?;
    ensure!(program.starts_with(b"\x7fELF"), "the bootstrap is no program");

    // No program of this name but the one that sam built is where the platform looks.
    let built = dir.path().join("built/template.yaml");
    let elsewhere = std::fs::read_to_string(&built)?.replace("Binary: bare", "Binary: built-by-sam");
    std::fs::write(&built, elsewhere)?;
    let fanreel = Fanreel::start_template(&dir.path().join("data"), &built).await?;
    let event = dir.path().join("event.json");
    std::fs::write(&event, json!({ "built": "by sam" }).to_string())?;
    let answer = cargo_lambda(&fanreel.endpoint, "bare", &event)?;
    ensure!(answer == json!({ "built": "by sam" }), "{answer}");
    fanreel.stop()
}

/// `sam build` finds each function's program by its folder and its name.
#[test]
fn every_function_of_the_template_names_a_program_of_its_folder() -> Result<()> {
    let root = tests::root();
    let template = std::fs::read_to_string(root.join("template.yaml"))?;
    let mut found = 0;
    for (_, rest) in template.match_indices("BuildMethod: rust-cargolambda").map(|(at, _)| template.split_at(at)) {
        let binary = rest.split_once("Binary: ").and_then(|(_, rest)| rest.split_once(' ')).context("no Binary")?.0;
        let folder = rest.split_once("CodeUri: ").and_then(|(_, rest)| rest.split_once('\n')).context("no CodeUri")?.0;
        let manifest = std::fs::read_to_string(Path::new(&root).join(folder).join("Cargo.toml")).with_context(|| folder.to_owned())?;
        ensure!(manifest.contains(&format!("name = \"{binary}\"")), "{folder} is not the folder of {binary}");
        found += 1;
    }
    ensure!(found == template.matches("Type: AWS::Serverless::Function").count(), "{found} functions say how they are built");
    Ok(())
}

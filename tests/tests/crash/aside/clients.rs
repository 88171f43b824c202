//! boto3 and the aws CLI, unmodified, against the platform: `tests/clients`.

use anyhow::{Context, Result, ensure};
use tests::{python::python, run::Fanreel};

pub async fn the_unmodified_clients_of_aws_work() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let checks = tests::root().join("tests/clients");
    let fanreel = Fanreel::start_template(&dir.path().join("data"), &checks.join("template.yaml")).await?;
    let function = fanreel.outputs.get("Function").context("no function")?;
    let mut command = python("python", dir.path())?;
    command.arg(checks).args([fanreel.endpoint.as_str(), fanreel.bucket(), function]).arg(dir.path());
    let output = tokio::process::Command::from(command).output().await?;
    print!("{}", String::from_utf8_lossy(&output.stdout));
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fanreel.stop()
}

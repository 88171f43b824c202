//! AWS's own programs in Python, as `make tools` installs them.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// A Python program with the packages of one folder of `.tools`, with the credentials of an emulator and no other
/// settings of this machine's owner.
pub fn python(folder: &str, home: &Path) -> Result<Command> {
    let packages = tools(folder)?;
    let mut command = Command::new("python3");
    command.env_remove("AWS_PROFILE").env_remove("AWS_SESSION_TOKEN").env("PYTHONPATH", packages).env("HOME", home);
    command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
    command.env("AWS_DEFAULT_REGION", "us-east-1").env("AWS_REGION", "us-east-1").env("AWS_EC2_METADATA_DISABLED", "true");
    Ok(command)
}

fn tools(folder: &str) -> Result<PathBuf> {
    let packages = crate::root().canonicalize()?.join(".tools").join(folder);
    ensure!(packages.join("installed").is_file(), "{} is not complete: run `make tools`", packages.display());
    Ok(packages)
}

/// `sam` of the sam CLI, as [`python`] makes it.
pub fn sam(home: &Path, args: &[&str]) -> Result<Command> {
    let mut command = python("cloud", home)?;
    command.args(["-m", "samcli"]).args(args).env("SAM_CLI_TELEMETRY", "0").current_dir(home);
    Ok(command)
}

/// `sam build` of a template, without optimisation, by cargo-lambda and the linker of this machine.
pub fn sam_build(template: &Path, to: &Path) -> Result<Command> {
    let packages = tools("cloud")?;
    // cargo finds its own home and toolchain by this user's home, so that stays; sam keeps what it remembers elsewhere.
    let mut command = Command::new("sh");
    command.args(["-c", "PATH=\"$0:$PATH\" exec \"$@\""]).arg(packages.join("bin"));
    command.args(["python3", "-m", "samcli", "build", "--beta-features", "--template-file"]).arg(template).arg("--build-dir").arg(to);
    command.env("PYTHONPATH", packages).env("SAM_CLI_TELEMETRY", "0").env("__SAM_CLI_APP_DIR", to.with_extension("sam"));
    command.env("SAM_BUILD_MODE", "debug").env("CARGO_LAMBDA_COMPILER", "cargo").env("AWS_REGION", "us-east-1");
    command.env("CARGO_NET_OFFLINE", "true").env("CARGO_INCREMENTAL", "0").current_dir(template.parent().context("no folder")?);
    Ok(command)
}

/// What `cargo lambda invoke --remote` says of a function at an endpoint.
pub fn cargo_lambda(endpoint: &str, function: &str, event: &Path) -> Result<Value> {
    let mut command = Command::new(tools("cloud")?.join("bin/cargo-lambda"));
    command.args(["lambda", "invoke", "--remote", "--endpoint-url", endpoint, function, "--data-file"]).arg(event);
    command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test").env("AWS_REGION", "us-east-1");
    command.env_remove("AWS_PROFILE").env_remove("AWS_SESSION_TOKEN");
    let text = good(&command.output()?, &format!("cargo lambda invoke {function}"))?;
    serde_json::from_str(&text).with_context(|| text)
}

/// What `aws ARGS --output json` says of a cloud at an endpoint.
pub fn aws(endpoint: &str, home: &Path, args: &[&str]) -> Result<Value> {
    let mut command = python("python", home)?;
    command.args(["-m", "awscli", "--endpoint-url", endpoint, "--output", "json"]).args(args);
    let output = command.output()?;
    let text = good(&output, &format!("aws {}", args.join(" ")))?;
    if text.trim().is_empty() { Ok(Value::Null) } else { serde_json::from_str(&text).with_context(|| text) }
}

/// The standard output of a program that succeeded.
pub fn good(output: &Output, what: &str) -> Result<String> {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{what}: {}\n{out}{err}", output.status);
    Ok(out.into_owned())
}

//! `template.yaml` beyond the platform: held against what AWS refuses, and deployed to a cloud that others wrote, with the
//! scripts that people use.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use aws_sdk_s3::primitives::ByteStream;
use serde_json::{Value, json};
use tests::{
    clips,
    ministack::{self, MiniStack},
    python::{aws, good, python, sam},
    run::{binary, until},
    stack::Stack,
    tool,
};

const LONG: Duration = Duration::from_secs(300);

/// One of `localstack/`, as a person with AWS's programs would call it.
fn script(ministack: &MiniStack, dir: &Path, stack: &str, name: &str, args: &[&str]) -> Result<Output> {
    // The programs' settings, and none of this machine's owner.
    let mut command = Command::new("bash");
    command.arg(tests::root().canonicalize()?.join("localstack").join(name)).args(args);
    command.env_remove("AWS_PROFILE").env_remove("AWS_SESSION_TOKEN").env("HOME", dir).env("AWS_EC2_METADATA_DISABLED", "true");
    command.env("AWS_ENDPOINT_URL", &ministack.endpoint).env("STACK", stack).env("PACKAGE", dir.join("package"));
    Ok(command.output()?)
}

/// What `fanreel` says of a stack that it finds by its name.
fn by_name(ministack: &MiniStack, dir: &Path, args: &[&str]) -> Result<Value> {
    let mut command = Command::new(binary("fanreel")?);
    command.arg("--json").args(args).env("HOME", dir).env_remove("AWS_PROFILE").env_remove("AWS_SESSION_TOKEN");
    command.env("AWS_ENDPOINT_URL", &ministack.endpoint).env("AWS_REGION", "us-east-1");
    command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
    Ok(serde_json::from_str(&good(&command.output()?, &format!("fanreel {}", args.join(" ")))?)?)
}

/// What there is on the cloud, by kind.
fn everything(ministack: &MiniStack, dir: &Path) -> Result<Value> {
    let mut command = python("python", dir)?;
    command.arg(tests::root().canonicalize()?.join("tests/cloud.py")).arg(&ministack.endpoint);
    Ok(serde_json::from_str(&good(&command.output()?, "listing what there is")?)?)
}

fn names(all: &Value, kind: &str) -> Vec<String> {
    all[kind].as_array().into_iter().flatten().filter_map(|name| Some(name.as_str()?.to_owned())).collect()
}

/// A bucket that somebody has already, with a queue that it tells of its objects.
struct OwnBucket {
    queue: String,
}

const OWN: &str = "films-of-mine";

impl OwnBucket {
    fn make(ministack: &MiniStack, dir: &Path) -> Result<Self> {
        let aws = |args: &[&str]| aws(&ministack.endpoint, dir, args);
        aws(&["s3api", "create-bucket", "--bucket", OWN])?;
        let queue = aws(&["sqs", "create-queue", "--queue-name", "of-others"])?["QueueUrl"].as_str().context("queue")?.to_owned();
        let told = json!({ "QueueConfigurations": [{
            "Id": "theirs", "QueueArn": "arn:aws:sqs:us-east-1:000000000000:of-others", "Events": ["s3:ObjectCreated:*"] }] });
        let put = ["s3api", "put-bucket-notification-configuration", "--bucket", OWN, "--notification-configuration"];
        aws(&[&put[..], &[&told.to_string()]].concat())?;
        Ok(Self { queue })
    }

    /// Attached by the command that an output tells, its films are jobs by EventBridge, those below the prefix; whom it told before
    /// it tells still.
    async fn becomes_a_job(self, ministack: &MiniStack, dir: &Path, film: &Path, attach: &str) -> Result<()> {
        let aws = |args: &[&str]| aws(&ministack.endpoint, dir, args);
        let said = typed(ministack, dir, attach)?;
        ensure!(said.contains("tells EventBridge of its objects now; 1 other notifications are as they were"), "{attach}: {said}");
        let attached = by_name(ministack, dir, &["--stack", "again", "attach", OWN, "--prefix", "in/"])?;
        ensure!(attached["attached"] == false && attached["kept"] == 1, "{attached}");
        let body = film.to_string_lossy();
        for key in ["out/film.mp4", "in/my film+1.mp4"] {
            aws(&["s3api", "put-object", "--bucket", OWN, "--key", key, "--body", &body])?;
        }
        let jobs = until("the film of the own bucket to be done", LONG, || {
            let jobs = by_name(ministack, dir, &["--stack", "again", "jobs"])?["jobs"].as_array().context("jobs")?.clone();
            let ours: Vec<Value> =
                jobs.into_iter().filter(|job| job["key"].as_str().is_some_and(|key| !key.starts_with("uploads/"))).collect();
            Ok(ours.iter().any(|job| job["status"] == "COMPLETED").then_some(ours))
        })
        .await?;
        ensure!(jobs.len() == 1 && jobs[0]["key"] == "in/my film+1.mp4", "{jobs:?}");
        let depth = ["sqs", "get-queue-attributes", "--queue-url", &self.queue, "--attribute-names", "ApproximateNumberOfMessages"];
        let depth = aws(&depth)?;
        ensure!(depth["Attributes"]["ApproximateNumberOfMessages"].as_str() >= Some("2"), "of-others was not told: {depth}");
        let listed = aws(&["s3api", "list-objects-v2", "--bucket", OWN, "--query", "Contents[].Key"])?;
        ensure!(listed == json!(["in/my film+1.mp4", "out/film.mp4"]), "the bucket is only read: {listed}");
        for key in ["in/my film+1.mp4", "out/film.mp4"] {
            aws(&["s3api", "delete-object", "--bucket", OWN, "--key", key])?;
        }
        aws(&["s3api", "delete-bucket", "--bucket", OWN])?;
        aws(&["sqs", "delete-queue", "--queue-url", &self.queue])?;
        Ok(())
    }
}

#[test]
fn a_new_account_takes_the_template() -> Result<()> {
    let (dir, root) = (tempfile::tempdir()?, tests::root().canonicalize()?);
    let mut command = python("python", dir.path())?;
    command.arg(root.join("tests/account")).arg(root.join("template.yaml"));
    println!("{}", good(&command.output()?, "reading the template as a new account does")?);
    Ok(())
}

#[test]
fn the_linters_have_nothing_to_say_of_the_template_and_something_of_a_broken_one() -> Result<()> {
    let (dir, root) = (tempfile::tempdir()?, tests::root().canonicalize()?);
    let lint = |template: &Path| -> Result<Output> {
        Ok(sam(dir.path(), &["validate", "--lint", "--region", "us-east-1", "--template"])?.arg(template).output()?)
    };
    println!("{}", good(&lint(&root.join("template.yaml"))?, "sam validate --lint")?);
    // By itself, too, as people's editors and pipelines run it.
    let mut alone = Command::new("python3");
    alone
        .args(["-c", "from cfnlint.runner import main; main()"])
        .arg(root.join("template.yaml"))
        .env("PYTHONPATH", root.join(".tools/python"));
    good(&alone.output()?, "cfn-lint")?;
    let mut text = std::fs::read_to_string(root.join("template.yaml"))?;
    for (from, to) in [("!GetAtt SplitQueue.Arn", "!GetAtt SplitQueue.Name"), ("PAY_PER_REQUEST", "PAY_BY_REQUEST")] {
        ensure!(text.contains(from), "the template has no `{from}` any more: choose another fault");
        text = text.replace(from, to);
    }
    let broken = dir.path().join("broken.yaml");
    std::fs::write(&broken, text)?;
    let refused = lint(&broken)?;
    let said = String::from_utf8_lossy(&[refused.stdout, refused.stderr].concat()).into_owned();
    let both = ["'Name' is not one of", "'PAY_BY_REQUEST' is not one of"].iter().all(|fault| said.contains(fault));
    ensure!(!refused.status.success() && both, "one of two faults is not found: {said}");
    Ok(())
}

/// Lambda takes 250 MiB of a function and its layer: two of the larger program are more.
#[test]
fn a_package_that_lambda_would_refuse_is_not_made() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (output, to) = ministack::packed(dir.path(), &std::fs::read(tool("ffmpeg"))?)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success() && said.contains("split and the layer have") && said.contains("Lambda takes 250"), "{said}");
    ensure!(!to.exists(), "half a package is left");
    Ok(())
}

/// A program that stands in for one of this machine.
fn stand_in(folder: &Path, name: &str, script: &str) -> Result<()> {
    let path = folder.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n"))?;
    Ok(std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?)
}

/// A command in a folder whose `tools` go before the programs of this machine.
fn with_tools(folder: &Path, program: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "PATH=\"$PWD/tools:$PATH\" exec \"$@\"", "sh", program]).current_dir(folder);
    command
}

/// `deploy/package.py` for arm64, with these scripts in place of the programs that it calls.
struct ForArm {
    dir: tempfile::TempDir,
}

impl ForArm {
    /// Programs of which only the head says what they are for.
    fn new() -> Result<Self> {
        let this = Self { dir: tempfile::tempdir()? };
        for folder in ["tools", "binaries", "layer/bin"] {
            std::fs::create_dir_all(this.dir.path().join(folder))?;
        }
        for name in ["ingest", "split", "transcode-chunk", "merge", "escalation", "sweep", "webhook"] {
            this.program(&format!("binaries/{name}"), 183)?;
        }
        for name in ["layer/bin/ffmpeg", "layer/bin/ffprobe"] {
            this.program(name, 183)?;
        }
        // One that knows its own kind only, and a cross compiler's that is not there.
        for (name, script) in [("objdump", "true"), ("strip", "exit 1"), ("aarch64-linux-gnu-strip", "exit 1")] {
            this.tool(name, script)?;
        }
        Ok(this)
    }

    fn program(&self, name: &str, machine: u16) -> Result<()> {
        let mut head = b"\x7fELF\x02\x01\x01".to_vec();
        head.resize(18, 0);
        head.extend(machine.to_le_bytes());
        Ok(std::fs::write(self.dir.path().join(name), head)?)
    }

    fn tool(&self, name: &str, script: &str) -> Result<()> {
        stand_in(&self.dir.path().join("tools"), name, script)
    }

    /// Whether it succeeds, and all that it says.
    fn package(&self, args: &[&str]) -> Result<(bool, String)> {
        let mut command = with_tools(self.dir.path(), "python3");
        command.arg(tests::root().canonicalize()?.join("deploy/package.py")).args(["--architecture", "arm64"]).args(args);
        let output = command.output()?;
        Ok((output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()))
    }
}

/// The strip of one kind of machine refuses programs of the other, and a stack takes either for functions of either.
#[test]
fn a_package_for_another_kind_of_machine_is_for_it_alone_or_is_not_made() -> Result<()> {
    let arm = ForArm::new()?;
    let at = |name: &str| arm.dir.path().join(name);
    let whole = ["--binaries", "binaries", "--layer", "layer", "--to", "out/package"];
    let bootstrap = at("out/package/functions/merge/bootstrap");

    arm.tool("llvm-strip", "exit 1")?;
    let (made, said) = arm.package(&whole)?;
    ensure!(made && said.contains("no strip here takes binaries/merge"), "{said}");
    ensure!(std::fs::read(&bootstrap)? == std::fs::read(at("binaries/merge"))?, "a copy would do");
    arm.tool("llvm-strip", "echo stripped > \"$2\"")?;
    let (made, said) = arm.package(&whole)?;
    ensure!(made && !said.contains("no strip"), "{said}");
    ensure!(std::fs::read(&bootstrap)? == b"stripped\n", "llvm-strip takes every kind");
    let text = std::fs::read_to_string(at("out/package/template.yaml"))?;
    ensure!(text.contains("  Architecture:\n    Type: String\n    Default: arm64\n    AllowedValues: [arm64]\n"), "{text}");

    // What is not there is said before a build, and what is half is not left; the whole one of before is.
    ensure!(arm.package(&["--check", "--binaries", "binaries", "--layer", "layer"])?.0);
    ensure!(arm.package(&["--check", "--build", "--binaries", "to-be-built"])?.0);
    for binaries in ["", "nowhere"] {
        let (complete, said) = arm.package(&["--check", "--binaries", binaries])?;
        ensure!(!complete && said.contains("rustup target add aarch64-unknown-linux-gnu"), "{said}");
    }
    arm.program("layer/bin/ffprobe", 62)?;
    for args in [&["--check", "--binaries", "binaries", "--layer", "layer"][..], &whole] {
        let (complete, said) = arm.package(args)?;
        ensure!(!complete && said.contains("layers/ffmpeg/build.py --arch arm64"), "{said}");
    }
    arm.tool("objdump", "case \"$*\" in *merge) echo ' GLIBC_2.34 GLIBC_2.38 GLIBC_2.4';; esac")?;
    arm.program("layer/bin/ffprobe", 183)?;
    let (made, said) = arm.package(&whole)?;
    ensure!(!made && said.contains("binaries/merge needs glibc 2.38; Lambda has 2.34"), "{said}");
    ensure!(std::fs::read(&bootstrap)? == b"stripped\n" && std::fs::read_dir(at("out"))?.count() == 1, "half a package is left");
    arm.tool("objdump", "exit 1")?;
    let (made, said) = arm.package(&whole)?;
    ensure!(!made && said.contains("binaries/merge asks of the C library cannot be read") && !said.contains("Traceback"), "{said}");
    ensure!(std::fs::read(&bootstrap)? == b"stripped\n" && std::fs::read_dir(at("out"))?.count() == 1, "half a package is left");
    Ok(())
}

/// A folder with tools that tell what they were asked, know a region, and have a stack.
fn person() -> Result<tempfile::TempDir> {
    let dir = tempfile::tempdir()?;
    for folder in ["tools", "package"] {
        std::fs::create_dir(dir.path().join(folder))?;
    }
    std::fs::write(dir.path().join("package/template.yaml"), "")?;
    let answers = "case \"$*\" in *\"configure get region\") echo \"$PROFILE_REGION\";; *describe-stacks*) echo films-of-mine;; \
        *get-caller-identity*) echo 123456789012;; *) echo \"$@\";; esac";
    for name in ["python3", "sam", "aws"] {
        stand_in(&dir.path().join("tools"), name, answers)?;
    }
    Ok(dir)
}

/// One of the scripts for clouds, told of AWS itself or of another endpoint.
fn told_script(dir: &Path, name: &str, endpoint: &str, region: &str) -> Result<Command> {
    let mut command = with_tools(dir, "bash");
    command.arg(tests::root().canonicalize()?.join("localstack").join(name)).env("AWS_ENDPOINT_URL", endpoint);
    command.env_remove("AWS_REGION").env_remove("AWS_DEFAULT_REGION").env("PROFILE_REGION", region).env("PACKAGE", dir.join("package"));
    Ok(command)
}

/// What a cloud on one machine cannot do is nothing that AWS shall be told to leave out.
#[test]
fn deploy_takes_tls_alarms_and_bounds_from_clouds_like_aws_only() -> Result<()> {
    let dir = person()?;
    for (endpoint, args, told) in [
        ("http://127.0.0.1:1", &[][..], " --parameter-overrides TlsOnly=no Monitoring=no TranscodeConcurrency=0 JobConcurrency=0\n"),
        ("", &["LogLevel=warn"], "--region eu-north-1 --parameter-overrides LogLevel=warn\n"),
        ("", &[], "--region eu-north-1\n"),
    ] {
        let said = good(&told_script(dir.path(), "deploy.sh", endpoint, "eu-north-1")?.args(args).output()?, "deploy.sh")?;
        ensure!(said.contains(told), "{endpoint}, {args:?}: {said}");
    }
    Ok(())
}

/// A stack of the same name in another region is another's.
#[test]
fn scripts_act_in_the_region_of_the_persons_profile_and_ask_before_films_are_deleted() -> Result<()> {
    let dir = person()?;
    for name in ["deploy.sh", "destroy.sh"] {
        let out = told_script(dir.path(), name, "", "")?.output()?;
        let said = String::from_utf8_lossy(&out.stderr);
        ensure!(out.status.code() == Some(2) && said.contains("in which region?"), "{name}: {said}");
    }
    let destroy = |answer: &str, args: &[&str]| -> Result<(Option<i32>, String)> {
        std::fs::write(dir.path().join("answer"), answer)?;
        let mut command = told_script(dir.path(), "destroy.sh", "", "eu-north-1")?;
        let out = command.arg("--with-data").args(args).stdin(std::fs::File::open(dir.path().join("answer"))?).output()?;
        Ok((out.status.code(), format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))))
    };
    for answer in ["", "yes\n"] {
        let (code, said) = destroy(answer, &[])?;
        ensure!(code == Some(2) && said.contains("123456789012 in eu-north-1") && said.contains("s3://films-of-mine"), "{said}");
        ensure!(said.contains("nothing was deleted") && !said.contains("delete-stack"), "{said}");
    }
    for (answer, args) in [("fanreel\n", &[][..]), ("", &["--yes"])] {
        let (code, said) = destroy(answer, args)?;
        ensure!(code == Some(0) && said.contains("s3 rm --only-show-errors --recursive s3://films-of-mine"), "{said}");
    }
    Ok(())
}

/// What a stack tells of itself.
fn outputs(ministack: &MiniStack, dir: &Path, stack: &str) -> Result<BTreeMap<String, String>> {
    let ask = ["cloudformation", "describe-stacks", "--stack-name", stack, "--query", "Stacks[0].Outputs"];
    let told = aws(&ministack.endpoint, dir, &ask)?;
    let text = |output: &Value, name: &str| output[name].as_str().map(str::to_owned);
    let pairs = told.as_array().into_iter().flatten().map(|output| Some((text(output, "OutputKey")?, text(output, "OutputValue")?)));
    pairs.collect::<Option<_>>().with_context(|| told.to_string())
}

/// A command as an output tells it, typed by somebody who has AWS's CLI, `fanreel` and a film. What it says.
fn typed(ministack: &MiniStack, dir: &Path, words: &str) -> Result<String> {
    let mut command = with_tools(dir, "sh");
    command.args(["-c", words]).env_remove("AWS_PROFILE").env_remove("AWS_SESSION_TOKEN").env("HOME", dir);
    command.env("AWS_ENDPOINT_URL", &ministack.endpoint).env("AWS_REGION", "us-east-1").env("AWS_DEFAULT_REGION", "us-east-1");
    command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test").env("AWS_EC2_METADATA_DISABLED", "true");
    good(&command.output()?, words)
}

/// What a person does next, by the outputs: a film is uploaded, and watched until it is done.
async fn next_commands_work(ministack: &MiniStack, dir: &Path, told: &BTreeMap<String, String>) -> Result<()> {
    std::fs::create_dir(dir.join("tools"))?;
    let packages = tests::root().canonicalize()?.join(".tools/python");
    stand_in(&dir.join("tools"), "aws", &format!("PYTHONPATH='{}' exec python3 -m awscli \"$@\"", packages.display()))?;
    stand_in(&dir.join("tools"), "fanreel", &format!("exec '{}' \"$@\"", binary("fanreel")?.display()))?;
    let commands: BTreeSet<&str> = told
        .iter()
        .filter(|(_, value)| value.starts_with("aws ") || value.starts_with("fanreel "))
        .map(|(name, _)| name.as_str())
        .collect();
    ensure!(commands == ["AttachSource", "Upload", "Watch"].into(), "this test types other commands than {commands:?}");
    typed(ministack, dir, &told["Upload"])?;
    until("the film that was uploaded to be done", LONG, || {
        let shown = typed(ministack, dir, &told["Watch"])?;
        Ok(shown.lines().any(|line| line.contains("film.mp4") && line.contains("COMPLETED")).then_some(()))
    })
    .await
}

/// Uploads that nobody completed, of which no list of objects tells.
async fn begin_uploads(stack: &Stack) -> Result<()> {
    for key in ["uploads/half a film.mp4", "encoded/half.mp4"] {
        let begun = stack.s3.create_multipart_upload().bucket(stack.bucket()).key(key).send().await?;
        let part = stack.s3.upload_part().bucket(stack.bucket()).key(key).set_upload_id(begun.upload_id);
        part.part_number(1).body(ByteStream::from_static(b"half a film")).send().await?;
    }
    ensure!(unfinished(stack).await? == 2, "this cloud does not tell of unfinished uploads");
    Ok(())
}

async fn unfinished(stack: &Stack) -> Result<usize> {
    Ok(stack.s3.list_multipart_uploads().bucket(stack.bucket()).send().await?.uploads().len())
}

/// More than the store, and more than the table, tells of in one answer.
fn fill(ministack: &MiniStack, dir: &Path, stack: &str) -> Result<()> {
    let told = outputs(ministack, dir, stack)?;
    let output = |name: &str| told.get(name).with_context(|| format!("no {name} in {told:?}"));
    let many = dir.join("many");
    std::fs::create_dir(&many)?;
    for n in 0..1001 {
        std::fs::write(many.join(n.to_string()), "a thousand and one")?;
    }
    let (from, to) = (many.to_string_lossy(), format!("s3://{}/encoded/", output("Bucket")?));
    aws(&ministack.endpoint, dir, &["s3", "cp", "--only-show-errors", "--recursive", &from, &to])?;
    let put = |n: u32| {
        let item = json!({ "pk": { "S": format!("filler {n}") }, "sk": { "S": "filler" }, "text": { "S": "x".repeat(300_000) } });
        json!({ "PutRequest": { "Item": item } })
    };
    let (items, table) = (dir.join("items.json"), output("Table")?);
    std::fs::write(&items, json!({ table: (0..8).map(put).collect::<Vec<_>>() }).to_string())?;
    let put = aws(&ministack.endpoint, dir, &["dynamodb", "batch-write-item", "--request-items", &format!("file://{}", items.display())])?;
    ensure!(put["UnprocessedItems"] == json!({}), "{put}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_deploys_makes_a_ladder_and_is_destroyed() -> Result<()> {
    let (dir, root) = (tempfile::tempdir()?, tests::root().canonicalize()?);
    ministack::package(dir.path())?;

    let ministack = MiniStack::start(dir.path()).await?;
    let run = |stack: &str, name: &str, args: &[&str]| -> Result<String> {
        let output = script(&ministack, dir.path(), stack, name, args)?;
        good(&output, name).with_context(|| format!("MiniStack said:\n{}", ministack.log()))
    };
    // It does not mount layers for programs.
    let tools: Vec<String> = [("FfmpegPath", "ffmpeg"), ("FfprobePath", "ffprobe")]
        .map(|(name, program)| (name, tool(program)))
        .into_iter()
        .map(|(name, path)| Ok(format!("{name}={}", path.canonicalize()?.display())))
        .collect::<Result<_>>()?;
    let tools: Vec<&str> = tools.iter().map(String::as_str).collect();
    run("film", "deploy.sh", &tools)?;
    fill(&ministack, dir.path(), "film")?;
    let film = clips::small(dir.path())?.path;
    println!("{}", run("film", "smoke.sh", &[&film.to_string_lossy()])?);

    let jobs = by_name(&ministack, dir.path(), &["--stack", "film", "jobs"])?;
    let states: Vec<&str> = jobs["jobs"].as_array().into_iter().flatten().filter_map(|job| job["status"].as_str()).collect();
    ensure!(states == ["COMPLETED"], "{jobs}");
    let event = root.join("events/schedule.json");
    let swept = by_name(&ministack, dir.path(), &["--stack", "film", "invoke", "sweep", "-e", &event.to_string_lossy()])?;
    ensure!(swept["payload"]["jobs"] == 0, "{swept}");

    let kept = run("film", "destroy.sh", &[])?;
    for (what, least) in [("uploads/", 1), ("streams/", 10), ("encoded/", 1002), ("jobs/", 2), ("table ", 13)] {
        let line =
            kept.lines().find(|line| line.starts_with("  ") && line.contains(what)).with_context(|| format!("no {what} in: {kept}"))?;
        let count: u64 = line.split_whitespace().nth_back(1).and_then(|count| count.parse().ok()).with_context(|| line.to_owned())?;
        ensure!(count >= least, "{line}");
    }
    let left = everything(&ministack, dir.path())?;
    for kind in ["queues", "functions", "layers", "mappings", "roles", "rules", "artifacts"] {
        ensure!(names(&left, kind).iter().all(|name| !name.contains("film")), "{kind} are left: {left}");
    }
    let ours = |kind: &str| names(&left, kind).iter().filter(|name| name.starts_with("film-")).count();
    ensure!((ours("buckets"), ours("tables")) == (1, 1), "bucket and table are to be kept: {left}");

    // Once more, and nothing of the second remains. Under another name: this cloud would give it the first one's table.
    let own = OwnBucket::make(&ministack, dir.path())?;
    run("again", "deploy.sh", &[&tools[..], &["SourceBucket=films-of-mine", "SourcePrefix=in/"]].concat())?;
    let deployed = everything(&ministack, dir.path())?;
    ensure!(names(&deployed, "functions").len() == 7 && names(&deployed, "buckets").len() > names(&left, "buckets").len(), "{deployed}");
    let told = outputs(&ministack, dir.path(), "again")?;
    std::fs::copy(&film, dir.path().join("film.mp4"))?;
    let said = || format!("MiniStack said:\n{}", ministack.log());
    next_commands_work(&ministack, dir.path(), &told).await.with_context(said)?;
    own.becomes_a_job(&ministack, dir.path(), &film, &told["AttachSource"]).await.with_context(said)?;
    let again = Stack::at(&ministack.endpoint, told).await;
    begin_uploads(&again).await?;
    run("again", "destroy.sh", &["--with-data"])?;
    let after = everything(&ministack, dir.path())?;
    ensure!(after == left, "before: {left}\nafter: {after}");
    // This cloud keeps what was begun in a bucket beyond the bucket's end, for the next one of its name.
    again.s3.create_bucket().bucket(again.bucket()).send().await?;
    ensure!(unfinished(&again).await? == 0, "unfinished uploads are left");
    ministack.stop()
}

//! The house: who may depend on whom (read from `cargo metadata`), and who may start processes (read from sources).
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// A package of the workspace.
struct Package {
    name: String,
    dir: PathBuf,
    /// Normal and build dependencies.
    dependencies: BTreeSet<String>,
    dev_dependencies: BTreeSet<String>,
    /// Folders of the programs whose tests nobody builds, and of the libraries whose examples nobody runs.
    untested: Vec<PathBuf>,
    unshown: Vec<PathBuf>,
}

impl Package {
    fn is_function(&self) -> bool {
        self.dir.parent().is_some_and(|parent| parent == root().join("functions"))
    }

    /// The end-to-end tests, the functions that only tests run, and examples of anybody's: they may use anything.
    fn is_test(&self) -> bool {
        ["tests", "examples"].iter().any(|folder| self.dir.starts_with(root().join(folder)))
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn workspace() -> Vec<Package> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().iter().map(package).collect()
}

fn package(json: &Value) -> Package {
    let all = json["dependencies"].as_array().unwrap();
    let of = |dev: bool| {
        let kind = |d: &&Value| (d["kind"] == "dev") == dev;
        all.iter().filter(kind).map(|d| d["name"].as_str().unwrap().to_owned()).collect()
    };
    let without = |what: &str, kind: &str| {
        let targets = json["targets"].as_array().unwrap().iter();
        let targets = targets.filter(|target| target["kind"][0] == kind && target[what] == false);
        targets.map(|target| Path::new(target["src_path"].as_str().unwrap()).parent().unwrap().to_owned()).collect()
    };
    Package {
        name: json["name"].as_str().unwrap().to_owned(),
        dir: Path::new(json["manifest_path"].as_str().unwrap()).parent().unwrap().to_owned(),
        dependencies: of(false),
        dev_dependencies: of(true),
        untested: without("test", "bin"),
        unshown: without("doctest", "lib"),
    }
}

/// Packages of ours that each may depend on; functions, which share one rule, as `function`.
fn allowed() -> BTreeMap<&'static str, &'static [&'static str]> {
    BTreeMap::from([
        ("function", &["entry", "cloud", "media", "pipeline"] as &[&str]),
        ("entry", &["pipeline"]),
        ("cloud", &["pipeline"]),
        ("media", &["pipeline"]),
        ("sim", &["pipeline"]),
        ("pipeline", &[]),
        ("platform", &[]),
        ("cli", &["platform", "cloud", "media", "pipeline"]),
    ])
}

#[test]
fn packages_of_ours_depend_in_the_allowed_directions_only() {
    let packages = workspace();
    let ours: BTreeSet<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    let allowed = allowed();
    assert!(packages.iter().any(Package::is_function) && ours.contains("pipeline"), "the workspace was read wrongly");
    for package in packages.iter().filter(|package| !package.is_test()) {
        let role = if package.is_function() { "function" } else { &package.name };
        let permitted = allowed.get(role).unwrap_or_else(|| panic!("{role} has no rule here; add it to this test and to ARCHITECTURE.md"));
        for name in package.dependencies.iter().filter(|name| ours.contains(name.as_str())) {
            assert!(permitted.contains(&name.as_str()), "{} may not depend on {name}", package.name);
        }
        // Tests may add the simulator, and those of the adapters a platform to speak to; no other direction.
        for name in package.dev_dependencies.iter().filter(|name| ours.contains(name.as_str())) {
            let stand = package.name == "cloud" && name == "platform";
            let fine = permitted.contains(&name.as_str()) || name == "sim" || stand || *name == package.name;
            assert!(fine, "tests of {} may not depend on {name}", package.name);
        }
    }
}

#[test]
fn only_the_cloud_crate_and_the_cli_speak_to_stores_through_the_sdk() {
    for package in workspace().iter().filter(|p| !p.is_test() && p.name != "cloud" && p.name != "cli") {
        for sdk in ["aws-sdk-s3", "aws-sdk-sqs", "aws-sdk-dynamodb"] {
            assert!(!package.dependencies.contains(sdk), "{} depends on {sdk}; go through `cloud`", package.name);
        }
    }
}

#[test]
fn only_media_platform_and_cli_start_processes() {
    let words = ["process::Command", "tokio::process", "std::process::{", "CommandExt", "posix_spawn"];
    let mut starters = BTreeSet::new();
    for package in workspace().iter().filter(|package| !package.is_test()) {
        for file in sources(&package.dir.join("src")) {
            let text = fs::read_to_string(&file).unwrap();
            if words.iter().any(|word| text.contains(word)) {
                starters.insert(package.name.clone());
                let fine = ["media", "platform", "cli"].contains(&package.name.as_str());
                assert!(fine, "{} starts processes", file.display());
            }
        }
    }
    assert!(starters.contains("platform"), "the sources were read wrongly: even the platform starts no process");
}

#[test]
fn what_is_not_built_as_a_test_has_none() {
    let packages = workspace();
    let untested: Vec<&PathBuf> = packages.iter().flat_map(|package| &package.untested).collect();
    let unshown: Vec<&PathBuf> = packages.iter().flat_map(|package| &package.unshown).collect();
    assert!(untested.len() >= 7 && unshown.len() >= 6, "the manifests were read wrongly: {untested:?}, {unshown:?}");
    let lines = |file: &PathBuf| fs::read_to_string(file).unwrap().lines().map(|line| line.trim().to_owned()).collect::<Vec<String>>();
    for file in untested.into_iter().flat_map(|folder| sources(folder)) {
        let is_test = |line: &String| ["#[cfg(test)]", "#[test]", "#[tokio::test"].iter().any(|mark| line.starts_with(mark));
        assert!(!lines(&file).iter().any(is_test), "{} has tests that nobody builds: its manifest says `test = false`", file.display());
    }
    for file in unshown.into_iter().flat_map(|folder| sources(folder)) {
        let fences = lines(&file).into_iter().filter(|line| line.starts_with("/// ```") || line.starts_with("//! ```"));
        // Every other one ends what the one before began.
        let shown = fences.step_by(2).find(|fence| !["```text", "```json", "```sh"].iter().any(|kind| fence.ends_with(kind)));
        assert!(shown.is_none(), "{} has examples that nobody runs: its manifest says `doctest = false`", file.display());
    }
}

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

#[test]
fn the_template_resolves_and_every_function_in_it_is_a_package() {
    let source = platform::TemplateSource::File(root().join("template.yaml"));
    // Doors that are opened by a parameter are open.
    let all = BTreeMap::from([("DoorSecret".to_owned(), "a-secret-of-yours".to_owned())]);
    let stack = platform::template::resolve(&source, &all, "http://127.0.0.1:4566").unwrap_or_else(|error| panic!("{error}"));
    let functions: BTreeSet<String> = workspace().into_iter().filter(Package::is_function).map(|package| package.name).collect();
    let named: BTreeSet<String> = stack.functions.iter().map(|function| function.binary.clone()).collect();
    assert_eq!(named, functions);
    for mapping in &stack.mappings {
        assert!(mapping.report_batch_item_failures, "{} would redo whole batches", mapping.function);
    }
}

/// Whoever is told to go says its last words before it is killed: the one bound is ours, the other the host's.
#[test]
fn the_platform_leaves_a_worker_the_time_that_it_takes_for_its_end() {
    assert!(entry::FAREWELL < platform::lambda::GRACE, "{:?} of {:?}", entry::FAREWELL, platform::lambda::GRACE);
}

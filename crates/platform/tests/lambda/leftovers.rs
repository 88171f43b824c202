//! What a killed platform leaves, and how it ends.

use super::*;

/// Not a test: the platform that `kill_of_the_platform_leaves_nothing` runs as a process of its own, in its directory.
#[tokio::test]
#[ignore = "run by kill_of_the_platform_leaves_nothing, which kills it"]
async fn platform_that_is_killed() {
    let directory = std::env::current_dir().unwrap();
    let (lambda, ..) = start(&directory, vec![function("hello")], PATIENCE);
    let event = json!({ "child": directory.join("child"), "pid": directory.join("pid"), "sleep": 60_000 });
    let outcome = lambda.invoke("hello", event.to_string().into()).await;
    panic!("it was to be killed before: {outcome:?}");
}

#[tokio::test]
async fn kill_of_the_platform_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut platform = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "leftovers::platform_that_is_killed"])
        .current_dir(directory.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let child = pid_in(&directory.path().join("child")).await;
    let pid = pid_in(&directory.path().join("pid")).await;
    platform.kill().unwrap();
    platform.wait().unwrap();
    until("the environment dies with the platform", || !runs(pid)).await;
    assert!(runs(child), "what it had started lives on");
    let (lambda, ..) = start(directory.path(), vec![function("hello")], PATIENCE);
    until("the next platform ends it", || !runs(child)).await;
    lambda.shutdown(Duration::ZERO).await;
}

/// What `kill -9` of the platform leaves: here a process with the environment's marks whose leader has ended, and a
/// leader that still runs. Both are recorded.
#[tokio::test]
async fn leftovers_are_ended_at_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let records = directory.path().join("lambda/processes");
    fs::create_dir_all(&records).unwrap();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let leader = |script: &str| {
        let mut command = Command::new("setsid");
        command.args(["sh", "-c", script]).env("AWS_LAMBDA_LOG_STREAM_NAME", "stream-of-a-test");
        command.spawn().unwrap()
    };
    let started = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit_once(") ").unwrap().1.split(' ').nth(19).unwrap().to_owned()
    };
    let (alive, orphan) = (directory.path().join("alive"), directory.path().join("orphan"));
    let mut living = leader(&format!("sleep 600 & echo $! > {}.new; mv {0}.new {0}; wait", alive.display()));
    let mut gone = leader(&format!("sleep 600 & echo $! > {}.new; mv {0}.new {0}; read wait", orphan.display()));
    let line = |path: &Path| fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u32>().ok());
    until("both run", || line(&alive).is_some() && line(&orphan).is_some()).await;
    for child in [&living, &gone] {
        let record = format!("{boot}{}\nstream-of-a-test\n", started(child.id()));
        fs::write(records.join(child.id().to_string()), record).unwrap();
    }
    gone.kill().unwrap();
    gone.wait().unwrap();
    let orphan = line(&orphan).unwrap();
    assert!(runs(orphan), "it outlives its leader");
    let (lambda, ..) = start(directory.path(), vec![function("hello")], Duration::from_secs(1));
    living.wait().unwrap();
    for pid in [line(&alive).unwrap(), orphan] {
        until("the leftover ends", || !runs(pid)).await;
    }
    assert_eq!(fs::read_dir(&records).unwrap().count(), 0);
    lambda.shutdown(Duration::ZERO).await;
}

//! Uploads of films that broke off.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use cloud::{Cloud, Doing, Sending};
use pipeline::ports::{Blobs, Meter};

use crate::{
    noise,
    stand::{
        Stand,
        gate::{Fate, Gate},
    },
};

const MIB: usize = 1 << 20;
/// Bytes of a part of these films.
const PART: usize = 8 * MIB;
const KEY: &str = "uploads/film.mp4";
/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);

/// Five parts and their label.
fn film(dir: &Path) -> (PathBuf, Vec<u8>) {
    let (file, content) = (dir.join("film.mp4"), noise(4 * PART + 3));
    std::fs::write(&file, &content).unwrap();
    (file, content)
}

/// Open uploads to keys that begin with the film's, by id, with the numbers of their parts.
async fn open(stand: &Stand) -> Vec<(String, Vec<i32>)> {
    let s3 = &stand.clients.s3;
    let mut found = Vec::new();
    for upload in s3.list_multipart_uploads().bucket(stand.bucket()).prefix(KEY).send().await.unwrap().uploads.unwrap_or_default() {
        let (key, id) = (upload.key.unwrap(), upload.upload_id.unwrap());
        let parts = s3.list_parts().bucket(stand.bucket()).key(key).upload_id(&id).send().await.unwrap().parts.unwrap_or_default();
        found.push((id, parts.iter().filter_map(aws_sdk_s3::types::Part::part_number).collect()));
    }
    found
}

/// Breaks an upload off when `parts` of the film are stored; their numbers.
async fn broken_off(stand: &Stand, file: &Path, profile: Option<&str>, parts: usize) -> Vec<i32> {
    let gate = Gate::of_parts(&stand.endpoint, parts + 1).await;
    let before = open(stand).await.len();
    let (cloud, sending) = (stand.through(&gate.endpoint).await, Sending::default());
    let stored = async {
        loop {
            let found = open(stand).await;
            if let Some((_, numbers)) = found.get(before).filter(|(_, numbers)| numbers.len() == parts + 1) {
                return numbers.clone();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let mut numbers = tokio::select! {
        done = cloud.blobs.upload(KEY, file, profile, &sending) => panic!("it was held: {done:?}"),
        numbers = tokio::time::timeout(LONG, stored) => numbers.unwrap(),
    };
    assert_eq!(numbers.pop(), Some(6), "the label is behind the film");
    numbers
}

/// Uploads through a line that knows what passed; the film's parts that were sent.
async fn uploaded(stand: &Stand, file: &Path, profile: Option<&str>) -> (Vec<i32>, Sending) {
    let gate = Gate::of_parts(&stand.endpoint, usize::MAX).await;
    let (cloud, sending) = (stand.through(&gate.endpoint).await, Sending::default());
    cloud.blobs.upload(KEY, file, profile, &sending).await.unwrap();
    assert_eq!(sending.progress().doing, Doing::Stored);
    (gate.passed(), sending)
}

async fn holds(cloud: &Cloud, file: &Path, profile: Option<&str>) -> bool {
    cloud.blobs.holds(KEY, file, profile, &Sending::default()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_broke_off_sends_what_is_missing_and_nothing_twice() {
    let stand = Stand::new().await;
    let dir = tempfile::tempdir().unwrap();
    let (file, content) = film(dir.path());
    let there = broken_off(&stand, &file, Some("hevc"), 2).await;
    // A key that begins with this one, and an upload that nobody labelled, are not the film's.
    stand.clients.s3.create_multipart_upload().bucket(stand.bucket()).key(format!("{KEY}.2")).send().await.unwrap();
    stand.clients.s3.create_multipart_upload().bucket(stand.bucket()).key(KEY).send().await.unwrap();

    let gate = Gate::of_parts(&stand.endpoint, usize::MAX).await;
    let (clients, sending) = (cloud::Clients::new(&crate::stand::access(&gate.endpoint)).await, Sending::default());
    let cloud = Cloud::over(&clients, &stand.settings);
    cloud.blobs.upload(KEY, &file, Some("hevc"), &sending).await.unwrap();
    let missing: Vec<i32> = (1..=5).filter(|number| !there.contains(number)).collect();
    assert_eq!(gate.passed(), missing);
    let bytes = |numbers: &[i32]| numbers.iter().map(|number| if *number == 5 { 3 } else { PART as u64 }).sum::<u64>();
    let progress = sending.progress();
    assert_eq!((progress.there, progress.sent, progress.bytes), (bytes(&there), bytes(&missing), content.len() as u64));
    assert_eq!(clients.counter.asked().to_s3_bytes, bytes(&missing));

    assert!(stand.cloud.blobs.read(KEY).await.unwrap().unwrap() == content);
    let source = stand.cloud.blobs.head_source(stand.bucket(), KEY).await.unwrap().unwrap();
    assert_eq!(stand.cloud.blobs.wish(&source).await.unwrap().as_deref(), Some("hevc"));
    assert_eq!(open(&stand).await.len(), 2, "those of others are left alone");

    assert!(holds(&stand.cloud, &file, Some("hevc")).await && !holds(&stand.cloud, &file, None).await);
    std::fs::write(&file, [&content[1..], b"x"].concat()).unwrap();
    assert!(!holds(&stand.cloud, &file, Some("hevc")).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_a_file_that_changed_are_sent_again_and_another_profile_begins_anew() {
    let stand = Stand::new().await;
    let dir = tempfile::tempdir().unwrap();
    let (file, mut content) = film(dir.path());
    let there = broken_off(&stand, &file, None, 3).await;
    let changed = there[1];
    content[usize::try_from(changed - 1).unwrap() * PART + 77] ^= 1;
    std::fs::write(&file, &content).unwrap();
    let (sent, sending) = uploaded(&stand, &file, None).await;
    let wanted: Vec<i32> = (1..=5).filter(|number| *number == changed || !there.contains(number)).collect();
    assert_eq!((sent, sending.progress().there), (wanted, 2 * PART as u64));
    assert!(stand.cloud.blobs.read(KEY).await.unwrap().unwrap() == content);

    broken_off(&stand, &file, None, 2).await;
    let (sent, _) = uploaded(&stand, &file, Some("hevc")).await;
    assert_eq!(sent, [1, 2, 3, 4, 5, 6], "another profile");
    content.truncate(3 * PART);
    std::fs::write(&file, &content).unwrap();
    let (sent, _) = uploaded(&stand, &file, None).await;
    assert_eq!(sent, [1, 2, 3, 4], "another number of parts");
    assert!(stand.cloud.blobs.read(KEY).await.unwrap().unwrap() == content);

    // Another film of this name, so long and by this profile: its upload is left alone.
    content.extend(vec![0; PART + 3]);
    content.reverse();
    std::fs::write(&file, &content).unwrap();
    let (sent, _) = uploaded(&stand, &file, None).await;
    assert_eq!(sent, [1, 2, 3, 4, 5, 6]);
    assert!(stand.cloud.blobs.read(KEY).await.unwrap().unwrap() == content);
    assert_eq!(open(&stand).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_go_on_with_one_upload_both_end_well() {
    let stand = Stand::new().await;
    let dir = tempfile::tempdir().unwrap();
    let (file, content) = film(dir.path());
    broken_off(&stand, &file, None, 2).await;
    let blobs = &stand.cloud.blobs;
    let (one, two) = (Sending::default(), Sending::default());
    let both = tokio::join!(blobs.upload(KEY, &file, None, &one), blobs.upload(KEY, &file, None, &two));
    assert_eq!(both, (Ok(()), Ok(())));
    assert!(blobs.read(KEY).await.unwrap().unwrap() == content);
    assert_eq!(open(&stand).await, []);

    // The slower one finds that the upload is gone, and that the object is its film.
    broken_off(&stand, &file, None, 2).await;
    let (slow, sending) = (Barred::new(&stand, |_, part| part.is_some()).await, Sending::default());
    let upload = slow.cloud.blobs.upload(KEY, &file, None, &sending);
    let faster = async {
        waits(&sending, "storing part").await;
        blobs.upload(KEY, &file, None, &one).await.unwrap();
        slow.opens();
    };
    assert_eq!(tokio::join!(upload, faster).0, Ok(()));
    assert_eq!(sending.progress().doing, Doing::Stored);
    assert!(!slow.gate.passed().contains(&6), "no upload was begun");
    assert_eq!(open(&stand).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_cuts_of_a_film_that_go_on_with_one_upload_are_never_mixed() {
    let stand = Stand::new().await;
    let dir = tempfile::tempdir().unwrap();
    let (file, content) = film(dir.path());
    let there = broken_off(&stand, &file, None, 2).await;
    let (other, mut other_content) = (dir.path().join("other.mp4"), content.clone());
    let differ: Vec<i32> = (1..=4).filter(|number| *number != there[0]).collect();
    for number in &differ {
        other_content[usize::try_from(number - 1).unwrap() * PART] ^= 1;
    }
    std::fs::write(&other, &other_content).unwrap();

    // Both have sent all of theirs, the second over the first; then the first completes, then the second.
    let completes = |line: &str, _: Option<i32>| line.starts_with("POST ") && line.contains("uploadId=");
    let (one, first) = (Barred::new(&stand, completes).await, Sending::default());
    let (two, second) = (Barred::new(&stand, completes).await, Sending::default());
    let upload_first = async {
        one.cloud.blobs.upload(KEY, &file, None, &first).await.unwrap();
        assert!(stand.cloud.blobs.read(KEY).await.unwrap().unwrap() == content);
        two.opens();
    };
    let upload_second = async {
        waits(&first, "completing").await;
        let upload = two.cloud.blobs.upload(KEY, &other, None, &second);
        let opens = async {
            waits(&second, "completing").await;
            one.opens();
        };
        tokio::join!(upload, opens).0.unwrap();
    };
    tokio::join!(upload_first, upload_second);
    assert!(stand.cloud.blobs.read(KEY).await.unwrap().unwrap() == other_content);
    let twice = |number: &i32| usize::from(!there.contains(number)) + usize::from(differ.contains(number));
    let wanted: Vec<i32> = (1..=5).flat_map(|number| vec![number; twice(&number)]).collect();
    assert_eq!(one.gate.passed(), wanted, "what was replaced is sent again, and nothing else");
    assert_eq!(two.gate.passed().iter().filter(|number| **number == 6).count(), 1, "the second began anew");
    assert_eq!(open(&stand).await, []);
}

/// A way to S3 that cuts some requests until it is opened.
struct Barred {
    gate: Gate,
    cloud: Cloud,
    open: Arc<AtomicBool>,
}

impl Barred {
    async fn new(stand: &Stand, cut: impl Fn(&str, Option<i32>) -> bool + Send + 'static) -> Self {
        let open = Arc::new(AtomicBool::new(false));
        let opened = Arc::clone(&open);
        let judge = move |line: &str, part| if cut(line, part) && !opened.load(Ordering::Relaxed) { Fate::Cut } else { Fate::Pass };
        let gate = Gate::new(&stand.endpoint, judge).await;
        Self { cloud: stand.through(&gate.endpoint).await, gate, open }
    }

    fn opens(&self) {
        self.open.store(true, Ordering::Relaxed);
    }
}

/// Waits until an upload waits for its line; why.
async fn waits(sending: &Sending, what: &str) -> String {
    let waits = async {
        loop {
            match sending.progress().doing {
                Doing::Waiting(why) if why.contains(what) => return why,
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    tokio::time::timeout(LONG, waits).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_is_away_is_waited_for_and_who_may_not_list_begins_anew() {
    let stand = Stand::new().await;
    let dir = tempfile::tempdir().unwrap();
    let (file, content) = film(dir.path());
    // More often than the SDK tries one call.
    let (mut cuts, sending) = (0, Sending::default());
    let gate = Gate::new(&stand.endpoint, move |_, part| {
        cuts += u32::from(part.is_some());
        if part.is_some() && cuts <= 7 { Fate::Cut } else { Fate::Pass }
    });
    let cloud = stand.through(&gate.await.endpoint).await;
    let (stored, _) =
        tokio::join!(cloud.blobs.upload(KEY, &file, None, &sending), waits(&sending, "storing part 6 of s3://videos/uploads/film"));
    assert_eq!(stored, Ok(()));
    assert!(stand.cloud.blobs.read(KEY).await.unwrap().unwrap() == content);

    broken_off(&stand, &file, None, 2).await;
    let refuses =
        Gate::new(&stand.endpoint, |line, _| if line.starts_with("GET ") && line.contains("?uploads") { Fate::Refuse } else { Fate::Pass });
    let (refuses, sending) = (refuses.await, Sending::default());
    let cloud = stand.through(&refuses.endpoint).await;
    cloud.blobs.upload(KEY, &file, None, &sending).await.unwrap();
    assert_eq!(refuses.passed(), [1, 2, 3, 4, 5, 6]);
    assert!(sending.progress().unlisted.unwrap().contains("AccessDenied"));
    assert!(stand.cloud.blobs.read(KEY).await.unwrap().unwrap() == content);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_changes_while_it_is_uploaded_makes_no_object() {
    let dir = tempfile::tempdir().unwrap();
    for may_list in [true, false] {
        let stand = Stand::new().await;
        let (file, content) = film(dir.path());
        let other = [&content[1..], b"x"].concat();
        let (path, next) = (file.clone(), dir.path().join("next"));
        std::fs::write(&next, &other).unwrap();
        let gate = Gate::new(&stand.endpoint, move |line, part| {
            if part == Some(2) && next.exists() {
                std::fs::rename(&next, &path).unwrap();
            }
            if !may_list && line.starts_with("GET ") && line.contains("?uploads") { Fate::Refuse } else { Fate::Pass }
        });
        let cloud = stand.through(&gate.await.endpoint).await;
        let fault = cloud.blobs.upload(KEY, &file, None, &Sending::default()).await.unwrap_err();
        assert!(fault.to_string().contains("film.mp4 changed while it was uploaded"), "{fault}");
        assert_eq!(stand.cloud.blobs.read(KEY).await, Ok(None));
        assert_eq!(open(&stand).await.len(), usize::from(may_list), "what cannot be found again is given up");
        uploaded(&stand, &file, None).await;
        assert!(stand.cloud.blobs.read(KEY).await.unwrap().unwrap() == other);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_line_may_need_longer_for_a_part_than_a_small_call_may_take() {
    let stand = Stand::new().await;
    let dir = tempfile::tempdir().unwrap();
    let (file, content) = film(dir.path());
    // Longer than a small call may take (15 s), and than the SDK lets a body stand still (20 s).
    let late = Duration::from_secs(22);
    let gate = Gate::new(&stand.endpoint, move |_, part| if part == Some(1) { Fate::Late(late) } else { Fate::Pass }).await;
    let (cloud, sending) = (stand.through(&gate.endpoint).await, Sending::default());
    cloud.blobs.upload(KEY, &file, None, &sending).await.unwrap();
    assert_eq!(gate.passed(), [1, 2, 3, 4, 5, 6], "nothing was tried again");
    assert!(stand.cloud.blobs.read(KEY).await.unwrap().unwrap() == content);
}

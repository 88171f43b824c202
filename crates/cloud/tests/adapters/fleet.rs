//! Rows of the fleet's table on a table of DynamoDB.

use cloud::SystemClock;
use pipeline::{
    fleet::{Member, MemberState, Vitals},
    id::TaskId,
    ports::{Clock, Ledger},
};

use crate::stand::Stand;

fn member(environment: &str, incarnation: u64, sequence: u64) -> Member {
    Member {
        environment: environment.into(),
        function: "transcode".into(),
        node: "us-east-1".into(),
        incarnation,
        sequence,
        at_ms: SystemClock.now_ms(),
        state: MemberState::Working,
        job: "0123456789abcdef01234567".parse().unwrap(),
        task: TaskId::Chunk(3),
        vitals: Vitals { memory_bytes: 5, hardware: vec!["renderD128".into()], ..Vitals::default() },
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_newer_row_takes_the_place_of_another() {
    let stand = Stand::new().await;
    let ledger = &stand.cloud.ledger;
    let second = member("2026/11/28/[$LATEST]a", 7, 2);
    assert!(ledger.tell(&second).await.unwrap());
    for stale in [member(&second.environment, 7, 2), member(&second.environment, 7, 1), member(&second.environment, 6, 9)] {
        assert!(!ledger.tell(&stale).await.unwrap(), "{stale:?}");
    }
    let other = member("b", 1, 1);
    assert!(ledger.tell(&other).await.unwrap());
    let reborn = member(&second.environment, 8, 1);
    assert!(ledger.tell(&reborn).await.unwrap());
    let mut found = ledger.fleet().await.unwrap();
    found.sort();
    assert_eq!(found, [reborn.clone(), other.clone()]);
    // An hour is not too long for those that went, and a day is, whether the table has dropped their rows by then or not.
    for (environment, hours) in [("c", 1), ("d", 25)] {
        let gone = Member { state: MemberState::Gone, at_ms: SystemClock.now_ms() - hours * 3_600_000, ..member(environment, 1, 1) };
        assert!(ledger.tell(&gone).await.unwrap());
    }
    let mut found = ledger.fleet().await.unwrap();
    found.sort();
    let names: Vec<&str> = found.iter().map(|member| member.environment.as_str()).collect();
    assert_eq!(names, [reborn.environment.as_str(), other.environment.as_str(), "c"]);
}

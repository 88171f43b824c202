//! The functions: what a worker does with what it was given.

use std::path::PathBuf;

use pipeline::{
    ports::{Delivery, Parts},
    stage::{self, Context, Ending, Policy, Request, SourceBucket},
};

use crate::{kernel::Port, queue, sabotage::Saboteur, scenario::Scenario, state::LIBRARY};

/// What a person types is a worker by this name and the job's id.
pub const RETRY: &str = "retry ";
pub const CANCEL: &str = "cancel ";

/// All ports of one worker.
pub type World = Parts<Saboteur<Port>, Port, Saboteur<Port>, Port, Port, Port>;

/// Bounds and choices of the deployment.
pub fn policy(scenario: &Scenario) -> Policy {
    let usual = Policy::default();
    let profile = if scenario.profile.is_empty() { usual.profile.clone() } else { scenario.profile.to_owned() };
    let scratch_mb = if scenario.disk_mb > 0 { scenario.disk_mb } else { usual.scratch_mb };
    let source = scenario.library.map(|_| SourceBucket { name: LIBRARY.to_owned(), prefix: String::new() });
    let most_listed = if scenario.most_listed > 0 { scenario.most_listed } else { usual.most_listed };
    Policy { profile, scratch_mb, source, most_listed, ..usual }
}

fn ending<T, E>(result: &Result<T, E>) -> Ending {
    if result.is_ok() { Ending::Done } else { Ending::Failed }
}

/// Runs a function to its end.
pub async fn invoke(
    world: World,
    policy: Policy,
    function: String,
    request: Request,
    scratch: PathBuf,
    given: Option<(Delivery, String)>,
) -> Ending {
    let cx = Context { world: &world, policy: &policy, request: &request, scratch: &scratch };
    let order = |prefix| function.strip_prefix(prefix).and_then(|id| id.parse().ok());
    if let Some(job) = order(RETRY) {
        return ending(&stage::operator::retry(&cx, &job, None).await);
    }
    if let Some(job) = order(CANCEL) {
        return ending(&stage::operator::cancel(&cx, &job).await);
    }
    let Some((delivery, body)) = given else {
        return match stage::sweep::sweep(&cx).await {
            Ok(_) => Ending::Done,
            Err(_) => Ending::Failed,
        };
    };
    match function.as_str() {
        "ingest" => stage::ingest::ingest(&cx, &body).await,
        name if name == "escalation" || name.ends_with(queue::DEAD) => stage::escalation::escalation(&cx, &delivery, &body).await,
        _ => stage::task(&cx, &delivery, &body).await,
    }
}

//! Finds what got stuck, on a schedule.

use entry::Call;
use pipeline::{encoder::NoEncoder, stage};

#[tokio::main]
async fn main() -> Result<(), entry::Error> {
    entry::serve_schedule("sweep", async |environment| {
        let settings = cloud::Settings::read(|name| environment.var(name))?;
        let cloud = cloud::Cloud::connect(&settings).await;
        let world = cloud.world(NoEncoder);
        let policy = settings.policy;
        Ok(async move |call: &Call| {
            let cx = stage::Context { world: &world, policy: &policy, request: &call.request, scratch: &call.scratch };
            let stage::sweep::Swept { jobs, resent, taken, unseen, buried, cleared } = stage::sweep::sweep(&cx).await?;
            Ok(serde_json::json!({ "jobs": jobs, "resent": resent, "taken": taken, "unseen": unseen, "buried": buried, "cleared": cleared }))
        })
    })
    .await
}

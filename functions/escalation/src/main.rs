//! Leaves the operator what is needed to see and repeat a failure.

use entry::{Call, Message};
use pipeline::{encoder::NoEncoder, stage};

#[tokio::main]
async fn main() -> Result<(), entry::Error> {
    entry::serve("escalation", async |environment| {
        let settings = cloud::Settings::read(|name| environment.var(name))?;
        let cloud = cloud::Cloud::connect(&settings).await;
        let world = cloud.world(NoEncoder);
        let policy = settings.policy;
        Ok(async move |message: &Message, call: &Call| {
            let cx = stage::Context { world: &world, policy: &policy, request: &call.request, scratch: &call.scratch };
            stage::escalation::escalation(&cx, &message.delivery, &message.body).await
        })
    })
    .await
}

//! Encodes a chunk in all renditions, or one audio track.

use entry::{Call, Message};
use pipeline::stage;

#[tokio::main]
async fn main() -> Result<(), entry::Error> {
    entry::serve("transcode-chunk", async |environment| {
        let settings = cloud::Settings::read(|name| environment.var(name))?;
        let tools = media::Tools::find(|name| environment.var(name))?;
        let cloud = cloud::Cloud::connect(&settings).await;
        let encoder = media::FfmpegEncoder::new(tools, media::Limits::default());
        let (ledger, request) = (cloud.ledger.clone(), environment.request());
        environment.at_the_end(async move { stage::farewell(&ledger, &cloud.clock, &request).await });
        let world = cloud.world(encoder);
        let policy = settings.policy;
        Ok(async move |message: &Message, call: &Call| {
            let cx = stage::Context { world: &world, policy: &policy, request: &call.request, scratch: &call.scratch };
            stage::task(&cx, &message.delivery, &message.body).await
        })
    })
    .await
}

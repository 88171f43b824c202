//! News of uploads from stores that cannot send to a queue, into the ingest queue.

use entry::{Call, HttpAnswer, HttpRequest};
use pipeline::webhook;

#[tokio::main]
async fn main() -> Result<(), entry::Error> {
    entry::serve_http("webhook", async |environment| {
        let settings = cloud::Settings::read(|name| environment.var(name))?;
        let secret = webhook::Secret::new(environment.var("DOOR_SECRET"))?;
        let outbox = cloud::Cloud::connect(&settings).await.outbox;
        Ok(async move |request: &HttpRequest, _: &Call| {
            if let Err(refusal) = webhook::admit(&secret, request.authorization.as_deref(), &request.body) {
                tracing::warn!(%refusal, "a request was refused");
                return HttpAnswer::new(refusal.status(), refusal.to_string());
            }
            match outbox.forward(&request.body).await {
                Ok(()) => HttpAnswer::new(200, "taken"),
                Err(fault) => {
                    tracing::error!(%fault, "an event could not be passed on: its store sends it again");
                    HttpAnswer::new(503, "the queue does not answer; send it again")
                }
            }
        })
    })
    .await
}

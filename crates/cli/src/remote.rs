//! A running stack: what it is made of, and clients for it.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, bail};
use aws_config::{BehaviorVersion, Region, timeout::TimeoutConfig};
use aws_credential_types::Credentials;
use aws_smithy_http_client::{Builder, tls};
use cloud::{Access, Clients, DynamoLedger, S3Blobs};
use pipeline::{
    id::JobId,
    job::StoredJob,
    ports::{Ledger, all_tasks},
    task::Task,
    view::JobView,
};
use serde::{Deserialize, Serialize};

use crate::{args::Global, deployed, end::usage, http};

/// Both keys of every platform that was not given others.
const KEY: &str = "test";
const REGION: &str = "us-east-1";
/// Only reads happen through this ledger; what it would write lives as long as the functions' writes do.
const TTL_S: u64 = 30 * 86_400;

/// What the platform says of its stack at `/_fanreel/stack`. Unknown fields are left alone.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct StackPage {
    pub outputs: BTreeMap<String, String>,
    pub functions: Vec<FunctionPage>,
    pub buckets: Vec<String>,
    pub queues: Vec<QueuePage>,
    pub tables: Vec<String>,
    pub schedules: Vec<String>,
    /// The template's policies as it has them.
    pub policies: Vec<serde_json::Value>,
    /// Whether functions are held to them.
    pub policies_enforced: bool,
    pub http_apis: Vec<HttpApiPage>,
    pub noted: Vec<Noted>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct FunctionPage {
    pub logical_id: String,
    pub name: String,
    pub log_group: String,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct QueuePage {
    pub name: String,
    pub url: String,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct HttpApiPage {
    pub logical_id: String,
    /// Where its paths begin.
    pub url: String,
}

/// A resource that exists on AWS only.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Noted {
    pub logical_id: String,
    #[serde(rename = "type")]
    pub kind: String,
}

/// A stack that answers.
#[derive(Clone, Debug)]
pub struct Remote {
    /// For people: where it is.
    pub endpoint: String,
    pub page: StackPage,
    /// None of its own: those of every AWS program.
    access: Access,
}

/// What requests are signed with.
#[derive(Clone)]
pub struct Keys {
    access_key: String,
    secret_key: String,
}

impl Keys {
    pub fn of(global: &Global) -> Self {
        Self { access_key: global.access_key.clone(), secret_key: global.secret_key.clone() }
    }
}

impl Default for Keys {
    fn default() -> Self {
        Self { access_key: KEY.into(), secret_key: KEY.into() }
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("access_key", &self.access_key).finish_non_exhaustive()
    }
}

/// A stack of fanreel's own template.
#[derive(Clone, Debug)]
pub struct Fanreel {
    pub remote: Remote,
    pub bucket: String,
    pub clients: Clients,
    pub ledger: DynamoLedger,
    pub blobs: S3Blobs,
}

/// Where the platform is, by arguments and defaults.
pub fn endpoint(global: &Global) -> anyhow::Result<String> {
    if let Some(name) = &global.stack {
        return Err(usage(format!("--stack {name}: this command is of a platform on this machine")));
    }
    let given = global.endpoint.clone().unwrap_or_else(|| format!("http://127.0.0.1:{}", global.port));
    let endpoint = given.trim_end_matches('/').to_owned();
    if !endpoint.starts_with("http://") {
        return Err(usage(format!("--endpoint {given}: write it as http://HOST:PORT")));
    }
    Ok(endpoint)
}

impl Remote {
    /// Asks the platform that the arguments name what it runs.
    pub async fn find(global: &Global) -> anyhow::Result<Self> {
        match &global.stack {
            Some(name) => Self::deployed(name).await,
            None => Self::at(&endpoint(global)?, Keys::of(global)).await,
        }
    }

    /// A stack on AWS, or where the standard variables point to.
    async fn deployed(name: &str) -> anyhow::Result<Self> {
        let mut remote = Self { endpoint: format!("stack {name}"), page: StackPage::default(), access: Access::default() };
        let client = aws_sdk_lambda::Client::new(&remote.sdk_config().await);
        remote.page = deployed::page(&client, name).await?;
        Ok(remote)
    }

    pub async fn at(endpoint: &str, keys: Keys) -> anyhow::Result<Self> {
        let page = http::get_json(&format!("{endpoint}/_fanreel/stack")).await.with_context(|| {
            format!("no platform answers at {endpoint}; start one with `fanreel up`, or name another with --endpoint or --port")
        })?;
        let page = serde_json::from_value(page).with_context(|| format!("{endpoint} describes its stack in an unknown way"))?;
        let Keys { access_key, secret_key } = keys;
        let access = Access { endpoint: Some(endpoint.to_owned()), region: Some(REGION.into()), keys: Some((access_key, secret_key)) };
        Ok(Self { endpoint: endpoint.to_owned(), page, access })
    }

    fn output(&self, name: &str) -> anyhow::Result<String> {
        let found = self.page.outputs.get(name).cloned();
        found.with_context(|| format!("the stack at {} has no output `{name}`: it is not made from fanreel's template", self.endpoint))
    }

    /// Clients for fanreel's own stack.
    pub async fn fanreel(self) -> anyhow::Result<Fanreel> {
        let (bucket, table) = (self.output("Bucket")?, self.output("Table")?);
        let clients = Clients::new(&self.access).await;
        let ledger = DynamoLedger::new(clients.dynamodb.clone(), table, TTL_S);
        let blobs = S3Blobs::new(clients.s3.clone(), bucket.clone());
        Ok(Fanreel { remote: self, bucket, clients, ledger, blobs })
    }

    /// For the services that only this program calls. No bound on an answer: a function may take 15 minutes.
    pub async fn sdk_config(&self) -> aws_config::SdkConfig {
        let http = Builder::new().tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring)).build_https();
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http)
            .timeout_config(TimeoutConfig::builder().connect_timeout(Duration::from_secs(3)).build());
        let Access { endpoint, region, keys } = self.access.clone();
        if let Some((endpoint, region)) = endpoint.zip(region) {
            loader = loader.endpoint_url(endpoint).region(Region::new(region));
        }
        if let Some((id, secret)) = keys {
            loader = loader.credentials_provider(Credentials::new(id, secret, None, None, "given"));
        }
        loader.load().await
    }

    /// A function by its full name, its name in the template, or the end of either: `split`, `transcode-large`.
    pub fn function(&self, name: &str) -> anyhow::Result<&FunctionPage> {
        let all = &self.page.functions;
        if let Some(exact) = all.iter().find(|f| f.name == name || f.logical_id == name) {
            return Ok(exact);
        }
        let is_it =
            |f: &&FunctionPage| f.name.ends_with(&format!("-{name}")) || f.logical_id.eq_ignore_ascii_case(&format!("{name}Function"));
        let found: Vec<&FunctionPage> = all.iter().filter(is_it).collect();
        let names = |list: &[&FunctionPage]| list.iter().map(|f| f.name.clone()).collect::<Vec<_>>().join(", ");
        match found.as_slice() {
            [one] => Ok(one),
            [] => Err(usage(format!("there is no function `{name}`; there are {}", names(&all.iter().collect::<Vec<_>>())))),
            several => Err(usage(format!("`{name}` may be {}; write one of these", names(several)))),
        }
    }
}

impl Fanreel {
    pub async fn find(global: &Global) -> anyhow::Result<Self> {
        Remote::find(global).await?.fanreel().await
    }

    pub fn queue(&self, output: &str) -> Option<String> {
        self.remote.page.outputs.get(output).cloned()
    }

    /// A job as it is now; `None` if there is none with this id.
    pub async fn view(&self, job: &JobId) -> anyhow::Result<Option<JobView>> {
        match self.ledger.job(job).await? {
            Some(stored) => self.view_of(&stored).await.map(Some),
            None => Ok(None),
        }
    }

    pub async fn view_of(&self, stored: &StoredJob) -> anyhow::Result<JobView> {
        let tasks: Vec<Task> = all_tasks(&self.ledger, &stored.job.id).await?.into_iter().map(|stored| stored.task).collect();
        Ok(JobView::of(stored, &tasks))
    }

    /// A job by its id or the beginning of it.
    pub async fn job(&self, prefix: &str) -> anyhow::Result<JobId> {
        if let Ok(whole) = prefix.parse::<JobId>() {
            if self.ledger.job(&whole).await?.is_none() {
                bail!("there is no job {whole}; `fanreel jobs` lists what there is");
            }
            return Ok(whole);
        }
        let known = crate::find::recent(self, crate::find::SEARCHED).await?;
        let found: Vec<&JobId> = known.iter().map(|stored| &stored.job.id).filter(|id| id.as_str().starts_with(prefix)).collect();
        match found.as_slice() {
            [one] => Ok((*one).clone()),
            [] => bail!("no job's id begins with `{prefix}`; `fanreel jobs` lists what there is"),
            several => Err(usage(format!("{} jobs' ids begin with `{prefix}`; write more of it", several.len()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote() -> Remote {
        let page = serde_json::json!({
            "endpoint": "x", "outputs": { "Bucket": "videos" }, "queues": [],
            "functions": [
                { "logical_id": "SplitFunction", "name": "fanreel-split", "log_group": "/aws/lambda/fanreel-split", "memory_mb": 1 },
                { "logical_id": "TranscodeFunction", "name": "fanreel-transcode" },
                { "logical_id": "TranscodeLargeFunction", "name": "fanreel-transcode-large" },
                { "logical_id": "Other", "name": "other-large" },
            ],
            "noted": [{ "logical_id": "Alarm", "type": "AWS::CloudWatch::Alarm" }],
        });
        Remote { endpoint: "http://127.0.0.1:1".into(), page: serde_json::from_value(page).unwrap(), access: Access::default() }
    }

    #[test]
    fn functions_are_found_by_short_and_full_names() {
        let remote = remote();
        for (name, full) in [
            ("split", "fanreel-split"),
            ("SplitFunction", "fanreel-split"),
            ("fanreel-transcode", "fanreel-transcode"),
            ("transcode", "fanreel-transcode"),
            ("transcode-large", "fanreel-transcode-large"),
            ("transcodelarge", "fanreel-transcode-large"),
        ] {
            assert_eq!(remote.function(name).unwrap().name, full);
        }
        assert!(remote.function("merge").unwrap_err().to_string().contains("there are fanreel-split, "));
        assert!(remote.function("large").unwrap_err().to_string().contains("fanreel-transcode-large, other-large"));
        assert!(remote.output("Table").unwrap_err().to_string().contains("no output `Table`"));
    }

    fn global(endpoint: Option<&str>, stack: Option<&str>) -> Global {
        let (access_key, secret_key) = (KEY.into(), KEY.into());
        Global { json: false, port: 4566, endpoint: endpoint.map(Into::into), access_key, secret_key, stack: stack.map(Into::into) }
    }

    #[test]
    fn the_endpoint_is_told_or_the_default() {
        assert_eq!(endpoint(&global(None, None)).unwrap(), "http://127.0.0.1:4566");
        assert_eq!(endpoint(&global(Some("http://h:1/"), None)).unwrap(), "http://h:1");
        assert!(endpoint(&global(Some("h:1"), None)).unwrap_err().to_string().contains("http://HOST:PORT"));
        assert!(endpoint(&global(None, Some("prod"))).unwrap_err().to_string().contains("a platform on this machine"));
    }
}

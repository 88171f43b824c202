//! What the platform is told when it starts.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

pub use crate::room::DiskBounds;

/// Settings of one platform. Nothing here is read from the environment: the caller decides.
#[derive(Clone, Debug)]
pub struct Config {
    /// All state: one directory, one process on it at a time.
    pub data_dir: PathBuf,
    /// The SAM template.
    pub template: TemplateSource,
    /// `Parameters` overrides.
    pub parameters: BTreeMap<String, String>,
    /// Directories searched for a function's built binary (`<dir>/<binary>`), in order, before `<CodeUri>/bootstrap`.
    pub binary_dirs: Vec<PathBuf>,
    /// Access key that requests must be signed with; `test`/`test` by default.
    pub access_key: String,
    pub secret_key: String,
    /// vCPUs that running environments may take together; 1,769 MB of memory is one vCPU.
    pub vcpus: f64,
    /// How long an idle environment is kept warm.
    pub idle_timeout: Duration,
    /// Invocations that may run or wait at once: an account's concurrency.
    pub account_concurrency: u32,
    /// How much of the disk it may take; beyond it writes are refused.
    pub disk: DiskBounds,
    /// Functions may do what their roles' policies allow and nothing else; otherwise policies are only read.
    pub enforce_policies: bool,
}

/// Where the template's text comes from.
#[derive(Clone, Debug)]
pub enum TemplateSource {
    /// A file; relative paths inside it are against its directory.
    File(PathBuf),
    /// Text in memory and the directory that relative paths inside it are against.
    Text { text: String, base_dir: PathBuf },
}

impl Config {
    /// Defaults for everything but the two things without one.
    pub fn new(data_dir: PathBuf, template: TemplateSource) -> Self {
        Self {
            data_dir,
            template,
            parameters: BTreeMap::new(),
            binary_dirs: Vec::new(),
            access_key: "test".into(),
            secret_key: "test".into(),
            vcpus: std::thread::available_parallelism().map_or(1.0, |n| f64::from(u16::try_from(n.get()).unwrap_or(1))),
            idle_timeout: Duration::from_mins(5),
            account_concurrency: 1000,
            disk: DiskBounds::default(),
            enforce_policies: false,
        }
    }
}

//! From a function to a running process: which program, which environment variables, which directories.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, PipeReader},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use super::{
    LambdaConfig, LambdaError, layers,
    process::Process,
    report::VERSION,
    spawner::{Program, Spawner},
};
use crate::stack::{Function, LogFormat, REGION};

/// Name of a function's program, and what `_HANDLER` says.
const BOOTSTRAP: &str = "bootstrap";

/// A function together with its program.
#[derive(Clone, Debug)]
pub struct Deployed {
    pub function: Function,
    pub bootstrap: PathBuf,
    /// What stands for `/opt`: the contents of its layers.
    pub opt: Option<PathBuf>,
}

impl Deployed {
    /// Finds the function's program: `<binary_dirs>/<binary>`, else `<code_dir>/bootstrap`; and puts its layers together, in
    /// a directory of its name in `opt_dirs` if there are several.
    pub fn find(function: Function, binary_dirs: &[PathBuf], opt_dirs: &Path) -> Result<Self, LambdaError> {
        let mut looked: Vec<PathBuf> = binary_dirs.iter().map(|dir| dir.join(&function.binary)).collect();
        looked.push(function.code_dir.join(BOOTSTRAP));
        let found = looked.iter().find(|path| is_executable(path)).and_then(|path| fs::canonicalize(path).ok());
        match found {
            Some(bootstrap) => {
                let path = opt_dirs.join(&function.name);
                let opt = layers::opt(&function.layers, &path).map_err(|source| LambdaError::Io { path, source })?;
                Ok(Self { function, bootstrap, opt })
            }
            None => Err(LambdaError::NoBootstrap { function: function.name, binary: function.binary, looked }),
        }
    }

    /// Starts its program for one environment: named by its log stream, with a Runtime API on `port` and `tmp` as its
    /// own directory.
    pub async fn launch(&self, spawner: &Spawner, config: &LambdaConfig, own: Own<'_>) -> io::Result<(Process, PipeReader)> {
        fs::create_dir_all(own.tmp)?;
        let (reader, writer) = io::pipe()?;
        let directory = self.bootstrap.parent().unwrap_or(Path::new("/")).to_owned();
        let environment = self.environment(config, &directory, &own);
        let program = Program { path: self.bootstrap.clone(), directory, environment, output: writer };
        Ok((Process::new(spawner.spawn(program).await?)?, reader))
    }

    /// What AWS gives, and nothing of the platform's own environment. The function's variables come over the defaults,
    /// but not over the names that AWS reserves.
    fn environment(&self, config: &LambdaConfig, task_root: &Path, own: &Own) -> BTreeMap<String, String> {
        let function = &self.function;
        let mut environment = BTreeMap::new();
        let mut set = |name: &str, value: String| environment.insert(name.to_owned(), value);
        set("PATH", self.search_path());
        set("LANG", "en_US.UTF-8".into());
        set("TZ", ":UTC".into());
        set("AWS_ENDPOINT_URL", config.endpoint.clone());
        // Layers are unpacked under /opt on AWS; here a directory of their contents stands for it.
        if let Some(opt) = &self.opt {
            set("OPT_DIR", opt.display().to_string());
            set("LD_LIBRARY_PATH", opt.join("lib").display().to_string());
        }
        for (name, value) in &function.environment {
            set(name, value.clone());
        }
        set("AWS_LAMBDA_RUNTIME_API", format!("127.0.0.1:{}", own.port));
        set("_HANDLER", BOOTSTRAP.into());
        set("AWS_LAMBDA_FUNCTION_NAME", function.name.clone());
        set("AWS_LAMBDA_FUNCTION_VERSION", VERSION.into());
        set("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", function.memory_mb.to_string());
        set("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand".into());
        set("AWS_LAMBDA_LOG_GROUP_NAME", function.log_group.clone());
        set("AWS_LAMBDA_LOG_STREAM_NAME", own.stream.to_owned());
        if let LogFormat::Json { level } = &function.log_format {
            set("AWS_LAMBDA_LOG_FORMAT", "JSON".into());
            set("AWS_LAMBDA_LOG_LEVEL", level.clone());
        }
        set("AWS_REGION", REGION.into());
        set("AWS_DEFAULT_REGION", REGION.into());
        set("AWS_ACCESS_KEY_ID", config.access_key.clone());
        set("AWS_SECRET_ACCESS_KEY", config.secret_key.clone());
        // On AWS it stands for the function's role; here it says which function calls (`iam`).
        set("AWS_SESSION_TOKEN", function.name.clone());
        set("LAMBDA_TASK_ROOT", task_root.display().to_string());
        set("TMPDIR", own.tmp.display().to_string());
        environment
    }

    fn search_path(&self) -> String {
        let system = "/usr/local/bin:/usr/bin:/bin";
        self.opt.as_ref().map_or_else(|| system.to_owned(), |opt| format!("{}:{system}", opt.join("bin").display()))
    }
}

/// What is one environment's own.
#[derive(Clone, Copy, Debug)]
pub struct Own<'a> {
    pub stream: &'a str,
    pub port: u16,
    pub tmp: &'a Path,
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn function(code_dir: &Path) -> Function {
        Function {
            logical_id: "F".into(),
            name: "f".into(),
            code_dir: code_dir.to_owned(),
            binary: "f-binary".into(),
            memory_mb: 128,
            timeout: Duration::from_secs(3),
            ephemeral_mb: 512,
            environment: BTreeMap::from([("AWS_REGION".into(), "mars".into()), ("LANG".into(), "C".into())]),
            layers: vec!["/layers/a".into(), "/layers/b".into()],
            reserved_concurrency: None,
            log_group: "/aws/lambda/f".into(),
            log_format: LogFormat::Json { level: "WARN".into() },
            asynchronous: crate::stack::Asynchronous::default(),
        }
    }

    #[test]
    fn a_missing_program_is_named_with_the_places() {
        let directory = tempfile::tempdir().unwrap();
        let error = Deployed::find(function(directory.path()), &["/nowhere".into()], Path::new("/opts")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/f-binary") && error.contains("bootstrap"), "{error}");
        assert!(error.contains("cargo build --bin f-binary"), "{error}");
    }

    #[test]
    fn reserved_names_cannot_be_set_and_layers_come_first() {
        let function = function(Path::new("/code"));
        let deployed = Deployed { function, bootstrap: "/code/bootstrap".into(), opt: Some("/opts/f".into()) };
        let config = LambdaConfig {
            data_dir: "/data".into(),
            endpoint: "http://127.0.0.1:4566".into(),
            access_key: "k".into(),
            secret_key: "s".into(),
            binary_dirs: vec![],
            vcpus: 1.0,
            idle_timeout: Duration::from_secs(1),
            account_concurrency: 1000,
            init_timeout: super::super::INIT_TIMEOUT,
            retry_waits: super::super::RETRY_WAITS,
        };
        let own = Own { stream: "s", port: 9, tmp: Path::new("/tmp/x") };
        let environment = deployed.environment(&config, Path::new("/code"), &own);
        assert_eq!(environment["AWS_REGION"], REGION);
        assert_eq!(environment["LANG"], "C");
        assert_eq!((&*environment["AWS_LAMBDA_LOG_FORMAT"], &*environment["AWS_LAMBDA_LOG_LEVEL"]), ("JSON", "WARN"));
        assert_eq!(environment["OPT_DIR"], "/opts/f");
        assert_eq!(environment["LD_LIBRARY_PATH"], "/opts/f/lib");
        assert!(environment["PATH"].starts_with("/opts/f/bin:/usr"));
        assert!(!environment.contains_key("HOME"));
    }
}

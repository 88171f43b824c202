//! What can be asked for on the command line.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};
use pipeline::{id::TaskId, planner::FanOut};

use crate::{setup::DEFAULT_DATA_DIR, text};

/// LocalStack's port, so that tools pointed there find us.
pub const DEFAULT_PORT: u16 = 4566;
/// The next one, for the template's own HTTP APIs.
pub const DEFAULT_HTTP_PORT: u16 = 4567;

/// Drop a video in, get a verified adaptive ladder out.
#[derive(Debug, Parser)]
#[command(name = "fanreel", version, max_term_width = 110)]
#[command(
    after_help = "Exit codes: 0 done, 1 the job or function failed (status: or waits for a person), 2 usage, 3 the system failed (transcode: or a person is needed), 4 a damaged film was saved in part, 130 interrupted."
)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Args, Clone, Debug)]
pub struct Global {
    /// Answers as JSON on standard output: one document, or one value a line where there is no end to wait for
    #[arg(long, global = true)]
    pub json: bool,
    /// Port of the platform on this machine: `up` listens there, other commands look for it there
    #[arg(long, global = true, env = "FANREEL_PORT", default_value_t = DEFAULT_PORT, value_name = "PORT")]
    pub port: u16,
    /// Platform to talk to [default: http://127.0.0.1:PORT]
    #[arg(long, global = true, env = "FANREEL_ENDPOINT", value_name = "URL")]
    pub endpoint: Option<String>,
    /// Access key of the platform
    #[arg(long, global = true, env = "FANREEL_ACCESS_KEY", default_value = "test", value_name = "KEY", hide_env_values = true)]
    pub access_key: String,
    /// Secret key of the platform; one of its own is needed where other machines reach it
    #[arg(long, global = true, env = "FANREEL_SECRET_KEY", default_value = "test", value_name = "SECRET", hide_env_values = true)]
    pub secret_key: String,
    /// Stack on AWS, or where `AWS_ENDPOINT_URL` points, to talk to in place of a platform; with the credentials and region of every
    /// AWS program
    #[arg(long, global = true, value_name = "NAME")]
    pub stack: Option<String>,
}

impl Global {
    /// What a command that is told to a person needs at its end, to speak to the same platform or stack: empty for the usual one.
    pub fn there(&self) -> String {
        match (&self.stack, &self.endpoint) {
            (Some(stack), _) => format!(" --stack {stack}"),
            (None, Some(endpoint)) => format!(" --endpoint {endpoint}"),
            (None, None) if self.port != DEFAULT_PORT => format!(" --port {}", self.port),
            (None, None) => String::new(),
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the platform: S3, SQS, DynamoDB, Lambda and Logs on one port, until ctrl-c
    Up(UpArgs),
    /// Transcode files here and now, on a private platform
    Transcode(TranscodeArgs),
    /// Say what a job would make of a file and what it would cost; exit code 1 if it would be rejected
    Plan(PlanArgs),
    /// Hold an encode against another one of the same film: PSNR, SSIM, VMAF; exit code 1 if their pictures do not match
    Compare(CompareArgs),
    /// Give files or objects to the running platform and answer their jobs' ids
    Submit(SubmitArgs),
    /// List jobs, the latest first
    Jobs(JobsArgs),
    /// Show a job; exit code 1 if it failed or waits for a person, 4 if it saved a part
    Status(StatusArgs),
    /// Show what happened to a job, step by step
    Events(EventsArgs),
    /// Have the tasks of a job that wait for an operator tried again; what is done stays done
    Retry(RetryArgs),
    /// Fetch what a task that waits for an operator failed over into a folder: what it read of the film, its files, its command
    Reproduce(ReproduceArgs),
    /// Give a job up: its workers stop, what it made is deleted, the upload stays
    Cancel(CancelArgs),
    /// Show messages that no function could read, or that were received too often
    DeadLetters,
    /// Show the running copies of functions, what they work on, and how they are
    Fleet,
    /// Look for uploads that no job was made of, and say what they would cost; --yes makes jobs of them
    Adopt(AdoptArgs),
    /// Have a bucket of your own tell the stack of its new objects, beside whom it tells already
    Attach(AttachArgs),
    /// Show what functions print
    Logs(LogsArgs),
    /// Ask the logs a question, in CloudWatch Logs Insights' query language
    Query(QueryArgs),
    /// Call a function and print its answer
    Invoke(InvokeArgs),
    /// List the profiles that films can be encoded by, or check a file of your own
    Profiles(ProfilesArgs),
    /// Look whether everything is in place, and say what to do where it is not
    Doctor(DoctorArgs),
}

/// What a platform is made of.
#[derive(Args, Clone, Debug, Default)]
pub struct PlatformArgs {
    /// SAM template to run instead of the built-in one
    #[arg(long, value_name = "FILE")]
    pub template: Option<PathBuf>,
    /// A parameter of the template; may be given several times
    #[arg(long = "parameter", value_name = "NAME=VALUE", value_parser = parameter)]
    pub parameters: Vec<(String, String)>,
    /// Folder of the ffmpeg layer (with bin/ffmpeg, bin/ffprobe and layer.json) [default: layers/ffmpeg/build/opt in a
    /// folder above the program or the current one]
    #[arg(long, env = "FANREEL_LAYER", value_name = "DIR")]
    pub layer: Option<PathBuf>,
    /// Profiles of your own beside the built-in ones (`fanreel profiles --check FILE` looks at it)
    #[arg(long, env = "FANREEL_PROFILES", value_name = "FILE")]
    pub profiles: Option<PathBuf>,
    /// Folder with the functions' programs, looked in before the folder of fanreel itself; may be given several times
    #[arg(long, value_name = "DIR")]
    pub binaries: Vec<PathBuf>,
    /// ffmpeg to use instead of the layer's
    #[arg(long, env = "FFMPEG", value_name = "PROGRAM", hide = true)]
    pub ffmpeg: Option<PathBuf>,
    /// ffprobe to use instead of the layer's
    #[arg(long, env = "FFPROBE", value_name = "PROGRAM", hide = true)]
    pub ffprobe: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub struct UpArgs {
    /// Where all data lives: films, results, state
    #[arg(long, env = "FANREEL_DATA_DIR", default_value = DEFAULT_DATA_DIR, value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Address to listen on; another than this machine's own needs keys of your own
    #[arg(long, env = "FANREEL_BIND", default_value = "127.0.0.1", value_name = "IP")]
    pub bind: IpAddr,
    /// Bytes that all data may take: 500MB, 20GB, 1TB [default: as many as leave --min-free]
    #[arg(long, env = "FANREEL_MAX_DISK", value_parser = text::parse_bytes, value_name = "SIZE")]
    pub max_disk: Option<u64>,
    /// Bytes that stay free on the disk: below them writes are refused, reads and deletes go on
    #[arg(long, env = "FANREEL_MIN_FREE", default_value = "1GB", value_parser = text::parse_bytes, value_name = "SIZE")]
    pub min_free: u64,
    /// Port of the template's first HTTP API; further ones take the ports after it. 0: any free ones
    #[arg(long, env = "FANREEL_HTTP_PORT", default_value_t = DEFAULT_HTTP_PORT, value_name = "PORT")]
    pub http_port: u16,
    /// Let functions do what the policies of their roles allow and nothing else, as AWS does
    #[arg(long, env = "FANREEL_ENFORCE_POLICIES")]
    pub enforce_policies: bool,
    #[command(flatten)]
    pub platform: PlatformArgs,
}

#[derive(Args, Debug)]
pub struct TranscodeArgs {
    /// Videos
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Folder for the results: one folder per file in it
    #[arg(short, long, value_name = "DIR")]
    pub out: PathBuf,
    /// How to encode: h264, h264-medium, h264-vmaf, hevc, av1, vp9, or one of --profiles; `fanreel profiles` says what they are
    #[arg(long, default_value = "h264", value_name = "PROFILE")]
    pub profile: String,
    /// Keep the private platform's data when done
    #[arg(long)]
    pub keep: bool,
    #[command(flatten)]
    pub platform: PlatformArgs,
}

#[derive(Args, Debug)]
pub struct PlanArgs {
    /// Video
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// How to encode: see `transcode`
    #[arg(long, default_value = "h264", value_name = "PROFILE")]
    pub profile: String,
    /// What one task takes, as the stack is told: latency or cost
    #[arg(long, default_value = "latency", value_parser = FanOut::parse, value_name = "WHAT")]
    pub fan_out: FanOut,
    /// File of prices instead of the built-in ones (the same fields as crates/pipeline/src/cost/prices.json)
    #[arg(long, value_name = "FILE")]
    pub prices: Option<PathBuf>,
    /// Folder in which the speed of this machine is kept, measured at the first use
    #[arg(long, env = "XDG_CACHE_HOME", value_name = "DIR", hide_env_values = true)]
    pub cache_dir: Option<PathBuf>,
    #[arg(long, env = "HOME", hide = true)]
    pub home: Option<PathBuf>,
    #[command(flatten)]
    pub platform: PlatformArgs,
}

impl PlanArgs {
    /// The cache folder (XDG base directory specification).
    pub fn cache(&self) -> Option<PathBuf> {
        let absolute = |dir: &PathBuf| dir.is_absolute();
        self.cache_dir.clone().or_else(|| self.home.clone().filter(absolute).map(|home| home.join(".cache")))
    }
}

#[derive(Args, Debug)]
pub struct CompareArgs {
    /// The better one, usually the source
    #[arg(value_name = "REFERENCE")]
    pub reference: PathBuf,
    /// What is judged; scaled to the size of the first
    #[arg(value_name = "FILE")]
    pub other: PathBuf,
    /// Draw the scores over time
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    #[command(flatten)]
    pub platform: PlatformArgs,
}

#[derive(Args, Debug)]
pub struct SubmitArgs {
    /// Files, or objects by their URL. An upload that broke off is gone on with
    #[arg(required = true, value_name = "FILE | s3://BUCKET/KEY")]
    pub sources: Vec<PathBuf>,
    /// Start over what has ended already
    #[arg(long)]
    pub again: bool,
    /// How to encode, instead of the stack's profile: see `profiles`. The same as `aws s3 cp --metadata fanreel-profile=NAME`
    #[arg(long, value_name = "PROFILE")]
    pub profile: Option<String>,
}

#[derive(Args, Debug)]
pub struct JobsArgs {
    /// Jobs to list at most
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,
}

#[derive(Args, Debug)]
pub struct StatusArgs {
    /// Id of the job, or its first characters
    #[arg(value_parser = job)]
    pub job: String,
    /// Stay until the job ends
    #[arg(long)]
    pub follow: bool,
}

#[derive(Args, Debug)]
pub struct EventsArgs {
    /// Id of the job, or its first characters
    #[arg(value_parser = job)]
    pub job: String,
}

#[derive(Args, Debug)]
pub struct RetryArgs {
    /// Id of the job, or its first characters
    #[arg(value_parser = job)]
    pub job: String,
    /// Only this task, as `status` names it: split, c00003, a00, merge
    #[arg(long, value_name = "TASK")]
    pub task: Option<TaskId>,
}

#[derive(Args, Debug)]
pub struct ReproduceArgs {
    /// Id of the job, or its first characters
    #[arg(value_parser = job)]
    pub job: String,
    /// The task, as `status` names it [default: the one that waits]
    #[arg(long, value_name = "TASK")]
    pub task: Option<TaskId>,
    /// A new folder
    #[arg(short, long, value_name = "DIR")]
    pub out: PathBuf,
    /// Folder of the ffmpeg layer that the script runs [default: as `up` finds it, else ffmpeg of the PATH]
    #[arg(long, env = "FANREEL_LAYER", value_name = "DIR")]
    pub layer: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub struct CancelArgs {
    /// Id of the job, or its first characters
    #[arg(value_parser = job)]
    pub job: String,
}

#[derive(Args, Debug)]
pub struct AdoptArgs {
    /// Keys of the uploads begin with this: uploads/, uploads/archive/; or the address of films in a source bucket: `s3://BUCKET/PREFIX`
    #[arg(value_name = "PREFIX")]
    pub prefix: String,
    /// Make jobs of them, after their number and cost were shown
    #[arg(long)]
    pub yes: bool,
}

#[derive(Args, Debug)]
pub struct AttachArgs {
    /// Name of the bucket, which is only read
    #[arg(value_name = "BUCKET")]
    pub bucket: String,
    /// Keys that are taken begin with this; without it every key is
    #[arg(long, default_value = "", value_name = "PREFIX")]
    pub prefix: String,
}

#[derive(Args, Debug)]
pub struct LogsArgs {
    /// Function by its name (`split`), or log group; all functions if none is named
    #[arg(value_name = "FUNCTION | GROUP")]
    pub what: Option<String>,
    /// Stay and show what comes
    #[arg(long)]
    pub follow: bool,
    /// How far back: 90s, 10m, 2h, 1d
    #[arg(long, default_value = "10m", value_parser = text::parse_duration)]
    pub since: Duration,
    /// Only lines that match a CloudWatch filter pattern: ERROR, '?WARN ?ERROR', '{ $.level = "ERROR" }', '%time.?out%'
    #[arg(long, value_name = "PATTERN", default_value = "")]
    pub filter: String,
}

#[derive(Args, Debug)]
pub struct QueryArgs {
    /// The query: 'filter level = "ERROR" | stats count(*) by task'
    pub query: String,
    /// Functions by their names (`split`), or log groups; all functions if none is named
    #[arg(long = "in", value_name = "FUNCTION | GROUP")]
    pub what: Vec<String>,
    /// How far back: 90s, 10m, 2h, 1d
    #[arg(long, default_value = "1d", value_parser = text::parse_duration)]
    pub since: Duration,
}

#[derive(Args, Debug)]
pub struct InvokeArgs {
    /// Function by its name (`split`), its name in the template (`SplitFunction`) or its full name
    pub function: String,
    /// File with the event, JSON; `-` reads standard input
    #[arg(short, long, value_name = "FILE")]
    pub event: PathBuf,
}

#[derive(Args, Debug)]
pub struct ProfilesArgs {
    /// File of profiles: what is wrong with it is told, all at once
    #[arg(long, value_name = "FILE")]
    pub check: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub struct DoctorArgs {
    /// Where the data of `up` lives
    #[arg(long, env = "FANREEL_DATA_DIR", default_value = DEFAULT_DATA_DIR, value_name = "DIR")]
    pub data_dir: PathBuf,
    #[command(flatten)]
    pub platform: PlatformArgs,
}

fn parameter(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".into()),
    }
}

/// A whole id or its beginning.
fn job(text: &str) -> Result<String, String> {
    let text = text.trim_end_matches('…').to_ascii_lowercase();
    if (1..=24).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        Ok(text)
    } else {
        Err("a job's id is 24 hex digits; its first few are enough".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(words: &str) -> Result<Cli, String> {
        Cli::try_parse_from(words.split(' ')).map_err(|error| error.to_string())
    }

    #[test]
    fn the_next_command_speaks_to_the_same_platform() {
        let there = |words: &str| parse(words).unwrap().global.there();
        assert_eq!(there("fanreel jobs"), "");
        assert_eq!(there("fanreel jobs --port 4777"), " --port 4777");
        assert_eq!(there("fanreel jobs --endpoint http://box:1"), " --endpoint http://box:1");
        assert_eq!(there("fanreel jobs --stack films"), " --stack films");
    }

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_transcode_with_everything() {
        let cli = parse("fanreel transcode a.mp4 b.mov -o out --profile h264-medium --keep --json --parameter A=b=c").unwrap();
        assert!(cli.global.json);
        let Command::Transcode(args) = cli.command else { panic!("transcode") };
        assert_eq!(args.files, [PathBuf::from("a.mp4"), PathBuf::from("b.mov")]);
        assert_eq!((args.profile.as_str(), args.keep), ("h264-medium", true));
        assert_eq!(args.platform.parameters, [("A".to_owned(), "b=c".to_owned())]);
    }

    #[test]
    fn names_that_begin_with_a_dash_come_after_two() {
        let cli = parse("fanreel transcode -o out -- -film.mp4").unwrap();
        assert!(matches!(cli.command, Command::Transcode(args) if args.files == [PathBuf::from("-film.mp4")]));
    }

    #[test]
    fn a_job_is_named_by_its_beginning_as_it_is_printed() {
        let cli = parse("fanreel status 7F3A91c2… --follow").unwrap();
        assert!(matches!(cli.command, Command::Status(args) if args.job == "7f3a91c2" && args.follow));
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_can() {
        for (words, hint) in [
            ("fanreel status film.mp4", "24 hex digits"),
            ("fanreel transcode -o out", "FILE"),
            ("fanreel transcode a.mp4", "--out"),
            ("fanreel up --parameter Profile", "NAME=VALUE"),
            ("fanreel logs --since soon", "90s, 10m"),
            ("fanreel retry 7f --task third", "c00000"),
            ("fanreel invoke split", "--event"),
        ] {
            let error = parse(words).unwrap_err();
            assert!(error.contains(hint), "{words}: {error}");
        }
    }
}

//! Starting processes from one thread that lives as long as the platform.
//!
//! The parent-death signal goes by the thread that forked, not by the process: a child of a tokio worker would be
//! killed when that worker ends. So one thread starts them all, and does nothing else.

use std::{
    collections::BTreeMap,
    io,
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
};

use rustix::process::{Pid, Resource, Rlimit, Signal};
use tokio::sync::oneshot;

/// Open files of one process, as on AWS.
const OPEN_FILES: u64 = 1024;

/// A process to be started.
#[derive(Debug)]
pub struct Program {
    pub path: PathBuf,
    pub directory: PathBuf,
    /// All of its environment.
    pub environment: BTreeMap<String, String>,
    /// Takes both its output and its errors, so that their order is kept.
    pub output: io::PipeWriter,
}

struct Order {
    program: Program,
    answer: oneshot::Sender<io::Result<Child>>,
}

/// Handle of the thread; the thread ends when it is dropped, and every process that it started with it.
#[derive(Debug)]
pub struct Spawner {
    orders: mpsc::Sender<Order>,
}

impl Spawner {
    pub fn start() -> io::Result<Self> {
        let (orders, inbox) = mpsc::channel::<Order>();
        thread::Builder::new().name("environments".into()).spawn(move || {
            while let Ok(order) = inbox.recv() {
                // Who asked may have gone: then the process goes as well.
                if let Err(Ok(mut child)) = order.answer.send(spawn(order.program)) {
                    let _ = child.kill();
                    let _ = child.wait();
                }
            }
        })?;
        Ok(Self { orders })
    }

    /// Starts `program` as the leader of a session (and process group) of its own.
    pub async fn spawn(&self, program: Program) -> io::Result<Child> {
        let (answer, child) = oneshot::channel();
        self.orders.send(Order { program, answer }).map_err(|_| io::Error::other("the spawning thread has ended"))?;
        child.await.map_err(|_| io::Error::other("the spawning thread has ended"))?
    }
}

fn spawn(program: Program) -> io::Result<Child> {
    let Program { path, directory, environment, output } = program;
    let mut command = Command::new(path);
    command.current_dir(directory).env_clear().envs(environment);
    command.stdin(Stdio::null()).stderr(output.try_clone()?).stdout(output);
    contain(&mut command);
    command.spawn()
}

/// Own session, death with the platform, no core dumps, AWS's bound on open files.
#[allow(unsafe_code, reason = "pre_exec is the only place where a child can tie itself to its parent before it runs")]
fn contain(command: &mut Command) {
    let platform = rustix::process::getpid();
    let before_exec = move || {
        rustix::process::setsid()?;
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // The platform may have died before the line above took effect.
        if rustix::process::getppid() != Some(platform) {
            return Err(rustix::io::Errno::CHILD.into());
        }
        limit(Resource::Core, 0)?;
        limit(Resource::Nofile, OPEN_FILES)
    };
    // SAFETY: the closure runs between fork and exec in a process of several threads, where only async-signal-safe
    // calls are allowed. It makes five plain system calls through rustix, captures one integer, and neither allocates
    // nor takes a lock.
    unsafe {
        command.pre_exec(before_exec);
    }
}

fn limit(resource: Resource, most: u64) -> io::Result<()> {
    let current = rustix::process::getrlimit(resource).maximum;
    let most = Some(current.map_or(most, |current| current.min(most)));
    Ok(rustix::process::setrlimit(resource, Rlimit { current: most, maximum: most })?)
}

/// Process id as rustix takes it.
pub fn pid_of(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}

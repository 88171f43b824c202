//! What a handler is given.

use std::{path::PathBuf, sync::Arc};

use pipeline::stage::{Host, Notice, Request, never, notice};
use tokio::sync::watch;

/// One invocation, as its handler sees it.
#[derive(Clone, Debug)]
pub struct Call {
    /// Request id, environment and deadline.
    pub request: Request,
    /// An empty directory, gone after the handler.
    pub scratch: PathBuf,
    pub shutdown: Shutdown,
}

/// This running copy of the function, while it starts.
#[derive(Clone, Debug)]
pub struct Environment {
    /// Lambda's log stream, or a random name where there is none.
    pub id: String,
    pub shutdown: Shutdown,
    /// What of it outlives one request.
    pub host: Arc<Host>,
}

impl Environment {
    /// For what is done outside of any invocation.
    pub fn request(&self) -> Request {
        let (id, environment, host) = (self.id.clone(), self.id.clone(), Arc::clone(&self.host));
        Request { id, environment, deadline_ms: u64::MAX, shutdown: never(), host }
    }

    /// Said when the environment is shut down, beside what handlers have to say. Needs the runtime that will run them.
    pub fn at_the_end(&self, words: impl Future<Output = ()> + Send + 'static) {
        let (shutdown, speaker) = (self.shutdown.clone(), self.shutdown.speaker());
        tokio::spawn(async move {
            shutdown.begun().await;
            words.await;
            drop(speaker);
        });
    }

    /// A variable of the process.
    pub fn var(&self, name: &str) -> Option<String> {
        crate::env()(name)
    }
}

/// News that the environment is being shut down. Who hears it has 500 ms or more, as the host likes.
#[derive(Clone, Debug)]
pub struct Shutdown {
    begun: Arc<watch::Sender<bool>>,
    /// Handlers and tasks that want to say something before the end.
    guests: Arc<watch::Sender<u32>>,
    /// Who says something at the end only.
    speakers: Arc<watch::Sender<u32>>,
}

impl Shutdown {
    pub(crate) fn new() -> Self {
        let none = || Arc::new(watch::Sender::new(0));
        Self { begun: Arc::new(watch::Sender::new(false)), guests: none(), speakers: none() }
    }
    /// Waits until it begins.
    pub async fn begun(&self) {
        // The sender is ours, so this cannot fail.
        let _ = self.begun.subscribe().wait_for(|begun| *begun).await;
    }
    /// The same, for a request to carry.
    pub(crate) fn notice(&self) -> Notice {
        let own = self.clone();
        notice(async move { own.begun().await })
    }
    /// The end waits for the guest, within its bound. Held by a handler or a task of its own that still has something to
    /// write down after [`begun`](Self::begun).
    pub fn guest(&self) -> Guest {
        Guest::of(&self.guests)
    }
    fn speaker(&self) -> Guest {
        Guest::of(&self.speakers)
    }
    pub(crate) fn begin(&self) {
        self.begun.send_replace(true);
    }
    pub(crate) fn has_guests(&self) -> bool {
        *self.guests.borrow() > 0
    }
    pub(crate) async fn all_gone(&self) {
        for all in [&self.guests, &self.speakers] {
            let _ = all.subscribe().wait_for(|left| *left == 0).await;
        }
    }
}

/// See [`Shutdown::guest`].
#[derive(Debug)]
pub struct Guest(Arc<watch::Sender<u32>>);

impl Guest {
    fn of(all: &Arc<watch::Sender<u32>>) -> Self {
        all.send_modify(|guests| *guests += 1);
        Self(Arc::clone(all))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.0.send_modify(|guests| *guests = guests.saturating_sub(1));
    }
}

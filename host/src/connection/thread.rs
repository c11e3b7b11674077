//! The thread that runs the client, from open to end. It owns every task of the client: when it ends they are dropped.

use std::io;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use async_nats::Client;
use async_nats::jetstream;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::plan::Plan;
use super::shared::Shared;
use super::{ConnectError, locked};
use crate::error::Error;

/// The way to the thread. Dropping it ends the thread.
#[derive(Debug)]
pub(super) struct Thread {
    runtime: Handle,
    stop: CancellationToken,
    ended: CancellationToken,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the thread hands out once it is connected.
pub(super) struct Opened {
    pub(super) client: Client,
    pub(super) jetstream: jetstream::Context,
}

type Outcome = Result<(Opened, Handle), ConnectError>;

/// Starts the thread and waits for its first connect.
pub(super) async fn start(
    plan: Plan,
    shared: &Arc<Shared>,
) -> Result<(Thread, Opened), ConnectError> {
    let (sender, receiver) = oneshot::channel();
    let ended = CancellationToken::new();
    let thread = std::thread::Builder::new()
        .name("wharf-nats".to_owned())
        .spawn({
            let (shared, ended) = (Arc::clone(shared), ended.clone().drop_guard());
            move || {
                run(&plan, &shared, sender);
                drop(ended);
            }
        })
        .map_err(ConnectError::Thread)?;
    let died = |_| ConnectError::Thread(io::Error::other("it ended without an answer"));
    let (opened, runtime) = receiver.await.map_err(died)??;
    let stop = shared.stop.clone();
    Ok((
        Thread {
            runtime,
            stop,
            ended,
            thread: Mutex::new(Some(thread)),
        },
        opened,
    ))
}

impl Thread {
    pub(super) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Ends the thread, and waits until it has.
    pub(super) async fn stop(&self) -> Result<(), Error> {
        self.stop.cancel();
        self.ended.cancelled().await;
        let thread = locked(&self.thread).take();
        match thread.map(JoinHandle::join) {
            None | Some(Ok(())) => Ok(()),
            Some(Err(_)) => Err(Error::Failed("the connection's thread panicked".into())),
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn run(plan: &Plan, shared: &Arc<Shared>, sender: oneshot::Sender<Outcome>) {
    match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            runtime.block_on(serve(plan, shared, sender));
            // Does not wait for a name that is being resolved.
            runtime.shutdown_background();
        }
        // Nobody listens any more if that cannot be delivered.
        Err(error) => drop(sender.send(Err(ConnectError::Thread(error)))),
    }
    shared.ended();
}

async fn serve(plan: &Plan, shared: &Arc<Shared>, mut sender: oneshot::Sender<Outcome>) {
    let opened = tokio::select! {
        opened = open(plan, shared) => opened,
        // Whoever wanted the connection has gone.
        () = sender.closed() => return,
    };
    let (opened, replies) = match opened {
        Ok((opened, replies)) => (Ok((opened, Handle::current())), Some(replies)),
        Err(error) => (Err(error), None),
    };
    let (Ok(()), Some(replies)) = (sender.send(opened), replies) else {
        return;
    };
    tokio::select! {
        () = shared.stop.cancelled() => {}
        () = shared.inbox.serve(replies) => shared.give_up("the client ended by itself".to_owned()),
    }
}

async fn open(
    plan: &Plan,
    shared: &Arc<Shared>,
) -> Result<(Opened, async_nats::Subscriber), ConnectError> {
    let client = plan.connect(shared).await?;
    let ended = |error| ConnectError::Thread(io::Error::other(error));
    let replies = client
        .subscribe(shared.inbox.subject())
        .await
        .map_err(ended)?;
    // Made here because it starts a task, which then belongs to this thread.
    let jetstream = jetstream::new(client.clone());
    Ok((Opened { client, jetstream }, replies))
}

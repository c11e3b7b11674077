//! The thread that runs the client, from open to end. It owns every task of the client: when it ends they are dropped.

use std::io;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::client::Clients;
use super::inbound::{Inbound, Target};
use super::plan::Plan;
use super::shared::Shared;
use super::{ConnectError, cause, locked};
use crate::error::Error;

/// The way to the thread. Dropping it ends the thread.
#[derive(Debug)]
pub(super) struct Thread {
    runtime: Handle,
    stop: CancellationToken,
    ended: CancellationToken,
    thread: Mutex<Option<JoinHandle<()>>>,
}

type Outcome = Result<(Arc<Clients>, Handle), ConnectError>;

/// Starts the thread and waits for its first connect.
pub(super) async fn start(
    plan: Plan,
    shared: &Arc<Shared>,
) -> Result<(Thread, Arc<Clients>), ConnectError> {
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
    let (clients, runtime) = receiver.await.map_err(died)??;
    let stop = shared.stop.clone();
    Ok((
        Thread {
            runtime,
            stop,
            ended,
            thread: Mutex::new(Some(thread)),
        },
        clients,
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
    let _ended = Ended(shared);
    let _watched = cause::watch_this_thread();
    match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            runtime.block_on(serve(plan, shared, sender));
            // Does not wait for a name that is being resolved.
            runtime.shutdown_background();
        }
        // Nobody listens any more if that cannot be delivered.
        Err(error) => drop(sender.send(Err(ConnectError::Thread(error)))),
    }
}

/// Tells that the thread has ended, however it does.
struct Ended<'a>(&'a Shared);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.give_up("its thread panicked".to_owned());
        }
        self.0.ended();
    }
}

async fn serve(plan: &Plan, shared: &Arc<Shared>, mut sender: oneshot::Sender<Outcome>) {
    let opened = tokio::select! {
        opened = open(plan, shared) => opened,
        // Whoever wanted the connection has gone.
        () = sender.closed() => return,
    };
    let (clients, replies) = match opened {
        Ok(opened) => opened,
        Err(error) => return drop(sender.send(Err(error))),
    };
    if sender
        .send(Ok((Arc::clone(&clients), Handle::current())))
        .is_err()
    {
        return;
    }
    tokio::select! {
        () = shared.stop.cancelled() => {}
        () = clients.keep(plan, shared) => {}
        () = shared.inbox.serve(replies) => {}
    }
}

async fn open(plan: &Plan, shared: &Arc<Shared>) -> Result<(Arc<Clients>, Inbound), ConnectError> {
    let clients = Arc::new(Clients::new(plan.connect(shared).await?));
    let target = Target {
        subject: shared.inbox.subject(),
        queue: None,
    };
    let current = clients.current();
    let ended = || ConnectError::Thread(io::Error::other("the client ended at once"));
    let subscriber = target.subscribe(&current.client).await;
    let replies = subscriber
        .ok()
        .and_then(|subscriber| shared.lines.enter(target, subscriber, current.number))
        .ok_or_else(ended)?;
    Ok((clients, replies))
}

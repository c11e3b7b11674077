//! The thread that runs the client, from open to end. It owns every task of the client: when it ends they are dropped.

use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::cause;
use super::client::Clients;
use super::connect_error::ConnectError;
use super::inbound::Inbound;
use super::options::ConnectPlan;
use super::shared::ConnectionShared;
use super::subscription::SubscriptionTarget;
use crate::error::Error;
use crate::lock::locked;

/// A handle to the thread. Dropping it ends the thread.
#[derive(Debug)]
pub(super) struct ConnectionThread {
    /// The thread's runtime.
    runtime: Handle,
    /// Tells the thread to end.
    stop: CancellationToken,
    /// The thread has ended, or is about to return.
    ended: CancellationToken,
    /// The thread itself, until it is joined.
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// The clients and the runtime of a thread that has connected, or the reason why it could not.
type FirstConnectResult = Result<(Arc<Clients>, Handle), ConnectError>;

/// Starts the thread and waits for its first connect.
///
/// # Errors
/// `Refused` when no server could be connected to, `Thread` when the thread could not be started or ended too early.
pub(super) async fn start(
    plan: ConnectPlan,
    shared: &Arc<ConnectionShared>,
) -> Result<(ConnectionThread, Arc<Clients>), ConnectError> {
    let (sender, receiver) = oneshot::channel();
    let ended = CancellationToken::new();
    let thread = std::thread::Builder::new()
        .name("wharf-nats".to_owned())
        .spawn({
            let shared = Arc::clone(shared);
            let ended = ended.clone().drop_guard();
            move || {
                run(plan, &shared, sender);
                drop(ended);
            }
        })
        .map_err(ConnectError::Thread)?;
    let died = |_| ConnectError::Thread(io::Error::other("it ended without an answer"));
    let (clients, runtime) = receiver.await.map_err(died)??;
    let stop = shared.stop.clone();
    Ok((
        ConnectionThread {
            runtime,
            stop,
            ended,
            thread: Mutex::new(Some(thread)),
        },
        clients,
    ))
}

impl ConnectionThread {
    /// The thread's runtime.
    pub(super) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Ends the thread, and waits until it has ended.
    ///
    /// # Errors
    /// `Failed` if the thread panicked.
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

impl Drop for ConnectionThread {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The thread's whole work, from its runtime to its end.
fn run(
    mut plan: ConnectPlan,
    shared: &Arc<ConnectionShared>,
    sender: oneshot::Sender<FirstConnectResult>,
) {
    let _ended = EndGuard(shared);
    let _watched = cause::watch_this_thread();
    match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            runtime.block_on(serve(&mut plan, shared, sender));
            // Does not wait for a name that is being resolved.
            runtime.shutdown_background();
        }
        // Nobody listens any more if that cannot be delivered.
        Err(error) => drop(sender.send(Err(ConnectError::Thread(error)))),
    }
}

/// Tells the connection that the thread has ended, also after a panic.
struct EndGuard<'a>(&'a ConnectionShared);

impl Drop for EndGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.give_up("its thread panicked".to_owned());
        }
        self.0.ended();
    }
}

/// Connects, reports that, and serves the connection until it is stopped or given up.
async fn serve(
    plan: &mut ConnectPlan,
    shared: &Arc<ConnectionShared>,
    mut sender: oneshot::Sender<FirstConnectResult>,
) {
    if let Err(error) = plan.bind_relay(shared).await {
        return drop(sender.send(Err(ConnectError::Relay(error))));
    }
    let plan = &*plan;
    let mut relaying = pin!(plan.relay());
    let opened = tokio::select! {
        opened = open(plan, shared) => opened,
        () = &mut relaying => return,
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
        () = relaying => {}
    }
}

/// Connects the first client, and subscribes to the inbox.
async fn open(
    plan: &ConnectPlan,
    shared: &Arc<ConnectionShared>,
) -> Result<(Arc<Clients>, Inbound), ConnectError> {
    let clients = Arc::new(Clients::new(plan.connect(shared).await?));
    let target = SubscriptionTarget {
        subject: shared.inbox.subject(),
        queue: None,
    };
    let current = clients.current();
    let ended = || ConnectError::Thread(io::Error::other("the client ended at once"));
    let subscriber = target.subscribe(&current.client).await;
    let replies = subscriber
        .ok()
        .and_then(|subscriber| Inbound::new(shared, target, subscriber, current.number))
        .ok_or_else(ended)?;
    Ok((clients, replies))
}

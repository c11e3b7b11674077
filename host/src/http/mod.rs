//! What operators' tools ask the host over HTTP: is it alive, is it ready, and its figures.
//!
//! It runs on a thread of its own: guests that compute cannot hold it up, and it still answers when the connection, and
//! its thread, are gone. It is begun first and ended last.

mod answer;
mod observed;
mod places;
mod prometheus;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

pub(crate) use observed::Observed;
use places::{Place, Places};

/// The time that a request may take to arrive.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// The time that a connection may last. It is for one request.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);

/// The time that answers that have begun may take at the end.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// After a connection could not be accepted, mostly for want of file descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// The server. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Http {
    /// The address that is listened on, with the port in use.
    address: SocketAddr,
    /// The token that ends the server when cancelled. Answers that have begun are finished.
    stop: CancellationToken,
    /// Cancelled when the thread has ended, even if it panicked.
    ended: CancellationToken,
    /// The thread that answers. None once it has been joined.
    thread: Option<JoinHandle<()>>,
}

impl Http {
    /// Listens, and answers from now on.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub(crate) fn start(listen: SocketAddr, observed: Arc<dyn Observed>) -> io::Result<Self> {
        let listener = TcpListener::bind(listen)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (stop, ended) = (CancellationToken::new(), CancellationToken::new());
        let thread = std::thread::Builder::new()
            .name("wharf-http".to_owned())
            .spawn({
                let (stop, ended) = (stop.clone(), ended.clone().drop_guard());
                move || {
                    run(&runtime, listener, &observed, &stop);
                    drop(ended);
                }
            })?;
        tracing::info!(%address, "answering /livez, /readyz and /metrics");
        Ok(Self {
            address,
            stop,
            ended,
            thread: Some(thread),
        })
    }

    /// The address on which it listens, with the port that the system has chosen if none was named.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it: answers that have been begun are finished.
    pub(crate) async fn stop(mut self) -> Result<(), String> {
        self.stop.cancel();
        self.ended.cancelled().await;
        let ended = self.thread.take().map_or(Ok(()), JoinHandle::join);
        ended.map_err(|_| "the thread that answers HTTP has panicked".to_owned())
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn run(
    runtime: &Runtime,
    listener: TcpListener,
    observed: &Arc<dyn Observed>,
    stop: &CancellationToken,
) {
    runtime.block_on(async {
        match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => accept(listener, observed, stop).await,
            Err(error) => tracing::error!("HTTP is not answered: {error}"),
        }
    });
}

async fn accept(
    listener: tokio::net::TcpListener,
    observed: &Arc<dyn Observed>,
    stop: &CancellationToken,
) {
    let (mut connections, mut places) = (JoinSet::new(), Places::new());
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(ended) = connections.join_next() => report(ended),
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let place = places.take();
                    connections.spawn(serve(stream, place, Arc::clone(observed), stop.clone()));
                }
                Err(error) => {
                    tracing::debug!(target: "wharf::http", "a connection was not accepted: {error}");
                    sleep(ACCEPT_AGAIN).await;
                }
            },
        }
    }
    drop(listener);
    let all = async {
        while let Some(ended) = connections.join_next().await {
            report(ended);
        }
    };
    if timeout(LAST_ANSWERS, all).await.is_err() {
        connections.shutdown().await;
    }
}

fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!("an answer over HTTP has panicked: {error}");
    }
}

/// One connection, which is for one request.
async fn serve(
    stream: TcpStream,
    place: Arc<Place>,
    observed: Arc<dyn Observed>,
    stop: CancellationToken,
) {
    let service = service_fn(|request| {
        place.ask();
        answer::answer(&observed, &place, request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_TIMEOUT)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let served = async {
        tokio::select! {
            served = connection.as_mut() => return served,
            () = place.taken() => return Ok(()),
            () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        connection.await
    };
    match timeout(CONNECTION_TIMEOUT, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::debug!(target: "wharf::http", "a request was not answered: {error}")
        }
        Err(_elapsed) => {
            tracing::debug!(target: "wharf::http", "an answer was not fetched in time")
        }
    }
}

//! The cause of a broken connection. No event of the client has it: the client writes the cause of a lost connection to
//! its log alone, and reports nothing when a panic ends it. Both are recorded here, on the connection's thread alone.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::PanicHookInfo;
use std::sync::Once;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{DefaultGuard, Interest};
use tracing::{Dispatch, Event, Level, Metadata, Subscriber, dispatcher};

/// The most bytes of a cause. A longer one is cut: it may quote a message.
const MAX_CAUSE_BYTES: usize = 300;

thread_local! {
    /// The mark of a connection's thread.
    static WATCHED: Cell<bool> = const { Cell::new(false) };
    /// The cause recorded last, until it is taken.
    static CAUSE: RefCell<Option<Cause>> = const { RefCell::new(None) };
    /// The guard of this thread's listener to the client's log.
    static LISTENER: RefCell<Option<DefaultGuard>> = const { RefCell::new(None) };
}

/// The cause of a broken connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cause {
    /// The cause in words, cut to [`MAX_CAUSE_BYTES`].
    pub(super) words: String,
    /// It was neither the socket nor the server: a message may have been the cause.
    pub(super) by_message: bool,
}

impl Cause {
    fn new(mut words: String, by_message: bool) -> Self {
        if words.len() > MAX_CAUSE_BYTES {
            words.truncate(words.floor_char_boundary(MAX_CAUSE_BYTES));
            words.push('…');
        }
        Self { words, by_message }
    }
}

/// Records causes on this thread, which is a connection's, for as long as the returned guard lives.
///
/// The text of a panic comes from a panic hook, which is installed once for the whole process. Panics of other threads
/// go on to the hook that was there before, and so do those on this thread that are not the client's own.
pub(super) fn watch_this_thread() -> ThreadWatch {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !record_panic(info) {
                before(info);
            }
        }));
    });
    WATCHED.set(true);
    listen();
    ThreadWatch
}

/// A guard: causes are recorded while it lives. It must be dropped on the thread that it was made on.
pub(super) struct ThreadWatch;

impl Drop for ThreadWatch {
    fn drop(&mut self) {
        WATCHED.set(false);
        LISTENER.set(None);
    }
}

/// Takes the cause of the loss that was just found. Each cause is returned once.
pub(super) fn take() -> Cause {
    let cause = CAUSE.take();
    // The program's log may have been set up after the connection was opened.
    listen();
    // Without a log of the program the client says nothing: it may have been a message.
    cause.unwrap_or_else(|| Cause::new("not known".to_owned(), true))
}

/// Notes that the client has ended, as the cause unless a better one is recorded.
pub(super) fn client_ended() {
    CAUSE.with_borrow_mut(|cause| {
        cause.get_or_insert_with(|| Cause::new("the client ended by itself".to_owned(), true));
    });
}

/// Notes that the connection is about to end, which is no message's doing.
pub(super) fn broken(words: String) {
    CAUSE.set(Some(Cause::new(words, false)));
}

/// Records a cause from the client's log.
fn record_logged(error: &str) {
    CAUSE.set(Some(Cause::new(error.to_owned(), is_by_message(error))));
}

/// Whether an error, as `std::io::Error` is written for developers, is the client's own, about what it has read: errors of
/// the system and of TLS are of other kinds.
fn is_by_message(error: &str) -> bool {
    ["InvalidInput", "Other"]
        .iter()
        .any(|kind| error.starts_with(&format!("Custom {{ kind: {kind},")))
}

/// Records the text of a panic on a connection's thread. True if the panic was the client's own.
fn record_panic(info: &PanicHookInfo<'_>) -> bool {
    if !WATCHED.try_with(Cell::get).unwrap_or_default() {
        return false;
    }
    let words = info.payload_as_str().unwrap_or("without words");
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    // In the library itself, or in what it calls.
    let in_client = place.find("async-nats");
    let place = place.get(in_client.unwrap_or(0)..).unwrap_or_default();
    let words = format!("the client panicked: {words:?} ({place})");
    CAUSE.set(Some(Cause::new(words, true)));
    in_client.is_some() && tokio::task::try_id().is_some()
}

/// Starts to listen to the client's log on this thread, once the program has a log to pass events on to.
fn listen() {
    LISTENER.with_borrow_mut(|listener| {
        if WATCHED.get() && listener.is_none() && dispatcher::has_been_set() {
            let log = dispatcher::get_default(Dispatch::clone);
            *listener = Some(dispatcher::set_default(&Dispatch::new(ClientLogListener {
                log,
            })));
        }
    });
}

/// A subscriber that records why the client was disconnected, and passes everything on as it is.
struct ClientLogListener {
    /// The program's own log.
    log: Dispatch,
}

/// Whether an event has the cause of a lost connection: `debug!(error = ?error, "disconnected")` and
/// `debug!(pending_pings, …)` in the client's main file; nothing else there has such fields.
fn has_cause(metadata: &Metadata<'_>) -> bool {
    metadata.is_event()
        && metadata.target() == "async_nats"
        && *metadata.level() == Level::DEBUG
        && ["error", "pending_pings"]
            .iter()
            .any(|name| metadata.fields().field(name).is_some())
}

/// Records the cause from the fields of such an event.
struct CauseVisitor;

impl Visit for CauseVisitor {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "error" => {
                // `Some(…)` around the words says nothing.
                let words = format!("{value:?}");
                let inner = words
                    .strip_prefix("Some(")
                    .and_then(|w| w.strip_suffix(')'));
                match inner {
                    Some(inner) => record_logged(inner),
                    // A loss without a reason of its own may follow from the one before.
                    None => CAUSE.with_borrow_mut(|cause| {
                        let closed = || "the server closed the connection".to_owned();
                        cause.get_or_insert_with(|| Cause::new(closed(), false));
                    }),
                }
            }
            "pending_pings" => broken("the server does not answer any more".to_owned()),
            _ => {}
        }
    }
}

impl Subscriber for ClientLogListener {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if has_cause(metadata) {
            Interest::always()
        } else {
            self.log.register_callsite(metadata)
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        has_cause(metadata) || self.log.enabled(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        // The program's own log decides about all else.
        Some(LevelFilter::DEBUG)
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.log.new_span(span)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        self.log.record(span, values);
    }

    fn record_follows_from(&self, span: &Id, follows: &Id) {
        self.log.record_follows_from(span, follows);
    }

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        if has_cause(metadata) {
            event.record(&mut CauseVisitor);
            if !self.log.enabled(metadata) {
                return;
            }
        }
        self.log.event(event);
    }

    fn enter(&self, span: &Id) {
        self.log.enter(span);
    }

    fn exit(&self, span: &Id) {
        self.log.exit(span);
    }

    fn clone_span(&self, id: &Id) -> Id {
        self.log.clone_span(id)
    }

    fn try_close(&self, id: Id) -> bool {
        self.log.try_close(id)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};

    use super::*;

    #[test]
    fn an_error_of_the_client_s_own_is_told_from_the_systems() {
        let is_by = |error: Error| is_by_message(&format!("{error:?}"));
        assert!(is_by(Error::new(
            ErrorKind::InvalidInput,
            "no header version line found"
        )));
        assert!(is_by(Error::other("could not parse status parameter")));
        assert!(!is_by(Error::from_raw_os_error(104)));
        assert!(!is_by(ErrorKind::ConnectionReset.into()));
        assert!(!is_by(Error::new(
            ErrorKind::InvalidData,
            "received corrupt message"
        )));
        assert!(!is_by(Error::new(
            ErrorKind::UnexpectedEof,
            "no close_notify"
        )));
    }
}

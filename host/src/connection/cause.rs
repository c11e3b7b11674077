//! Why the connection broke. The client tells of that in no event: of a broken connection in a line of its log, of its
//! own end, by a panic, not at all. Both are taken down on the connection's thread alone.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::PanicHookInfo;
use std::sync::Once;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{DefaultGuard, Interest};
use tracing::{Dispatch, Event, Level, Metadata, Subscriber, dispatcher};

/// A longer cause is cut: it may quote what was sent.
const MAX_CAUSE_BYTES: usize = 300;

thread_local! {
    /// This is a connection's thread.
    static WATCHED: Cell<bool> = const { Cell::new(false) };
    /// What was taken down last, until it is told.
    static CAUSE: RefCell<Option<String>> = const { RefCell::new(None) };
    /// What listens to the client's log.
    static LISTENING: RefCell<Option<DefaultGuard>> = const { RefCell::new(None) };
}

/// Takes down, from now on, what happens to the client on this thread, which is a connection's.
///
/// For the words of a panic there is a hook for the whole process, made once. Panics of other threads go on to the hook
/// that was there before, as all do that are not the client's own.
pub(super) fn watch_this_thread() -> Watch {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !take_down_panic(info) {
                before(info);
            }
        }));
    });
    WATCHED.set(true);
    listen();
    Watch
}

/// As long as it lives, what happens is taken down. Not to leave the thread.
pub(super) struct Watch;

impl Drop for Watch {
    fn drop(&mut self) {
        WATCHED.set(false);
        LISTENING.set(None);
    }
}

/// Why the connection is lost that was just found lost. Each cause is told once.
pub(super) fn take() -> String {
    let cause = CAUSE.take();
    // What logs for the program may have been set up after the connection was opened.
    listen();
    cause.unwrap_or_else(|| "not known".to_owned())
}

/// The client has ended. If nothing says why, that is all that is known.
pub(super) fn client_ended() {
    CAUSE.with_borrow_mut(|cause| {
        cause.get_or_insert_with(|| "the client ended by itself".to_owned());
    });
}

fn take_down(mut words: String) {
    if words.len() > MAX_CAUSE_BYTES {
        words.truncate(words.floor_char_boundary(MAX_CAUSE_BYTES));
        words.push('…');
    }
    CAUSE.set(Some(words));
}

/// True if the panic was the client's own.
fn take_down_panic(info: &PanicHookInfo<'_>) -> bool {
    if !WATCHED.try_with(Cell::get).unwrap_or_default() {
        return false;
    }
    let words = info.payload_as_str().unwrap_or("without words");
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    // In the library itself, or in what it calls.
    let in_client = place.find("async-nats");
    let place = place.get(in_client.unwrap_or(0)..).unwrap_or_default();
    take_down(format!("the client panicked: {words:?} ({place})"));
    in_client.is_some() && tokio::task::try_id().is_some()
}

/// Puts an ear on the client's log, if the program has one to go on with.
fn listen() {
    LISTENING.with_borrow_mut(|listening| {
        if WATCHED.get() && listening.is_none() && dispatcher::has_been_set() {
            let log = dispatcher::get_default(Dispatch::clone);
            *listening = Some(dispatcher::set_default(&Dispatch::new(Ear { log })));
        }
    });
}

/// Hears why the client was disconnected, and passes on everything as it is.
struct Ear {
    /// The program's own.
    log: Dispatch,
}

/// `debug!(error = ?error, "disconnected")` and `debug!(pending_pings, …)` in the client's main file; nothing else there
/// has such fields.
fn tells_why(metadata: &Metadata<'_>) -> bool {
    metadata.is_event()
        && metadata.target() == "async_nats"
        && *metadata.level() == Level::DEBUG
        && ["error", "pending_pings"]
            .iter()
            .any(|name| metadata.fields().field(name).is_some())
}

/// Reads the fields of such an event.
struct Why;

impl Visit for Why {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "error" => {
                // What `Option` adds says nothing.
                let words = format!("{value:?}");
                let inner = words
                    .strip_prefix("Some(")
                    .and_then(|w| w.strip_suffix(')'));
                match inner {
                    Some(inner) => take_down(inner.to_owned()),
                    // Without a reason of its own it may follow from the one before.
                    None => CAUSE.with_borrow_mut(|cause| {
                        cause.get_or_insert_with(|| "the server closed the connection".to_owned());
                    }),
                }
            }
            "pending_pings" => take_down("the server does not answer any more".to_owned()),
            _ => {}
        }
    }
}

impl Subscriber for Ear {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if tells_why(metadata) {
            Interest::always()
        } else {
            self.log.register_callsite(metadata)
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        tells_why(metadata) || self.log.enabled(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        // The program's own says what else it takes.
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
        if tells_why(metadata) {
            event.record(&mut Why);
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

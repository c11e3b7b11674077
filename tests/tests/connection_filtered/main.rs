//! The tests of `connection/`, once more: here each connection is made through the filter from the start, as
//! [`wharf_tests::filter`] says by the name of this program. Those of clients that panic are not among them, as none does.

#[path = "../connection/auth.rs"]
mod auth;
#[path = "../connection/drain.rs"]
mod drain;
#[path = "../connection/jetstream.rs"]
mod jetstream;
#[path = "../connection/pubsub.rs"]
mod pubsub;
#[path = "../connection/recovery.rs"]
mod recovery;
#[path = "../connection/tls.rs"]
mod tls;

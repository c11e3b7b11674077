//! Triggers: where a guest's messages come from, and what is done about what became of them. Knows nothing of
//! WebAssembly, versions' rollouts or the queue's readers.
//!
//! | file | what |
//! |---|---|
//! | `intake.rs` | all triggers of one guest, as those see it who change and stop guests |
//! | `core_nats.rs` | subscriptions to subjects |
//! | `interests.rs` | which versions want which subscriptions; pure |
//! | `version_subscriptions.rs` | the subscriptions of one version: configured, and made by itself |
//! | `self_made.rs` | the bounds of what a version makes by itself; pure |
//! | `forwarder.rs` | the task of one subscription: into the guest's queue |
//! | `gate.rs` | what arrives for a version that is not in service yet, held within bounds |
//! | `incoming.rs` | a message that has arrived, and its settlement |
//! | `refusals.rs` | answers to the senders of messages that no version handles |
//!
//! # A subscription, from its begin to its end
//!
//! ```text
//!              prepare: a version that is to come wants it
//!     (absent) ─────────────────────────────────────────────► gated ── cancel ──► (absent)
//!        │                                                      │
//!        │ subscribe: the version in service wants it           │ commit: the version is in service
//!        ▼                                                      ▼
//!      open ◄───────────────────────────────────────────────────┘
//!        │
//!        │ no version in service wants it any more, or the guest stops
//!        ▼
//!     ending ── the server has been told, what had arrived is in the queue ──► (absent)
//! ```
//!
//! *Gated*: messages wait behind a gate, within the bounds of the guest's queue. *Open*: they go into the guest's queue. *Ending*: the server sends no more;
//! what it had sent still goes into the queue. One that is wanted again while it ends is begun anew after its end.

mod core_nats;
mod forwarder;
mod gate;
mod incoming;
mod intake;
mod interests;
mod refusals;
mod self_made;
mod version_subscriptions;

pub(crate) use core_nats::SubscribeRefused;
pub(crate) use incoming::{ABANDONED, Incoming};
pub(crate) use intake::{Intake, Prepared};
pub(crate) use version_subscriptions::VersionSubscriptions;

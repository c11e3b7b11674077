//! The rollout of guests: what they are desired to be → what runs. Guests are loaded, replaced, tried as canaries and
//! unloaded while the host runs; what a configuration lists at the start comes the same way.
//!
//! | file | what |
//! |---|---|
//! | `running_guests.rs` | the guests of a host, and who may change them when |
//! | `apply.rs`, `judge.rs` | requests: load, replace, unload, apply; promote, abort, roll back |
//! | `resolve.rs` | settings → components, fetched and compiled |
//! | `diff.rs` | desired and running → steps; pure |
//! | `grants.rs` | directories, opened and kept apart from components |
//! | `change.rs` | the steps, carried out: all or none |
//! | `deployment.rs` | one guest in service |
//! | `version.rs`, `canary.rs` | one version of a guest, and one that is tried |
//! | `guest_context.rs` | what guests have around them |
//! | `report.rs` | reports and errors |
//!
//! # A change, from its request to its end
//!
//! ```text
//!     requested ── resolve: fetch, compile ──► resolved ── the turn, diff ──► steps
//!                                                                               │ start all new versions
//!     given up ◄── one cannot be started: the others are stopped ◄── started ◄──┘
//!                                                                  │ prepare: their subscriptions begin, gated
//!     given up ◄── one is refused: the others are cancelled ◄── prepared
//!                                                                  │ hand over: queues get new readers, gates open
//!                                                                  ▼ (from here on nothing can fail)
//!                                                               in service
//!                                                                  │ older versions finish what they have in flight
//!                                                                  ▼
//!                                                               drained
//! ```
//!
//! A *version* of a guest is a [candidate](version::Candidate) until it is given messages, then in service or a canary, and
//! retiring once it gets no more. The names of guests, queues, subscriptions and counts outlive versions.

mod apply;
mod canary;
mod change;
mod deployment;
mod diff;
mod grants;
mod guest_context;
mod judge;
mod report;
mod resolve;
mod running_guests;
mod version;

pub(crate) use guest_context::HostContext;
pub use report::{Applied, ChangeError, DrainReport, GuestError};
pub(crate) use resolve::CompiledFiles;
pub(crate) use running_guests::RunningGuests;

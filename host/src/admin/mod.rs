//! Administration of hosts over NATS: questions, orders, and the form of both.
//!
//! # Who is there
//!
//! Every running host is a [micro service](https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-32.md)
//! named [`SERVICE`]: it answers on `$SRV.PING`, `$SRV.INFO` and `$SRV.STATS`, and on these followed by `.wharf` and
//! `.wharf.<id>`. Its metadata are `host` (its name), `guests` (how many) and `admin` (whether it does what follows).
//!
//! # What it can be told
//!
//! With `[admin] enabled = true` a host answers requests on `wharf.admin.<host>.<verb>`. Whoever may publish there may run
//! any guest on the host, with any grant on NATS: NATS permissions decide who that is. Guests never may. Of the host's
//! files an order may name components in the directories of `[admin] components`, and grant those of `[admin] dirs`; by
//! default neither. `${NAME}` in the settings of an order takes nothing from the host's environment: it is refused.
//!
//! | verb | request | reply |
//! |---|---|---|
//! | `list` | nothing | [`GuestList`] |
//! | `show` | [`GuestRef`] | [`GuestDetails`] |
//! | `load` | [`LoadRequest`] | [`DrainSummary`], with nothing in it |
//! | `replace` | [`LoadRequest`] | [`DrainSummary`]: how the old version ended |
//! | `unload` | [`GuestRef`] | [`DrainSummary`] |
//! | `promote` | [`GuestRef`] | [`DrainSummary`]: how the version that the canary replaced ended |
//! | `abort` | [`GuestRef`] | [`DrainSummary`]: how the canary ended |
//! | `drain` | nothing | [`DrainSummary`], with nothing in it; then the host stops, as after a signal |
//!
//! Requests and replies are JSON. A request with an unknown key is refused; a reply may get new keys. An error has the
//! headers `Nats-Service-Error-Code` and `Nats-Service-Error` (one line), and [`ErrorReply`] as its payload.
//!
//! | code | |
//! |---|---|
//! | 400 | the request, or the settings in it, cannot be used; or it has more than 1 MiB (`show`: 4 KiB) |
//! | 404 | there is no such guest, canary, or verb |
//! | 409 | there is a guest of that name already |
//! | 422 | the guest did not come into service; nothing has changed |
//! | 429 | too many changes, or questions, are waiting for their turn |
//! | 500 | the reply cannot be sent: it is larger than the server allows |
//! | 503 | the host is stopping |

mod admin_context;
mod order_files;
mod orders;
mod service;
mod stats;
mod summary;
mod wire;

pub(crate) use admin_context::AdminContext;
pub(crate) use service::Service;
pub use wire::{
    CanarySummary, DrainSummary, ErrorReply, FileUse, GuestDetails, GuestList, GuestRef,
    GuestSummary, LoadRequest, ROOT, SERVICE, SERVICE_ERROR, SERVICE_ERROR_CODE, Verb, subject,
};

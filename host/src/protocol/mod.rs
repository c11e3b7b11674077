//! Rules of NATS and of wharf on it that several modules share: names, reserved subjects, headers. Pure.

pub(crate) mod ack;
pub(crate) mod bucket_rules;
pub(crate) mod duration;
pub(crate) mod reserved;
pub(crate) mod service_error;
pub(crate) mod subject;
pub(crate) mod ttl;

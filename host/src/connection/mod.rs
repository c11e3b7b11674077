//! The one connection to NATS.

//! Publish and subscribe, and key/value, for Rust callers over the connection.

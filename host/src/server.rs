//! A nats-server of our own as a child process.

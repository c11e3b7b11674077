//! Strangers' messages at their worst, one file for each kind, and the neighbour that goes on meanwhile: a guest whose
//! requests are all answered in time, in a host whose memory stays within a bound and which keeps its connection.

mod admin;
mod encoding;
mod gone;
mod header_line;
mod header_name;
mod header_value;
mod http;
mod inbox;
mod large;
mod log;
mod long_subjects;
mod many_headers;
mod many_keys;
mod many_small;
mod replies_elsewhere;
mod reserved_headers;
mod services;
mod slow_reader;
mod stage;
mod status;
mod stored;
mod subject;
mod version;

//! The server's `INFO`, and what of it the client is told: not to do TLS, which the relay has done, and of no other
//! server, as it can reach none but through the relay.

use async_nats::ServerInfo;
use serde_json::{Map, Value};

/// Rewrites the JSON of an `INFO` for the client. `None` if the client could not read it.
pub(super) fn for_client(json: &[u8]) -> Option<Vec<u8>> {
    let mut info: Map<String, Value> = serde_json::from_slice(json).ok()?;
    info.remove("connect_urls");
    info.insert("tls_required".to_owned(), Value::Bool(false));
    let mut line = b"INFO ".to_vec();
    serde_json::to_writer(&mut line, &info).ok()?;
    parse(&line[b"INFO ".len()..])?;
    line.extend_from_slice(b"\r\n");
    Some(line)
}

/// Reads the JSON of an `INFO`.
pub(super) fn parse(json: &[u8]) -> Option<ServerInfo> {
    serde_json::from_slice(json).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_is_told_neither_of_tls_nor_of_other_servers() {
        let json = br#" {"server_id":"N","nonce":"n0","tls_required":true,"connect_urls":["a:1"],"ldm":true,"port":7,"new":[1]} "#;
        let line = for_client(json).expect("an INFO");
        let json = line.strip_prefix(b"INFO ").expect("INFO");
        assert!(json.ends_with(b"\r\n"));
        let info = parse(json).expect("JSON");
        assert!(!info.tls_required && info.connect_urls.is_empty());
        assert_eq!((info.nonce.as_str(), info.port), ("n0", 7));
        assert!(info.lame_duck_mode);
        let all: Value = serde_json::from_slice(json).expect("JSON");
        assert_eq!(all["new"][0], 1, "what is not known passes as well");
    }

    #[test]
    fn what_the_client_could_not_read_is_none() {
        for json in [
            &b""[..],
            b"{",
            b"[]",
            b"null",
            b"{\"port\":\"x\"}",
            b"{\"nonce\":\"\xff\"}",
        ] {
            assert_eq!(for_client(json), None, "{}", json.escape_ascii());
        }
    }
}

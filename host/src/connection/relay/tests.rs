use tokio::io::{AsyncReadExt, BufReader};

use super::*;
use crate::config::FilterMode;

/// A relay that runs, and a server to be connected to.
struct Scene {
    relay: Arc<Relay>,
    running: tokio::task::JoinHandle<()>,
    server: TcpListener,
    server_address: ServerAddr,
}

impl Scene {
    async fn new() -> Self {
        let shared = Arc::new(ConnectionShared::new(FilterMode::Always));
        let limit = Duration::from_secs(5);
        let relay = Relay::bind(&TlsSettings::default(), limit, &shared).await;
        let relay = Arc::new(relay.expect("a listener"));
        let server = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let server_address = server.local_addr().expect("its address").to_string();
        Self {
            running: tokio::spawn({
                let relay = Arc::clone(&relay);
                async move { relay.run().await }
            }),
            relay,
            server,
            server_address: server_address.parse().expect("an address"),
        }
    }

    /// Has the relay connect to the server. Returns the server's end, and what the relay says.
    async fn prepare(&self, greeting: &str) -> (TcpStream, Result<ServerInfo, DialError>) {
        let accept = async {
            let (mut stream, _) = self.server.accept().await.expect("a connection");
            let written = stream.write_all(greeting.as_bytes()).await;
            written.expect("the relay reads");
            stream
        };
        tokio::join!(accept, self.relay.prepare(&self.server_address))
    }

    /// Connects as a client does, and reads the greeting.
    async fn client(&self) -> (TcpStream, String) {
        let address = ("127.0.0.1", self.relay.address().port());
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        let mut line = Vec::new();
        // Nothing, if it is closed at once.
        let _ = dial::read_line(&mut stream, &mut line).await;
        (stream, String::from_utf8(line).expect("text"))
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.running.abort();
    }
}

const INFO: &str = "INFO {\"nonce\":\"n\",\"connect_urls\":[\"127.0.0.1:1\"]}\r\n";

/// Reads to the end, which may be a reset.
async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said).await;
    String::from_utf8(said).expect("text")
}

#[tokio::test]
async fn nothing_of_a_client_without_the_ticket_reaches_the_server() {
    let scene = Scene::new().await;
    let (server, info) = scene.prepare(INFO).await;
    let info = info.expect("a server");
    assert_eq!(info.connect_urls, ["127.0.0.1:1"]);
    let ticket = scene.relay.ticket().expect("a ticket");
    for connect in [
        "CONNECT {\"name\":\"wharf\"}".to_owned(),
        format!("CONNECT {{\"auth_token\":\"{}\"}}", Token::new()),
        format!("CONNECT {{\"name\":\"{ticket}\"}}"),
        "PING".to_owned(),
        "x".repeat(100_000),
    ] {
        let (mut stranger, line) = scene.client().await;
        assert!(
            line.starts_with("INFO {") && !line.contains("connect_urls"),
            "{line}"
        );
        let sent = format!("{connect}\r\nPUB a 0\r\n\r\n");
        // It may be closed before everything is written.
        let _ = stranger.write_all(sent.as_bytes()).await;
        assert_eq!(read_to_end(&mut stranger).await, "");
    }
    let (mut client, line) = scene.client().await;
    assert!(line.contains("\"nonce\":\"n\""), "{line}");
    let sent = format!("CONNECT {{\"auth_token\":\"{ticket}s3cret\"}}\r\nPING\r\n");
    client
        .write_all(sent.as_bytes())
        .await
        .expect("it is joined");
    let mut server = BufReader::new(server);
    let expected = b"CONNECT {\"auth_token\":\"s3cret\"}\r\nPING\r\n";
    let mut heard = vec![0; expected.len()];
    server.read_exact(&mut heard).await.expect("the client's");
    assert_eq!(
        heard.escape_ascii().to_string(),
        expected.escape_ascii().to_string()
    );
    // A ticket is good for once, and the relay tells the next one nothing.
    assert!(scene.relay.ticket().is_none());
    assert_eq!(scene.client().await.1, "");
}

#[tokio::test]
async fn the_client_hears_what_the_server_said_before_it_closed() {
    let scene = Scene::new().await;
    let (mut server, _) = scene.prepare(INFO).await;
    let ticket = scene.relay.ticket().expect("a ticket");
    let (mut client, _) = scene.client().await;
    let sent = format!("CONNECT {{\"auth_token\":\"{ticket}\"}}\r\nPING\r\n");
    client
        .write_all(sent.as_bytes())
        .await
        .expect("it is joined");
    let mut heard = [0; b"CONNECT {}\r\nPING\r\n".len()];
    server.read_exact(&mut heard).await.expect("the client's");
    let error = b"-ERR 'Authorization Violation'\r\n";
    server.write_all(error).await.expect("it is joined");
    drop(server);
    // The client goes on writing: it has not read yet.
    let _ = client.write_all(&[b'x'; 100_000]).await;
    assert_eq!(read_to_end(&mut client).await.as_bytes(), error);
}

#[tokio::test]
async fn a_server_that_no_client_has_come_for_is_left() {
    let scene = Scene::new().await;
    let (mut first, _) = scene.prepare(INFO).await;
    let (mut second, _) = scene.prepare(INFO).await;
    assert_eq!(read_to_end(&mut first).await, "");
    scene.relay.withdraw();
    assert_eq!(read_to_end(&mut second).await, "");
    assert!(scene.relay.ticket().is_none());
}

#[tokio::test]
async fn a_server_that_greets_otherwise_is_named_with_what_it_said() {
    let scene = Scene::new().await;
    for (greeting, expected) in [
        (
            "-ERR 'maximum connections exceeded'\r\n",
            "maximum connections",
        ),
        ("INFO {\r\n", "INFO {"),
        ("HTTP/1.1 400 Bad Request\r\n", "HTTP/1.1"),
        // What comes before TLS could come from anybody.
        ("INFO {\"tls_required\":true}\r\n+OK\r\n", "+OK"),
    ] {
        let (_, said) = scene.prepare(greeting).await;
        let error = said.expect_err("no server").to_string();
        assert!(error.contains(expected), "{error}");
    }
}

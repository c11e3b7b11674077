//! The filter's output, read by a real client: it must stay connected. What a server sends is made up at random, from
//! pieces that have a meaning; the lengths are right, as a server's are.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// The time that the test may take, beside its first rounds.
const TIME: Duration = Duration::from_secs(2);

/// The least number of rounds, each with a client of its own.
const MIN_ROUNDS: u64 = 20;

/// Operations in one round.
const OPERATIONS: usize = 400;

/// Numbers that look random, the same ones for each seed: SplitMix64.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % end as u64).expect("below the end")
    }

    fn one_of<'a>(&mut self, all: &[&'a [u8]]) -> &'a [u8] {
        all[self.below(all.len())]
    }

    /// Up to so many pieces, one behind the other.
    fn some_of(&mut self, all: &[&[u8]], most: usize) -> Vec<u8> {
        let count = self.below(most + 1);
        (0..count).flat_map(|_| self.one_of(all).to_vec()).collect()
    }
}

/// Pieces of headers.
const HEADER_PIECES: &[&[u8]] = &[
    b"NATS/1.0",
    b"NATS/1.0\r\n",
    b" 503",
    b" 503 No Responders\r\n",
    b" abc",
    b"A: b\r\n",
    b"KV-Operation: DEL\r\n",
    b":",
    b"\r\n",
    b"\r\n\r\n",
    b"\r",
    b"\n",
    b" ",
    b"\t",
    b"\x0b",
    b"\0",
    b"X",
    b"\xff",
    b"\xc3",
    b"\xa4",
    "\u{a0}".as_bytes(),
    "\u{85}".as_bytes(),
    "\u{2028}".as_bytes(),
    b"X: a\rb\r\n",
    b"A B: x\r\n",
    b"\xc3\xa4: x\r\n",
    b"no colon\r\n",
];

/// Pieces of subjects. A server never has spaces or ends of lines there.
const SUBJECT_PIECES: &[&[u8]] = &[
    b"a",
    b".",
    b"$KV.b.k",
    b"_INBOX.x",
    b"\xff",
    b"\x0b",
    b"\0",
    b"5",
    b"+1",
    "\u{a0}".as_bytes(),
    "\u{2003}".as_bytes(),
    "\u{85}".as_bytes(),
    "\u{feff}".as_bytes(),
    "\u{e4}".as_bytes(),
];

/// Other operations, good ones and others.
const OTHERS: &[&[u8]] = &[
    b"PING\r\n",
    b"PONG\r\n",
    b"+OK\r\n",
    b"+OKAY\r\n",
    b"-ERR 'x'\r\n",
    b"-ERR\r\n",
    b"-ERR \xff\r\n",
    b"-ERR\xc3\xa4\r\n",
    b"INFO {\"server_id\":\"x\",\"tls_required\":true,\"connect_urls\":[\"\"]}\r\n",
    b"INFO {\"port\":\"x\"}\r\n",
    b"INFO {\r\n",
    b"INFO {\"port\":99999}\r\n",
    b"INFO \r\n",
    b"\r\n",
    b"ping\r\n",
    b"\xff\r\n",
    b"MSG a 0\r\n\r\n",
    b"HMSG a 1 0\r\n\r\n",
];

/// An operation of a server.
fn operation(numbers: &mut Numbers) -> Vec<u8> {
    let mut subject = numbers.some_of(SUBJECT_PIECES, 4);
    subject.insert(0, b's');
    let reply = match numbers.below(3) {
        0 => [b" ", &*numbers.some_of(SUBJECT_PIECES, 3)].concat(),
        _ => Vec::new(),
    };
    let payload = numbers.some_of(HEADER_PIECES, 5);
    match numbers.below(10) {
        0 => numbers.one_of(OTHERS).to_vec(),
        1 | 2 => {
            let line = format!(" {}\r\n", payload.len());
            [
                b"MSG ",
                &*subject,
                b" 1",
                &reply,
                line.as_bytes(),
                &payload,
                b"\r\n",
            ]
            .concat()
        }
        kind => {
            let mut headers = numbers.some_of(HEADER_PIECES, 8);
            if kind > 4 {
                headers.splice(..0, *b"NATS/1.0\r\n");
            }
            if kind == 9 {
                let many = numbers.below(30_000);
                (0..many).for_each(|_| headers.extend_from_slice(b"abc:\r\n"));
            }
            headers.extend_from_slice(b"\r\n\r\n");
            let line = format!(" {} {}\r\n", headers.len(), headers.len() + payload.len());
            let line = line.as_bytes();
            [
                b"HMSG ", &*subject, b" 1", &reply, line, &headers, &payload, b"\r\n",
            ]
            .concat()
        }
    }
}

/// Greets a client as a server does. Returns its stream once it has subscribed.
async fn greet(listener: &TcpListener) -> std::io::Result<TcpStream> {
    let (mut stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    stream
        .write_all(b"INFO {\"max_payload\":1048576}\r\n")
        .await?;
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while !line.starts_with("SUB ") {
        line.clear();
        stream.read_line(&mut line).await?;
        if line.starts_with("PING") {
            stream.write_all(b"PONG\r\n").await?;
        }
    }
    Ok(stream.into_inner())
}

#[tokio::test]
async fn the_client_stays_connected_whatever_a_server_is_made_to_send() {
    let begun = Instant::now();
    for seed in 0.. {
        if seed >= MIN_ROUNDS && begun.elapsed() > TIME {
            break;
        }
        round(seed).await;
    }
}

/// Whether a client that is sent this, and then a last message, stays connected and gets that.
async fn survives(stream: &[u8]) -> bool {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let address = listener.local_addr().expect("its address");
    let connect = async {
        let client = async_nats::connect(address.to_string())
            .await
            .expect("a client");
        let messages = client.subscribe(">").await.expect("a subscription");
        client.flush().await.expect("it is sent");
        (client, messages)
    };
    let (server, (client, mut messages)) = tokio::join!(greet(&listener), connect);
    let mut server = server.expect("the client greets");
    let reading = async {
        while let Some(message) = messages.next().await {
            if message.subject.as_str() == "end" {
                return true;
            }
        }
        false
    };
    let all = [stream, b"MSG end 1 0\r\n\r\n"].concat();
    let sending = async {
        // A client that leaves does not read it all.
        let _ = server.write_all(&all).await;
        // It comes again then.
        let _ = listener.accept().await;
        false
    };
    let survived = tokio::time::timeout(Duration::from_secs(20), async {
        tokio::select! {
            end = reading => end,
            end = sending => end,
        }
    });
    let survived = survived.await.expect("one or the other");
    let connects = client.statistics().connects.load(Ordering::Relaxed);
    survived && connects == 1
}

/// What the filter lets through of this, and the causes for which it does not let it through as it is.
fn filtered(input: &[u8], part: usize) -> (Vec<u8>, Vec<MalformedCause>) {
    let (mut filter, mut out, mut causes) = (Filter::default(), Vec::new(), Vec::new());
    let mut report = |malformed: Malformed<'_>| causes.push(malformed.cause);
    for part in input.chunks(part) {
        let followed = filter.push(part, &mut out, &mut report);
        followed.expect("a server's stream can be followed");
    }
    (out, causes)
}

/// One client, and a server that sends it operations.
async fn round(seed: u64) {
    let mut numbers = Numbers(seed);
    let input: Vec<u8> = (0..OPERATIONS)
        .flat_map(|_| operation(&mut numbers))
        .collect();
    let (out, causes) = filtered(&input, 1 + numbers.below(70_000));
    assert!(survives(&out).await, "seed {seed}");
    assert!(!causes.is_empty());
    super::fuzzed_stream::filter(&[&[7], &*input].concat());
}

#[tokio::test]
async fn what_the_filter_does_not_let_through_would_end_the_connection() {
    use MalformedCause::{HeaderBytes, HeaderCount, Reply, Subject};
    let mut numbers = Numbers(0);
    let mut ended = 0;
    while ended < 80 {
        let operation = operation(&mut numbers);
        let (_, causes) = filtered(&operation, operation.len());
        // These are its own limits, and parts that the client takes for others.
        let is_own = |cause| matches!(cause, HeaderBytes | HeaderCount | Reply | Subject);
        if causes.iter().copied().any(is_own) {
            continue;
        }
        let survived = survives(&operation).await;
        let shown = operation.escape_ascii();
        assert_eq!(survived, causes.is_empty(), "{causes:?}: {shown}");
        ended += usize::from(!survived);
    }
}

#[test]
fn the_filter_keeps_its_promises_for_bytes_without_order() {
    let begun = Instant::now();
    for seed in 0..100_000 {
        let mut numbers = Numbers(seed);
        let mut bytes = vec![u8::try_from(numbers.below(20)).expect("a byte")];
        for _ in 0..numbers.below(8) {
            match numbers.below(4) {
                0 => bytes.extend(operation(&mut numbers)),
                1 => bytes.extend(numbers.some_of(HEADER_PIECES, 3)),
                2 => bytes.extend(numbers.some_of(OTHERS, 2)),
                _ => bytes.extend_from_slice(numbers.one_of(&[b"MSG ", b"HMSG ", b"1 ", b"3\r\n"])),
            }
        }
        super::fuzzed_stream::filter(&bytes);
        if begun.elapsed() > TIME {
            break;
        }
    }
}

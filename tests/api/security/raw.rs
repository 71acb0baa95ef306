//! Bytes as they are sent, for what no client library sends.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// How long a server may take that closes a connection at once.
const PATIENCE: Duration = Duration::from_secs(30);

/// What came back.
#[derive(Debug)]
pub struct Exchange {
    /// Status of each answer.
    pub statuses: Vec<u16>,
    /// Everything.
    pub text: String,
    /// How long it took until the server closed the connection.
    pub took: Duration,
}

/// Sends bytes, and reads until the server closes the connection.
pub async fn exchange(address: SocketAddr, bytes: &[u8]) -> Exchange {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let begun = Instant::now();
    // A server that refuses early closes before everything is sent.
    stream.write_all(bytes).await.ok();
    let text = rest(&mut stream).await;
    let statuses = text.split("HTTP/1.").skip(1).filter_map(|part| part.get(2..5)?.parse().ok()).collect();
    Exchange { statuses, text, took: begun.elapsed() }
}

/// Whatever the server still sends, as text.
pub async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset connection is closed, too; what arrived before it counts.
    let reading = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
    let _ =
        reading.unwrap_or_else(|_| panic!("the server keeps the connection open: {}", String::from_utf8_lossy(&bytes)));
    String::from_utf8_lossy(&bytes).into_owned()
}

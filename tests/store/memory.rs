//! What the worst clients send leaves the server's memory as it was.

use std::{fs, path::Path, time::Duration};

use facesocial_tests::png::black_png;
use reqwest::{
    Client,
    multipart::{Form, Part},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use crate::server::{Places, Server};

const BOUNDARY: &str = "------------------------facesocial";
/// More than any of the inputs below may cost. One decoded photo of the largest size allowed takes 150 MiB.
const MOST: u64 = 512 << 20;
/// Longer than the system takes to have a connection refused or cut.
const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
#[expect(clippy::print_stderr, reason = "what is left out is told")]
async fn the_worst_clients_cost_no_lasting_memory() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&Places { folder: folder.path().to_owned(), ..Places::default() }).await;
    // The networks take what they work with once.
    for name in ["portrait.jpg", "group.jpg"] {
        assert_eq!(analyze(&server, name, photo(name)).await, 200, "{name}");
    }
    let Some((before, _)) = server.memory() else {
        eprintln!("NOT CHECKED: this system does not tell a process's memory");
        return;
    };
    for _ in 0..3 {
        // 900 megapixels in less than a megabyte.
        assert_eq!(analyze(&server, "bomb.png", black_png(30_000, 30_000, 30_000)).await, 413);
        // 64 x 64 pixels declared, a hundred megabytes compressed behind them.
        let status = analyze(&server, "hidden.png", black_png(64, 64, 12_000_000)).await;
        assert!(status == 200 || status == 422, "{status}");
        assert_eq!(analyze(&server, "huge.jpg", vec![0xFF; 64 << 20]).await, 413);
    }
    upload_2_gib_in_chunks(&server).await;
    hang_up_half_way(&server).await;
    assert_eq!(analyze(&server, "portrait.jpg", photo("portrait.jpg")).await, 200);
    let (after, most) = server.memory().unwrap();
    assert!(most.saturating_sub(before) < MOST, "memory grew by up to {} MiB", (most - before) >> 20);
    assert!(after.saturating_sub(before) < MOST / 2, "memory stayed {} MiB larger", (after - before) >> 20);
}

fn photo(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("images").join(name)).unwrap()
}

/// The status of the answer.
async fn analyze(server: &Server, name: &str, bytes: Vec<u8>) -> u16 {
    let form = Form::new().part("file", Part::bytes(bytes).file_name(name.to_owned()));
    let answer = Client::new().post(server.url("/analyze/comprehensive")).multipart(form).send().await.unwrap();
    answer.status().as_u16()
}

async fn connect(server: &Server, length: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    let head = format!(
        "POST /analyze/comprehensive HTTP/1.1\r\nHost: localhost\r\n\
         Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n{length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

fn part_head() -> String {
    format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"huge.jpg\"\r\n\r\n")
}

/// An upload that does not tell its size is cut.
async fn upload_2_gib_in_chunks(server: &Server) {
    const PIECE: usize = 1 << 20;
    // The server takes what comes for about a second after its answer; a client at memory speed would be through by then.
    const PAUSE: Duration = Duration::from_millis(5);
    let mut stream = connect(server, "Transfer-Encoding: chunked").await;
    let first = part_head();
    stream.write_all(format!("{:x}\r\n{first}\r\n", first.len()).as_bytes()).await.unwrap();
    let piece = [format!("{PIECE:x}\r\n").as_bytes(), &vec![0xAB; PIECE], b"\r\n"].concat();
    let begun = Instant::now();
    let (mut sent, mut answer) = (0usize, Vec::new());
    while sent < 2 << 30 && begun.elapsed() < Duration::from_secs(60) {
        if !matches!(timeout(PATIENCE, stream.write_all(&piece)).await, Ok(Ok(()))) {
            break;
        }
        sent += PIECE;
        sleep(PAUSE).await;
        let mut buffer = [0; 4096];
        if let Ok(n) = stream.try_read(&mut buffer) {
            answer.extend_from_slice(&buffer[..n]);
        }
    }
    // A reset connection is an answer too; what arrived before it counts.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the server keeps the connection open");
    let answer = String::from_utf8_lossy(&answer);
    assert!(sent < 2 << 30, "all 2 GiB were taken");
    assert!(begun.elapsed() < Duration::from_secs(60), "the server still takes the upload after a minute");
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 413"), "{answer}");
}

/// Sixty clients that leave before their answer.
async fn hang_up_half_way(server: &Server) {
    let bytes = photo("group.jpg");
    let tail = format!("\r\n--{BOUNDARY}--\r\n");
    let length = part_head().len() + bytes.len() + tail.len();
    for sent in [0, bytes.len() / 2, bytes.len()] {
        for _ in 0..20 {
            let mut stream = connect(server, &format!("Content-Length: {length}")).await;
            stream.write_all(part_head().as_bytes()).await.unwrap();
            stream.write_all(&bytes[..sent]).await.unwrap();
            if sent == bytes.len() {
                stream.write_all(tail.as_bytes()).await.unwrap();
            }
        }
    }
}

//! A port that leads to a server, and what can be wrong with the way there.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
    sync::watch,
    task::JoinHandle,
};

/// What becomes of bytes on their way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Way {
    /// They arrive.
    Open,
    /// They arrive so much later, each piece.
    Slow(Duration),
    /// So many arrive in a second, in both directions.
    Narrow(f64),
    /// Of what the server says, one byte in so many is another.
    Garbled(usize),
    /// What the server says is random.
    Nonsense,
    /// Nothing arrives, and nobody is told: connections that meet this stay dead for ever.
    Silent,
    /// Every connection is reset, a new one after its first bytes.
    Reset,
}

/// A port that leads to a server.
pub struct Proxy {
    address: SocketAddr,
    way: watch::Sender<Way>,
    serving: JoinHandle<()>,
}

impl Proxy {
    /// A way to `to`, open.
    ///
    /// # Errors
    /// No port can be had.
    pub async fn to(to: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (way, seen) = watch::channel(Way::Open);
        let serving = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let seen = seen.clone();
                // A connection that ends is nothing to tell of.
                tokio::spawn(async move { join(client, to, seen).await.ok() });
            }
        });
        Ok(Self { address, way, serving })
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// From now on.
    pub fn set(&self, way: Way) {
        self.way.send_replace(way);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn join(client: TcpStream, to: SocketAddr, seen: watch::Receiver<Way>) -> io::Result<()> {
    let server = TcpStream::connect(to).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let up = pump(from_client, to_server, seen.clone(), false);
    let down = pump(from_server, to_client, seen, true);
    // When one direction ends, both do.
    tokio::select! { ended = up => ended, ended = down => ended }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut seen: watch::Receiver<Way>,
    of_server: bool,
) -> io::Result<()> {
    let mut random = fastrand::Rng::new();
    let mut buffer = vec![0; 16 << 10];
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read?,
            changed = seen.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                let way = *seen.borrow_and_update();
                match way {
                    Way::Reset => return reset(&to),
                    _ => continue,
                }
            }
        };
        if read == 0 {
            return Ok(());
        }
        let bytes = &mut buffer[..read];
        let way = *seen.borrow_and_update();
        match way {
            Way::Open => {}
            Way::Slow(time) => tokio::time::sleep(time).await,
            Way::Narrow(per_second) => tokio::time::sleep(Duration::from_secs_f64(read as f64 / per_second)).await,
            Way::Garbled(one_in) if of_server => {
                let wrong = read.div_ceil(one_in);
                for _ in 0..wrong {
                    bytes[random.usize(..read)] ^= random.u8(1..);
                }
            }
            Way::Nonsense if of_server => bytes.iter_mut().for_each(|byte| *byte = random.u8(..)),
            Way::Garbled(_) | Way::Nonsense => {}
            Way::Silent => {
                // Whoever sent this hears nothing any more, not even an end.
                std::future::pending::<()>().await;
            }
            Way::Reset => return reset(&to),
        }
        to.write_all(bytes).await?;
    }
}

/// Ends a connection without a goodbye.
fn reset(stream: &OwnedWriteHalf) -> io::Result<()> {
    stream.as_ref().set_zero_linger()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    tokio::io::copy(&mut from, &mut to).await.ok();
                });
            }
        });
        address
    }

    async fn says(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
        stream.write_all(b"twelve bytes").await?;
        let mut answer = vec![0; 12];
        let read = stream.read_exact(&mut answer);
        let late = |_| io::Error::from(io::ErrorKind::TimedOut);
        tokio::time::timeout(Duration::from_millis(300), read).await.map_err(late)??;
        Ok(answer)
    }

    #[tokio::test]
    async fn bytes_arrive_arrive_otherwise_or_do_not() {
        let proxy = Proxy::to(echo().await).await.unwrap();
        let connect = || TcpStream::connect(("127.0.0.1", proxy.port()));
        let mut first = connect().await.unwrap();
        assert_eq!(says(&mut first).await.unwrap(), b"twelve bytes");
        proxy.set(Way::Garbled(12));
        assert_ne!(says(&mut first).await.unwrap(), b"twelve bytes");
        proxy.set(Way::Silent);
        assert_eq!(says(&mut first).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        proxy.set(Way::Open);
        assert_eq!(says(&mut first).await.unwrap_err().kind(), io::ErrorKind::TimedOut, "dead for ever");
        let mut second = connect().await.unwrap();
        assert_eq!(says(&mut second).await.unwrap(), b"twelve bytes");
        proxy.set(Way::Reset);
        assert!(says(&mut second).await.is_err_and(|e| e.kind() != io::ErrorKind::TimedOut));
    }
}

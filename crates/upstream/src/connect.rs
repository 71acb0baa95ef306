//! Connections to one replica: to its address, whatever its name leads to by then.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use hyper::{
    Uri,
    rt::{Read, ReadBufCursor, Write},
};
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{Origin, UpstreamError};

/// Time for connection and handshake.
const CONNECT: Duration = Duration::from_secs(2);

/// How TLS is spoken, where any origin wants it.
#[derive(Clone)]
pub(crate) struct Tls(Option<TlsConnector>);

impl Tls {
    /// What these origins need. Trusts what the system trusts.
    ///
    /// # Errors
    /// One wants TLS, and the system trusts nobody.
    pub fn for_origins<'a>(mut origins: impl Iterator<Item = &'a Origin>) -> Result<Self, UpstreamError> {
        if !origins.any(|origin| origin.https) {
            return Ok(Self(None));
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err(UpstreamError::NoCertificates);
        }
        Self::trusting(roots)
    }

    fn trusting(roots: RootCertStore) -> Result<Self, UpstreamError> {
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|source| UpstreamError::Tls { source })?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(Some(TlsConnector::from(Arc::new(config)))))
    }
}

/// Connects to one address.
#[derive(Clone)]
pub(crate) struct Connector {
    address: SocketAddr,
    /// With the name that the certificate must be for.
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Connector {
    /// To a replica of `origin` at `address`; `None` if its name cannot be in a certificate.
    pub fn new(origin: &Origin, address: SocketAddr, tls: &Tls) -> Option<Self> {
        let tls = match (origin.https, &tls.0) {
            (false, _) => None,
            (true, Some(connector)) => {
                let name = origin.ip.map_or_else(|| origin.host.clone(), |ip| ip.to_string());
                Some((connector.clone(), ServerName::try_from(name).ok()?))
            }
            (true, None) => return None,
        };
        Some(Self { address, tls })
    }

    async fn connect(self) -> io::Result<Stream> {
        let stream = TcpStream::connect(self.address).await?;
        // A question is written at once; its end must not wait for more.
        stream.set_nodelay(true)?;
        Ok(match self.tls {
            None => Stream::Plain(TokioIo::new(stream)),
            Some((tls, name)) => Stream::Tls(TokioIo::new(Box::new(tls.connect(name, stream).await?))),
        })
    }
}

impl tower_service::Service<Uri> for Connector {
    type Response = Stream;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Stream>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let connecting = self.clone().connect();
        Box::pin(async move {
            let late = |_| io::Error::new(io::ErrorKind::TimedOut, "no connection in time");
            tokio::time::timeout(CONNECT, connecting).await.map_err(late)?
        })
    }
}

/// A connection.
pub(crate) enum Stream {
    Plain(TokioIo<TcpStream>),
    Tls(TokioIo<Box<TlsStream<TcpStream>>>),
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl Write for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use facesocial_types::ModelId;
    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    };
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::replica::{Failure, Replica};

    fn certificate() -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
        (cert.der().clone(), key)
    }

    fn trusting(certificate: &CertificateDer<'static>) -> Tls {
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).unwrap();
        Tls::trusting(roots).unwrap()
    }

    /// A server over TLS that answers everything with the list of its networks.
    async fn serve(certificate: CertificateDer<'static>, key: PrivateKeyDer<'static>) -> SocketAddr {
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A client that does not trust this server ends here.
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let body = r#"{"networks":[{"name":"net","version":"1"}]}"#;
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                let mut head = [0; 1024];
                if stream.read(&mut head).await.is_ok_and(|n| n > 0) {
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            }
        });
        address
    }

    #[tokio::test]
    async fn over_tls_the_certificate_must_be_trusted_and_for_the_name() {
        let (certificate, key) = certificate();
        let address = serve(certificate.clone(), key).await;
        let ask = |origin: &str, tls: &Tls| {
            let replica = Replica::new(format!("https://{origin}:{}", address.port()).parse().unwrap(), address, tls);
            async move { replica.unwrap().networks("token").await }
        };
        let trusted = trusting(&certificate);
        assert_eq!(ask("localhost", &trusted).await, Ok(vec![ModelId::new("net", "1")]));
        for (origin, tls) in [("another.example", &trusted), ("localhost", &trusting(&self::certificate().0))] {
            let Err(Failure::Broken(reason)) = ask(origin, tls).await else { panic!("{origin} was trusted") };
            assert!(reason.contains("no connection"), "{reason}");
        }
    }
}

//! TLS by the server itself.

use std::{fs, net::SocketAddr, sync::Arc};

use facesocial::config::{Role, TlsConfig};
use facesocial_types::Service;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::helpers::{TestApp, config_with, spawn_app};

const REQUEST: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

/// A server without networks and with a certificate of its own, and that certificate.
fn secured() -> (tempfile::TempDir, TestApp, CertificateDer<'static>) {
    let (folder, mut config) = config_with(&["mtcnn"], &[Service::Mtcnn]);
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let files = TlsConfig { certificate: folder.path().join("cert.pem"), key: folder.path().join("key.pem") };
    fs::write(&files.certificate, cert.pem()).unwrap();
    fs::write(&files.key, signing_key.serialize_pem()).unwrap();
    config.tls = Some(files);
    (folder, spawn_app(config), cert.der().clone())
}

async fn connect(to: SocketAddr, trusted: Option<&CertificateDer<'static>>) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    if let Some(certificate) = trusted {
        roots.add(certificate.clone()).unwrap();
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, TcpStream::connect(to).await?).await
}

#[tokio::test]
async fn every_listener_speaks_tls_alone_and_tells_browsers_to_stay_with_it() {
    let (_folder, app, certificate) = secured();
    for role in [Role::Gateway, Role::Service(Service::Mtcnn)] {
        let address = app.address(role);
        let mut stream = connect(address, Some(&certificate)).await.unwrap();
        stream.write_all(REQUEST).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8(answer).unwrap().to_ascii_lowercase();
        assert!(answer.starts_with("http/1.1 200"), "{answer}");
        assert!(answer.contains("\r\nstrict-transport-security: max-age=31536000\r\n"), "{answer}");

        assert!(connect(address, None).await.is_err(), "a client that does not trust the certificate got a connection");
        let mut plain = TcpStream::connect(address).await.unwrap();
        plain.write_all(REQUEST).await.unwrap();
        let mut answer = Vec::new();
        // What comes, if anything, is a TLS alert.
        let _ = plain.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&answer));
    }
    app.stopper.stop();
}

//! Short texts: command lines, addresses, queries, headers, tokens.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::LazyLock,
};

use actix_web::{
    FromRequest,
    dev::Payload,
    http::{
        Uri,
        header::{HeaderName, HeaderValue},
    },
    test::TestRequest,
};
use clap::Parser;
use facesocial::{
    auth::{InternalTokens, tokens::Tokens},
    cli::Cli,
    extract::{Fields, Fingerprint, IdempotencyKey, RequestInfo, page_request},
};
use facesocial_outbound::{Hosts, Listed, address};
use facesocial_types::Detector;
use facesocial_upstream::Origin;
use jsonwebtoken::{Algorithm, EncodingKey, Header};

/// Arguments of a command line, one a line.
pub fn cli(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    // Nothing is done that the arguments ask for.
    let _ = Cli::try_parse_from(std::iter::once("facesocial").chain(text.lines().take(20)));
}

/// Hosts that may be asked, one a line, and last the address that is to be asked.
pub fn outbound(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut listed = Vec::new();
    for line in text.lines() {
        if let Ok(host) = line.parse::<Listed>() {
            assert_eq!(host.to_string().parse::<Listed>().as_ref(), Ok(&host), "{line:?} is shown as another host");
            listed.push(host);
        }
        if let Ok(origin) = line.parse::<Origin>() {
            assert_eq!(
                origin.to_string().parse::<Origin>().as_ref(),
                Ok(&origin),
                "{line:?} is shown as another origin"
            );
        }
        if let Ok(ip) = line.parse::<IpAddr>() {
            assert!(!(address::is_public(ip) && address::is_private(ip)), "{ip}");
        }
    }
    if let Some(first) = bytes.first_chunk() {
        let ip = Ipv6Addr::from(*first);
        let mapped = ip.to_ipv4_mapped().is_some_and(|v4| v4.is_loopback() || v4.is_link_local());
        assert!(!(address::is_public(ip.into()) && (mapped || ip.is_loopback() || ip.is_multicast())), "{ip}");
    }
    let address = text.lines().last().unwrap_or_default();
    let none = Hosts::default().target(address);
    assert!(none.is_err(), "{address:?} is asked though nobody is listed");
    if let Ok(target) = Hosts::new(listed).target(address) {
        let shown = target.shown();
        assert!(!shown.contains('?') && target.as_str().starts_with("http"), "{shown}");
    }
}

/// The query of a request's address, and below it headers, one a line.
pub fn query(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.lines();
    let Ok(uri) = Uri::try_from(format!("/?{}", lines.next().unwrap_or_default())) else { return };
    let mut request = TestRequest::default().uri(&uri.to_string());
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_str(value.trim())) {
            request = request.append_header((name, value));
        }
    }
    let request = request.to_http_request();
    let key = IdempotencyKey::from_request(&request, &mut Payload::None).into_inner();
    if let Ok(IdempotencyKey(Some(key))) = &key {
        assert!((1..=255).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic()));
    }
    let id = request.headers().get("x-request-id").and_then(|id| id.to_str().ok());
    let id = RequestInfo::begin(id).id;
    assert!(HeaderValue::from_str(&id).is_ok() && id.len() <= 64, "{id:?}");
    let Ok(fields) = Fields::of_query(&request) else { return };
    if let Ok(page) = page_request(&fields) {
        assert!((1..=100).contains(&page.limit));
    }
    let _ = (fields.flag("all"), fields.one_of::<Detector>("detector"), fields.json::<Vec<String>>("list"));
    if let Ok(Some(number)) = fields.number("score", 0.0f32..=1.0) {
        assert!((0.0..=1.0).contains(&number));
    }
    if let Ok(Some(boxes)) = fields.face_boxes() {
        assert!(boxes.len() <= 100 && boxes.iter().all(|b| b.area() >= 1.0 && b.x.is_finite()));
    }
    let print =
        fields.sorted().into_iter().fold(Fingerprint::of(&request), |print, (name, value)| print.part(name, value));
    assert_eq!(print.finish().len(), 64);
}

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

/// A token; and the same bytes as what a good token says.
pub fn token(bytes: &[u8]) {
    static OWN: LazyLock<(Tokens, InternalTokens)> =
        LazyLock::new(|| (Tokens::new(SECRET), InternalTokens::new(SECRET)));
    static OTHER: LazyLock<(Tokens, InternalTokens)> = LazyLock::new(|| {
        let other = b"another secret that is long enough";
        (Tokens::new(other), InternalTokens::new(other))
    });
    let text = String::from_utf8_lossy(bytes);
    // Nothing in the corpus is signed with the other secret.
    assert!(OTHER.0.check(&text).is_err() && !OTHER.1.is_good(&text));
    let _ = (OWN.0.check(&text), OWN.1.is_good(&text));
    if let Ok(claims) = serde_json::from_slice::<serde_json::Map<_, _>>(bytes) {
        let key = EncodingKey::from_secret(SECRET);
        let signed = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key);
        if let Ok(signed) = signed {
            let _ = (OWN.0.check(&signed), OWN.1.is_good(&signed));
        }
    }
}

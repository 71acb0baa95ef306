//! The console's files and the document of the API: what a browser gets, and with which headers.

use facesocial::config::Role;
use facesocial_store::Role as Rank;
use reqwest::{Client, Method, Response, header::HeaderMap, redirect::Policy};
use serde_json::Value;

use crate::{
    accounts::secured,
    helpers::{app, get, ok, problem},
};

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// The paths of the page's own files.
fn assets(page: &str) -> Vec<String> {
    page.split('"').filter(|part| part.starts_with("/console/assets/")).map(str::to_owned).collect()
}

async fn with(path: &str, name: &str, value: &str) -> Response {
    Client::new().get(app().gateway(path)).header(name, value).send().await.unwrap()
}

#[tokio::test]
async fn the_console_is_a_page_whose_policy_lets_nothing_else_in() {
    let client = Client::builder().redirect(Policy::none()).build().unwrap();
    let bare = client.get(app().gateway("/console")).send().await.unwrap();
    assert_eq!((bare.status().as_u16(), header(bare.headers(), "location")), (308, "/console/"));
    for (path, policy) in [("/console/", "img-src 'self' blob:;"), ("/docs", "img-src 'self' blob: data:;")] {
        let answer = get(app().gateway(path)).await;
        let headers = answer.headers().clone();
        assert_eq!((answer.status().as_u16(), header(&headers, "content-type")), (200, "text/html; charset=utf-8"));
        let found = header(&headers, "content-security-policy");
        for part in ["default-src 'none';", "script-src 'self';", "style-src 'self';", "connect-src 'self';", policy] {
            assert!(found.contains(part), "{path}: {part} in {found}");
        }
        assert!(found.contains("frame-ancestors 'none'") && !found.contains("unsafe"), "{path}: {found}");
        assert_eq!(header(&headers, "cache-control"), "no-cache");
        assert_eq!(header(&headers, "x-content-type-options"), "nosniff");
        assert_eq!(header(&headers, "x-frame-options"), "DENY");
        assert!(header(&headers, "permissions-policy").contains("camera=(self)"));
        let files = assets(&answer.text().await.unwrap());
        assert!(files.iter().any(|f| f.ends_with(".js")) && files.iter().any(|f| f.ends_with(".css")), "{files:?}");
        for file in files {
            let asset = get(app().gateway(&file)).await;
            assert_eq!(asset.status(), 200, "{file}");
            let kept = header(asset.headers(), "cache-control").to_owned();
            assert_eq!(kept, "public, max-age=31536000, immutable", "{file}");
            assert!(header(asset.headers(), "content-security-policy").contains("script-src 'self'"));
            assert!(asset.bytes().await.unwrap().len() > 100, "{file}");
        }
    }
    // The answers of the API keep their own headers.
    let api = get(app().gateway("/health")).await;
    assert_eq!(header(api.headers(), "cache-control"), "no-store");
    assert_eq!(header(api.headers(), "content-security-policy"), "default-src 'none'; frame-ancestors 'none'");
}

#[tokio::test]
async fn addresses_of_the_console_give_its_page_and_missing_files_a_problem() {
    let page = get(app().gateway("/console/")).await.text().await.unwrap();
    for path in ["/console/analyse", "/console/gallery/crew/persons/0198c0de", "/console/no/such/page"] {
        let answer = get(app().gateway(path)).await;
        assert_eq!(answer.status(), 200, "{path}");
        assert_eq!(answer.text().await.unwrap(), page, "{path}");
    }
    for path in ["/console/assets/index-gone.js", "/console/assets/gone", "/console/favicon.ico"] {
        let told = problem(get(app().gateway(path)).await, 404, "NOT_FOUND").await;
        assert!(told.contains("load the page again"), "{told}");
    }
    // What was built from what is nobody's concern, and paths lead nowhere else.
    for path in ["/console/sources.sha256", "/console/..%2fopenapi.json", "/console/%2e%2e/Cargo.toml"] {
        assert_eq!(get(app().gateway(path)).await.status(), 404, "{path}");
    }
    let posted = Client::new().post(app().gateway("/console/")).send().await.unwrap();
    problem(posted, 405, "METHOD_NOT_ALLOWED").await;
}

#[tokio::test]
async fn a_browser_asks_for_nothing_that_it_has_and_takes_it_packed() {
    let page = get(app().gateway("/console/")).await;
    let tag = header(page.headers(), "etag").to_owned();
    let script = assets(&page.text().await.unwrap()).into_iter().find(|file| file.ends_with(".js")).unwrap();
    assert!(tag.len() > 60, "{tag}");
    for given in [tag.clone(), format!("\"other\", {tag}"), format!("W/{tag}")] {
        let again = with("/console/", "if-none-match", &given).await;
        assert_eq!(again.status(), 304, "{given}");
        assert_eq!(header(again.headers(), "etag"), tag);
        assert!(again.bytes().await.unwrap().is_empty());
    }
    assert_eq!(with("/console/", "if-none-match", "\"other\"").await.status(), 200);
    let plain = get(app().gateway(&script)).await;
    assert_eq!(header(plain.headers(), "content-encoding"), "");
    let plain_tag = header(plain.headers(), "etag").to_owned();
    let plain = plain.bytes().await.unwrap();
    let packed = with(&script, "accept-encoding", "gzip, br").await;
    assert_eq!(header(packed.headers(), "content-encoding"), "gzip");
    assert_eq!(header(packed.headers(), "vary"), "accept-encoding");
    assert_ne!(header(packed.headers(), "etag"), plain_tag);
    let packed = packed.bytes().await.unwrap();
    assert!(packed.len() * 2 < plain.len(), "{} of {}", packed.len(), plain.len());
    let mut unpacked = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&packed[..]), &mut unpacked).unwrap();
    assert_eq!(unpacked, plain);
    let head = Client::new().head(app().gateway(&script)).send().await.unwrap();
    assert_eq!(head.status(), 200);
    assert!(head.bytes().await.unwrap().is_empty());
}

#[tokio::test]
async fn the_page_and_the_document_need_no_account_and_tell_who_does() {
    let server = secured(|_| ()).await;
    let gateway = format!("http://{}", server.app.address(Role::Gateway));
    for path in ["/console/", "/docs", "/openapi.json"] {
        assert_eq!(get(format!("{gateway}{path}")).await.status(), 200, "{path}");
    }
    let status = ok(server.anonymous(Method::GET, "/auth/status").send().await.unwrap()).await;
    assert_eq!(status, serde_json::json!({ "required": true, "setup": false }));
    let open = ok(get(app().gateway("/api/v1/auth/status")).await).await;
    assert_eq!(open, serde_json::json!({ "required": false, "setup": false }));
    // Services on their own ports have no pages.
    let service = server.app.address(Role::Service(facesocial_types::Service::Yolo));
    problem(get(format!("http://{service}/console/")).await, 404, "NOT_FOUND").await;
    assert_eq!(server.by(Rank::ReadOnly, Method::GET, "/account").send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn switched_off_there_are_no_pages_and_everything_else_is() {
    let server = secured(|access| access.pages = false).await;
    let document: Value = serde_json::from_str(include_str!("../../server/openapi.json")).unwrap();
    let pages = document["paths"].as_object().unwrap().iter().filter(|(_, item)| item["get"]["tags"][0] == "Pages");
    let pages: Vec<&str> = pages.map(|(path, _)| path.as_str()).collect();
    assert_eq!(pages, ["/console", "/console/{path}", "/docs", "/openapi.json"]);
    let asset = assets(&get(app().gateway("/console/")).await.text().await.unwrap()).remove(0);
    for path in ["/console", "/console/", "/console/analyse", "/docs", "/openapi.json", &asset] {
        let url = server.app.gateway(path);
        let told = problem(get(url.clone()).await, 404, "NOT_FOUND").await;
        // To somebody with an account it is the same, and the same as of a path that never was.
        let known = Client::new().get(&url).bearer_auth(server.token(Rank::Admin)).send().await.unwrap();
        assert_eq!(problem(known, 404, "NOT_FOUND").await, told);
        let never = server.app.gateway("/no/such/path");
        let never = Client::new().get(never).bearer_auth(server.token(Rank::Admin)).send().await.unwrap();
        assert_eq!(problem(never, 404, "NOT_FOUND").await, told);
    }
    ok(get(server.app.gateway("/healthz")).await).await;
    ok(server.account(&server.token(Rank::ReadOnly)).await).await;
}

#[tokio::test]
async fn the_document_is_served_as_it_is_committed() {
    let served: Value = ok(get(app().gateway("/openapi.json")).await).await;
    let committed: Value = serde_json::from_str(include_str!("../../server/openapi.json")).unwrap();
    assert_eq!(served, committed);
}

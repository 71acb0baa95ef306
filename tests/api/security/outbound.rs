//! Addresses that lead into the server's own network, through whatever name or spelling: nobody is asked.

use std::time::Duration;

use facesocial::config::JobArgs;
use reqwest::Client;
use serde_json::{Value, json};

use crate::{
    analyses::elsewhere::Elsewhere,
    helpers::{TestApp, config, get, problem, spawn_app},
    jobs::{accepted, ended},
};

/// A server that takes photos from these hosts, and tells them.
async fn server(hosts: &[String]) -> TestApp {
    let mut config = config();
    let listed: Vec<_> = hosts.iter().map(|host| host.parse().unwrap()).collect();
    config.jobs = JobArgs { job_folders: Vec::new(), job_url_hosts: listed.clone(), webhook_hosts: listed }.into();
    let app = spawn_app(config);
    app.ready().await;
    app
}

async fn lines(job: &str) -> Vec<Value> {
    let text = get(format!("{job}/results")).await.text().await.unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn a_host_of_the_internet_that_leads_inside_is_not_asked() {
    let elsewhere = Elsewhere::start();
    let port = elsewhere.port;
    // As if the operator had listed names whose owner lets them lead here.
    let inside = [
        "127.0.0.1",
        "localhost",
        "0.0.0.0",
        "10.0.0.1",
        "100.64.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "192.168.0.1",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:169.254.169.254]",
        "[64:ff9b::127.0.0.1]",
        "[2002:7f00:1::]",
        "[fd00::1]",
        "[fe80::1]",
        "[fec0::1]",
        "[ff02::1]",
    ];
    let mut hosts: Vec<String> = inside.iter().map(|host| format!("http://{host}:{port}")).collect();
    // Not even where private addresses may be asked: that is where clouds tell machines their credentials.
    hosts.push(format!("http://169.254.170.2:{port}=private"));
    let app = server(&hosts).await;
    let mut urls: Vec<String> =
        hosts.iter().map(|host| format!("{}/photo/portrait.jpg", host.trim_end_matches("=private"))).collect();
    // Other spellings of the first.
    for (n, host) in
        ["2130706433", "0x7f000001", "017700000001", "127.1", "0x7f.1", "127.0.0.1.", "①②⑦.0.0.1"].iter().enumerate()
    {
        urls.push(format!("http://{host}:{port}/photo/grey.jpg?{n}"));
    }
    let body = json!({
        "kind": "analyze", "source": { "urls": urls }, "options": { "assess_quality": true },
        "webhook": { "url": format!("http://localhost:{port}/hook/inside"), "every": 1 },
    });
    let started = Client::new().post(app.gateway("/api/v1/jobs")).json(&body).send().await.unwrap();
    let job = accepted(&app, started).await;
    let done = ended(&job).await;
    assert_eq!((&done["status"], &done["failed_items"]), (&json!("completed"), &json!(urls.len())), "{done}");
    for (url, line) in urls.iter().zip(lines(&job).await) {
        assert_eq!(line["problem"]["code"], "FORBIDDEN", "{url}: {line}");
        let detail = line["problem"]["detail"].as_str().unwrap();
        assert!(detail.contains("not a public one"), "{url}: {detail}");
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!elsewhere.asked("/"), "somebody was asked");
}

#[tokio::test]
async fn what_looks_like_a_listed_host_and_is_none_is_refused() {
    let elsewhere = Elsewhere::start();
    let port = elsewhere.port;
    let app = server(&[format!("http://127.0.0.1:{port}=private"), "images.example.org".to_owned()]).await;
    for (url, status) in [
        (format!("http://evil.example#@127.0.0.1:{port}/1.jpg"), 403),
        (format!("http://evil.example\\@127.0.0.1:{port}/1.jpg"), 403),
        (format!("http://evil.example?@127.0.0.1:{port}/1.jpg"), 403),
        (format!("http://127.0.0.1:{port}.evil.example/1.jpg"), 400),
        (format!("http://127.0.0.1:{port}%2f@evil.example/1.jpg"), 400),
        (format!("http://127.0.0.1%00.evil.example:{port}/1.jpg"), 400),
        ("https://images.example.org.evil.example/1.jpg".to_owned(), 403),
        ("https://images.example.org:8443/1.jpg".to_owned(), 403),
        ("http://images.example.org/1.jpg".to_owned(), 403),
        ("https://xn--images-.example.org/1.jpg".to_owned(), 400),
        ("https://images。example。org@evil.example/1.jpg".to_owned(), 400),
        (format!("//127.0.0.1:{port}/1.jpg"), 400),
        ("gopher://images.example.org/1.jpg".to_owned(), 400),
        ("ftp://images.example.org/1.jpg".to_owned(), 400),
        ("data:image/jpeg;base64,AAAA".to_owned(), 400),
        ("javascript:alert(1)".to_owned(), 400),
        ("file://images.example.org/etc/passwd".to_owned(), 400),
        ("jar:https://images.example.org!/".to_owned(), 400),
    ] {
        let code = if status == 403 { "FORBIDDEN" } else { "INVALID_INPUT" };
        for body in [
            json!({ "kind": "analyze", "source": { "urls": [url] } }),
            json!({ "kind": "analyze", "source": { "urls": ["https://images.example.org/1.jpg"] }, "webhook": { "url": url } }),
        ] {
            let answer = Client::new().post(app.gateway("/api/v1/jobs")).json(&body).send().await.unwrap();
            assert_eq!(answer.status(), status, "{url}");
            problem(answer, status, code).await;
        }
    }
    assert!(!elsewhere.asked("/"), "somebody was asked");
}

//! The first start: who makes the first account, where authentication can be off, and what the log tells.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use serde_json::{Value, json};

/// A server that is stopped when the test ends, however it ends.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn serve(data: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_facesocial"));
    command
        .args(["serve", "--services", "yolo", "--gateway-port", "0", "--listen", "yolo=127.0.0.1:0"])
        .args(args)
        .env("FACESOCIAL_DATA_DIR", data)
        .env("FACESOCIAL_WEIGHTS", Path::new(env!("CARGO_MANIFEST_DIR")).join("../weights"))
        .env("FACESOCIAL_MODELS_DIR", data.join("none"))
        .env("FACESOCIAL_LOG", "info")
        .env("NO_COLOR", "1")
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    for name in ["DATABASE_URL", "REDIS_URL", "FACESOCIAL_AUTH", "FACESOCIAL_JWT_SECRET", "FACESOCIAL_ENCRYPTION_KEY"] {
        command.env_remove(name);
    }
    command
}

/// Starts a server; gives its gateway's address and, if it prints one, the token for the first account.
fn start(data: &Path) -> (Server, String, Option<String>) {
    let (server, address, token, _) = start_with(data, &[]);
    (server, address, token)
}

/// [`start`] with further arguments; gives what the server says afterwards too.
fn start_with(data: &Path, args: &[&str]) -> (Server, String, Option<String>, mpsc::Receiver<String>) {
    let mut child = serve(data, args).spawn().unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let server = Server(child);
    let (sender, lines) = mpsc::channel();
    // Read to its end, so that the server can go on writing.
    std::thread::spawn(move || stderr.lines().map_while(Result::ok).for_each(|line| drop(sender.send(line))));
    let (mut address, mut token) = (None, None);
    loop {
        let line = lines.recv_timeout(Duration::from_secs(120)).expect("the server says that the database is open");
        if line.contains("listening") && line.contains("service=gateway") {
            address = line.split("address=").nth(1).and_then(|a| a.split_whitespace().next()).map(str::to_owned);
        }
        // 256 bits in base64, alone in its line.
        let word = line.trim();
        if word.len() == 43 && !word.contains(' ') {
            assert!(!line.contains("INFO"), "the token is no part of the log");
            token = Some(word.to_owned());
        }
        if line.contains("database open") {
            return (server, address.expect("the gateway listens"), token, lines);
        }
    }
}

fn post(address: &str, path: &str, body: &Value) -> (u16, Value) {
    let body = body.to_string();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all((head + &body).as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split_whitespace().nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or_default())
}

#[test]
fn the_token_of_the_first_start_makes_one_account_and_no_second() {
    let data = tempfile::tempdir().unwrap();
    let (server, address, token) = start(data.path());
    let token = token.expect("a first start prints a token");
    let setup = |token: &str, username: &str| {
        post(
            &address,
            "/api/v1/auth/setup",
            &json!({ "token": token, "username": username, "password": "correct horse battery" }),
        )
    };
    let (status, refused) = setup("wrong", "first");
    assert_eq!((status, &refused["code"]), (401, &json!("UNAUTHENTICATED")), "{refused}");
    let (status, made) = setup(&token, "first");
    assert_eq!((status, &made["role"]), (201, &json!("admin")), "{made}");
    let (status, second) = setup(&token, "second");
    assert_eq!((status, &second["code"]), (409, &json!("ALREADY_EXISTS")), "{second}");
    let login = json!({ "username": "first", "password": "correct horse battery" });
    let (status, tokens) = post(&address, "/api/v1/auth/login", &login);
    assert_eq!(status, 200, "{tokens}");
    drop(server);

    // The account is kept, and no further token is printed.
    let (_server, address, token) = start(data.path());
    assert_eq!(token, None);
    assert_eq!(post(&address, "/api/v1/auth/login", &login).0, 200);
}

#[test]
fn authentication_can_be_off_on_loopback_alone() {
    let data = tempfile::tempdir().unwrap();
    for args in [["--bind", "0.0.0.0"], ["--listen", "yolo=0.0.0.0:0"]] {
        let output = serve(data.path(), &[&["--auth", "off"], &args[..]].concat()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{said}");
        assert!(said.contains("only while every listener is on loopback"), "{said}");
    }
}

#[test]
fn a_secret_that_is_too_short_ends_the_start() {
    let data = tempfile::tempdir().unwrap();
    let output = serve(data.path(), &[]).env("FACESOCIAL_JWT_SECRET", "short").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("fewer than 32 bytes") && !said.contains("short\""), "{said}");
}

#[test]
fn requests_and_the_audit_trail_have_log_lines_of_their_own_and_requests_can_be_left_out() {
    for (switch, told) in [("on", true), ("off", false)] {
        let data = tempfile::tempdir().unwrap();
        let (_server, address, _, lines) = start_with(data.path(), &["--access-log", switch]);
        let wrong = json!({ "token": "wrong", "username": "first", "password": "correct horse battery" });
        let (mut access, mut audit) = (0, 0);
        for _ in 0..2 {
            assert_eq!(post(&address, "/api/v1/auth/setup", &wrong).0, 401);
            // The line about a request comes after that about what it did.
            let before = audit;
            while audit == before {
                let line = lines.recv_timeout(Duration::from_secs(60)).expect("a refusal is told");
                access += usize::from(line.contains("facesocial::access") && line.contains("/api/v1/auth/setup"));
                audit += usize::from(line.contains("facesocial::audit") && line.contains("auth.setup"));
                assert!(!line.contains("horse"), "{line}");
            }
        }
        assert_eq!((audit, access > 0), (2, told), "--access-log {switch}");
    }
}

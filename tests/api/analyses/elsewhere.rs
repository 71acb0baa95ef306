//! Another server: gives photos, leads astray, and is told how jobs go.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use crate::helpers::photo;

/// What the server was told.
#[derive(Debug, Clone)]
pub struct Told {
    /// The path.
    pub path: String,
    /// By name in lower case.
    pub headers: HashMap<String, String>,
    pub body: String,
}

/// The other server.
pub struct Elsewhere {
    pub port: u16,
    seen: Arc<Mutex<Vec<Told>>>,
}

impl Elsewhere {
    /// Starts it; it runs as long as the tests do.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen: Arc<Mutex<Vec<Told>>> = Arc::default();
        let shared = Arc::clone(&seen);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                // Whoever hangs up is no reason to stop.
                thread::spawn(move || serve(stream, &shared).ok());
            }
        });
        Self { port, seen }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Whether somebody asked for a path that begins like this.
    pub fn asked(&self, path: &str) -> bool {
        self.seen.lock().unwrap().iter().any(|told| told.path.starts_with(path))
    }

    /// What was posted to a path, once there are `least`.
    pub async fn told(&self, path: &str, least: usize) -> Vec<Told> {
        for _ in 0..600 {
            let found: Vec<Told> = self.seen.lock().unwrap().iter().filter(|told| told.path == path).cloned().collect();
            if found.len() >= least {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{path} was not told {least} times: {:?}", self.seen.lock().unwrap());
    }
}

fn serve(mut stream: TcpStream, seen: &Mutex<Vec<Told>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut first, mut line) = (String::new(), String::new());
    reader.read_line(&mut first)?;
    let mut headers = HashMap::new();
    while reader.read_line(&mut line)? > 2 {
        if let Some((name, value)) = line.split_once(':') {
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        line.clear();
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let before = {
        let mut seen = seen.lock().unwrap();
        let before = seen.iter().filter(|told| told.path == path).count();
        seen.push(Told { path: path.clone(), headers, body: String::from_utf8_lossy(&body).into_owned() });
        before
    };
    let bare = path.split('?').next().unwrap_or_default();
    let (status, location, body) = match bare.split('/').collect::<Vec<_>>()[..] {
        [_, "photo", name] => ("200 OK", String::new(), photo(name)),
        [_, "moved", name] => ("302 Found", format!("/photo/{name}"), Vec::new()),
        [_, "away"] => ("302 Found", "http://localhost:9/never".to_owned(), Vec::new()),
        [_, "metadata"] => ("302 Found", "http://169.254.169.254/never".to_owned(), Vec::new()),
        [_, "large"] => ("200 OK", String::new(), vec![0; 21 << 20]),
        // Busy at first.
        [_, "hook", "busy"] if before < 2 => ("503 Service Unavailable", String::new(), Vec::new()),
        [_, "hook", _] => ("204 No Content", String::new(), Vec::new()),
        _ => ("404 Not Found", String::new(), Vec::new()),
    };
    let location = if location.is_empty() { location } else { format!("location: {location}\r\n") };
    write!(stream, "HTTP/1.1 {status}\r\n{location}content-length: {}\r\nconnection: close\r\n\r\n", body.len())?;
    stream.write_all(&body)
}

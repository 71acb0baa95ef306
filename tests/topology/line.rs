//! A connection to a server that can be cut, as if the server had died: what is under way is lost, and nobody listens.

use std::{
    io,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

/// Time between two looks at a line.
const LOOK: Duration = Duration::from_millis(5);

/// A port that leads to a server until it is cut.
pub struct Line {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    to: SocketAddr,
    is_cut: AtomicBool,
    /// Whether somebody listens.
    listening: AtomicBool,
    ended: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

impl Line {
    pub fn to(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            to,
            is_cut: AtomicBool::new(false),
            listening: AtomicBool::new(true),
            ended: AtomicBool::new(false),
            open: Mutex::default(),
        });
        let own = Arc::clone(&shared);
        thread::spawn(move || own.serve(address, listener));
        Self { address, shared }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Ends every connection and takes no other one. Returns when that is so.
    pub fn cut(&self) {
        self.set(true);
    }

    pub fn mend(&self) {
        self.set(false);
    }

    fn set(&self, cut: bool) {
        self.shared.is_cut.store(cut, Ordering::SeqCst);
        while self.shared.listening.load(Ordering::SeqCst) == cut {
            thread::sleep(LOOK);
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
    }
}

impl Shared {
    fn serve(self: Arc<Self>, address: SocketAddr, first: TcpListener) {
        let mut listener = Some(first);
        while !self.ended.load(Ordering::SeqCst) {
            match (&listener, self.is_cut.load(Ordering::SeqCst)) {
                (Some(_), true) => {
                    listener = None;
                    self.hang_up();
                    self.listening.store(false, Ordering::SeqCst);
                }
                (None, false) => {
                    listener = Some(TcpListener::bind(address).unwrap());
                    self.listening.store(true, Ordering::SeqCst);
                }
                (None, true) => thread::sleep(LOOK),
                (Some(listener), false) => {
                    listener.set_nonblocking(true).unwrap();
                    match listener.accept() {
                        Ok((client, _)) => self.join(client),
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(LOOK),
                        Err(error) => panic!("{error}"),
                    }
                }
            }
        }
        self.hang_up();
    }

    fn hang_up(&self) {
        for stream in self.open.lock().unwrap().drain(..) {
            // It may have ended by itself.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn join(&self, client: TcpStream) {
        client.set_nonblocking(false).unwrap();
        let Ok(server) = TcpStream::connect(self.to) else { return };
        for stream in [&client, &server] {
            stream.set_nodelay(true).unwrap();
            self.open.lock().unwrap().push(stream.try_clone().unwrap());
        }
        for (mut from, mut to) in [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)] {
            thread::spawn(move || {
                // However it ends, both sides are to know.
                let _ = io::copy(&mut from, &mut to);
                let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
            });
        }
    }
}

//! A TCP proxy between a worker and its broker: a network that holds packets, lets them go, or resets connections.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// How much is carried at once.
const CHUNK: usize = 16 * 1024;
/// How long one accept may fail for want of something (file descriptors) before it is tried again.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// A proxy on a free port of loopback. Dropping it ends its connections, what it holds among them.
#[derive(Debug)]
pub struct Proxy {
    wire: Arc<Wire>,
    port: u16,
    upstream: u16,
}

/// What all threads of one proxy share.
#[derive(Debug, Default)]
struct Wire {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    held: bool,
    closed: bool,
    links: Vec<Weak<Link>>,
}

/// One connection: its two ends.
#[derive(Debug)]
struct Link {
    ends: [TcpStream; 2],
    reset: AtomicBool,
}

impl Proxy {
    /// Starts one to a port on 127.0.0.1.
    ///
    /// # Panics
    /// When no port can be had.
    pub fn start(upstream: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port on loopback");
        let port = listener.local_addr().expect("it is bound").port();
        let wire = Arc::new(Wire::default());
        let served = Arc::clone(&wire);
        std::thread::spawn(move || serve(&listener, upstream, &served));
        Proxy { wire, port, upstream }
    }

    /// A URL of the broker behind it, made to go through it.
    ///
    /// # Panics
    /// When the URL is of another broker.
    pub fn through(&self, url: &str) -> String {
        let (direct, through) = (
            format!("127.0.0.1:{}", self.upstream),
            format!("127.0.0.1:{}", self.port),
        );
        assert!(url.contains(&direct), "{url} is not at {direct}");
        url.replace(&direct, &through)
    }

    /// Holds every packet in both directions, the end of a connection among them: both ends believe that it stands. New
    /// connections are taken, and get no further. Returns the moment.
    pub fn hold(&self) -> Instant {
        self.set_held(true)
    }

    /// Lets go what was held, in order. Returns the moment.
    pub fn release(&self) -> Instant {
        self.set_held(false)
    }

    fn set_held(&self, held: bool) -> Instant {
        self.wire.state().held = held;
        self.wire.changed.notify_all();
        Instant::now()
    }

    /// Resets every connection (RST to both ends), and takes new ones as before. Returns how many there were.
    pub fn reset(&self) -> usize {
        // Under the lock, so that nobody who waits has just looked and not yet fallen asleep.
        let state = self.wire.state();
        let links: Vec<Arc<Link>> = state.links.iter().filter_map(Weak::upgrade).collect();
        links.iter().for_each(|link| link.reset());
        drop(state);
        self.wire.changed.notify_all();
        links.len()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.wire.state().closed = true;
        self.reset();
        // Wakes the thread that waits for a connection.
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
    }
}

impl Wire {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while packets are held; false when `link` has been reset meanwhile.
    fn passes(&self, link: &Link) -> bool {
        let waits = |state: &mut State| state.held && !state.closed && !link.is_reset();
        let state = self.changed.wait_while(self.state(), waits);
        drop(state.unwrap_or_else(PoisonError::into_inner));
        !link.is_reset()
    }
}

impl Link {
    fn is_reset(&self) -> bool {
        self.reset.load(Ordering::Acquire)
    }

    /// A socket that lingers for no time is closed by a RST; it is closed when both threads have let go of it, and the end
    /// of reading makes them.
    fn reset(&self) {
        self.reset.store(true, Ordering::Release);
        for end in &self.ends {
            let _ = rustix::net::sockopt::set_socket_linger(end, Some(Duration::ZERO));
            let _ = end.shutdown(Shutdown::Read);
        }
    }
}

fn serve(listener: &TcpListener, upstream: u16, wire: &Arc<Wire>) {
    for accepted in listener.incoming() {
        if wire.state().closed {
            return;
        }
        match accepted {
            Ok(client) => {
                let wire = Arc::clone(wire);
                std::thread::spawn(move || connect(client, upstream, &wire));
            }
            Err(_) => std::thread::sleep(ACCEPT_AGAIN),
        }
    }
}

/// Where the broker is not there, the client sees its connection end.
fn connect(client: TcpStream, upstream: u16, wire: &Arc<Wire>) {
    {
        let held = wire
            .changed
            .wait_while(wire.state(), |state| state.held && !state.closed);
        drop(held.unwrap_or_else(PoisonError::into_inner));
    }
    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, upstream)) else {
        return;
    };
    for end in [&client, &server] {
        let _ = end.set_nodelay(true);
    }
    let link = Arc::new(Link {
        ends: [client, server],
        reset: AtomicBool::new(false),
    });
    {
        let mut state = wire.state();
        state.links.retain(|link| link.strong_count() > 0);
        state.links.push(Arc::downgrade(&link));
    }
    let (back, back_wire) = (Arc::clone(&link), Arc::clone(wire));
    std::thread::spawn(move || carry(&back, 1, &back_wire));
    carry(&link, 0, wire);
}

/// Carries what one end sends to the other, until it sends no more.
fn carry(link: &Arc<Link>, from: usize, wire: &Wire) {
    let (mut from, mut to) = (&link.ends[from], &link.ends[1 - from]);
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = from.read(&mut chunk).unwrap_or(0);
        // The end of a connection is a packet too.
        if !wire.passes(link) {
            return;
        }
        if read == 0 || to.write_all(&chunk[..read]).is_err() {
            let _ = to.shutdown(Shutdown::Write);
            return;
        }
    }
}

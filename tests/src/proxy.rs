//! A TCP proxy between a worker and its coordinator that breaks, on command, what networks break, and counts what it
//! did: a test shows by the counts that its fault has happened.
//!
//! Plain threads, two a connection. All of them end with the [`Proxy`].

use std::{
    collections::HashMap,
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

/// What becomes of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They pass.
    Pass,
    /// New ones are closed at once; those that are there pass.
    Refuse,
    /// What is sent arrives this much later, in both directions.
    Delay(Duration),
    /// They stay, and nothing arrives. What was sent meanwhile arrives once another mode is set, as when a network
    /// comes back before anybody has given up.
    BlackHole,
}

/// What a proxy has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections that reached the other side.
    pub passed: u64,
    /// Connections closed by [`Mode::Refuse`].
    pub refused: u64,
    /// Connections that nobody took on the other side.
    pub unanswered: u64,
    /// Connections broken by [`Proxy::cut`].
    pub cut: u64,
    /// Pieces that arrived late.
    pub delayed: u64,
    /// Pieces that were held back.
    pub held: u64,
}

impl Counts {
    /// Connections that somebody asked for, whatever became of them.
    pub fn asked(&self) -> u64 {
        self.passed + self.refused + self.unanswered
    }
}

/// A listener that forwards to one address.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    upstream: SocketAddr,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    mode: Mode,
    counts: Counts,
    /// Both ends of each connection.
    open: HashMap<u64, [TcpStream; 2]>,
    ended: bool,
}

impl Proxy {
    /// Listens on a free port of the loopback and forwards to `upstream`, which need not be there yet.
    ///
    /// # Errors
    /// There is no port or no thread.
    pub fn start(upstream: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let state = State { mode: Mode::Pass, counts: Counts::default(), open: HashMap::new(), ended: false };
        let shared = Arc::new(Shared { upstream, state: Mutex::new(state), changed: Condvar::new() });
        let accepting = {
            let shared = Arc::clone(&shared);
            thread::Builder::new().name("proxy".to_owned()).spawn(move || shared.accept(&listener))?
        };
        Ok(Self { address, shared, accepting: Some(accepting) })
    }

    /// Where it listens, as a URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sets what becomes of connections from now on.
    pub fn set(&self, mode: Mode) {
        self.shared.lock().mode = mode;
        self.shared.changed.notify_all();
    }

    /// Breaks all connections that are there, at both ends.
    pub fn cut(&self) {
        let mut state = self.shared.lock();
        state.counts.cut += state.open.len() as u64;
        state.close_all();
        self.shared.changed.notify_all();
    }

    /// Connections that are there.
    pub fn open(&self) -> usize {
        self.shared.lock().open.len()
    }

    /// What it has done.
    pub fn counts(&self) -> Counts {
        self.shared.lock().counts
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        {
            let mut state = self.shared.lock();
            state.ended = true;
            state.close_all();
        }
        self.shared.changed.notify_all();
        // The thread that accepts looks up from its listener only for a connection.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

impl State {
    fn close_all(&mut self) {
        for (_, ends) in self.open.drain() {
            close(&ends);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        for (id, down) in (0..).zip(listener.incoming()) {
            {
                let mut state = self.lock();
                if state.ended {
                    return;
                }
                if state.mode == Mode::Refuse {
                    state.counts.refused += 1;
                    continue;
                }
            }
            let Ok(down) = down else { continue };
            // Counted before `down` closes: whoever is told by that may look at the counts at once.
            let opened = TcpStream::connect(self.upstream).and_then(|up| self.open(id, &down, up));
            if opened.is_err() {
                self.lock().counts.unanswered += 1;
            }
        }
    }

    fn open(self: &Arc<Self>, id: u64, down: &TcpStream, up: TcpStream) -> std::io::Result<()> {
        down.set_nodelay(true)?;
        up.set_nodelay(true)?;
        let ends = [down.try_clone()?, up.try_clone()?];
        let directions = [(down.try_clone()?, up.try_clone()?), (up, down.try_clone()?)];
        {
            let mut state = self.lock();
            if state.ended {
                return Ok(());
            }
            state.counts.passed += 1;
            state.open.insert(id, ends);
        }
        for (from, to) in directions {
            let shared = Arc::clone(self);
            thread::Builder::new().name("proxy".to_owned()).spawn(move || shared.pump(id, from, to))?;
        }
        Ok(())
    }

    /// Forwards one direction until either end closes; then both directions are over.
    fn pump(&self, id: u64, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = from.read(&mut buffer).unwrap_or(0);
            // That an end has closed arrives no sooner than anything else.
            if !self.may_pass(id, read > 0) || read == 0 || to.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        if let Some(ends) = self.lock().open.remove(&id) {
            close(&ends);
        }
    }

    /// Waits as long as the mode says; false where the connection was broken meanwhile. `counts` says whether it is a
    /// piece of data.
    fn may_pass(&self, id: u64, counts: bool) -> bool {
        let mut state = self.lock();
        if let Mode::Delay(by) = state.mode {
            state.counts.delayed += u64::from(counts);
            drop(state);
            thread::sleep(by);
            state = self.lock();
        }
        if state.mode == Mode::BlackHole {
            state.counts.held += u64::from(counts);
        }
        while state.mode == Mode::BlackHole && state.open.contains_key(&id) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.open.contains_key(&id)
    }
}

fn close(ends: &[TcpStream; 2]) {
    for end in ends {
        // It may be closed already.
        let _ = end.shutdown(Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        mlflow::free_port,
        wait::{now, until},
    };

    const PATIENCE: Duration = Duration::from_secs(10);

    /// A server that sends back what it gets, behind a proxy.
    fn echo() -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut back = stream.try_clone().unwrap();
                thread::spawn(move || std::io::copy(&mut &stream, &mut back));
            }
        });
        Proxy::start(address).unwrap()
    }

    fn connect(proxy: &Proxy) -> TcpStream {
        let stream = TcpStream::connect(proxy.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn say(stream: &mut TcpStream, word: &[u8; 4]) -> std::io::Result<[u8; 4]> {
        stream.write_all(word)?;
        let mut heard = [0; 4];
        stream.read_exact(&mut heard)?;
        Ok(heard)
    }

    #[test]
    fn what_is_cut_is_closed_at_once_and_the_next_connection_passes() {
        let proxy = echo();
        let mut stream = connect(&proxy);
        assert_eq!(&say(&mut stream, b"word").unwrap(), b"word");
        proxy.cut();
        assert!(say(&mut stream, b"gone").is_err());
        assert_eq!(proxy.open(), 0);
        assert_eq!(&say(&mut connect(&proxy), b"back").unwrap(), b"back");
        assert_eq!(proxy.counts(), Counts { passed: 2, cut: 1, ..Counts::default() });
    }

    #[test]
    fn refused_connections_leave_the_others_alone() {
        let proxy = echo();
        let mut stream = connect(&proxy);
        assert_eq!(&say(&mut stream, b"word").unwrap(), b"word");
        proxy.set(Mode::Refuse);
        assert!(say(&mut connect(&proxy), b"nope").is_err());
        assert_eq!(&say(&mut stream, b"here").unwrap(), b"here");
        proxy.set(Mode::Pass);
        assert_eq!(&say(&mut connect(&proxy), b"back").unwrap(), b"back");
        assert_eq!(proxy.counts(), Counts { passed: 2, refused: 1, ..Counts::default() });
    }

    #[test]
    fn delayed_pieces_arrive_late_in_both_directions() {
        let proxy = echo();
        proxy.set(Mode::Delay(Duration::from_millis(50)));
        let before = now();
        assert_eq!(&say(&mut connect(&proxy), b"slow").unwrap(), b"slow");
        assert!(now() - before >= Duration::from_millis(100));
        assert_eq!(proxy.counts().delayed, 2);
    }

    #[test]
    fn a_black_hole_keeps_what_is_sent_until_it_is_lifted_or_cut() {
        let proxy = echo();
        proxy.set(Mode::BlackHole);
        let mut stream = connect(&proxy);
        stream.write_all(b"kept").unwrap();
        until("a piece that is held", PATIENCE, || Ok((proxy.counts().held == 1).then_some(()))).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let mut heard = [0; 4];
        assert!(stream.read_exact(&mut heard).is_err(), "nothing arrives");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        proxy.set(Mode::Pass);
        stream.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"kept");

        proxy.set(Mode::BlackHole);
        stream.write_all(b"lost").unwrap();
        until("another", PATIENCE, || Ok((proxy.counts().held == 2).then_some(()))).unwrap();
        proxy.cut();
        assert!(stream.read_exact(&mut heard).is_err());
        assert_eq!(proxy.open(), 0);
    }

    #[test]
    fn nobody_behind_it_is_told_by_closing() {
        let proxy = Proxy::start(([127, 0, 0, 1], free_port().unwrap()).into()).unwrap();
        assert!(say(&mut connect(&proxy), b"halo").is_err());
        assert_eq!(proxy.counts().unanswered, 1);
    }
}

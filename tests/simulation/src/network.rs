//! The network: pipes between workers and the coordinator that pass bytes in order, late, not at all for a while, or
//! break, as TCP does.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex, split},
    sync::{mpsc, watch},
    time::sleep,
};

/// Bytes that a pipe holds before its writer waits.
const PIPE: usize = 64 << 10;

/// How it goes on one worker's line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Weather {
    /// Nothing passes.
    partitioned: bool,
    /// Time that everything takes.
    delay: Duration,
    /// Connections that were opened before this number changed are broken.
    cuts: u64,
}

/// One worker's line to the coordinator.
#[derive(Clone, Debug)]
pub(crate) struct Line(watch::Sender<Weather>);

impl Line {
    /// A line that works, with this delay in both directions.
    pub(crate) fn new(delay: Duration) -> Self {
        Self(watch::Sender::new(Weather { partitioned: false, delay, cuts: 0 }))
    }

    /// Lets nothing pass, or everything again, what waited first.
    pub(crate) fn partition(&self, partitioned: bool) {
        self.0.send_modify(|weather| weather.partitioned = partitioned);
    }

    /// Changes the delay.
    pub(crate) fn slow(&self, delay: Duration) {
        self.0.send_modify(|weather| weather.delay = delay);
    }

    /// Breaks the connections that there are; new ones can be opened.
    pub(crate) fn cut(&self) {
        self.0.send_modify(|weather| weather.cuts += 1);
    }
}

/// Where a coordinator listens while it lives.
#[derive(Clone, Debug, Default)]
pub(crate) struct Network {
    listener: Arc<Mutex<Option<Listener>>>,
}

#[derive(Clone, Debug)]
struct Listener {
    connections: mpsc::UnboundedSender<io::Result<DuplexStream>>,
    /// Closed once the coordinator is gone.
    alive: watch::Receiver<()>,
}

/// What keeps a coordinator's connections: with it they go.
#[derive(Debug)]
pub(crate) struct Ear {
    _alive: watch::Sender<()>,
}

impl Network {
    /// Listens; the connections come from the receiver.
    pub(crate) fn listen(&self) -> (Ear, mpsc::UnboundedReceiver<io::Result<DuplexStream>>) {
        let (connections, incoming) = mpsc::unbounded_channel();
        let (ear, alive) = watch::channel(());
        *self.listener.lock().unwrap_or_else(PoisonError::into_inner) = Some(Listener { connections, alive });
        (Ear { _alive: ear }, incoming)
    }

    /// Connects over a line.
    ///
    /// # Errors
    /// Where nobody listens.
    pub(crate) async fn connect(&self, line: &Line) -> io::Result<DuplexStream> {
        let mut weather = line.0.subscribe();
        pass(&mut weather).await;
        let listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let Listener { connections, alive } =
            listener.filter(|listener| listener.alive.has_changed().is_ok()).ok_or_else(refused)?;
        let (client, near) = duplex(PIPE);
        let (far, server) = duplex(PIPE);
        connections.send(Ok(server)).map_err(|_| refused())?;
        tokio::spawn(carry_both(near, far, weather, alive));
        Ok(client)
    }
}

/// Carries both directions until the line is cut or the coordinator is gone.
async fn carry_both(
    near: DuplexStream,
    far: DuplexStream,
    mut weather: watch::Receiver<Weather>,
    mut alive: watch::Receiver<()>,
) {
    let cuts = weather.borrow_and_update().cuts;
    let cut = {
        let mut weather = weather.clone();
        async move {
            let _ = weather.wait_for(|weather| weather.cuts != cuts).await;
        }
    };
    let ((mut near_out, mut near_in), (mut far_out, mut far_in)) = (split(near), split(far));
    let (up, down) = (weather.clone(), weather.clone());
    let carried = async move {
        let carried = async {
            tokio::join!(carry(&mut near_out, &mut far_in, up), carry(&mut far_out, &mut near_in, down))
        };
        tokio::select! {
            _ = carried => {}
            _ = alive.changed() => {
                // Its ends are gone at once; the worker hears of it as the weather is.
                drop((far_out, far_in));
                pass(&mut weather).await;
            }
        }
    };
    tokio::select! {
        () = carried => {}
        () = cut => {}
    }
}

async fn carry(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    mut weather: watch::Receiver<Weather>,
) {
    let mut bytes = vec![0; 16 << 10];
    loop {
        let read = from.read(&mut bytes).await.unwrap_or(0);
        pass(&mut weather).await;
        if read == 0 {
            let _ = to.shutdown().await;
            return;
        }
        if to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}

/// Waits as long as something takes that is sent now.
async fn pass(weather: &mut watch::Receiver<Weather>) {
    let delay = match weather.wait_for(|weather| !weather.partitioned).await {
        Ok(weather) => weather.delay,
        // The line is gone with its worker, who reads no more.
        Err(_) => Duration::ZERO,
    };
    sleep(delay).await;
}

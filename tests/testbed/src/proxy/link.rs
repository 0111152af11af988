//! One connection through the proxy.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::Mutex;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;

use super::frames::{Frame, HEADERS, PREFACE, RST_STREAM, Scanner};
use super::{Hold, Mode, Shared};

/// A stream of this connection, told by the client's side to the server's.
#[derive(Default)]
struct Mark(Mutex<Option<u32>>);

impl Mark {
    fn set(&self, stream: u32) {
        *self.0.lock().expect("nothing panics while it is locked") = Some(stream);
    }

    fn get(&self) -> Option<u32> {
        *self.0.lock().expect("nothing panics while it is locked")
    }
}

/// The streams that something happens to.
#[derive(Default)]
struct Marks {
    /// Its reply is to be lost.
    lost: Mark,
    /// It is or was held.
    held: Mark,
}

/// Serves until either side closes, the proxy cuts it, or a reply is lost. Both sides are closed then.
pub(super) async fn serve(
    client: TcpStream,
    shared: Arc<Shared>,
    mut cuts: watch::Receiver<usize>,
) {
    let both = async {
        if *shared.mode.borrow() == Mode::BlackHole {
            return swallow(client, &shared).await;
        }
        let server = TcpStream::connect(shared.target).await?;
        // Each piece goes out as it came: no waiting for a fuller packet.
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let marks = Marks::default();
        tokio::select! {
            result = requests(from_client, to_server, &shared, &marks) => result,
            result = replies(from_server, to_client, &shared, &marks) => result,
        }
    };
    tokio::select! {
        // A connection that breaks is what such tests are about.
        _ = both => {}
        _ = cuts.changed() => {}
    }
}

/// A connection made into the black hole: nobody is behind it.
async fn swallow(mut client: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut mode = shared.mode.subscribe();
    let mut buffer = [0; 4096];
    loop {
        tokio::select! {
            read = client.read(&mut buffer) => if read? == 0 { return Ok(()) },
            _ = mode.wait_for(|m| *m != Mode::BlackHole) => return Ok(()),
        }
    }
}

/// Client to server; marks the request whose reply is to be lost, and keeps the one that is to be held.
async fn requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    shared: &Shared,
    marks: &Marks,
) -> io::Result<()> {
    let mut scanner = Scanner::new(PREFACE);
    let mut bodies: HashMap<u32, Vec<u8>> = HashMap::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let n = from.read(&mut buffer).await?;
        if n == 0 {
            return Ok(());
        }
        let held_before = marks.held.get();
        let frames = scanner.feed_with(&buffer[..n], |stream, piece| {
            let body = bodies.entry(stream).or_default();
            body.extend_from_slice(piece);
            if shared.strikes(body) {
                marks.lost.set(stream);
            }
            if shared.holds(body) {
                marks.held.set(stream);
            }
        });
        if marks.held.get() != held_before {
            shared.held.send_replace(Hold::Held);
            let mut hold = shared.held.subscribe();
            let _ = hold.wait_for(|hold| *hold == Hold::Released).await;
        }
        hand_on(&buffer[..n], &mut to, shared).await?;
        let cancelled = |f: &Frame| f.kind == RST_STREAM && Some(f.stream) == marks.held.get();
        if frames.iter().any(cancelled) {
            shared.held.send_replace(Hold::Ended);
        }
    }
}

/// Server to client; ends at the marked request's reply.
async fn replies(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    shared: &Shared,
    marks: &Marks,
) -> io::Result<()> {
    let mut scanner = Scanner::new(0);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let n = from.read(&mut buffer).await?;
        if n == 0 {
            return Ok(());
        }
        let frames = scanner.feed(&buffer[..n]);
        let reply_to = |mark: &Mark| {
            let stream = mark.get();
            let mut frames = frames.iter();
            frames.find(|f| f.kind == HEADERS && Some(f.stream) == stream)
        };
        if let Some(reply) = reply_to(&marks.lost) {
            hand_on(&buffer[..reply.start()], &mut to, shared).await?;
            shared.lost.send_modify(|lost| *lost += 1);
            return Ok(());
        }
        hand_on(&buffer[..n], &mut to, shared).await?;
        if reply_to(&marks.held).is_some() {
            shared.held.send_replace(Hold::Ended);
        }
    }
}

/// Writes a piece as the mode says. In the black hole it is lost, and with it the connection, once the mode changes.
async fn hand_on(piece: &[u8], to: &mut OwnedWriteHalf, shared: &Shared) -> io::Result<()> {
    let mode = *shared.mode.borrow();
    match mode {
        Mode::Pass => {}
        Mode::Refuse => return Err(io::ErrorKind::ConnectionReset.into()),
        Mode::Delay(delay) => tokio::time::sleep(delay).await,
        Mode::BlackHole => {
            let _ = shared
                .mode
                .subscribe()
                .wait_for(|m| *m != Mode::BlackHole)
                .await;
            return Err(io::ErrorKind::ConnectionReset.into());
        }
    }
    to.write_all(piece).await
}

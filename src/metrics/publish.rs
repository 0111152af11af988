//! Where an agent's metrics are read: over HTTP, and in a file for node_exporter's textfile collector. Threads of their own do it: no
//! reboot waits for a disk or a reader.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::Duration,
};

use axum::{Router, http::header, routing::get};
use host::node::RootPath;
use settings::Metrics;
use tokio::{net::TcpListener, sync::watch, task::LocalSet, time::sleep};

use crate::serve::{self, Limits};

/// Of Prometheus' text format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// How often the file is written although nothing changes: its age says whether an agent runs.
const EVERY: Duration = Duration::from_secs(60);

/// How long it waits for an address that is in use.
const AGAIN: Duration = Duration::from_secs(5);

const LIMITS: Limits = Limits {
    connections: 16,
    wait: Duration::from_secs(10),
};

/// Everybody may read the file: node_exporter has a user of its own.
const MODE: u32 = 0o644;

/// Publishes the metrics of an agent; it ends when it is dropped.
#[derive(Debug)]
pub struct Publisher {
    settings: Metrics,
    text: Arc<Mutex<String>>,
    /// Ends the server when it is dropped.
    _server: Option<watch::Sender<bool>>,
    /// Ends the writer when it is dropped.
    file: Option<mpsc::Sender<String>>,
}

impl Publisher {
    /// Where the settings say.
    #[must_use]
    pub fn start(settings: Metrics) -> Self {
        let text = Arc::<Mutex<String>>::default();
        let server = settings.listen.map(|address| {
            let (end, ends) = watch::channel(false);
            let text = text.clone();
            thread::spawn(move || listening(address, text, ends));
            end
        });
        let writer = settings.textfile.clone().map(|file| {
            let (send, receive) = mpsc::channel();
            thread::spawn(move || write(&file, &receive));
            send
        });
        Self {
            settings,
            text,
            _server: server,
            file: writer,
        }
    }

    /// Publishes where the settings say from now on.
    pub fn go_by(&mut self, settings: Metrics) {
        if self.settings != settings {
            *self = Self::start(settings);
        }
    }

    /// Whether anybody may read them.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.settings != Metrics::default()
    }

    /// From now on this is read.
    pub fn publish(&self, text: String) {
        let mut last = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        if *last == text {
            return;
        }
        last.clone_from(&text);
        if let Some(file) = &self.file {
            // The writer lives as long as this.
            let _ = file.send(text);
        }
    }
}

fn write(file: &RootPath, texts: &mpsc::Receiver<String>) {
    let mut text = String::new();
    let mut said = String::new();
    loop {
        match texts.recv_timeout(EVERY) {
            // The newest of those that came meanwhile.
            Ok(new) => text = texts.try_iter().last().unwrap_or(new),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
        }
        match file.write_atomic(text.as_bytes(), MODE) {
            Ok(()) => said.clear(),
            Err(error) => {
                let error = format!("{file}: the metrics cannot be written: {error}");
                if error != said {
                    tracing::warn!("{error}");
                }
                said = error;
            }
        }
    }
}

fn listening(address: SocketAddr, text: Arc<Mutex<String>>, ends: watch::Receiver<bool>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!("the metrics cannot be served: {error}");
            return;
        }
    };
    let serving = serve_text(address, text, ends.clone());
    let mut ends = ends;
    LocalSet::new().block_on(&runtime, async {
        tokio::select! {
            () = serving => {}
            // Also when its other side is dropped.
            _ = ends.wait_for(|ends| *ends) => {}
        }
    });
}

async fn serve_text(address: SocketAddr, text: Arc<Mutex<String>>, ends: watch::Receiver<bool>) {
    let mut said = false;
    let listener = loop {
        match TcpListener::bind(address).await {
            Ok(listener) => break listener,
            Err(error) => {
                if !std::mem::replace(&mut said, true) {
                    tracing::warn!("{address}: the metrics cannot be served: {error}");
                }
                sleep(AGAIN).await;
            }
        }
    };
    tracing::info!("metrics on http://{address}/metrics");
    let answer = move || {
        let text = text.lock().unwrap_or_else(PoisonError::into_inner).clone();
        async move { ([(header::CONTENT_TYPE, CONTENT_TYPE)], text) }
    };
    let router = Router::new().route("/metrics", get(answer));
    serve::serve_plainly(listener, router, LIMITS, ends).await;
}

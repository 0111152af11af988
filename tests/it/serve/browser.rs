//! A real Chromium, driven over WebDriver (W3C), without a screen.

use std::{net::SocketAddr, path::Path, time::Duration};

use pointsman_testbed::{
    process::{Child, Spec},
    scratch,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::support::eventually;

/// A browser takes a while to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A browser with one window; it ends with the test.
pub(super) struct Browser {
    _driver: Child,
    address: SocketAddr,
    session: String,
    _dir: tempfile::TempDir,
}

impl Drop for Browser {
    /// Ends the browser: it would go on without its driver.
    fn drop(&mut self) {
        use std::io::{Read as _, Write as _};
        let end = format!(
            "DELETE /session/{} HTTP/1.1\r\nhost: {}\r\n\r\n",
            self.session, self.address
        );
        let Ok(mut stream) = std::net::TcpStream::connect(self.address) else {
            return;
        };
        let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
        let _ = stream.write_all(end.as_bytes());
        // It answers when the browser is gone.
        let _ = stream.read(&mut [0; 64]);
    }
}

/// A chromedriver, and its port.
async fn driver(dir: &Path) -> (Child, u16) {
    let port = |log: &str| {
        let (_, rest) = log.split_once("successfully on port ")?;
        rest.split(|c: char| !c.is_ascii_digit())
            .next()?
            .parse::<u16>()
            .ok()
    };
    for tries in 0.. {
        let driver = Spec::new("chromedriver", dir.join(format!("log-{tries}")))
            .arg("--port=0")
            .env("HOME", dir)
            .env("TMPDIR", dir)
            .spawn();
        let begun = eventually(
            "chromedriver listens",
            async || (driver.is_running(), driver.log()),
            |(runs, log)| !runs || port(log).is_some(),
        );
        let (_, log) = begun.await;
        match port(&log) {
            Some(port) => return (driver, port),
            // It takes a free port for IPv6, and wants the same one for IPv4.
            None if tries < 5 && log.contains("Address already in use") => {}
            None => panic!("chromedriver (make setup): {log}"),
        }
    }
    unreachable!("it goes on until there is one")
}

impl Browser {
    /// One whose window has this size.
    pub(super) async fn open(width: u32, height: u32) -> Self {
        let dir = scratch::dir("browser");
        let (driver, port) = driver(dir.path()).await;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let profile = dir.path().join("profile").display().to_string();
        let arguments = [
            "--headless=new".to_owned(),
            // As root there is no other way, and nothing foreign is opened.
            "--no-sandbox".into(),
            "--disable-gpu".into(),
            "--disable-dev-shm-usage".into(),
            "--disable-background-networking".into(),
            "--no-first-run".into(),
            format!("--window-size={width},{height}"),
            format!("--user-data-dir={profile}"),
        ];
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": {"args": arguments},
            "goog:loggingPrefs": {"browser": "ALL"},
        }}});
        let made = call(address, "POST", "/session", &wanted).await;
        let session = made["sessionId"]
            .as_str()
            .unwrap_or_else(|| panic!("no session: {made}"));
        Self {
            session: session.to_owned(),
            _driver: driver,
            address,
            _dir: dir,
        }
    }

    async fn command(&self, method: &str, path: &str, body: Value) -> Value {
        let path = format!("/session/{}/{path}", self.session);
        call(self.address, method, &path, &body).await
    }

    /// Opens this address, and waits until it is loaded.
    pub(super) async fn go(&self, url: &str) {
        self.command("POST", "url", json!({"url": url})).await;
    }

    /// What this function body returns on the page; a promise is waited for.
    pub(super) async fn run(&self, script: &str) -> Value {
        let body = json!({"script": script, "args": []});
        self.command("POST", "execute/sync", body).await
    }

    /// The text that a person sees.
    pub(super) async fn text(&self) -> String {
        let text = self.run("return document.body.innerText").await;
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the page shows this.
    pub(super) async fn shows(&self, what: &str) -> String {
        eventually(what, async || self.text().await, |text| text.contains(what)).await
    }

    /// A command of the browser's own protocol.
    pub(super) async fn devtools(&self, command: &str, parameters: Value) -> Value {
        let body = json!({"cmd": command, "params": parameters});
        self.command("POST", "goog/cdp/execute", body).await
    }

    /// What the browser complains of: errors of scripts, and what the content security policy stopped.
    pub(super) async fn complaints(&self) -> Vec<String> {
        let log = self
            .command("POST", "se/log", json!({"type": "browser"}))
            .await;
        let entries = log.as_array().cloned().unwrap_or_default();
        let severe = entries.iter().filter(|entry| entry["level"] == "SEVERE");
        severe.map(|entry| entry["message"].to_string()).collect()
    }

    /// Presses these keys, one after the other.
    pub(super) async fn press(&self, keys: &str) {
        let actions: Vec<Value> = keys
            .chars()
            .flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({"type": kind, "value": key})))
            .collect();
        let body = json!({"actions": [{"type": "key", "id": "keyboard", "actions": actions}]});
        self.command("POST", "actions", body).await;
    }

    /// Takes a picture of the window.
    pub(super) async fn picture(&self, path: &Path) {
        use base64::Engine as _;
        let picture = self.command("GET", "screenshot", Value::Null).await;
        let bytes = base64::engine::general_purpose::STANDARD.decode(picture.as_str().unwrap());
        std::fs::write(path, bytes.unwrap()).unwrap();
    }
}

/// One command; the value of its answer.
async fn call(address: SocketAddr, method: &str, path: &str, body: &Value) -> Value {
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let asked = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // It keeps the connection, whatever it is asked for.
        loop {
            if let Some(body) = whole(&answer) {
                return body.to_owned();
            }
            let read = stream.read_buf(&mut answer).await.unwrap();
            assert!(read > 0, "{path}: {}", String::from_utf8_lossy(&answer));
        }
    };
    let body = timeout(PATIENCE, asked).await.expect("the browser answers");
    let value: Value =
        serde_json::from_str(&body).unwrap_or_else(|e| panic!("{path}: {e}: {body}"));
    assert!(
        value["value"]["error"].is_null(),
        "{path}: {}",
        value["value"]
    );
    value["value"].clone()
}

/// The body of an answer, once all of it has come.
fn whole(answer: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(answer).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is = name.eq_ignore_ascii_case("content-length");
        is.then(|| value.trim().parse::<usize>().ok())?
    })?;
    (body.len() >= length).then_some(body)
}

//! Clients that want too much, and clients that are slow.

use std::{collections::BTreeSet, time::Instant};

use super::*;

#[tokio::test]
async fn a_request_that_is_too_large_is_refused() {
    let place = Place::new("serve-large", 1).await;
    let server = &place.server;
    let long = params(&"x".repeat(70_000), "default");
    let reply = server.request("POST", "/v1/pre-reboot", TRUE, &long).await;
    assert_eq!(reply.kind(), (400, "body_too_large".into()));
    // One that does not say how long it is.
    let head = format!(
        "POST /v1/pre-reboot HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{TRUE}transfer-encoding: chunked\r\n\r\n"
    );
    let piece = format!("1000\r\n{}\r\n", " ".repeat(0x1000));
    let chunked = format!("{head}{}0\r\n\r\n", piece.repeat(17));
    assert_eq!(
        server.send(chunked.as_bytes()).await.kind(),
        (400, "body_too_large".into())
    );
    // One that says that it is longer than it is, or longer than anything.
    let head = |length: &str| {
        format!("POST /v1/pre-reboot HTTP/1.1\r\nhost: x\r\n{TRUE}content-length: {length}\r\n\r\n")
    };
    let huge = server.send(head("99999999999").as_bytes()).await;
    assert_eq!(huge.kind(), (400, "body_too_large".into()));
    for none in ["18446744073709551615", "-1", "1e3"] {
        let status = server.send(head(none).as_bytes()).await.status;
        assert!([400, 431].contains(&status), "{none}: {status}");
    }
    // Many headers, and a long one.
    let headers = "a: b\r\n".repeat(1000) + TRUE;
    let body = params("a", "default");
    let reply = server
        .request("POST", "/v1/pre-reboot", &headers, &body)
        .await;
    assert_eq!(reply.status, 431);
    let headers = format!("a: {}\r\n{TRUE}", "b".repeat(20_000));
    let reply = server
        .request("POST", "/v1/pre-reboot", &headers, &body)
        .await;
    assert_eq!(reply.status, 431);
    assert_eq!(place.holders().await, Vec::<String>::new());
}

/// What comes back when this is sent and nothing follows; and after how long the connection ended.
async fn stops_after(server: &Server, bytes: &str) -> (String, Duration) {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let mut text = String::new();
    let read = timeout(PATIENCE, stream.read_to_string(&mut text)).await;
    let _ = read.expect("the server ends the connection");
    (text, begun.elapsed())
}

#[tokio::test]
async fn a_client_that_stops_is_disconnected_in_time() {
    let prefix = unique_prefix("serve-stop");
    found(&on(shared_cluster(), &prefix)).await;
    let more = ["--request-timeout", "500ms"];
    let server = Server::at(&shared_cluster().endpoints(), &prefix, &more).await;
    let body = params("a", "default");
    let begun = format!(
        "POST /v1/pre-reboot HTTP/1.1\r\nhost: x\r\n{TRUE}content-length: {}\r\n\r\n",
        body.len()
    );
    let whole = request("GET", "/healthz", "", "").replace("connection: close\r\n", "");
    for (bytes, answer) in [
        (String::new(), ""),
        ("POST /v1/pre".into(), ""),
        (begun.trim_end().into(), ""),
        (begun.clone() + &body[..9], "\"kind\":\"body_incomplete\""),
        // A connection that is kept is not kept for ever.
        (whole, "\r\n\r\nok\n"),
    ] {
        let (text, after) = stops_after(&server, &bytes).await;
        assert!(text.contains(answer), "{bytes}: {text}");
        assert!(
            !answer.is_empty() || !text.contains("200 OK"),
            "{bytes}: {text}"
        );
        let in_time = Duration::from_millis(400)..Duration::from_secs(5);
        assert!(in_time.contains(&after), "{bytes}: {after:?}");
    }
}

/// The resident memory of a process, in bytes.
fn memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.unwrap().trim().trim_end_matches(" kB");
    kib.parse::<u64>().unwrap() << 10
}

/// The clients whose connections the server has accepted and not closed, by the kernel's table (proc(5), `net/tcp`): one that waits
/// to be accepted has no inode yet. The table is not read at one instant.
fn clients(server: &Server) -> BTreeSet<String> {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let port = format!(":{:04X}", server.address.port());
    let rows = table
        .lines()
        .skip(1)
        .map(|row| row.split_whitespace().collect::<Vec<_>>());
    // Established, or closed by the client only.
    let open = rows.filter(|row| row[1].ends_with(&port) && matches!(row[3], "01" | "08"));
    let accepted = open.filter(|row| row[9] != "0");
    accepted.map(|row| row[2].to_owned()).collect()
}

/// How many connections the server had at one instant: who is in the table before and after it was there in between.
fn served(server: &Server) -> usize {
    clients(server).intersection(&clients(server)).count()
}

/// A thousand clients send a byte now and then. Others are served meanwhile, and the slow ones are gone by themselves.
#[tokio::test]
async fn a_thousand_slow_clients_do_no_harm() {
    let prefix = unique_prefix("serve-slow");
    found(&on(shared_cluster(), &prefix)).await;
    // On a busy machine it takes some seconds until all are connected.
    let more = ["--request-timeout", "15s"];
    let server = Server::at(&shared_cluster().endpoints(), &prefix, &more).await;
    server.takes("a").await;
    let before = memory(server.child.pid());
    let mut slow = Vec::new();
    for n in 0..1000 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let begun = match n % 2 {
            0 => "POST /v1/pre-reboot HTTP/1.1\r\nhost: x\r\n".to_owned(),
            _ => format!(
                "POST /v1/pre-reboot HTTP/1.1\r\nhost: x\r\n{TRUE}content-length: 60000\r\n\r\n"
            ),
        };
        stream.write_all(begun.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    eventually(
        "all are connected",
        async || served(&server),
        |found| *found >= 900,
    )
    .await;
    let mut slowest = Duration::ZERO;
    for n in 0..50 {
        for stream in slow.iter_mut().skip(n % 10).step_by(10) {
            // Those that are gone by now.
            let _ = stream.write_all(b"x").await;
        }
        let begun = Instant::now();
        server.takes("a").await;
        slowest = slowest.max(begun.elapsed());
    }
    // Long before the slow ones have had their time.
    assert!(slowest < Duration::from_secs(15), "{slowest:?}");
    let grown = memory(server.child.pid()).saturating_sub(before);
    assert!(grown < 48 << 20, "{grown} bytes more");
    eventually(
        "the slow ones are gone",
        async || served(&server),
        |found| *found <= 1,
    )
    .await;
    drop(slow);
    server.releases("a").await;
}

/// Beyond the limit a connection waits until another one ends, which it does in time.
#[tokio::test]
async fn no_more_connections_are_served_than_allowed() {
    let prefix = unique_prefix("serve-many");
    found(&on(shared_cluster(), &prefix)).await;
    let more = ["--request-timeout", "1s", "--max-connections", "3"];
    let server = Server::at(&shared_cluster().endpoints(), &prefix, &more).await;
    server.takes("a").await;
    let mut idle = Vec::new();
    for _ in 0..10 {
        idle.push(TcpStream::connect(server.address).await.unwrap());
    }
    let three = async || served(&server);
    eventually("three are served", three, |served| *served >= 3).await;
    let (begun, mut most) = (Instant::now(), 0);
    let watched = async {
        loop {
            most = most.max(served(&server));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    // Its turn comes when the ones before it have had their time.
    tokio::select! {
        () = server.takes("a") => {}
        () = watched => {}
    }
    assert_eq!(most, 3);
    assert!(begun.elapsed() > Duration::from_millis(500));
    drop(idle);
}

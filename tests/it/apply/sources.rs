//! Files whose content is fetched.

use std::{
    collections::HashMap,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::Tree;

/// Answers every request with what its path names, and counts them; until the test ends. What is of a moment is over
/// at the third request for it.
fn serve() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = asked.clone();
    std::thread::spawn(move || {
        let mut times: HashMap<String, usize> = HashMap::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            while !request.ends_with(b"\r\n\r\n") {
                match stream.read(&mut buffer) {
                    Ok(read) if read > 0 => request.extend_from_slice(&buffer[..read]),
                    _ => break,
                }
            }
            counter.fetch_add(1, Ordering::SeqCst);
            let request = String::from_utf8_lossy(&request).into_owned();
            let path = request.split_whitespace().nth(1).unwrap_or_default();
            let before = times.entry(path.to_owned()).or_default();
            *before += 1;
            let (status, body) = match (path.split('?').next().unwrap_or_default(), *before) {
                ("/plain", _) => ("200 OK", "fetched\n"),
                ("/base64", _) => ("200 OK", "cGFja2Vk"),
                ("/busy", 1 | 2) | ("/broken", _) => ("503 Service Unavailable", "busy"),
                ("/busy", _) => ("200 OK", "fetched\n"),
                ("/late", 3..) => ("200 OK", "fetched\n"),
                _ => ("404 Not Found", "no such thing"),
            };
            let length = body.len();
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
        }
    });
    (url, asked)
}

/// Of something else than is served.
const WRONG: &str = "4e1bd2ef36f99de32b7eff1a7cd2a42ba9a1bf9de2e8ad2a4d2bbd29af6d16d0";

#[test]
fn source_is_fetched_checked_and_not_fetched_again() {
    let (url, asked) = serve();
    let tree = Tree::new();
    let sha256 = super::call(
        std::process::Command::new("sha256sum").arg("-"),
        b"fetched\n",
    )
    .must(0);
    let sha256 = sha256.split_whitespace().next().unwrap();
    assert_ne!(sha256, WRONG);
    let document = format!(
        "#cloud-config\nwrite_files:\n- {{path: /a, source: '{url}/plain', sha256: {sha256}, permissions: '0755'}}\n- {{path: /etc/motd, content: x}}\n"
    );
    let plan = tree.plan(&document).must(10);
    assert!(plan.contains("+ file /a: new (mode 0755)"), "{plan}");
    tree.apply(&document).must(0);
    assert_eq!(
        (tree.text("a").as_str(), tree.mode("a")),
        ("fetched\n", 0o755)
    );
    let before = asked.load(Ordering::SeqCst);
    assert_eq!(tree.apply(&document).must(0), "");
    assert_eq!(
        asked.load(Ordering::SeqCst),
        before,
        "it is there, and the server may be away"
    );

    let document = format!(
        "#cloud-config\nwrite_files: [{{path: /b, source: '{url}/base64', encoding: b64}}, {{path: /a, source: '{url}/plain', append: true}}]\n"
    );
    tree.apply(&document).must(0);
    assert_eq!(
        (tree.text("b").as_str(), tree.text("a").as_str()),
        ("packed", "fetched\n")
    );
}

#[test]
fn wrong_content_of_a_fetched_file_stops_the_apply() {
    let (url, _) = serve();
    let tree = Tree::new();
    let before = tree.seen();
    let document = format!(
        "#cloud-config\nwrite_files:\n- {{path: /etc/motd, content: x}}\n- {{path: /a, source: '{url}/plain', sha256: {WRONG}}}\n- {{path: /b, source: '{url}/none'}}\n- {{path: /c, source: 'http://127.0.0.1:1/x'}}\n- {{path: /d, source: '{url}/plain', encoding: b64}}\n"
    );
    for command in ["plan", "apply"] {
        let called = tree.call(&[command, "-"], &document);
        assert_eq!(called.code, Some(1));
        for text in [
            format!("/a: {url}/plain: found content with the SHA-256 "),
            format!(", expected {WRONG}"),
            format!("/b: {url}/none: found status 404, expected 200"),
            "/c: http://127.0.0.1:1/x: ".to_owned(),
            format!("/d: {url}/plain: the content is not base64"),
        ] {
            assert!(called.stderr.contains(&text), "{text}\n{}", called.stderr);
        }
        assert_eq!(tree.seen(), before);
    }
}

#[test]
fn unavailable_file_source_is_asked_again() {
    let (url, asked) = serve();
    let tree = Tree::new();
    let asking = |arguments: &[&str], files: &[&str]| {
        let files: Vec<String> = files
            .iter()
            .enumerate()
            .map(|(n, path)| format!("{{path: /f{n}, source: '{url}/{path}'}}"))
            .collect();
        let document = format!("#cloud-config\nwrite_files: [{}]\n", files.join(", "));
        let before = asked.load(Ordering::SeqCst);
        let called = tree.call(arguments, &document);
        (called, asked.load(Ordering::SeqCst) - before)
    };
    // The trouble of a moment is waited out, for a dry look as well.
    let (called, times) = asking(&["plan", "-"], &["busy?1"]);
    assert_eq!(times, 3, "{called:?}");
    called.must(10);
    let (called, times) = asking(&["apply", "-"], &["busy?2"]);
    assert_eq!(times, 3, "{called:?}");
    called.must(0);
    assert_eq!(tree.text("f0"), "fetched\n");
    // What is not there is given up at once, unless somebody says how long to wait.
    let (called, times) = asking(&["apply", "-"], &["late?1"]);
    assert_eq!((called.code, times), (Some(1), 1), "{called:?}");
    for command in ["plan", "apply"] {
        let path = format!("late?{command}");
        let (called, times) = asking(&[command, "--wait", "60s", "-"], &[&path]);
        assert_eq!(times, 3, "{called:?}");
        called.must(0);
    }
    // Nothing is waited for once the apply cannot come about; everything that is wrong is said.
    let (called, times) = asking(&["apply", "-"], &["none", "broken", "broken?key=secret"]);
    assert_eq!((called.code, times), (Some(1), 3), "{called:?}");
    for words in [
        format!("/f0: {url}/none: found status 404, expected 200; the server has nothing there"),
        format!("/f1: {url}/broken: found status 503, expected 200"),
        format!("/f2: {url}/broken?***: found status 503, expected 200"),
    ] {
        assert!(called.stderr.contains(&words), "{words}: {}", called.stderr);
    }
    assert!(!called.stderr.contains("secret"), "{}", called.stderr);
}

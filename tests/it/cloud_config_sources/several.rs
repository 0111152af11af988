//! Several sources: all asked at once, the first in order that is there taken.

use std::{
    fs,
    time::{Duration, Instant},
};

use host::node::Root;
use pointsman_testbed::{
    scratch,
    web::{Reply, Web},
};

use super::{GOOD, ask, validate};

#[tokio::test]
async fn first_available_source_in_order_is_used() {
    let first = Web::with_text("#cloud-config\nhostname: first\n").await;
    let second = Web::with_text("#cloud-config\nhostname: second\n").await;
    let host = Root::default;
    let fetched = ask(&[first.url(), second.url()], host(), None)
        .await
        .unwrap();
    assert!(fetched.user_data.ends_with(b"first\n"));
    assert_eq!(fetched.passed, []);
    assert_eq!(second.seen().len(), 1, "all are asked at once");

    let fetched = ask(
        &["/none", "http://127.0.0.1:1/", second.url()],
        host(),
        None,
    )
    .await
    .unwrap();
    assert!(fetched.user_data.ends_with(b"second\n"));
    let passed: Vec<&str> = fetched
        .passed
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(passed, ["/none", "http://127.0.0.1:1/"]);

    let called = validate(&["/none", second.url()]).await;
    assert_eq!(called.code, Some(0));
    let lines: Vec<&str> = called.stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines[0].starts_with("pointsman: /none is not used: "),
        "{lines:?}"
    );
    assert_eq!(lines[1], format!("pointsman: from {}/", second.url()));
    // Which one it was is said also where both are there, and not where there was nothing to choose.
    let called = validate(&[first.url(), second.url()]).await;
    assert_eq!(called.stderr, format!("pointsman: from {}/\n", first.url()));
    assert_eq!(validate(&[first.url()]).await.stderr, "");
}

#[tokio::test]
async fn available_source_does_not_wait_for_one_that_may_appear() {
    let web = Web::with_text(GOOD).await;
    let before = Instant::now();
    let wait = Some(Duration::from_secs(20));
    let fetched = ask(&["configdrive:/none", web.url()], Root::default(), wait)
        .await
        .unwrap();
    assert_eq!(fetched.user_data, GOOD.as_bytes());
    assert!(
        before.elapsed() < Duration::from_secs(10),
        "{:?}",
        before.elapsed()
    );
    assert_eq!(fetched.passed.len(), 1);
}

#[tokio::test]
async fn every_source_is_reported_when_waiting_ends() {
    let web = Web::serve(|_, _| Reply::missing()).await;
    let before = Instant::now();
    let wait = Some(Duration::from_secs(2));
    let dir = scratch::dir("several");
    let drive = format!("configdrive:{}", dir.path().display());
    let none = ask(&["/none", &drive, web.url()], Root::default(), wait)
        .await
        .unwrap_err();
    let took = before.elapsed();
    assert!(
        took > Duration::from_millis(500) && took < Duration::from_secs(8),
        "{took:?}"
    );
    assert!(web.seen().len() > 1, "it was asked again");
    let text = none.to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "none of the sources is available:");
    assert!(lines[1].starts_with("  /none: "), "{text}");
    assert!(lines[2].starts_with(&format!("  {drive}: ")), "{text}");
    assert!(lines[3].contains("found status 404"), "{text}");
}

#[tokio::test]
async fn impossible_source_is_not_awaited() {
    let root = scratch::dir("several");
    fs::create_dir_all(root.path().join("proc")).unwrap();
    fs::write(root.path().join("proc/cmdline"), "ro\n").unwrap();
    let web = Web::serve(|_, _| Reply::Body(403, Vec::new())).await;
    let before = Instant::now();
    let wait = Some(Duration::from_secs(60));
    let none = ask(&["cmdline", web.url()], Root::new(root.path()), wait)
        .await
        .unwrap_err();
    assert!(
        before.elapsed() < Duration::from_secs(20),
        "{:?}",
        before.elapsed()
    );
    let text = none.to_string();
    assert!(
        text.contains("cmdline: ") && text.contains("cloud-config-url="),
        "{text}"
    );
    assert!(text.contains("found status 403"), "{text}");
    assert_eq!(web.seen().len(), 1);
}

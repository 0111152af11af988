//! Servers that misbehave, each named and given up in time.

use std::time::{Duration, Instant};

use host::node::Root;
use pointsman_testbed::web::{Reply, Web};

use super::{GOOD, ask, one};

/// Why a server that always does this gives nothing to who does not wait, how long that took, and how often it was
/// asked.
async fn always(reply: Reply) -> (String, Duration, usize) {
    let web = Web::serve(move |_, _| reply.clone()).await;
    let before = Instant::now();
    let wait = Some(Duration::from_secs(2));
    let why = ask(&[web.url()], Root::default(), wait)
        .await
        .unwrap_err()
        .to_string();
    assert!(why.starts_with(web.url()), "{why}");
    (why, before.elapsed(), web.seen().len())
}

#[tokio::test]
async fn stalling_servers_time_out() {
    for reply in [Reply::Stall, Reply::Stop(GOOD.into())] {
        let (why, took, asked) = always(reply).await;
        assert!(why.contains("timed out"), "{why}");
        assert!(took < Duration::from_secs(10), "{took:?}");
        assert!(asked > 1, "it was asked once more");
    }
}

#[tokio::test]
async fn endless_redirects_end_after_six_requests() {
    let (why, _, asked) = always(Reply::Redirect("/".into())).await;
    assert!(why.contains("redirected more than 5 times"), "{why}");
    assert_eq!(asked, 6);
}

#[tokio::test]
async fn refused_redirect_names_its_target() {
    let (why, _, asked) = always(Reply::Redirect("/again?key=secret".into())).await;
    assert!(
        why.contains("redirected more than 5 times, at last to http://127.0.0.1:")
            && why.ends_with("/again?***"),
        "{why}"
    );
    assert_eq!(asked, 6);
    for (to, words) in [
        (
            "file:///etc/shadow",
            "found status 302, expected 200; the server redirects to file:///etc/shadow, which is not followed",
        ),
        (
            "ftp://h/x",
            "redirected to ftp://h/x, expected http:// or https://",
        ),
    ] {
        let (why, _, asked) = always(Reply::Redirect(to.into())).await;
        assert!(why.contains(words), "{why}");
        assert_eq!(asked, 1);
    }
    let (why, _, asked) = always(Reply::Body(302, Vec::new())).await;
    assert!(
        why.ends_with(
            "found status 302, expected 200; the server redirects without a target (Location)"
        ),
        "{why}"
    );
    assert_eq!(asked, 1);
    // Services are on the node's own network: they are not followed anywhere.
    let web = Web::serve(|_, _| Reply::Redirect("http://elsewhere.example/".into())).await;
    let why = one(&format!("digitalocean:{}", web.url()))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        why.contains("the server redirects to http://elsewhere.example/, which is not followed"),
        "{why}"
    );
}

#[tokio::test]
async fn truncated_http_body_is_not_a_document() {
    let (why, ..) = always(Reply::Claim(1000, GOOD.into())).await;
    assert!(
        why.contains("end of file before message length reached"),
        "{why}"
    );
}

#[tokio::test]
async fn oversized_user_data_is_refused() {
    let (why, _, asked) = always(Reply::Claim(10 << 30, GOOD.into())).await;
    assert!(why.contains("found more than 67108864 bytes"), "{why}");
    assert_eq!(asked, 1);
    let (why, _, asked) = always(Reply::Endless).await;
    assert!(why.contains("found more than 67108864 bytes"), "{why}");
    assert_eq!(asked, 1);
}

#[tokio::test]
async fn temporary_problem_is_retried() {
    let recovers = |_: &_, before: usize| match before {
        0 => Reply::missing(),
        1 => Reply::Body(500, Vec::new()),
        2 => Reply::Claim(99, Vec::new()),
        _ => Reply::ok(GOOD),
    };
    let web = Web::serve(recovers).await;
    let wait = Some(Duration::from_secs(20));
    let fetched = ask(&[web.url()], Root::default(), wait).await.unwrap();
    assert_eq!(
        (fetched.user_data.as_slice(), web.seen().len()),
        (GOOD.as_bytes(), 4)
    );
    // Who does not wait is told at once that there is nothing, but not that a server is down for a moment.
    let web = Web::serve(recovers).await;
    let why = one(web.url()).await.unwrap_err().to_string();
    assert!(
        why.contains("found status 404, expected 200; the server has nothing there"),
        "{why}"
    );
    assert_eq!(one(web.url()).await.unwrap().user_data, GOOD.as_bytes());
}

#[tokio::test]
async fn unresolvable_host_name_is_reported() {
    let before = Instant::now();
    let why = one("http://no-such-host.invalid/x")
        .await
        .unwrap_err()
        .to_string();
    assert!(
        why.starts_with("http://no-such-host.invalid/x: ") && why.contains("lookup"),
        "{why}"
    );
    assert!(
        before.elapsed() < Duration::from_secs(10),
        "{:?}",
        before.elapsed()
    );
}

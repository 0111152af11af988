//! The page, in a real browser.

mod people;

use std::time::Instant;

use etcd_client::{Client, PutOptions};
use pointsman_testbed::{
    etcd::Cluster,
    proxy::{Mode, Proxy},
};
use semaphore::{
    keys::Keys,
    policy::PolicyChange,
    records::{Holder, NodeRecord, Phase},
    waves::Wave,
};

use super::{browser::Browser, *};
use crate::support::{eventually, group, holder, node, version};

const WIDE: (u32, u32) = (1280, 900);

/// Puts what a node says of itself.
async fn record(client: &mut Client, keys: &Keys, record: &NodeRecord) {
    let value = serde_json::to_string(record).unwrap();
    client
        .put(keys.node(&record.id), value, None)
        .await
        .unwrap();
}

/// Names that would be markup, where they were not text.
const HOSTILE: [&str; 2] = [
    "<script>document.title='pwned'</script>",
    "<img src=x onerror=\"document.title='pwned'\">",
];

/// A group with one of everything: out, waiting, overdue, lost, quarantined, unproven; two of its nodes have these names.
async fn populate(place: &Place, names: [&str; 2]) {
    let keys = place.semaphore.keys();
    let mut client = shared_cluster().client().await;
    let held = Holder {
        hostname: "out-1".into(),
        since: Some(jiff::Timestamp::now()),
        deadline: Some(600),
        reason: Some("update to 2".into()),
        ..holder("0123456789abcdef0123456789abcdef", Phase::Rebooting)
    };
    // Its deadline has passed: the key of it is gone.
    place.semaphore.lock(&held).await.unwrap();
    client.delete(keys.deadline(&held.id), None).await.unwrap();
    let lease = client.lease_grant(600, None).await.unwrap().id();
    for (id, host) in [("1", "next-1"), ("2", names[0])] {
        let ticket = json!({"id": id.repeat(32), "hostname": host, "since": "2026-11-30T02:34:33Z", "to": {"version": "2"}});
        let key = keys.ticket(&id.repeat(32));
        let on = PutOptions::new().with_lease(lease);
        client.put(key, ticket.to_string(), Some(on)).await.unwrap();
    }
    for (id, host, state) in [
        ("1", "next-1", "queued"),
        ("2", names[0], "queued"),
        ("3", names[1], "idle"),
        ("4", "sick-1", "unproven"),
    ] {
        let said = NodeRecord {
            id: id.repeat(32),
            hostname: host.into(),
            runs: version(if id == "3" { "2" } else { "1" }),
            state: state.into(),
            last: (id == "3").then(|| {
                let ended = jiff::Timestamp::now();
                let began = ended - jiff::SignedDuration::from_mins(20);
                let last = json!({"outcome": "proven", "from": {"version": "1"}, "to": {"version": "2"}, "began": began, "ended": ended});
                serde_json::from_value(last).unwrap()
            }),
            ..node(id)
        };
        record(&mut client, keys, &said).await;
    }
    let bad = json!({"version": "1.9", "node": "x", "hostname": "finder", "reason": "no network & \"more\"", "since": "2026-11-30T02:34:33Z"});
    client
        .put(keys.quarantine_version("1.9"), bad.to_string(), None)
        .await
        .unwrap();
}

/// The group prod comes after the canaries, of which the second has not proven the image X, and the third is gone.
async fn in_waves(place: &Place) {
    let change = PolicyChange {
        after: Some(vec![group("canary")]),
        ..PolicyChange::default()
    };
    let canary = place.semaphore.of_group(group("canary"));
    let prod = place.semaphore.of_group(group("prod"));
    let opens = PolicyChange {
        wave_soak: Some(Duration::from_secs(3600)),
        ..PolicyChange::default()
    };
    let mut client = shared_cluster().client().await;
    for (id, proven) in [("c1", "X"), ("c2", "W"), ("c3", "")] {
        let key = canary.keys().member(id);
        client.put(key, proven, None).await.unwrap();
    }
    for (id, runs) in [("c1", "X"), ("c2", "W")] {
        let mut said = NodeRecord {
            hostname: format!("canary-{id}"),
            group: "canary".into(),
            ..node(id)
        };
        said.runs = version(if runs == "X" { "2" } else { "1" });
        said.runs.digest = Some(runs.into());
        record(&mut client, canary.keys(), &said).await;
    }
    for (semaphore, change) in [(canary, opens), (prod, change)] {
        let set = semaphore.set_policy(&change, "ann@desk", false).await;
        set.unwrap();
        semaphore.set_max(1, false).await.unwrap();
    }
}

#[tokio::test]
async fn the_page_shows_who_keeps_a_wave_from_opening() {
    let place = Place::new("page-waves", 1).await;
    let page = async || place.server.request("GET", "/", "", "").await.body;
    assert!(!page().await.contains("Waves"));
    in_waves(&place).await;
    let shown = eventually("the waves", page, |page| page.contains("Waves")).await;
    for said in [
        "<h3>Group canary</h3>",
        "not open</td>",
        "1 of 3</td>",
        "<span class=\"name\">canary-c2</span>",
        "it has proven 1</td>",
        "<span class=\"name\">c3</span>",
        "pointsman forget c3 --group canary",
        "Comes after: canary",
        "Nodes that have not proven 2:",
    ] {
        assert!(shown.contains(said), "{said}: {shown}");
    }
    // What people open is open.
    let canary = place.semaphore.of_group(group("canary"));
    let wave = Wave {
        by: "ann@desk".into(),
        reason: "c3 is in repair".into(),
        ..Wave::default()
    };
    canary.open_wave_by_hand("X", &wave).await.unwrap();
    let opened = |page: &String| page.contains("opened by ann@desk: c3 is in repair");
    let shown = eventually("the wave is open", page, opened).await;
    assert!(!shown.contains("Nodes that have not proven 2:"), "{shown}");
}

fn url(server: &Server) -> String {
    format!("http://{}/", server.address)
}

/// What everybody sees, with a script or without one.
const SHOWN: [&str; 13] = [
    "What happened last",
    "1 of 1 places taken, 2 waiting",
    "out-1",
    "rebooting overdue",
    "update to 2",
    "has not come back in time",
    "next-1",
    "pointsman unlock 0123456789abcdef0123456789abcdef --force",
    "pointsman unlock 11111111111111111111111111111111 --ticket",
    "pointsman quarantine clear 1.9",
    "no network & \"more\"",
    "<script>document.title='pwned'</script>",
    "<img src=x onerror=\"document.title='pwned'\">",
];

#[tokio::test]
async fn the_page_is_complete_without_javascript_and_foreign_names_are_text() {
    let place = Place::new("page-plain", 1).await;
    populate(&place, HOSTILE).await;
    let reply = place.server.request("GET", "/", "", "").await;
    assert_eq!(reply.status, 200);
    let policy = "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                  form-action 'self'; base-uri 'none'; frame-ancestors 'none'\r\n";
    assert!(reply.head.contains(policy), "{}", reply.head);
    assert!(
        !reply.body.contains("<script>") && !reply.body.contains("<img"),
        "{}",
        reply.body
    );
    assert!(
        !reply.body.contains("style=") && !reply.body.contains(" onclick"),
        "{}",
        reply.body
    );

    let browser = Browser::open(WIDE.0, WIDE.1).await;
    browser
        .devtools(
            "Emulation.setScriptExecutionDisabled",
            json!({"value": true}),
        )
        .await;
    browser.go(&url(&place.server)).await;
    let text = browser.text().await;
    for shown in SHOWN {
        assert!(text.contains(shown), "{shown}: {text}");
    }
    // The form works by itself.
    browser
        .go(&format!("{}?q=sick&state=&version=", url(&place.server)))
        .await;
    let text = browser.text().await;
    assert!(
        text.contains("1 shown of 1 that match; 4 nodes are known."),
        "{text}"
    );

    let browser = Browser::open(WIDE.0, WIDE.1).await;
    browser.go(&url(&place.server)).await;
    let text = browser
        .shows("Live: changes are shown as they happen.")
        .await;
    for shown in SHOWN {
        assert!(text.contains(shown), "{shown}: {text}");
    }
    let title = browser.run("return document.title").await;
    assert_eq!(title, "(!) 1 out, 2 waiting - pointsman");
    assert_eq!(browser.complaints().await, Vec::<String>::new());
    // Another site's script is not run, nor one in the page.
    browser.run("const s = document.createElement('script'); s.textContent = 'document.title = 1'; document.body.append(s)").await;
    assert_eq!(browser.run("return document.title").await, title);
    assert!(browser.complaints().await[0].contains("Content Security Policy"));
}

/// The picture of the pages in docs/: `PICTURES=docs cargo test --test it -- serve::page::a_picture` takes it again.
#[tokio::test]
async fn a_picture_of_the_page_is_taken() {
    let place = Place::new("page-picture", 1).await;
    populate(&place, ["next-2", "node-3"]).await;
    in_waves(&place).await;
    let browser = Browser::open(WIDE.0, WIDE.1).await;
    let tall = json!({"width": WIDE.0, "height": 1600, "deviceScaleFactor": 1, "mobile": false});
    browser
        .devtools("Emulation.setDeviceMetricsOverride", tall)
        .await;
    browser.go(&url(&place.server)).await;
    browser.shows("Live: ").await;
    let scratch = scratch::dir("picture");
    let folder = std::env::var_os("PICTURES");
    let folder = folder.map_or_else(|| scratch.path().to_owned(), Into::into);
    let path = folder.join("page.png");
    browser.picture(&path).await;
    assert!(std::fs::read(&path).unwrap().starts_with(b"\x89PNG"));
}

/// Where etcd is away the page shows what it was, and says that it is not live.
#[tokio::test]
async fn where_etcd_is_away_the_page_shows_what_it_was() {
    let place = Place::new("page-away", 1).await;
    let proxy = Proxy::start(shared_cluster().address(0)).await;
    let server = Server::at(&[proxy.url()], &place.prefix, &["--timeout", "500ms"]).await;
    server.takes("still-here").await;
    let browser = Browser::open(WIDE.0, WIDE.1).await;
    browser.go(&url(&server)).await;
    browser.shows("still-here").await;
    browser.shows("Live: changes").await;
    proxy.set(Mode::Refuse).await;
    let text = browser
        .shows("Not live: the server cannot read the store")
        .await;
    assert!(text.contains("still-here"), "{text}");
    assert!(
        text.contains("Not live: what is shown may have changed since."),
        "{text}"
    );
    assert!(!text.contains("Live: changes"), "{text}");
    proxy.set(Mode::Pass).await;
    let text = browser.shows("Live: changes").await;
    assert!(!text.contains("Not live"), "{text}");
    // One that has never read it shows nothing, and says why.
    proxy.set(Mode::Refuse).await;
    let late = Server::at(&[proxy.url()], &place.prefix, &["--timeout", "500ms"]).await;
    let reply = late.request("GET", "/", "", "").await;
    assert!(
        reply.status == 503 && reply.body.contains("Not live: "),
        "{reply:?}"
    );
}

#[tokio::test]
async fn a_change_in_etcd_is_on_the_page_within_a_second_and_after_a_restart() {
    let place = Place::new("page-live", 1).await;
    let browser = Browser::open(WIDE.0, WIDE.1).await;
    browser.go(&url(&place.server)).await;
    browser.shows("Live: ").await;
    // The fastest counts: other tests run beside this one.
    let mut fastest = i64::MAX;
    for id in ["live-1", "live-2", "live-3"] {
        // What is shown when is noted on the page: asking takes time.
        let watch = format!(
            "window.seen = new Promise(done => new MutationObserver((_, me) => {{
                 if (!document.body.innerText.includes('{id}')) return;
                 me.disconnect(); done(Date.now());
             }}).observe(document.body, {{subtree: true, childList: true, characterData: true}}));"
        );
        browser.run(&watch).await;
        let begun = jiff::Timestamp::now().as_millisecond();
        place.server.takes(id).await;
        let seen = browser.run("return window.seen").await.as_i64().unwrap();
        fastest = fastest.min(seen - begun);
        place.server.releases(id).await;
    }
    assert!(fastest < 1000, "{fastest} ms");
    // The server goes and comes back at the same address; the page finds it again by itself.
    let address = place.server.address.to_string();
    place
        .server
        .child
        .signal(pointsman_testbed::process::Signal::SIGTERM);
    place.server.child.wait().await;
    browser.shows("The connection is lost; trying again.").await;
    let endpoints = shared_cluster().endpoints();
    let again = Server::at(&endpoints, &place.prefix, &["--listen", &address]).await;
    again.takes("meanwhile").await;
    browser.shows("meanwhile").await;
    browser.shows("Live: ").await;
}

/// How fast that is stands in docs/explanation/performance.md: a test says only that it works.
#[tokio::test]
async fn ten_thousand_nodes_are_shown_and_filtered() {
    let cluster = Cluster::start(1).await;
    let semaphore = on(&cluster, "p");
    found(&semaphore).await;
    let keys = semaphore.keys();
    let mut client = cluster.client().await;
    for chunk in (0..10_000u32).collect::<Vec<_>>().chunks(100) {
        let puts = chunk.iter().map(|n| {
            let said = NodeRecord {
                id: format!("{n:032x}"),
                hostname: format!("node-{n:05}"),
                runs: version(if n % 3 == 0 { "2" } else { "1" }),
                state: if n % 7 == 0 { "queued" } else { "idle" }.into(),
                ..node("x")
            };
            etcd_client::TxnOp::put(
                keys.node(&said.id),
                serde_json::to_string(&said).unwrap(),
                None,
            )
        });
        let txn = etcd_client::Txn::new().and_then(puts.collect::<Vec<_>>());
        client.txn(txn).await.unwrap();
    }
    let server = Server::at(&cluster.endpoints(), "p", &[]).await;
    let browser = Browser::open(WIDE.0, WIDE.1).await;
    browser.go(&url(&server)).await;
    browser
        .shows("100 shown of 10000 that match; 10000 nodes are known.")
        .await;
    browser.shows("Live: ").await;
    let filter = "
        const q = document.getElementById('q');
        q.value = 'node-09999';
        q.dispatchEvent(new Event('input', {bubbles: true}));
        const from = performance.now();
        return new Promise(done => {
            const look = () => document.body.innerText.includes('1 shown of 1 that match')
                ? done(performance.now() - from) : setTimeout(look, 10);
            look();
        });";
    let filtered = browser.run(filter).await;
    assert!(filtered.is_number(), "{filtered}");
    browser.go(&format!("{}?all=1", url(&server))).await;
    browser.shows("10000 shown of 10000 that match").await;
}

/// Two hundred that follow are fed by one watch, and each hears of each change.
#[tokio::test]
async fn two_hundred_streams_share_one_watch() {
    let cluster = Cluster::start(1).await;
    let semaphore = on(&cluster, "p");
    found(&semaphore).await;
    let server = Server::at(&cluster.endpoints(), "p", &[]).await;
    let request = "GET /api/v1/events HTTP/1.1\r\nhost: x\r\n\r\n";
    let before = cluster.requests().await;
    let mut streams = Vec::new();
    for _ in 0..200 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        streams.push(stream);
    }
    let mut heard = vec![String::new(); streams.len()];
    let hear = async |streams: &mut Vec<TcpStream>, heard: &mut Vec<String>, number: &str| {
        for (stream, heard) in streams.iter_mut().zip(heard) {
            let more = async {
                while !heard.contains(number) {
                    let mut bytes = [0; 4096];
                    let read = stream.read(&mut bytes).await.unwrap();
                    assert!(read > 0, "the stream ended: {heard}");
                    *heard += std::str::from_utf8(&bytes[..read]).unwrap();
                }
            };
            timeout(PATIENCE, more).await.expect("it is told");
        }
    };
    // The watch has begun.
    hear(&mut streams, &mut heard, "retry: 1000").await;
    eventually(
        "one watch",
        async || cluster.requests().await.since(&before).watch,
        |n| *n == 1,
    )
    .await;
    server.takes("a").await;
    hear(&mut streams, &mut heard, "data: 2").await;
    assert_eq!(cluster.requests().await.since(&before).watch, 1);
    assert!(
        heard[0].contains("content-type: text/event-stream"),
        "{}",
        heard[0]
    );
    // It ends at once when it is told to, whoever follows.
    let begun = Instant::now();
    server
        .child
        .signal(pointsman_testbed::process::Signal::SIGTERM);
    assert!(server.child.wait().await.success());
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "{:?}",
        begun.elapsed()
    );
}

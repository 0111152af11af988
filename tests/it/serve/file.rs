//! Places in a file.

use std::fs;

use pointsman_testbed::process::{Signal, run};

use super::*;

fn places(text: &str) -> tempfile::TempDir {
    let dir = scratch::dir("places");
    fs::write(dir.path().join("places.json"), text).unwrap();
    dir
}

async fn started(args: &[&str]) -> pointsman_testbed::process::Output {
    let all = [&["serve", "--listen", "127.0.0.1:0"], args].concat();
    run(bin(), all, &[], PATIENCE).await
}

#[tokio::test]
async fn a_file_that_is_missing_or_wrong_is_named_at_the_start() {
    let dir = places("{");
    let root = dir.path().display().to_string();
    for (args, says) in [
        (
            &["--store", "file:/none.json"][..],
            "none.json: found no such file\nto create it, where one node may be out of service at a time: \
             echo '{\"groups\":{\"default\":{\"max\":1}}}' >/none.json",
        ),
        (
            &["--store", "file:/places.json"],
            "places.json: EOF while parsing",
        ),
        (&["--store", "file:/"], "found a directory, expected a file"),
        (
            &["--store", "file:"],
            "expected etcd, or file: and an absolute path",
        ),
        (
            &["--store", "paper"],
            "expected etcd, or file: and an absolute path",
        ),
        (
            &["--store", "file:/places.json", "--endpoint", "h:1"],
            "--endpoint cannot be used with --store file:PATH: it does not use etcd",
        ),
    ] {
        let output = started(&[&["--root", &root], args].concat()).await;
        assert_eq!(output.code, Some(2), "{args:?}: {output:?}");
        assert!(output.stderr.contains(says), "{args:?}: {}", output.stderr);
    }
}

#[tokio::test]
async fn groups_are_those_of_the_file_and_limits_change_without_a_restart() {
    let place = Place::within(Store::File, "serve-file", 1).await;
    let (status, kind, value) = place.server.call("pre-reboot", "a", "web").await.refusal();
    assert_eq!((status, kind.as_str()), (423, "semaphore_missing"));
    assert_eq!(
        value,
        "the file has no group \"web\": add it there, with its max"
    );
    assert_eq!(
        place.server.call("steady-state", "a", "web").await.status,
        200
    );
    place.server.takes("a").await;
    place.server.refused("b", "semaphore_full").await;
    place.set_max(2).await;
    place.server.takes("b").await;
    // A person ends the hold of a node that is gone for good.
    let mut json = read_places(&place.dir);
    json["groups"]["default"]["holders"]
        .as_object_mut()
        .unwrap()
        .remove("a");
    let path = place.dir.path().join("places.json");
    fs::write(&path, json.to_string()).unwrap();
    place.server.takes("c").await;
    let reply = place.server.request("GET", "/api/v1/status", "", "").await;
    let status: Value = serde_json::from_str(&reply.body).unwrap();
    let group = &status["groups"][0];
    assert_eq!(
        (&group["group"], &group["max"], &group["available"]),
        (&json!(""), &json!(2), &json!(0))
    );
    assert_eq!(group["holders"][1]["id"], "c");
    assert_eq!(group["holders"][1]["via"], "fleet-lock");
    assert_eq!(
        group["holders"][1]["reason"],
        "FleetLock client at 127.0.0.1"
    );
    let page = place.server.request("GET", "/", "", "").await;
    assert!(
        page.body
            .contains("The places are in the file /places.json, without etcd."),
        "{page:?}"
    );
    // No command would reach what is in a file.
    assert!(
        page.body.contains("remove it from the file") && !page.body.contains("pointsman unlock"),
        "{page:?}"
    );
    let metrics = place.server.request("GET", "/metrics", "", "").await;
    assert!(
        metrics.body.contains("pointsman_group_max{group=\"\"} 2\n")
            && !metrics.body.contains("etcd_up"),
        "{metrics:?}"
    );
    // What cannot be read any more takes and releases nothing, and is not replaced.
    fs::write(&path, "oops").unwrap();
    for call in ["pre-reboot", "steady-state"] {
        let (status, kind, value) = place.server.call(call, "c", "default").await.refusal();
        assert_eq!((status, kind.as_str()), (503, "storage_unavailable"));
        assert!(
            value.contains("places.json: expected value at line 1"),
            "{value}"
        );
    }
    let status = async || place.server.request("GET", "/api/v1/status", "", "").await;
    eventually("the status says so", status, |reply| {
        reply.status == 503 && reply.body.contains("places.json: expected value at line 1")
    })
    .await;
    assert_eq!(fs::read_to_string(&path).unwrap(), "oops");
}

/// Whatever was answered with 200 is in the file, also where the server is killed while a hundred clients ask.
#[tokio::test]
async fn what_was_answered_is_on_the_disk_when_the_server_is_killed() {
    let place = Place::within(Store::File, "serve-file-killed", 1000).await;
    let clients: Vec<_> = (0..100)
        .map(|n| {
            let address = place.server.address;
            tokio::spawn(async move {
                let id = format!("client-{n:03}");
                let request = request("POST", "/v1/pre-reboot", TRUE, &params(&id, "default"));
                let mut stream = TcpStream::connect(address).await.ok()?;
                stream.write_all(request.as_bytes()).await.ok()?;
                let mut answer = String::new();
                let _ = stream.read_to_string(&mut answer).await;
                answer.starts_with("HTTP/1.1 200").then_some(id)
            })
        })
        .collect();
    eventually(
        "some have their place",
        async || place.holders().await.len(),
        |taken| *taken >= 10,
    )
    .await;
    place.server.child.signal(Signal::SIGKILL);
    let mut answered = Vec::new();
    for client in clients {
        answered.extend(client.await.unwrap());
    }
    let holders = place.holders().await;
    assert!(answered.len() >= 5, "{answered:?}");
    for id in &answered {
        assert!(
            holders.contains(id),
            "{id} was answered, and is in none of {holders:?}"
        );
    }
    let again = place.replica().await;
    for id in &answered {
        again.takes(id).await;
        again.releases(id).await;
    }
}

/// Whoever edits the file by a program locks it as the server does. A lock that is never released is told after a time.
#[tokio::test]
async fn a_file_that_somebody_else_locks_is_waited_for() {
    let place = Place::within(Store::File, "serve-file-locked", 1).await;
    let lock = place.dir.path().join("places.json.lock");
    place.server.takes("a").await;
    let file = fs::File::open(&lock).unwrap();
    let lock = nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusive).unwrap();
    let (status, kind, value) = place.server.steady_state("a").await.refusal();
    assert_eq!(
        (status, kind.as_str()),
        (503, "storage_unavailable"),
        "{value}"
    );
    assert!(
        value.contains("somebody else has locked it for more than 5 seconds"),
        "{value}"
    );
    drop(lock);
    place.server.releases("a").await;
}

//! Status codes and kinds, and the forms in which clients ask.

use super::*;

on_both_stores!(
    places_are_taken_and_given_back_as_other_servers_do,
    a_request_that_is_not_of_the_protocol_says_what_is_wrong,
    a_call_is_answered_in_every_form_in_which_clients_send_it,
);

/// What the servers in the field test of themselves: one place, a second call for it, three places and their order.
async fn places_are_taken_and_given_back_as_other_servers_do(store: Store) {
    let place = Place::within(store, "serve-places", 1).await;
    place.server.takes("a").await;
    assert_eq!(place.holders().await, ["a"]);
    place.server.takes("a").await;
    assert_eq!(place.holders().await, ["a"]);
    place.server.refused("b", "semaphore_full").await;
    place.server.releases("a").await;
    assert_eq!(place.holders().await, Vec::<String>::new());
    place.set_max(3).await;
    for id in ["c", "a", "b"] {
        place.server.takes(id).await;
    }
    assert_eq!(place.holders().await, ["a", "b", "c"]);
    place.server.releases("b").await;
    place.server.releases("b").await;
    assert_eq!(place.holders().await, ["a", "c"]);
    // Upper and lower case are two ids.
    place.server.takes("A").await;
    assert_eq!(place.holders().await, ["A", "a", "c"]);
}

/// Zincati asks this first, before it does anything else, until it is answered with 200.
#[tokio::test]
async fn who_holds_nothing_gives_it_back_all_the_same() {
    // Nobody has ever used the group.
    let prefix = unique_prefix("serve-first");
    let server = Server::at(&shared_cluster().endpoints(), &prefix, &[]).await;
    server.releases("978a225b3d7b40e9acd7ce9b62f68444").await;
    let reply = server.call("steady-state", "a", "another-group").await;
    assert_eq!(reply.status, 200);
    // And the document is broken.
    let semaphore = on(shared_cluster(), &prefix);
    let mut client = shared_cluster().client().await;
    let key = semaphore.keys().semaphore();
    client.put(key, "{", None).await.unwrap();
    server.releases("a").await;
    let (status, kind, value) = server.pre_reboot("a").await.refusal();
    assert_eq!(
        (status, kind.as_str()),
        (423, "semaphore_unusable"),
        "{value}"
    );
    assert!(value.contains("pointsman set-max N --rebuild"), "{value}");
}

async fn a_request_that_is_not_of_the_protocol_says_what_is_wrong(store: Store) {
    let place = Place::within(store, "serve-strict", 1).await;
    let server = &place.server;
    let good = params("a", "default");
    let cases: &[(&str, &str, &str, &str, u16, &str)] = &[
        ("POST", "/v1/pre-reboot", "", &good, 400, "missing_header"),
        ("POST", "/v1/steady-state", "", &good, 400, "missing_header"),
        (
            "POST",
            "/v1/pre-reboot",
            "fleet-lock-protocol: false\r\n",
            &good,
            400,
            "missing_header",
        ),
        (
            "POST",
            "/v1/pre-reboot",
            "fleet-lock-protocol:\r\n",
            &good,
            400,
            "missing_header",
        ),
        ("GET", "/v1/pre-reboot", TRUE, "", 405, "method_not_allowed"),
        (
            "PUT",
            "/v1/steady-state",
            TRUE,
            &good,
            405,
            "method_not_allowed",
        ),
        (
            "BREW",
            "/v1/steady-state",
            TRUE,
            &good,
            405,
            "method_not_allowed",
        ),
        ("POST", "/healthz", TRUE, &good, 405, "method_not_allowed"),
        ("POST", "/", TRUE, &good, 405, "method_not_allowed"),
        ("POST", "/nowhere", TRUE, &good, 404, "not_found"),
        ("GET", "/v1", TRUE, "", 404, "not_found"),
        ("POST", "/v1/pre-reboot/", TRUE, &good, 404, "not_found"),
        ("POST", "/v2/pre-reboot", TRUE, &good, 404, "not_found"),
        ("POST", "/v1/pre-reboot", TRUE, "", 400, "decode_error"),
        (
            "POST",
            "/v1/pre-reboot",
            TRUE,
            "id=a&group=b",
            400,
            "decode_error",
        ),
        ("POST", "/v1/steady-state", TRUE, "{}", 400, "decode_error"),
        (
            "POST",
            "/v1/pre-reboot",
            TRUE,
            &params("", "default"),
            400,
            "bad_id",
        ),
        (
            "POST",
            "/v1/steady-state",
            TRUE,
            &params("", "default"),
            400,
            "bad_id",
        ),
        (
            "POST",
            "/v1/pre-reboot",
            TRUE,
            &params("a", ""),
            400,
            "bad_group",
        ),
        (
            "POST",
            "/v1/pre-reboot",
            TRUE,
            &params("a", "a/b"),
            400,
            "bad_group",
        ),
        (
            "POST",
            "/v1/steady-state",
            TRUE,
            &params("a", "ü"),
            400,
            "bad_group",
        ),
    ];
    for (method, path, headers, body, status, kind) in cases {
        let reply = server.request(method, path, headers, body).await;
        assert_eq!(
            reply.kind(),
            (*status, (*kind).to_owned()),
            "{method} {path} {headers} {body}: {reply:?}"
        );
        if *status == 405 {
            let expected = if path.starts_with("/v1") {
                "allow: post"
            } else {
                "allow: get, head"
            };
            assert!(reply.head.contains(expected), "{reply:?}");
        }
    }
    assert_eq!(place.holders().await, Vec::<String>::new());
    // HTTP's own errors come before all of that.
    assert_eq!(server.send(b"HELLO\r\n\r\n").await.status, 400);
    // An old client without keep-alive.
    let old = format!(
        "POST /v1/pre-reboot HTTP/1.0\r\n{TRUE}content-length: {}\r\n\r\n{good}",
        good.len()
    );
    assert_eq!(server.send(old.as_bytes()).await.status, 200);
}

async fn a_call_is_answered_in_every_form_in_which_clients_send_it(store: Store) {
    let place = Place::within(store, "serve-forms", 1).await;
    let server = &place.server;
    // As serde_json and Go write it, with more than is needed.
    let pretty =
        "{\n  \"client_params\": {\n    \"id\": \"a\",\n    \"group\": \"default\"\n  }\n}\n";
    let more = r#"{"client_params":{"group":"default","id":"a","version":9},"other":null}"#;
    for body in [pretty, more] {
        for kind in [
            "",
            "content-type: application/json\r\n",
            "content-type: text/plain; charset=latin1\r\n",
            "accept: text/html\r\nuser-agent: zincati/0.0.32\r\n",
        ] {
            for base in ["", "/fleet", "/fleet/lock/", "/%7Ea//"] {
                for call in ["steady-state", "pre-reboot", "steady-state"] {
                    let path = format!("{base}/v1/{call}");
                    let headers = format!("Fleet-Lock-Protocol: true\r\n{kind}");
                    let reply = server.request("POST", &path, &headers, body).await;
                    assert_eq!(
                        (reply.status, reply.body.as_str()),
                        (200, ""),
                        "{path} {headers}"
                    );
                }
            }
        }
    }
    // In pieces, and after the server has said that it may come.
    let body = params("a", "default");
    let chunked = format!(
        "POST /v1/pre-reboot HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{TRUE}transfer-encoding: chunked\r\n\r\n{:x}\r\n{}\r\n{:x}\r\n{}\r\n0\r\n\r\n",
        5,
        &body[..5],
        body.len() - 5,
        &body[5..]
    );
    assert_eq!(server.send(chunked.as_bytes()).await.status, 200);
    let expects = request(
        "POST",
        "/v1/steady-state",
        &format!("{TRUE}expect: 100-continue\r\n"),
        &body,
    );
    let reply = server.send(expects.as_bytes()).await;
    assert!(
        reply.status == 100 && reply.body.contains("200 OK"),
        "{reply:?}"
    );
    assert_eq!(place.holders().await, Vec::<String>::new());
    let reply = server.request("GET", "/healthz", "", "").await;
    assert_eq!((reply.status, reply.body.as_str()), (200, "ok\n"));
}

#[tokio::test]
async fn ids_of_any_length_and_characters_are_safe_as_keys() {
    let place = Place::new("serve-ids", 100).await;
    let long = "x".repeat(60_000);
    let ids = [
        "a/b",
        "../semaphore",
        "semaphore",
        "/",
        "%2F",
        ".",
        "..",
        " ",
        "\0",
        "a\nb",
        "ü",
        "\u{202e}",
        "fleet-lock:a",
        "\"}",
        &long,
    ];
    let mut client = shared_cluster().client().await;
    let all = async |client: &mut etcd_client::Client| {
        let options = etcd_client::GetOptions::new()
            .with_prefix()
            .with_keys_only();
        let found = client
            .get(place.prefix.as_str(), Some(options))
            .await
            .unwrap();
        found
            .kvs()
            .iter()
            .map(|kv| kv.key_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let before = all(&mut client).await;
    for id in ids {
        place.server.takes(id).await;
        place.server.takes(id).await;
    }
    assert_eq!(place.holders().await.len(), ids.len());
    for key in all(&mut client).await {
        let below = key
            .strip_prefix(&format!("{}/", place.prefix))
            .unwrap_or(&key);
        let parts: Vec<&str> = below.split('/').collect();
        let one = ["holders", "deadlines"].contains(&parts[0]) && parts.len() == 2;
        assert!(one || before.contains(&key), "{key}");
    }
    for id in ids {
        place.server.releases(id).await;
    }
    assert_eq!(all(&mut client).await, before);
}

#[tokio::test]
async fn groups_are_those_of_the_agents() {
    let place = Place::new("serve-groups", 1).await;
    // A group that nobody has created takes nothing, and says how to create it.
    let (status, kind, value) = place.server.call("pre-reboot", "a", "web").await.refusal();
    assert_eq!((status, kind.as_str()), (423, "semaphore_missing"));
    assert!(
        value.ends_with("pointsman set-max N --group web"),
        "{value}"
    );
    let web = place
        .semaphore
        .of_group(host::node::Group::new("web").unwrap());
    web.set_max(1, false).await.unwrap();
    assert_eq!(
        place.server.call("pre-reboot", "a", "web").await.status,
        200
    );
    // The same id in another group is another node.
    place.server.takes("a").await;
    assert_eq!(web.read().await.unwrap().holders.len(), 1);
    assert_eq!(
        place.server.call("steady-state", "a", "web").await.status,
        200
    );
    assert_eq!(web.read().await.unwrap().holders.len(), 0);
    assert_eq!(place.holders().await, ["a"]);
}

/// FleetLock's name of the unnamed group would mean two groups.
#[tokio::test]
async fn a_group_called_default_is_refused() {
    let prefix = unique_prefix("serve-default");
    let named = on(shared_cluster(), &prefix).of_group(host::node::Group::new("default").unwrap());
    named.set_max(1, false).await.unwrap();
    let endpoints = shared_cluster().endpoints().join(",");
    let args = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--endpoint",
        &endpoints,
        "--key-prefix",
        &prefix,
    ];
    let output = pointsman_testbed::process::run(bin(), args, &[], PATIENCE).await;
    assert_eq!(output.code, Some(2), "{output:?}");
    assert!(
        output.stderr.contains(
            "etcd has a group called `default`, and FleetLock means the unnamed group by that name"
        ),
        "{output:?}"
    );
}

//! Files, servers, and what the kernel's command line names.

use std::{fs, time::Duration};

use host::node::Root;
use pointsman_testbed::{
    etcd::Certificates,
    scratch,
    web::{Reply, Web},
};
use sha2::{Digest as _, Sha256};

use super::{GOOD, ask, one, refused, validate, validate_with};
use crate::support::eventually;

fn sha256(text: &str) -> String {
    let hash = Sha256::digest(text);
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn file_is_read_and_folder_is_refused() {
    let dir = scratch::dir("file");
    let path = dir.path().join("node.yaml").display().to_string();
    let why = refused(&path).await;
    assert!(
        why.starts_with(&path) && why.contains("No such file"),
        "{why}"
    );
    fs::write(&path, GOOD).unwrap();
    let fetched = one(&path).await.unwrap();
    assert_eq!(
        (fetched.user_data.as_slice(), fetched.origin.as_str()),
        (GOOD.as_bytes(), path.as_str())
    );
    let folder = dir.path().display().to_string();
    let why = refused(&folder).await;
    assert!(why.contains("directory"), "{why}");
    // One byte more than a document may have.
    let large = dir.path().join("large");
    fs::File::create(&large)
        .unwrap()
        .set_len((64 << 20) + 1)
        .unwrap();
    let why = refused(large.to_str().unwrap()).await;
    assert!(why.contains("found more than 67108864 bytes"), "{why}");
}

#[tokio::test]
async fn awaited_file_is_read_when_it_appears() {
    let dir = scratch::dir("file");
    let path = dir.path().join("node.yaml");
    let appears = dir.path().join("node.yaml.new");
    fs::write(&appears, GOOD).unwrap();
    let name = path.display().to_string();
    // What is asked beside it tells that it was asked, too.
    let web = Web::serve(|_, _| Reply::missing()).await;
    let both = [name.as_str(), web.url()];
    let waiting = ask(&both, Root::default(), Some(Duration::from_secs(30)));
    let appearing = async {
        eventually("asked", async || web.seen(), |seen| !seen.is_empty()).await;
        fs::rename(&appears, &path).unwrap();
    };
    let (fetched, ()) = tokio::join!(waiting, appearing);
    assert_eq!(fetched.unwrap().user_data, GOOD.as_bytes());
}

#[tokio::test]
async fn files_of_installers_are_read_under_the_root() {
    let root = scratch::dir("installed");
    for (source, path) in [
        ("vagrant", "var/lib/coreos-vagrant/vagrantfile-user-data"),
        ("vagrant", "var/lib/flatcar-vagrant/vagrantfile-user-data"),
        ("install", "var/lib/coreos-install/user_data"),
        ("install", "var/lib/flatcar-install/user_data"),
    ] {
        let path = root.path().join(path);
        let at = Root::new(root.path());
        if let Some((before, rest)) = path.to_str().unwrap().split_once("coreos") {
            let why = ask(&[source], at.clone(), None)
                .await
                .unwrap_err()
                .to_string();
            let neither = format!("found neither {before}flatcar{rest} nor {before}coreos{rest}");
            assert!(why.ends_with(&neither), "{why}");
        }
        let text = format!("{GOOD}# {}\n", path.display());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, &text).unwrap();
        // The newer name comes first.
        let fetched = ask(&[source], at, None).await.unwrap();
        assert_eq!(fetched.user_data, text.as_bytes());
        assert_eq!(fetched.origin, source);
    }
}

#[tokio::test]
async fn server_redirects_are_followed_and_hash_is_checked() {
    let web = Web::serve(|request, _| match request.path.as_str() {
        "/a?x=1" => Reply::Redirect("/b".into()),
        "/b" => Reply::ok(GOOD),
        _ => Reply::missing(),
    })
    .await;
    let url = format!("{}/a?x=1", web.url());
    let fetched = one(&url).await.unwrap();
    assert_eq!(
        (fetched.user_data.as_slice(), fetched.origin),
        (GOOD.as_bytes(), format!("{}/a?***", web.url()))
    );
    let paths: Vec<String> = web.seen().into_iter().map(|request| request.path).collect();
    assert_eq!(paths, ["/a?x=1", "/b"]);

    let good = sha256(GOOD);
    one(&format!("{url}#sha256={}", good.to_uppercase()))
        .await
        .unwrap();
    let asked = web.seen().len();
    let other = sha256("other");
    let why = refused(&format!("{url}#sha256={other}")).await;
    assert!(
        why.contains(&format!("found SHA-256 {good}, expected {other}")),
        "{why}"
    );
    assert_eq!(web.seen().len(), asked + 2, "asking again does not help");
}

#[tokio::test]
async fn a_password_is_sent_and_not_shown() {
    let web = Web::serve(|request, _| match request.headers.get("authorization") {
        Some(given) if given == "Basic dXNlcjpzZWNyZXQ=" => Reply::Body(403, Vec::new()),
        _ => Reply::missing(),
    })
    .await;
    let url = web.url().replace("http://", "http://user:secret@");
    let why = refused(&format!("{url}/x?token=secret")).await;
    assert!(
        why.contains("status 403") && why.contains("user:***@") && why.contains("/x?***"),
        "{why}"
    );
    assert!(!why.contains("secret"), "{why}");
}

#[tokio::test]
async fn kernel_command_line_names_a_document() {
    let web = Web::serve(|request, _| match request.path.as_str() {
        "/node" => Reply::ok(GOOD),
        _ => Reply::missing(),
    })
    .await;
    let root = scratch::dir("cmdline");
    fs::create_dir_all(root.path().join("proc")).unwrap();
    let with = async |line: String| {
        fs::write(root.path().join("proc/cmdline"), line).unwrap();
        ask(&["cmdline"], Root::new(root.path()), None).await
    };
    let line = format!("quiet cloud_config_url={}/node ro\n", web.url());
    let fetched = with(line).await.unwrap();
    assert_eq!(
        (fetched.user_data.as_slice(), fetched.origin.as_str()),
        (GOOD.as_bytes(), "cmdline")
    );
    for (line, words) in [
        (
            "quiet ro\n".to_owned(),
            "found no cloud-config-url=, expected one",
        ),
        (
            "cloud-config-url=node.yaml\n".to_owned(),
            "cloud-config-url=node.yaml: found no URL",
        ),
        (
            format!("cloud-config-url={}/other", web.url()),
            "found status 404, expected 200",
        ),
    ] {
        let why = with(line).await.unwrap_err().to_string();
        assert!(why.contains(words) && why.starts_with("cmdline: "), "{why}");
    }
}

#[tokio::test]
async fn server_is_trusted_by_the_systems_authorities() {
    let dir = scratch::dir("tls");
    let certificates = Certificates::write(dir.path());
    let serve =
        async |cert| Web::with_tls(cert, &certificates.server_key, |_, _| Reply::ok(GOOD)).await;
    let web = serve(&certificates.server_cert).await;
    let system = [("SSL_CERT_FILE", certificates.ca.to_str().unwrap())];
    let called = validate_with(&[web.url()], &system).await;
    assert_eq!((called.code, called.stderr.as_str()), (Some(0), ""));

    // Nobody trusts it, and that does not change.
    let called = validate(&["--wait", "20s", web.url()]).await;
    assert_eq!(called.code, Some(1));
    assert!(
        called.stderr.contains("UnknownIssuer")
            && called.stderr.contains(
                "add the authority that signed its certificate to the system's trusted authorities"
            ),
        "{}",
        called.stderr
    );
    assert_eq!(web.seen().len(), 1, "nothing is asked of a stranger");

    // A system without any authorities trusts nobody; what needs no trust works there.
    let none = [("SSL_CERT_FILE", "/dev/null"), ("SSL_CERT_DIR", "/none")];
    let called = validate_with(&[web.url()], &none).await;
    assert_eq!(called.code, Some(1));
    assert!(called.stderr.contains("UnknownIssuer"), "{}", called.stderr);
    let plain = Web::with_text(GOOD).await;
    let called = validate_with(&[plain.url()], &none).await;
    assert_eq!((called.code, called.stderr.as_str()), (Some(0), ""));

    // To a clock at 1970 every certificate is of the future; the clock may be set, so that this is worth waiting for.
    let early = serve(&certificates.early_cert).await;
    let called = validate_with(&["--wait", "600ms", early.url()], &system).await;
    assert_eq!(called.code, Some(1));
    assert!(
        called
            .stderr
            .contains("check this machine's clock with `timedatectl`"),
        "{}",
        called.stderr
    );
}

#[tokio::test]
async fn certificate_error_names_its_remedy() {
    let dir = scratch::dir("tls");
    let all = Certificates::write(dir.path());
    let authority = "the server's certificate is an authority's own (CA:TRUE), expected a server's (CA:FALSE); give \
                     the server a certificate with basicConstraints CA:FALSE";
    let own = (&all.own_cert, &all.server_key);
    for ((cert, key), trusted, words) in [
        (own, &all.ca, authority),
        // Trusting it does not help, so that nobody is told to.
        (own, &all.own_cert, authority),
        (
            (&all.stranger_cert, &all.server_key),
            &all.ca,
            "the server's certificate is for elsewhere.example, expected one for 127.0.0.1; use a name that the \
             server's certificate is for",
        ),
        (
            (&all.namesake_cert, &all.namesake_key),
            &all.ca,
            "the server's certificate names a trusted authority, but was signed with another key; if it is the right server, \
             replace the trusted authority of this name by the one that signed its certificate",
        ),
        (
            (&all.plain_cert, &all.server_key),
            &all.ca,
            "the server's certificate is not signed by a trusted authority (UnknownIssuer); add the \
             authority that signed its certificate to the system's trusted authorities",
        ),
        (
            (&all.expired_cert, &all.server_key),
            &all.ca,
            "the server's certificate was valid until 2020-01-01 00:00:00 UTC, and this machine's clock shows 2",
        ),
        (
            (&all.early_cert, &all.server_key),
            &all.ca,
            "the server's certificate is valid from 2090-01-01 00:00:00 UTC on, and this machine's clock shows 2",
        ),
        (
            (&all.client_cert, &all.client_key),
            &all.ca,
            "the server's certificate is not for servers, expected one with the extended key usage serverAuth; give the \
             server another certificate",
        ),
    ] {
        let web = Web::with_tls(cert, key, |_, _| Reply::ok(GOOD)).await;
        let env = [("SSL_CERT_FILE", trusted.to_str().unwrap())];
        let called = validate_with(&[web.url()], &env).await;
        assert_eq!(called.code, Some(1), "{}", called.stderr);
        let expected = format!("pointsman: {}/: {words}", web.url());
        assert!(called.stderr.starts_with(&expected), "{}", called.stderr);
        assert_eq!(
            called.stderr.contains("trusted authorit"),
            words.contains("trusted authorit"),
            "{}",
            called.stderr
        );
    }
    // The remedy that the message names works.
    let web = Web::with_tls(&all.plain_cert, &all.server_key, |_, _| Reply::ok(GOOD)).await;
    let env = [("SSL_CERT_FILE", all.plain_cert.to_str().unwrap())];
    let called = validate_with(&[web.url()], &env).await;
    assert_eq!((called.code, called.stderr.as_str()), (Some(0), ""));
}

#[tokio::test]
async fn exit_code_tells_local_from_remote_problems() {
    let dir = scratch::dir("exit");
    let file = dir.path().join("none.yaml").display().to_string();
    for (args, code, words) in [
        (vec![file.as_str()], 2, "No such file"),
        (vec!["ftp://h/x"], 2, "unknown scheme \"ftp\""),
        (
            vec!["-", &file],
            2,
            "cannot be used together with other sources",
        ),
        (vec!["http://127.0.0.1:1/x"], 1, "refused"),
        (
            vec!["configdrive:/none"],
            2,
            "neither user_data nor meta_data.json",
        ),
        (
            vec![file.as_str(), "--wait", "soon"],
            2,
            "expected a duration",
        ),
        (
            vec![file.as_str(), "--private-ipv4", "banana"],
            2,
            "'--private-ipv4 <ADDRESS>': found \"banana\", expected an IPv4 address such as 10.0.0.4",
        ),
        (
            vec![file.as_str(), "--public-ipv4", "2001:db8::4"],
            2,
            "'--public-ipv4 <ADDRESS>': found \"2001:db8::4\", expected an IPv4 address",
        ),
        (
            vec![file.as_str(), "--public-ipv6", "10.0.0.4"],
            2,
            "'--public-ipv6 <ADDRESS>': found \"10.0.0.4\", expected an IPv6 address such as 2001:db8::4",
        ),
        (
            vec![file.as_str(), "--private-ipv6", "fe80::1%eth0"],
            2,
            "'--private-ipv6 <ADDRESS>': found",
        ),
    ] {
        let called = validate(&args).await;
        assert_eq!(called.code, Some(code), "{args:?} {}", called.stderr);
        assert!(called.stderr.contains(words), "{args:?} {}", called.stderr);
    }
}

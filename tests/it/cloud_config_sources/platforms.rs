//! Platforms: their services by the real protocols, and what they leave in files.

use std::{collections::HashMap, fs, pin::pin, time::Duration};

use cloud_config::sources::Fetched;
use host::node::Root;
use pointsman_testbed::{
    scratch,
    web::{Reply, Request, Web},
};
use serde_json::json;

use super::{GOOD, ask, one, refused, validate};

/// A document that wants all four addresses.
const WANTS: &str = "#cloud-config\nwrite_files:\n  - path: /a\n    content: \"$public_ipv4 $private_ipv4 $public_ipv6 $private_ipv6\"\n";

/// Serves these texts at these paths, to `GET`, where `may` lets a request in.
async fn serve(
    pages: &[(&str, &str)],
    may: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static,
) -> Web {
    let pages: HashMap<String, String> = pages
        .iter()
        .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))
        .collect();
    Web::serve(move |request, _| {
        may(request).unwrap_or_else(|| match pages.get(&request.path) {
            Some(text) if request.method == "GET" => Reply::ok(text.as_str()),
            Some(_) => Reply::Body(405, Vec::new()),
            None => Reply::missing(),
        })
    })
    .await
}

/// What is known of the node, in one line.
fn known(fetched: &Fetched) -> String {
    let metadata = &fetched.metadata;
    let addresses = &metadata.addresses;
    let all = [
        &metadata.hostname,
        &addresses.public_ipv4,
        &addresses.private_ipv4,
        &addresses.public_ipv6,
        &addresses.private_ipv6,
    ];
    let all = all.map(|text| text.as_deref().unwrap_or("-"));
    format!("{} [{}]", all.join(" "), metadata.ssh_keys.join(", "))
}

const EC2: [(&str, &str); 9] = [
    (
        "/latest/meta-data/",
        "hostname\nlocal-ipv4\npublic-ipv4\npublic-keys/\n",
    ),
    ("/latest/meta-data/hostname", "ip-10-0-0-4.example.net"),
    ("/latest/meta-data/local-ipv4", "10.0.0.4"),
    ("/latest/meta-data/public-ipv4", "192.0.2.4"),
    ("/latest/meta-data/ipv6", "2001:db8::4"),
    ("/latest/meta-data/public-keys/", "0=ops\n1=ann"),
    (
        "/latest/meta-data/public-keys/0/openssh-key",
        "ssh-ed25519 A ops\n",
    ),
    (
        "/latest/meta-data/public-keys/1/openssh-key",
        "ssh-ed25519 B ann\n",
    ),
    ("/latest/user-data", GOOD),
];

/// IMDSv2: nothing without the token, which is had by `PUT` with its time to live.
fn token(request: &Request) -> Option<Reply> {
    let header = |name: &str| request.headers.get(name).map(String::as_str);
    if request.path == "/latest/api/token" {
        let life =
            header("x-aws-ec2-metadata-token-ttl-seconds").and_then(|life| life.parse().ok());
        return Some(match (request.method.as_str(), life) {
            ("PUT", Some(1..=21600)) => Reply::ok("SECRET=="),
            _ => Reply::Body(400, Vec::new()),
        });
    }
    (header("x-aws-ec2-metadata-token") != Some("SECRET==")).then(|| Reply::Body(401, Vec::new()))
}

#[tokio::test]
async fn ec2_is_asked_with_a_token_if_it_gives_one() {
    let expected = "ip-10-0-0-4.example.net 192.0.2.4 10.0.0.4 2001:db8::4 - [ssh-ed25519 A ops, ssh-ed25519 B ann]";
    let web = serve(&EC2, token).await;
    let fetched = one(&format!("ec2:{}", web.url())).await.unwrap();
    assert_eq!(known(&fetched), expected);
    assert_eq!(fetched.user_data, GOOD.as_bytes());
    assert_eq!(fetched.origin, format!("ec2:{}/", web.url()));

    // What speaks as EC2 did before there were tokens.
    let web = serve(&EC2, |_| None).await;
    let fetched = one(&format!("ec2:{}", web.url())).await.unwrap();
    assert_eq!(known(&fetched), expected);

    // No user data, no names, no keys: still there.
    let web = serve(&EC2[..1], token).await;
    let fetched = one(&format!("ec2:{}", web.url())).await.unwrap();
    assert_eq!(known(&fetched), "- - - - - []");
    assert_eq!(fetched.user_data, b"");

    let web = serve(&EC2, |_| Some(Reply::Body(403, Vec::new()))).await;
    let why = refused(&format!("ec2:{}", web.url())).await;
    assert!(why.contains("latest/api/token: found status 403"), "{why}");
    let web = serve(&[], |_| None).await;
    let why = refused(&format!("ec2:{}", web.url())).await;
    assert!(why.contains("latest/meta-data/: found status 404"), "{why}");
}

const META_DATA: &str = r#"{"hostname": "n1.novalocal", "public_keys": {"ops": "ssh-ed25519 A ops\n"},
    "network_config": {"content_path": "/content/0000"}}"#;

#[tokio::test]
async fn openstack_is_read_from_its_service_and_from_a_drive() {
    let web = serve(
        &[
            ("/openstack/latest/meta_data.json", META_DATA),
            ("/openstack/latest/user_data", GOOD),
            ("/openstack/content/0000", "auto eth0\n"),
            ("/latest/meta-data/local-ipv4", "10.0.0.4"),
            ("/latest/meta-data/public-ipv4", ""),
        ],
        |_| None,
    )
    .await;
    let fetched = one(&format!("openstack:{}/", web.url())).await.unwrap();
    assert_eq!(
        known(&fetched),
        "n1.novalocal - 10.0.0.4 - - [ssh-ed25519 A ops]"
    );
    assert_eq!(fetched.user_data, GOOD.as_bytes());
    assert_eq!(
        fetched.metadata.network.as_deref(),
        Some(&b"auto eth0\n"[..])
    );

    let drive = scratch::dir("drive");
    let source = format!("configdrive:{}", drive.path().display());
    let latest = drive.path().join("openstack/latest");
    fs::create_dir_all(&latest).unwrap();
    assert!(
        refused(&source)
            .await
            .contains("expected a config drive mounted at")
    );
    fs::write(latest.join("meta_data.json"), META_DATA).unwrap();
    let fetched = one(&source).await.unwrap();
    assert_eq!(known(&fetched), "n1.novalocal - - - - [ssh-ed25519 A ops]");
    assert_eq!(
        (fetched.user_data, fetched.metadata.network),
        (Vec::new(), None)
    );
    fs::write(latest.join("user_data"), GOOD).unwrap();
    let content = drive.path().join("openstack/content");
    fs::create_dir_all(&content).unwrap();
    fs::write(content.join("0000"), "auto eth0\n").unwrap();
    let fetched = one(&source).await.unwrap();
    assert_eq!(fetched.user_data, GOOD.as_bytes());
    assert_eq!(
        fetched.metadata.network.as_deref(),
        Some(&b"auto eth0\n"[..])
    );

    for (text, words) in [
        (
            "{\"hostname\": ",
            "meta_data.json: found no JSON of OpenStack: EOF while parsing",
        ),
        (
            "\"text\"",
            "meta_data.json: found no JSON of OpenStack: invalid",
        ),
        (
            " []",
            "meta_data.json: found no JSON of OpenStack: invalid type: a list, expected an object",
        ),
        (
            r#"{"network_config": {"content_path": "../../etc/shadow"}}"#,
            "expected a path on the drive",
        ),
    ] {
        fs::write(latest.join("meta_data.json"), text).unwrap();
        let why = refused(&source).await;
        assert!(why.contains(words), "{why}");
    }
}

#[tokio::test]
async fn drive_without_a_given_folder_is_read_at_its_usual_place() {
    let dir = scratch::dir("machine");
    let root = || Root::new(dir.path());
    let nothing = ask(&["configdrive"], root(), None).await.unwrap_err();
    assert!(nothing.none_here(), "{nothing}");
    let folder = dir.path().join("media/configdrive");
    let text = nothing.to_string();
    assert!(
        text.contains("expected a config drive mounted at") && text.contains("media/configdrive"),
        "{text}"
    );
    assert!(!folder.exists(), "nothing is mounted under a root");
    let latest = folder.join("openstack/latest");
    fs::create_dir_all(&latest).unwrap();
    fs::write(latest.join("user_data"), GOOD).unwrap();
    let fetched = ask(&["configdrive"], root(), None).await.unwrap();
    assert_eq!(fetched.user_data, GOOD.as_bytes());
    assert_eq!(fetched.origin, "configdrive");
}

#[tokio::test]
async fn gce_is_asked_with_its_header() {
    let instance = |attributes: serde_json::Value| {
        let text = json!({
            "attributes": attributes, "hostname": "n1.c.example.internal", "id": 1,
            "networkInterfaces": [
                {"ip": "10.0.0.4", "accessConfigs": [{"externalIp": "192.0.2.4", "type": "ONE_TO_ONE_NAT"}]},
                {"ip": "10.1.0.4", "accessConfigs": []},
            ],
        });
        text.to_string()
    };
    let project =
        json!({"attributes": {"ssh-keys": "ann:ssh-ed25519 B ann\ncore:ssh-ed25519 A ops\n"}});
    let flavor = |request: &Request| match request.headers.get("metadata-flavor") {
        Some(flavor) if flavor == "Google" => None,
        _ => Some(Reply::Body(403, Vec::new())),
    };
    for (attributes, user_data) in [
        (json!({ "user-data": GOOD }), GOOD),
        (
            json!({"user-data": "I2Nsb3VkLWNvbmZpZwo=", "user-data-encoding": "base64"}),
            "#cloud-config\n",
        ),
        (json!({}), ""),
    ] {
        let web = serve(
            &[
                (
                    "/computeMetadata/v1/instance/?recursive=true",
                    &instance(attributes),
                ),
                (
                    "/computeMetadata/v1/project/?recursive=true",
                    &project.to_string(),
                ),
            ],
            flavor,
        )
        .await;
        let fetched = one(&format!("gce:{}", web.url())).await.unwrap();
        assert_eq!(
            known(&fetched),
            "n1.c.example.internal 192.0.2.4 10.0.0.4 - - [ssh-ed25519 A ops]"
        );
        assert_eq!(fetched.user_data, user_data.as_bytes());
    }
}

#[tokio::test]
async fn digitalocean_and_packet_are_asked() {
    let droplet = json!({
        "hostname": "n1", "droplet_id": 1, "public_keys": ["ssh-ed25519 A ops"],
        "interfaces": {
            "public": [{"ipv4": {"ip_address": "192.0.2.4", "netmask": "255.255.255.0", "gateway": "192.0.2.1"},
                        "ipv6": {"ip_address": "2001:DB8::4", "cidr": 64, "gateway": "2001:DB8::1"}, "type": "public"}],
            "private": [{"ipv4": {"ip_address": "10.0.0.4", "netmask": "255.255.0.0", "gateway": "10.0.0.1"}}],
        },
    });
    let web = serve(
        &[
            ("/metadata/v1.json", &droplet.to_string()),
            ("/metadata/v1/user-data", GOOD),
        ],
        |_| None,
    )
    .await;
    let fetched = one(&format!("digitalocean:{}", web.url())).await.unwrap();
    assert_eq!(
        known(&fetched),
        "n1 192.0.2.4 10.0.0.4 2001:DB8::4 - [ssh-ed25519 A ops]"
    );
    assert_eq!(fetched.user_data, GOOD.as_bytes());

    let machine = json!({
        "hostname": "n1", "ssh_keys": ["ssh-ed25519 A ops"],
        "network": {"addresses": [
            {"address_family": 4, "address": "192.0.2.4", "public": true},
            {"address_family": 6, "address": "2001:db8::4", "public": true},
            {"address_family": 4, "address": "10.0.0.4", "public": false},
        ]},
    });
    let web = serve(
        &[("/metadata", &machine.to_string()), ("/userdata", GOOD)],
        |_| None,
    )
    .await;
    let fetched = one(&format!("packet:{}", web.url())).await.unwrap();
    assert_eq!(
        known(&fetched),
        "n1 192.0.2.4 10.0.0.4 2001:db8::4 - [ssh-ed25519 A ops]"
    );
    assert_eq!(fetched.user_data, GOOD.as_bytes());
    let web = serve(&[("/metadata", "<html>")], |_| None).await;
    let why = refused(&format!("packet:{}", web.url())).await;
    assert!(
        why.contains("/metadata: found no JSON as expected there"),
        "{why}"
    );
}

#[tokio::test]
async fn document_is_read_from_azures_agent_folder() {
    let root = scratch::dir("azure");
    let at = Root::new(root.path());
    let folder = root.path().join("var/lib/waagent");
    let why = ask(&["waagent"], at.clone(), None)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        why.contains("expected the folder of Azure's agent"),
        "{why}"
    );
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("CustomData"), "I2Nsb3VkLWNvbmZpZwo=").unwrap();
    let shared = r#"<SharedConfig><Incarnation instance="n1"/><Instances><Instance id="n1" address="10.0.0.4">
        <InputEndpoints><Endpoint loadBalancedPublicAddress="192.0.2.4:22"/></InputEndpoints>
        </Instance></Instances></SharedConfig>"#;
    fs::write(folder.join("SharedConfig.xml"), shared).unwrap();
    for source in [
        "waagent".to_owned(),
        format!("waagent:{}", folder.display()),
    ] {
        let fetched = ask(&[&source], at.clone(), None).await.unwrap();
        assert_eq!(known(&fetched), "- 192.0.2.4 10.0.0.4 - - []");
        assert_eq!(fetched.user_data, b"#cloud-config\n");
    }
    fs::write(folder.join("SharedConfig.xml"), "<SharedConfig>").unwrap();
    let why = ask(&["waagent"], at, None).await.unwrap_err().to_string();
    assert!(why.contains("SharedConfig.xml: found no XML"), "{why}");
}

#[tokio::test]
async fn custom_data_is_awaited_until_azures_agent_is_done() {
    let root = scratch::dir("azure-late");
    let at = Root::new(root.path());
    let folder = root.path().join("var/lib/waagent");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("SharedConfig.xml"), "<SharedConfig/>").unwrap();
    // Who does not wait takes what is there.
    let fetched = ask(&["waagent"], at.clone(), None).await.unwrap();
    assert_eq!(fetched.user_data, b"");
    let hour = Some(Duration::from_secs(3600));
    let mut asking = pin!(ask(&["waagent", "install"], at.clone(), hour));
    let early = tokio::time::timeout(Duration::from_millis(300), &mut asking).await;
    assert!(early.is_err(), "{early:?}");
    fs::write(folder.join("CustomData"), GOOD).unwrap();
    assert_eq!(asking.await.unwrap().user_data, GOOD.as_bytes());
    fs::remove_file(folder.join("CustomData")).unwrap();
    // Once the time is up, what is there is taken.
    let moment = Some(Duration::from_millis(400));
    let fetched = ask(&["waagent"], at.clone(), moment).await.unwrap();
    assert_eq!(fetched.user_data, b"");
    // When the agent is done, no document appears.
    fs::write(folder.join("provisioned"), "").unwrap();
    let fetched = tokio::time::timeout(Duration::from_secs(60), ask(&["waagent"], at, hour));
    assert_eq!(fetched.await.unwrap().unwrap().user_data, b"");
}

fn ovf(properties: &[(&str, &str)]) -> String {
    let property = |(key, value): &(&str, &str)| {
        format!("<Property oe:key=\"guestinfo.{key}\" oe:value=\"{value}\"/>")
    };
    let all: String = properties.iter().map(property).collect();
    format!(
        "<?xml version=\"1.0\"?>\n<Environment xmlns:oe=\"http://schemas.dmtf.org/ovf/environment/1\">\
         <PropertySection>{all}</PropertySection></Environment>\n"
    )
}

#[tokio::test]
async fn vmware_properties_hold_a_document_or_its_url() {
    let dir = scratch::dir("ovf");
    let path = dir.path().join("ovf-env.xml");
    let source = format!("ovf-env:{}", path.display());
    fs::write(
        &path,
        ovf(&[
            ("hostname", "n1"),
            ("coreos.config.data", "#cloud-config&#10;"),
        ]),
    )
    .unwrap();
    let fetched = one(&source).await.unwrap();
    assert_eq!(
        (known(&fetched).as_str(), fetched.user_data.as_slice()),
        ("n1 - - - - []", &b"#cloud-config\n"[..])
    );
    let web = Web::with_text(GOOD).await;
    fs::write(&path, ovf(&[("coreos.config.url", web.url())])).unwrap();
    assert_eq!(one(&source).await.unwrap().user_data, GOOD.as_bytes());
    fs::write(&path, ovf(&[("coreos.config.url", "n1.yaml")])).unwrap();
    assert!(
        refused(&source)
            .await
            .contains("guestinfo.coreos.config.url \"n1.yaml\": found no URL")
    );
    // A machine that has only a configuration for Ignition loses nothing.
    let ignition = ovf(&[
        ("hostname", "n1"),
        ("ignition.config.data", "e30="),
        ("ignition.config.data.encoding", "base64"),
    ]);
    fs::write(&path, ignition).unwrap();
    let none = one(&source).await.unwrap_err();
    let why = none.to_string();
    assert!(
        why.contains("guestinfo.ignition.config.data")
            && why.contains("this is a configuration for Ignition"),
        "{why}"
    );
    assert!(!none.none_here(), "it is wrong, not away: {why}");
    // Nor of one that has nothing; but a name alone is something.
    for (properties, there) in [
        (&[][..], false),
        (&[("coreos.config.data", ""), ("dvs", "x")], false),
        (&[("hostname", "n1")], true),
    ] {
        fs::write(&path, ovf(properties)).unwrap();
        match one(&source).await {
            Ok(fetched) => assert!(there && fetched.user_data.is_empty(), "{properties:?}"),
            Err(none) => assert!(
                !there
                    && none.none_here()
                    && none
                        .to_string()
                        .contains("found no guestinfo.coreos.config.data"),
                "{none}"
            ),
        }
    }
}

#[tokio::test]
async fn platform_addresses_are_used_and_unknown_ones_reported() {
    let web = serve(
        &[
            ("/latest/meta-data/", "local-ipv4\n"),
            ("/latest/meta-data/local-ipv4", "10.0.0.4"),
            ("/latest/user-data", WANTS),
        ],
        token,
    )
    .await;
    let source = format!("ec2:{}", web.url());
    let called = validate(&[&source]).await;
    assert_eq!(called.code, Some(0));
    for (name, said) in [
        ("public_ipv4", true),
        ("private_ipv4", false),
        ("public_ipv6", true),
        ("private_ipv6", true),
    ] {
        let text = format!("the address ${name} is not known");
        assert_eq!(called.stdout.contains(&text), said, "{}", called.stdout);
    }
    assert!(
        called.stdout.starts_with(&format!("{source}/:4:")),
        "{}",
        called.stdout
    );
    // A flag is a person's word.
    let called = validate(&[&source, "--public-ipv4", "192.0.2.9"]).await;
    assert!(
        !called.stdout.contains("the address $public_ipv4"),
        "{}",
        called.stdout
    );
}

//! A cloud-config that the kernel's command line names: at the first boot, at later ones, and with its server away.

use std::sync::{Arc, Mutex};

use pointsman_testbed::web::{Reply, Web};
use pointsman_vm::{site::Site, skipped};

fn document(text: &str) -> String {
    format!("#cloud-config\nwrite_files:\n  - path: /etc/from-cloud\n    content: {text}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_lines_document_is_applied_at_each_boot_and_kept_when_its_server_is_away() {
    if skipped("a virtual machine's cloud-config") {
        return;
    }
    let site = Site::new().await;
    let machine = site.machine("vm-cloud").await;
    let served = Arc::new(Mutex::new(Some(document("one"))));
    let there = served.clone();
    let web = Web::serve(move |_, _| {
        let there = there.lock().expect("nothing panics while it is locked");
        there.clone().map_or_else(Reply::missing, Reply::ok)
    })
    .await;
    let set = |text: Option<String>| {
        *served.lock().expect("nothing panics while it is locked") = text;
    };
    // What is this machine's loopback is the gateway there.
    let url = web.url().replace("127.0.0.1", "10.0.2.2");
    let words = format!("cloud-config-url={url}/node.yaml");
    machine.start(None).await;
    machine
        .sh(
            "echo CLOUD_CONFIG_WAIT=2s >/etc/pointsman/cloud-config.env; \
             systemctl --quiet enable pointsman-cloud-config.service; sync",
        )
        .await;
    // The machine that found nothing is as its image made it.
    machine.sh("test ! -e /etc/from-cloud").await;

    for (text, result, file) in [
        (Some(document("one")), "applied", "one"),
        (Some(document("one")), "unchanged", "one"),
        (Some(document("two")), "applied", "two"),
        (
            Some("#cloud-config\nwrite_files: 7\n".into()),
            "kept",
            "two",
        ),
        (None, "kept", "two"),
        (Some(document("three")), "applied", "three"),
    ] {
        set(text);
        machine.cut().await;
        machine.start_with(None, &words).await;
        machine
            .sh("until grep -q result /run/pointsman/cloud-config.json; do sleep 0.5; done")
            .await;
        let outcome = machine.sh("cat /run/pointsman/cloud-config.json").await;
        assert!(outcome.contains(&format!("\"{result}\"")), "{outcome}");
        assert_eq!(machine.sh("cat /etc/from-cloud").await.trim(), file);
        machine.sh("sync").await;
    }
    // The agent is none the worse for it.
    site.rests(&machine, "1").await;
}

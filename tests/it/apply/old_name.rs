//! On a machine that systemd runs: what is particular under the old name, and what ends the boot.

use super::container::Container;

const OLD: &str = "/usr/bin/coreos-cloudinit";

async fn machine() -> Container {
    let node = Container::boot(&[]).await;
    node.run(&["ln", "-s", "pointsman", OLD]).must(0);
    node
}

fn unit(name: &str, text: &str) -> String {
    format!("    - {{name: {name}, command: start, content: \"[Service]\\n{text}\\n\"}}\n")
}

#[tokio::test]
async fn failed_unit_undoes_nothing_in_compatibility_mode() {
    let node = machine().await;
    let document = format!(
        "#cloud-config\nwrite_files: [{{path: /etc/x, content: x}}]\ncoreos:\n  units:\n{}{}{}",
        unit(
            "bad.service",
            "Type=oneshot\\nExecStart=/bin/sh -c 'echo last words; exit 3'"
        ),
        unit("crash.service", "Type=notify\\nExecStart=/no/such/program"),
        unit("good.service", "ExecStart=/bin/sleep infinity"),
    );
    node.write("/root/node.yaml", &document);
    let call = || node.run(&[OLD, "-from-file=/root/node.yaml"]);
    let called = call();
    assert_eq!(called.code, Some(0), "{}", called.stderr);
    for words in [
        "start of bad.service: failed",
        "last words",
        "start of crash.service: failed",
    ] {
        assert!(called.stderr.contains(words), "{words}: {}", called.stderr);
    }
    assert_eq!(node.text("/etc/x"), "x");
    assert_eq!(node.show("good.service", "ActiveState"), "active");
    // They were not started: they are tried once more.
    let called = call();
    assert!(
        called.stderr.contains("start of bad.service: failed"),
        "{}",
        called.stderr
    );
    assert!(!called.stdout.contains("good.service"), "{}", called.stdout);
    // A unit that is not there is more than the original went over; the rest of it is done all the same.
    let none =
        "    - {name: none.service, command: start}\n    - {name: none.service, enable: true}\n";
    node.write(
        "/root/node.yaml",
        &document
            .replace("content: x", "content: y")
            .replace("  units:\n", &format!("  units:\n{none}")),
    );
    let called = call();
    assert_eq!(called.code, Some(1), "{}", called.stderr);
    assert!(called.stderr.contains("none.service"), "{}", called.stderr);
    assert_eq!(node.text("/etc/x"), "y");
    // Under ours it undoes all.
    let called = node.apply(&document.replace("content: x", "content: z"));
    assert_eq!(called.code, Some(1));
    assert_eq!(node.text("/etc/x"), "y");
}

#[tokio::test]
async fn script_runs_each_time_in_compatibility_mode_and_once_otherwise() {
    let node = machine().await;
    let script = "#!/bin/sh\necho ran >>/root/ran\n";
    node.write("/root/script", script);
    for times in 1..=3 {
        node.run(&[OLD, "-from-file=/root/script"]).must(0);
        assert_eq!(node.text("/root/ran"), "ran\n".repeat(times));
    }
    node.cloud_config(&["apply", "/root/script"], "").must(0);
    assert_eq!(node.text("/root/ran"), "ran\n".repeat(3));
}

#[tokio::test]
async fn command_that_ends_the_boot_runs_last_and_once() {
    for own in [true, false] {
        let mut node = machine().await;
        let document = "#cloud-config\nwrite_files: [{path: /etc/x, content: hi}]\ncoreos:\n  units:\n    - {name: reboot.target, command: start}\n    - {name: app.service, runtime: true, command: start, content: \"[Service]\\nType=oneshot\\nRemainAfterExit=yes\\nExecStart=/bin/sh -c 'echo up >>/etc/app'\\n\"}\n";
        node.write("/root/node.yaml", document);
        let call: &[&str] = match own {
            true => &[
                "pointsman",
                "cloud-config",
                "apply",
                "--at-boot",
                "/root/node.yaml",
            ],
            false => &[OLD, "-from-file=/root/node.yaml"],
        };
        // A program that enters the container would keep it from ending: systemd runs this one.
        node.run(&[&["systemd-run", "--quiet", "--no-block"], call].concat())
            .must(0);
        node.boots_again("running").await;
        assert_eq!(node.text("/etc/x"), "hi");
        assert_eq!(node.text("/etc/app"), "up\n", "before the boot ended");
        let history = || node.cloud_config(&["history"], "").stdout;
        assert!(history().contains("  applied, "), "{}", history());
        // The document is applied as at any boot, and the boot goes on.
        let booted = node.run(call).must(0);
        assert!(
            booted.contains("app.service") && !booted.contains("reboot"),
            "{booted}"
        );
        assert_eq!(node.text("/etc/app"), "up\nup\n");
        assert_eq!(node.run(call).must(0), "");
        let jobs = node.run(&["systemctl", "list-jobs", "--no-pager"]).stdout;
        assert!(!jobs.contains("reboot"), "{jobs}");
        // What was kept is what the node falls back to.
        if own {
            node.run(&["rm", "/root/node.yaml"]).must(0);
            let booted = node.run(call);
            assert!(
                booted
                    .stderr
                    .contains("the last document that worked is kept"),
                "{}",
                booted.stderr
            );
        }
    }
}

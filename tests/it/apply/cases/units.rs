//! Unusual units of documents.

use super::*;

#[test]
fn template_without_default_instance_gives_a_warning() {
    let document = "#cloud-config\ncoreos:\n  units:\n    - name: a@.service\n      enable: true\n      content: |\n        [Service]\n        ExecStart=/bin/true %i\n        [Install]\n        WantedBy=multi-user.target\n";
    applied(
        document,
        &["warning: coreos.units[0].enable: without DefaultInstance="],
        &[],
    );
    let done = tree().apply(document).must(0);
    assert!(
        done.contains("a@.service is a template without DefaultInstance= in [Install]"),
        "{done}"
    );
    assert!(!done.contains("no [Install]"), "{done}");
    let whole = document.to_owned() + "        DefaultInstance=x\n";
    let tree = tree();
    let done = tree.apply(&whole);
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""));
    assert!(
        tree.path("etc/systemd/system/multi-user.target.wants/a@x.service")
            .is_symlink()
    );
}

#[test]
fn unit_named_twice_is_accepted() {
    let document = "#cloud-config\ncoreos:\n  units:\n    - name: systemd-networkd.service\n      command: stop\n    - name: 00-eth0.network\n      runtime: true\n      content: |\n        [Match]\n        Name=eth0\n    - name: systemd-networkd.service\n      command: start\n";
    applied(
        document,
        &["info: coreos.units[2].name: the unit \"systemd-networkd.service\" is also on line 4"],
        &[],
    );
    assert_eq!(old(&tree(), &["-validate"], document).code, Some(0));
}

#[test]
fn invalid_unit_is_refused_and_written_in_compatibility_mode() {
    let stop =
        "[Service]\nExecStart=/usr/bin/sleep 60\nExecStop=\"/bin/sh -c \"kill -15 $MAINPID\"\n";
    refused(
        "#cloud-config\ncoreos:\n  units:\n    - name: agent.service\n      command: start\n      content: |\n        [Service]\n        ExecStart=/usr/bin/sleep 60\n        ExecStop=\"/bin/sh -c \"kill -15 $MAINPID\"\n",
        &[
            "9:9: ",
            "ExecStop=: found a quote \" without its end; systemd refuses the whole unit",
        ],
        &[("etc/systemd/system/agent.service", stop)],
    );
    refused(
        "#cloud-config\ncoreos:\n  units:\n    - name: docker.service\n      content: |\n        .include /usr/lib/systemd/system/docker.service\n        [Service]\n        Restart=always\n",
        &[
            "6:9: ",
            "systemd does not read .include",
            "drop-ins: [{name: 10-own.conf",
        ],
        &[(
            "etc/systemd/system/docker.service",
            ".include /usr/lib/systemd/system/docker.service\n[Service]\nRestart=always\n",
        )],
    );
    refused(
        "#cloud-config\ncoreos:\n  units:\n    - name: a.service\n      command: start\n      content: |\n        [Unit]\n        Description=a\n",
        &["systemd refuses it: [Service] has no ExecStart="],
        &[],
    );
    applied(
        "#cloud-config\ncoreos:\n  units:\n    - name: a.service\n      content: |\n        [Service]\n        Environment=\"A=b\n        ExecStart=/bin/true\n",
        &[
            "7:9: warning: coreos.units[0].content: Environment=: found a quote \" without its end; systemd ignores the line",
        ],
        &[],
    );
}

#[test]
fn unit_named_by_a_drop_in_path_is_read_as_that_drop_in() {
    applied(
        "#cloud-config\ncoreos:\n  units:\n    - name: docker.service.d/60-opts.conf\n      command: restart\n      content: |\n        [Service]\n        Environment=DOCKER_OPTS=--debug\n    - name: etcd.service.d/1.conf\n      runtime: true\n      content: \"[Service]\\nNice=1\\n\"\n",
        &[
            "4:13: warning: coreos.units[0].name: found \"docker.service.d/60-opts.conf\", the path of a drop-in",
            "expected `name: docker.service` with `drop-ins: [{name: 60-opts.conf, content: …}]`",
            "command has no effect on a drop-in and is ignored",
        ],
        &[
            (
                "etc/systemd/system/docker.service.d/60-opts.conf",
                "[Service]\nEnvironment=DOCKER_OPTS=--debug\n",
            ),
            (
                "run/systemd/system/etcd.service.d/1.conf",
                "[Service]\nNice=1\n",
            ),
        ],
    );
    for name in [
        "a/b.service",
        "../a.service",
        "a.service.d/../../../x.conf",
        "x/a.service.d/1.conf",
        "a.service.d/1.txt",
    ] {
        let document =
            format!("#cloud-config\ncoreos: {{units: [{{name: {name}, content: \"[Unit]\"}}]}}\n");
        for output in [tree().apply(&document), old(&tree(), &[], &document)] {
            assert_eq!(output.code, Some(1), "{name}");
            says(&output, &["expected a unit's name without / and .."]);
        }
    }
}

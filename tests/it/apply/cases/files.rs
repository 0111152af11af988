//! Unusual files and variables of documents.

use super::*;

#[test]
fn percent_signs_are_not_escaped_in_variables() {
    applied(
        "#cloud-config\ncoreos:\n  etcd2:\n    name: \"%H\"\n    initial-cluster: \"%H=http://%H:2380\"\n  fleet:\n    metadata: \"disk=ssd,rate=50%\"\n",
        &[],
        &[
            (
                "run/systemd/system/etcd2.service.d/20-cloudinit.conf",
                "[Service]\nEnvironment=\"ETCD_INITIAL_CLUSTER=%H=http://%H:2380\"\nEnvironment=\"ETCD_NAME=%H\"\n",
            ),
            (
                "run/systemd/system/fleet.service.d/20-cloudinit.conf",
                "[Service]\nEnvironment=\"FLEET_METADATA=disk=ssd,rate=50%\"\n",
            ),
        ],
    );
    applied(
        "#cloud-config\ncoreos:\n  locksmith: {etcd_password: \"a%Hb\", etcd_cafile: \"/a%Hb\"}\n",
        &[
            "warning: coreos.locksmith.etcd_password: systemd reads % and the letter after it as a specifier",
        ],
        &[(
            "run/systemd/system/locksmithd.service.d/20-cloudinit.conf",
            "[Service]\nEnvironment=\"LOCKSMITHD_ETCD_CAFILE=/a%Hb\"\nEnvironment=\"LOCKSMITHD_ETCD_PASSWORD=a%Hb\"\n",
        )],
    );
}

#[test]
fn path_that_only_begins_with_usr_is_written() {
    let document = "#cloud-config\nwrite_files: [{path: /usrlocal/x, content: hi}]\n";
    applied(document, &[], &[("usrlocal/x", "hi")]);
    assert_eq!(old(&tree(), &["-validate"], document).code, Some(0));
}

#[test]
fn owners_are_read_as_chown_reads_them() {
    let document = |owner: &str| {
        format!("#cloud-config\nwrite_files: [{{path: /etc/x, content: hi, owner: \"{owner}\"}}]\n")
    };
    for (owner, expected) in [
        (":docker", (0, 233)),
        ("core:", (500, 501)),
        ("500:", (500, 501)),
        ("core", (500, 0)),
        ("core:docker", (500, 233)),
        (":233", (0, 233)),
        (":", (0, 0)),
        ("root", (0, 0)),
        ("root:", (0, 0)),
        ("7:8", (7, 8)),
    ] {
        let tree = tree();
        tree.apply(&document(owner)).must(0);
        assert_eq!(tree.owner("etc/x"), expected, "{owner}");
    }
    let output = tree().apply(&document("77:"));
    assert_eq!(output.code, Some(1));
    says(
        &output,
        &["the user 77 does not exist; the owner `user:` takes the group from /etc/passwd"],
    );
    // In a tree without any list of users root is still number 0.
    for owner in ["root", "root:root", "root:", ":root", "0:"] {
        let empty = Tree::new();
        for file in ["etc/passwd", "etc/group"] {
            fs::remove_file(empty.path(file)).unwrap();
        }
        empty.apply(&document(owner)).must(0);
        assert_eq!(empty.owner("etc/x"), (0, 0), "{owner}");
        empty.write("etc/passwd", "root:x:77:0::/root:/bin/sh\n");
        assert_eq!(empty.plan(&document(owner)).must(0), "", "{owner}");
    }
}

#[test]
fn paths_are_normalized_and_never_leave_the_root() {
    applied(
        "#cloud-config\nwrite_files:\n  - path: etc/y\n    content: a\n  - path: /opt/../etc/z\n    content: b\n  - path: /../../etc/w\n    content: c\n  - path: ../etc/v/\n    content: d\n",
        &[
            "3:11: warning: write_files[0].path: found \"etc/y\", expected an absolute path; /etc/y is written",
            "5:11: warning: write_files[1].path: found \"/opt/../etc/z\", expected a path without ..; /etc/z is written",
            "7:11: warning: write_files[2].path: found \"/../../etc/w\", expected a path without ..; /etc/w is written",
            "9:11: warning: write_files[3].path: found \"../etc/v/\"",
        ],
        &[
            ("etc/y", "a"),
            ("etc/z", "b"),
            ("etc/w", "c"),
            ("etc/v", "d"),
        ],
    );
    for path in [
        "/opt/../usr/x",
        "../usr/x",
        "/",
        "/..",
        "/a/../proc/x",
        "/var/../var/lib/pointsman/x",
    ] {
        let tree = tree();
        let document = format!("#cloud-config\nwrite_files: [{{path: {path}, content: a}}]\n");
        assert_eq!(tree.apply(&document).code, Some(1), "{path}");
        assert_eq!(old(&tree, &[], &document).code, Some(1), "{path}");
    }
}

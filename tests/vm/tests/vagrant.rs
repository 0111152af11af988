//! vagrant/: what Vagrant itself says of it, and the script that makes a machine a node.

use std::{fs, io::Write as _, time::Duration};

use pointsman_nodes::bed::repository;
use pointsman_testbed::{
    process::{Output, run},
    scratch,
};

const LIMIT: Duration = Duration::from_secs(120);

#[tokio::test]
async fn the_vagrantfile_is_valid() {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if !std::env::split_paths(&path).any(|dir| dir.join("vagrant").exists()) {
        assert!(std::env::var_os("CI").is_none(), "vagrant is not installed");
        let _ = writeln!(std::io::stderr(), "the Vagrantfile: skipped: no vagrant");
        return;
    }
    let home = scratch::dir("vagrant");
    let folder = repository().join("vagrant").display().to_string();
    let home = home.path().display().to_string();
    let dot = format!("{home}/dot");
    let env = [
        ("VAGRANT_CWD", folder.as_str()),
        ("VAGRANT_HOME", &home),
        ("VAGRANT_DOTFILE_PATH", &dot),
    ];
    let document = [("POINTSMAN_DOCUMENT", "../cloud-config/three-nodes.yaml")];
    for more in [&[][..], &document] {
        let env = [&env[..], more].concat();
        let said = run("vagrant", ["validate", "--ignore-provider"], &env, LIMIT).await;
        assert_eq!(said.code, Some(0), "{said:?}");
        assert!(said.stdout.contains("validated successfully"), "{said:?}");
    }
}

async fn provision(args: &[&str]) -> Output {
    run(repository().join("vagrant/provision.sh"), args, &[], LIMIT).await
}

#[tokio::test]
async fn a_node_is_written_below_a_root_and_a_wrong_line_names_what_is_wrong() {
    let root = scratch::dir("provision");
    let folder = root.path().display().to_string();
    let members = "n1=10.0.0.1 n2=10.0.0.2 n3=10.0.0.3";
    let document = repository().join("cloud-config/vagrant.yaml");
    let document = document.display().to_string();
    for (name, member) in [("n2", true), ("n4", false)] {
        let folder = format!("{folder}/{name}");
        let args = [
            "--root",
            &folder,
            "--name",
            name,
            "--address",
            "10.0.0.2",
            "--members",
            members,
            "--cloud-config",
            &document,
        ];
        // A second time in the same state adds nothing.
        for _ in 0..2 {
            let said = provision(&args).await;
            assert_eq!(said.code, Some(0), "{said:?}");
        }
        let config = fs::read_to_string(format!("{folder}/etc/pointsman/config.yaml")).unwrap();
        assert!(
            config.contains(
                "endpoints: [http://10.0.0.1:2379, http://10.0.0.2:2379, http://10.0.0.3:2379]"
            ),
            "{config}"
        );
        let etcd = fs::read_to_string(format!("{folder}/etc/default/etcd"));
        assert_eq!(etcd.is_ok(), member, "{name}: {etcd:?}");
        // Where the package's unit looks for it, and what is filled in there.
        let kept = fs::read(format!("{folder}/var/lib/flatcar-install/user_data")).unwrap();
        assert_eq!(kept, fs::read(&document).unwrap());
        let told = fs::read_to_string(format!("{folder}/etc/environment")).unwrap();
        assert_eq!(told, "COREOS_PRIVATE_IPV4=10.0.0.2\n");
    }
    for (args, says) in [
        (&["--name", "n1"][..], "--address is missing"),
        (&["--name"], "--name: expected a value"),
        (&["--nmae", "n1"], "--nmae: unknown flag"),
        (
            &["--name", "n1", "--address", "a", "--members", "n1"],
            "found n1, expected NAME=ADDRESS",
        ),
    ] {
        let said = provision(args).await;
        assert_eq!(said.code, Some(2), "{said:?}");
        assert!(
            said.stderr.contains(says) && said.stderr.contains("usage:"),
            "{said:?}"
        );
    }
}

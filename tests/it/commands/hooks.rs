//! `pointsman hooks`: which hooks are installed, and the links that enable them.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    time::Duration,
};

use host::{hooks::Hooks, node::Root};

use super::*;

const SCRIPT: &str = "#!/bin/sh
# Summary: Does what {name} does.
# Stages: pre-reboot.d post-boot.d
# Needs: sh
# Requires: WHERE
echo \"{name} $POINTSMAN_STAGE\" >>LOG
";

/// A machine with the hook `demo`, whose runs are noted in `log`, and with a program `sh`.
fn operator() -> Operator {
    let op = Operator::new("hooks");
    fs::create_dir_all(op.root.path().join("usr/bin")).unwrap();
    fs::copy("/bin/sh", op.root.path().join("usr/bin/sh")).unwrap();
    let log = op.root.path().join("log").display().to_string();
    let script = SCRIPT.replace("LOG", &log);
    install(
        &op,
        "usr/lib",
        "demo",
        &script.replace("{name} $", "demo $"),
    );
    op
}

fn install(op: &Operator, under: &str, name: &str, script: &str) {
    let folder = op.root.path().join(under).join("pointsman/hooks/available");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(name), script).unwrap();
    fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o755)).unwrap();
}

fn configure(op: &Operator, text: &str) -> PathBuf {
    let file = op.root.path().join("etc/pointsman/demo.conf");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, text).unwrap();
    file
}

fn link(op: &Operator, stage: &str) -> PathBuf {
    let folder = op.root.path().join("etc/pointsman/hooks").join(stage);
    folder.join("50-demo")
}

async fn list(op: &Operator) -> Value {
    let output = op.says(&["hooks", "list", "--json"], 0, "").await;
    serde_json::from_str(&output.stdout).unwrap()
}

#[tokio::test]
async fn a_hook_is_enabled_in_all_its_stages_and_disabled_again() {
    let op = operator();
    configure(&op, "WHERE=here\n");
    let root = op.root.path().display().to_string();
    let expected = serde_json::json!([{
        "name": "demo",
        "summary": "Does what demo does.",
        "enabled": false,
        "stages": [{"stage": "pre-reboot.d", "link": null}, {"stage": "post-boot.d", "link": null}],
        "configuration": format!("{root}/etc/pointsman/demo.conf"),
        "missing": [],
        "script": format!("{root}/usr/lib/pointsman/hooks/available/demo"),
    }]);
    assert_eq!(list(&op).await, expected);

    let says = "50-demo to /usr/lib/pointsman/hooks/available/demo";
    op.says(&["hooks", "enable", "demo", "--dry-run"], 0, "would link")
        .await;
    assert!(!link(&op, "pre-reboot.d").exists());
    op.says(&["hooks", "enable", "demo"], 0, says).await;
    op.says(&["hooks", "enable", "demo"], 0, "is enabled already")
        .await;
    for stage in ["pre-reboot.d", "post-boot.d"] {
        let target = fs::read_link(link(&op, stage)).unwrap();
        assert_eq!(target, Path::new("/usr/lib/pointsman/hooks/available/demo"));
    }
    op.says(
        &["hooks"],
        0,
        "demo  yes      pre-reboot post-boot  Does what",
    )
    .await;

    // The agent runs it, and it knows in which stage.
    let hooks = Hooks::new(&Root::new(op.root.path()), Duration::from_secs(60));
    let hooks = hooks.kept_by(bin().to_owned());
    for stage in ["pre-reboot.d", "post-boot.d", "health.d"] {
        hooks.run(stage, &[]).await.unwrap();
    }
    let log = fs::read_to_string(op.root.path().join("log")).unwrap();
    assert_eq!(log, "demo pre-reboot\ndemo post-boot\n");

    // A link of another name is its link as well; a copy, and a link elsewhere, are not.
    let other = link(&op, "health.d");
    fs::create_dir_all(other.parent().unwrap()).unwrap();
    let early = other.with_file_name("10-early");
    symlink("../available/demo", &early).unwrap();
    fs::write(other.with_file_name("demo"), SCRIPT).unwrap();
    symlink("/dev/null", &other).unwrap();
    op.says(
        &["hooks", "disable", "demo", "--dry-run"],
        0,
        "would remove",
    )
    .await;
    assert!(link(&op, "pre-reboot.d").is_symlink());
    op.says(&["hooks", "disable", "demo"], 0, "10-early").await;
    for gone in [link(&op, "pre-reboot.d"), link(&op, "post-boot.d"), early] {
        assert!(!gone.is_symlink(), "{gone:?}");
    }
    assert!(other.is_symlink() && other.with_file_name("demo").exists());
    op.says(&["hooks", "disable", "demo"], 0, "is not enabled")
        .await;
    assert_eq!(list(&op).await, expected);
}

#[tokio::test]
async fn a_hook_that_would_fail_is_not_enabled() {
    let op = operator();
    let enable = ["hooks", "enable", "demo"];
    let root = op.root.path().display().to_string();
    op.says(
        &enable,
        1,
        &format!(
            "the configuration file {root}/etc/pointsman/demo.conf does not exist; it has to set WHERE\n\
             to enable it all the same: pointsman hooks enable --force demo --root {root}"
        ),
    )
    .await;
    let example = "usr/lib/pointsman/hooks/available/demo.conf";
    fs::write(op.root.path().join(example), "#WHERE=here\n").unwrap();
    op.says(&enable, 1, &format!("an example is {root}/{example}"))
        .await;
    let file = configure(&op, "#WHERE=here\n");
    op.says(&enable, 1, "demo.conf does not set WHERE\n").await;
    fs::write(&file, "WHERE = here\n").unwrap();
    let blanks = "demo.conf does not set WHERE; write WHERE=VALUE, without blanks around =";
    op.says(&enable, 1, blanks).await;
    fs::write(&file, "WHERE=here\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    op.says(
        &enable,
        1,
        "demo.conf has mode 0666, with which other users",
    )
    .await;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    fs::remove_file(op.root.path().join("usr/bin/sh")).unwrap();
    op.says(&enable, 1, "the program sh is not installed").await;
    op.says(&["hooks"], 0, "demo: missing: the program sh is not")
        .await;
    assert!(!link(&op, "pre-reboot.d").is_symlink());
    op.says(&["hooks", "enable", "demo", "--force"], 0, "linked")
        .await;
    assert!(link(&op, "pre-reboot.d").is_symlink());

    op.says(
        &["hooks", "enable", "demmo"],
        6,
        "no installed hook is called demmo; expected demo",
    )
    .await;
    op.says(&["hooks", "disable", "demo"], 0, "removed").await;
    install(&op, "etc", "odd", "#!/bin/sh\n# Stages: pre-reboots.d\n");
    op.says(&["hooks", "enable", "odd"], 1, "the stage pre-reboots.d")
        .await;
    install(&op, "etc", "plain", "#!/bin/sh\n");
    op.says(&["hooks", "enable", "plain"], 1, "names no stages")
        .await;
}

#[tokio::test]
async fn a_file_that_is_not_the_hooks_own_link_stays() {
    let op = operator();
    configure(&op, "WHERE=here\n");
    let taken = link(&op, "post-boot.d");
    fs::create_dir_all(taken.parent().unwrap()).unwrap();
    for target in ["/dev/null", "/opt/own", "file"] {
        match target {
            "file" => fs::write(&taken, "mine").unwrap(),
            target => symlink(target, &taken).unwrap(),
        }
        let says = "post-boot.d/50-demo is there and is no link to this hook; it is not replaced";
        op.says(&["hooks", "enable", "demo"], 1, says).await;
        assert!(taken.is_symlink() || fs::read(&taken).unwrap() == b"mine");
        // Not the half of it.
        assert!(!link(&op, "pre-reboot.d").is_symlink());
        fs::remove_file(&taken).unwrap();
    }
    // One half, as a killed command leaves it.
    symlink("../available/demo", &taken).unwrap();
    op.says(&["hooks"], 0, "demo  partly").await;
    op.says(&["hooks", "enable", "demo"], 0, "pre-reboot.d/50-demo")
        .await;
    assert_eq!(list(&op).await[0]["enabled"], true);

    // A copy below /etc comes before the package's, and links to the package's lead to the same hook.
    install(&op, "etc", "demo", &SCRIPT.replace("Does", "Alters"));
    assert_eq!(list(&op).await[0]["summary"], "Alters what demo does.");
    op.says(&["hooks", "disable", "demo"], 0, "removed").await;
    op.says(&["hooks", "enable", "demo"], 0, "to /etc/pointsman/hooks")
        .await;
    op.says(&["hooks", "disable", "demo"], 0, "removed").await;
    // What the image's vendor has enabled is named.
    let vendor = "usr/lib/pointsman/hooks/post-boot.d";
    fs::create_dir_all(op.root.path().join(vendor)).unwrap();
    let vendor = op.root.path().join(vendor).join("50-demo");
    symlink("../available/demo", &vendor).unwrap();
    op.says(
        &["hooks", "disable", "demo"],
        1,
        "is not below /etc; a link of this name to /dev/null",
    )
    .await;
    assert!(vendor.is_symlink());
}

#[tokio::test]
async fn the_drain_s_order_is_turned_round_after_the_boot() {
    let op = operator();
    configure(&op, "WHERE=here\n");
    let early = SCRIPT.replace("# Needs: sh\n# Requires: WHERE\n", "# Order: 20\n");
    install(&op, "etc", "early.sh", &early);
    // Several at once, and none where one of them would fail.
    let wrong = ["hooks", "enable", "demo", "nosuch"];
    op.says(&wrong, 6, "no installed hook is called nosuch")
        .await;
    assert!(!link(&op, "pre-reboot.d").is_symlink());
    let both = ["hooks", "enable", "demo", "early.sh"];
    op.says(&both, 0, "pre-reboot.d/20-early.sh").await;
    for (stage, expected) in [
        ("pre-reboot.d", ["20-early.sh", "50-demo"]),
        ("post-boot.d", ["50-demo", "80-early.sh"]),
    ] {
        let folder = op.root.path().join("etc/pointsman/hooks").join(stage);
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|file| file.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, expected, "{stage}");
    }
    let said = op.says(&["hooks", "--json"], 0, "").await;
    let said: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(said, list(&op).await);
    // One that has no configuration is not said to have one.
    assert_eq!(said[1]["configuration"], Value::Null);
}

#[tokio::test]
async fn links_that_lead_nowhere_any_more_are_shown_and_can_be_removed() {
    let op = operator();
    configure(&op, "WHERE=here\n");
    op.says(&["hooks", "enable", "demo"], 0, "linked").await;
    let available = op.root.path().join("usr/lib/pointsman/hooks/available");
    fs::remove_dir_all(available).unwrap();
    op.says(&["hooks"], 0, "demo: missing: its script is gone")
        .await;
    op.says(&["hooks", "enable", "demo"], 1, "its script is gone")
        .await;
    op.says(&["hooks", "disable", "demo"], 0, "post-boot.d/50-demo")
        .await;
    assert!(!link(&op, "pre-reboot.d").is_symlink() && !link(&op, "post-boot.d").is_symlink());
    let none = op
        .says(&["hooks"], 0, "no hooks are installed. The package")
        .await;
    assert!(!none.stdout.contains("ENABLED"), "{none:?}");
}

#[tokio::test]
async fn links_are_changed_all_or_none() {
    let op = operator();
    configure(&op, "WHERE=here\n");
    let root = op.root.path().display();
    let bin = bin().display();
    for command in ["disable", "enable"] {
        // A folder that cannot be changed, in this process's view alone.
        let script = format!(
            "cd {root}/etc/pointsman/hooks && mkdir -p pre-reboot.d post-boot.d && mount -t tmpfs none post-boot.d
             [ {command} = enable ] || ln -s ../available/demo post-boot.d/50-demo
             mount -o remount,ro post-boot.d; {bin} hooks {command} demo --root {root}"
        );
        if command == "disable" {
            op.says(&["hooks", "enable", "demo"], 0, "linked").await;
        }
        let said = run("unshare", ["-m", "sh", "-c", &script], &[], PATIENCE).await;
        assert_eq!(said.code, Some(1), "{said:?}");
        let says = "post-boot.d/50-demo: Read-only file system (os error 30); nothing is changed";
        assert!(
            said.stderr.contains(says) && said.stdout.is_empty(),
            "{said:?}"
        );
        let enabled = link(&op, "pre-reboot.d").is_symlink();
        assert_eq!(enabled, command == "disable");
        op.says(&["hooks", "disable", "demo"], 0, "").await;
    }
    // What stands where a folder would be.
    let folder = op.root.path().join("etc/pointsman/hooks/pre-reboot.d");
    fs::remove_dir_all(&folder).unwrap();
    fs::write(&folder, "").unwrap();
    let says = "pre-reboot.d is a file, expected a folder with hooks";
    op.says(&["hooks"], 0, says).await;
    op.says(&["hooks", "enable", "demo"], 1, says).await;
}

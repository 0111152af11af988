//! What lies in systemd/, by systemd's own judgement.

use std::{fs, path::Path};

use pointsman_testbed::{
    disk::{Bits, DiskImage, Slot},
    fakes::PATIENCE,
    process::{Output, run},
    scratch,
};

use crate::agents::bin;

fn of_repository(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("systemd")
        .join(name)
}

/// `systemd-analyze ARGS UNIT`, with every unit of ours installed beside each other and the program where they say.
async fn analyze(args: &[&str], unit: &str) -> Output {
    let dir = scratch::dir("units");
    for entry in fs::read_dir(of_repository("")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap();
        if path
            .extension()
            .is_some_and(|e| e == "service" || e == "socket")
        {
            let text = fs::read_to_string(&path).unwrap();
            let text = text.replace("/usr/bin/pointsman", bin().to_str().unwrap());
            fs::write(dir.path().join(name), text).unwrap();
        }
    }
    let unit = dir.path().join(unit).display().to_string();
    run("systemd-analyze", [args, &[&unit]].concat(), &[], PATIENCE).await
}

#[tokio::test]
async fn agent_unit_is_valid_and_sandboxed() {
    // An unknown key is only said, and not an error.
    let verified = analyze(&["verify", "--man=no"], "pointsman.service").await;
    let said = (
        verified.code,
        verified.stdout.as_str(),
        verified.stderr.as_str(),
    );
    assert_eq!(said, (Some(0), "", ""));
    let args = ["security", "--offline=true", "--threshold=40", "--no-pager"];
    let secure = analyze(&args, "pointsman.service").await;
    assert_eq!(secure.code, Some(0), "{secure:?}");
}

#[tokio::test]
async fn server_units_are_valid_and_sandboxed() {
    for unit in ["pointsman-serve.service", "pointsman-serve.socket"] {
        let verified = analyze(&["verify", "--man=no"], unit).await;
        let said = (
            verified.code,
            verified.stdout.as_str(),
            verified.stderr.as_str(),
        );
        assert_eq!(said, (Some(0), "", ""), "{unit}");
    }
    let args = ["security", "--offline=true", "--threshold=30", "--no-pager"];
    let secure = analyze(&args, "pointsman-serve.service").await;
    assert_eq!(secure.code, Some(0), "{secure:?}");
}

#[tokio::test]
async fn boot_units_are_valid_and_delay_the_boot_only_for_a_limited_time() {
    for unit in [
        "pointsman-cloud-config-early.service",
        "pointsman-cloud-config.service",
    ] {
        let verified = analyze(&["verify", "--man=no"], unit).await;
        let said = (
            verified.code,
            verified.stdout.as_str(),
            verified.stderr.as_str(),
        );
        assert_eq!(said, (Some(0), "", ""), "{unit}");
        let text = fs::read_to_string(of_repository(unit)).unwrap();
        // A oneshot unit has no limit of its own.
        assert!(text.contains("\nTimeoutStartSec="), "{unit}");
        // The variables that a line names have values, so that it is whole without any file.
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("ExecStart=/usr/bin/pointsman "))
            .unwrap();
        let given = text
            .lines()
            .filter_map(|line| line.strip_prefix("Environment="))
            .collect::<String>();
        let named = line.split('$').skip(1);
        for name in named.map(|rest| rest.trim_matches(['{', '}', ' ', '\n'])) {
            assert!(given.contains(&format!("{name}=")), "{unit}: {name}");
        }
        // And the program takes it.
        let root = scratch::dir("line");
        fs::create_dir_all(root.path().join("proc")).unwrap();
        fs::write(root.path().join("proc/cmdline"), "ro\n").unwrap();
        let line = line
            .replace("${CLOUD_CONFIG_EARLY_WAIT}", "0s")
            .replace("${CLOUD_CONFIG_WAIT}", "1m")
            .replace("$CLOUD_CONFIG_EARLY", "install vagrant")
            .replace("$CLOUD_CONFIG", "cmdline");
        let root = root.path().display().to_string();
        let done = run(
            bin(),
            line.split(' '),
            &[("POINTSMAN_ROOT", &root)],
            PATIENCE,
        )
        .await;
        assert_eq!(done.code, Some(0), "{unit}: {done:?}");
        assert!(done.stderr.contains("nothing to apply"), "{done:?}");
    }
}

#[tokio::test]
async fn the_folder_of_the_coordinators_file_is_made_and_the_unit_enabled() {
    let root = scratch::dir("tmpfiles");
    let root_flag = format!("--root={}", root.path().display());
    let tmpfiles = of_repository("pointsman.tmpfiles").display().to_string();
    let copy = root.path().join("pointsman.conf");
    fs::copy(tmpfiles, &copy).unwrap();
    let copy = copy.display().to_string();
    let made = run(
        "systemd-tmpfiles",
        ["--create", &root_flag, &copy],
        &[],
        PATIENCE,
    )
    .await;
    assert_eq!(made.code, Some(0), "{made:?}");
    assert!(root.path().join("run/update-engine").is_dir());

    let units = root.path().join("usr/lib/systemd/system");
    let presets = root.path().join("usr/lib/systemd/system-preset");
    fs::create_dir_all(&units).unwrap();
    fs::create_dir_all(&presets).unwrap();
    fs::copy(
        of_repository("pointsman.service"),
        units.join("pointsman.service"),
    )
    .unwrap();
    fs::copy(
        of_repository("pointsman.preset"),
        presets.join("50-pointsman.preset"),
    )
    .unwrap();
    let args = [&root_flag, "preset", "pointsman.service"];
    let preset = run("systemctl", args, &[], PATIENCE).await;
    assert_eq!(preset.code, Some(0), "{preset:?}");
    // Its old name means the same unit: drop-ins and restarts act on it.
    let alias = root.path().join("etc/systemd/system/locksmithd.service");
    let target = fs::read_link(alias).unwrap();
    assert_eq!(target.file_name().unwrap(), "pointsman.service");
}

#[tokio::test]
async fn update_engine_is_held_back_on_trial_only() {
    let text =
        fs::read_to_string(of_repository("update-engine.service.d/10-pointsman.conf")).unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("ExecCondition=/bin/sh -c '"))
        .unwrap();
    let condition = line.strip_suffix('\'').unwrap();
    let dir = scratch::dir("condition");
    let disk = DiskImage::new(&dir.path().join("disk.img"), "1");
    let root = dir.path().display().to_string();
    let env = [
        ("POINTSMAN_ROOT", root.as_str()),
        ("POINTSMAN_DISK", "/disk.img"),
        ("POINTSMAN_BOOTED", "A"),
    ];
    let holds = async |program: &str, enabled: &str| {
        let script = condition
            .replace("/usr/bin/pointsman", program)
            .replace("systemctl --quiet is-enabled pointsman.service", enabled);
        run("sh", ["-c", &script], &env, PATIENCE).await.code != Some(0)
    };
    let program = bin().to_str().unwrap();
    assert!(!holds(program, "true").await, "a good slot");
    disk.set(
        Slot::A,
        Bits {
            priority: 1,
            tries: 0,
            successful: false,
        },
    );
    assert!(holds(program, "true").await, "on trial");
    assert!(!holds(program, "false").await, "masked, or not enabled");
    assert!(!holds("/nowhere/pointsman", "true").await, "not installed");
    fs::remove_file(disk.path()).unwrap();
    assert!(!holds(program, "true").await, "no slots");
}

#[tokio::test]
async fn update_engine_is_held_back_while_the_node_may_have_to_go_back() {
    let dir = scratch::dir("settled");
    let _disk = DiskImage::new(&dir.path().join("disk.img"), "1");
    let root = dir.path().display().to_string();
    let env = [
        ("POINTSMAN_ROOT", root.as_str()),
        ("POINTSMAN_DISK", "/disk.img"),
        ("POINTSMAN_BOOTED", "A"),
    ];
    let journal = dir.path().join("var/lib/pointsman/journal.json");
    fs::create_dir_all(journal.parent().unwrap()).unwrap();
    let random = dir.path().join("proc/sys/kernel/random");
    fs::create_dir_all(&random).unwrap();
    fs::write(random.join("boot_id"), "now\n").unwrap();
    let claim = r#""claim":{"nonce":"n","id":"a","keys":{"prefix":"p","group":""},"soaks":true}"#;
    let entry = |stage: &str, boot: &str, to: &str, more: &str| {
        format!(
            r#"{{"version":1,"entry":{{"stage":"{stage}","boot_id":"{boot}",{claim},"from":{{"version":"1"}},
                "intent":{{"reason":"update","to":{{"version":"{to}"}}}}{more}}}}}"#
        )
    };
    let way_back = r#","way_back":true"#;
    for (held, content) in [
        (false, r#"{"version":1}"#.into()),
        (true, entry("committing", "before", "2", "")),
        (true, entry("soaking", "before", "2", "")),
        (true, entry("releasing", "before", "2", "")),
        (true, entry("draining", "now", "0", way_back)),
        (true, entry("committing", "before", "0", way_back)),
        // The policy had no soak; in the queue, or on its way; it goes nowhere else.
        (
            false,
            entry("committing", "before", "2", "").replace(r#","soaks":true"#, ""),
        ),
        (false, entry("queued", "before", "2", "")),
        (false, entry("committing", "now", "2", "")),
        (false, entry("soaking", "before", "1", "")),
        // Nobody would start it later.
        (false, "{".into()),
    ] {
        fs::write(&journal, &content).unwrap();
        let asked = run(bin(), ["slots", "settled"], &env, PATIENCE).await;
        assert_eq!(asked.code, Some(i32::from(held)), "{content}: {asked:?}");
    }
    let asked = run(bin(), ["slots", "proven"], &env, PATIENCE).await;
    assert_eq!(asked.code, Some(0), "{asked:?}");
}

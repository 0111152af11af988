//! `pointsman windows`: without an agent and without etcd.

use super::*;

/// The command on a root with this configuration and the zone of Berlin.
async fn windows(config: &str, args: &[&str]) -> Output {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("etc/pointsman");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("config.yaml"), config).unwrap();
    std::fs::copy(
        "/usr/share/zoneinfo/Europe/Berlin",
        root.path().join("etc/localtime"),
    )
    .unwrap();
    let root = root.path().display().to_string();
    let args = [&["--root", &root, "windows"], args].concat();
    run(bin(), args, &[], PATIENCE).await
}

const WEEKEND: &str =
    "windows: [{at: 'Sat,Sun 02:00', for: 4h, zone: Europe/Berlin, except: [2026-12-06]}]\n";

#[tokio::test]
async fn an_instant_is_inside_or_outside_of_the_configured_windows() {
    let inside = windows(
        WEEKEND,
        &["--at", "2026-12-05T01:30:00Z", "--next", "1", "--json"],
    )
    .await;
    assert_eq!(inside.code, Some(0), "{inside:?}");
    let mut shown: Value = serde_json::from_str(&inside.stdout).unwrap();
    let version = shown["tzdata"].take();
    assert!(
        version
            .as_str()
            .is_some_and(|version| version.starts_with("20")),
        "{version}"
    );
    let expected = serde_json::json!({
        "inside": true,
        "since": "2026-12-05T02:00:00+01:00",
        "until": "2026-12-05T06:00:00+01:00",
        "next": [{
            "start": "2026-12-12T02:00:00+01:00",
            "end": "2026-12-12T06:00:00+01:00",
            "zone": "Europe/Berlin"
        }],
        "tzdata": null
    });
    assert_eq!(shown, expected);

    let outside = windows(WEEKEND, &["--at", "2026-12-05T05:00:00Z", "--next", "2"]).await;
    assert_eq!(outside.code, Some(3), "{outside:?}");
    assert!(
        outside.stderr.contains("outside the reboot window"),
        "{outside:?}"
    );
    for line in [
        "outside the reboot window (Sat,Sun 02:00 for 4h in Europe/Berlin); it opens Sat 2026-12-12 02:00:00 +01:00",
        "Sat 2026-12-12 02:00:00 +01:00  Sat 2026-12-12 06:00:00 +01:00  Europe/Berlin",
        "Sun 2026-12-13 02:00:00 +01:00  Sun 2026-12-13 06:00:00 +01:00  Europe/Berlin",
        "time zone data: 20",
    ] {
        assert!(outside.stdout.contains(line), "{line}\n{}", outside.stdout);
    }
}

#[tokio::test]
async fn flags_name_a_window_in_place_of_the_configuration() {
    let of = async |args: &[&str], at: &str| {
        let args = [args, &["--at", at, "--json"]].concat();
        // The configuration is not read.
        let shown = windows("windows: soon\n", &args).await;
        let value: Value =
            serde_json::from_str(&shown.stdout).unwrap_or_else(|_| panic!("{shown:?}"));
        (shown.code, value)
    };
    let calendar = [
        "--window",
        "02:30",
        "--for",
        "1h",
        "--zone",
        "Europe/Berlin",
    ];
    // The clocks jump over 02:30: a calendar window opens after the gap, locksmith's pair as much later.
    let (code, shown) = of(&calendar, "2026-03-29T00:00:00Z").await;
    assert_eq!(code, Some(3));
    assert_eq!(shown["next"][0]["start"], "2026-03-29T03:00:00+02:00");
    let (_, shown) = of(&calendar[..4], "2026-03-29T00:00:00Z").await;
    assert_eq!(shown["next"][0]["start"], "2026-03-29T03:30:00+02:00");
    assert_eq!(shown["next"].as_array().unwrap().len(), 5);
    // A time without an offset is in the zone of the window.
    let tokyo = [
        "--window",
        "Sat 02:00",
        "--for",
        "4 hours",
        "--zone",
        "Asia/Tokyo",
    ];
    let (code, shown) = of(&tokyo, "2026-12-05T02:00").await;
    assert_eq!(code, Some(0));
    assert_eq!(shown["since"], "2026-12-05T02:00:00+09:00");
}

#[tokio::test]
async fn without_windows_every_time_is_inside() {
    let shown = windows("group: a\n", &[]).await;
    assert_eq!(shown.code, Some(0), "{shown:?}");
    assert!(
        shown
            .stdout
            .contains("no reboot window is configured: reboots may start at any time"),
        "{shown:?}"
    );
    let says =
        "The group's policy may have windows as well, and both must be open: pointsman policy\n";
    assert!(shown.stdout.ends_with(says), "{shown:?}");
    let shown = windows("group: a\n", &["--json"]).await;
    let value: Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(value["inside"], true);
    assert_eq!(value["since"], Value::Null);
    assert_eq!(value["next"], serde_json::json!([]));
}

#[tokio::test]
async fn what_is_no_window_is_an_error_that_names_it() {
    for (config, args, says) in [
        (
            "windows:\n  - at: Fri..Mon 02:00\n    for: 4h\n",
            &[][..],
            "config.yaml:2:9: windows: at: found Fri..Mon, a range over the end of the week (weeks start on Monday); write Fri..Sun,Mon",
        ),
        (
            "",
            &["--window", "Sat 02:00", "--for", "4"],
            "found \"4\", expected a unit after the number: 4s, 4m, 4h or 4d",
        ),
        (
            "",
            &["--window", "04:00", "--for", "25h"],
            "--for: found 25h, expected more than 0s and at most 24h",
        ),
        (
            "",
            &["--window", "Sat 02:00", "--for", "4h", "--zone", "Berlin"],
            "--zone: found \"Berlin\", expected a time zone of this system such as Europe/Berlin or UTC",
        ),
        (
            "",
            &["--at", "soon"],
            "--at: found \"soon\", expected a time such as 2026-12-05T02:00:00Z",
        ),
        ("", &["--window", "Sat 02:00"], "--for"),
    ] {
        let shown = windows(config, args).await;
        assert_eq!(shown.code, Some(2), "{shown:?}");
        assert!(shown.stderr.contains(says), "{says}\n{shown:?}");
    }
}

use proptest::prelude::*;

use super::*;

#[test]
fn percentage_is_rounded_down_and_never_less_than_one() {
    for (percent, members, max) in [
        (20, 0, 1),
        (20, 4, 1),
        (20, 9, 1),
        (20, 10, 2),
        (33, 10, 3),
        (100, 7, 7),
        (1, 5000, 50),
        (100, u64::MAX, u32::MAX),
    ] {
        assert_eq!(
            percent_of(percent, members),
            max,
            "{percent} % of {members}"
        );
    }
}

#[test]
fn policy_that_is_not_understood_is_an_error_that_shows_it() {
    for (text, says) in [
        ("", "EOF"),
        ("[]", "expected"),
        (
            r#"{"max_percent":0}"#,
            "max_percent is 0, expected a whole number from 1 to 100",
        ),
        (r#"{"max_percent":101}"#, "max_percent is 101"),
        (r#"{"max_percent":"20"}"#, "invalid type: string"),
        (
            r#"{"soak":"30"}"#,
            "expected a unit after the number: 30s, 30m, 30h or 30d",
        ),
        (
            r#"{"soak":30}"#,
            "invalid type: integer `30`, expected a string",
        ),
        (
            r#"{"soak":"0s"}"#,
            "soak is 0s, expected a duration from 1s to 365d",
        ),
        (r#"{"soak":"366d"}"#, "soak is 8784h, expected a duration"),
        (r#"{"lost":{"grace":7200}}"#, "invalid type: integer"),
        (
            r#"{"lost":{"grace":"7200"}}"#,
            "found \"7200\", expected a unit after the number: 7200s",
        ),
        (
            r#"{"lost":{"grace":"0s"}}"#,
            "lost.grace is 0s, expected whole seconds, from 1s to 8760h",
        ),
        (r#"{"lost":{"grace":"1.5s"}}"#, "lost.grace is 1.5s"),
        (r#"{"lost":{"grace":"2y"}}"#, "lost.grace is 17532h"),
        (
            r#"{"lost":{"grace":"2h","budget":0}}"#,
            "lost.budget is 0, expected at least 1",
        ),
        (r#"{"lost":{"budget":1}}"#, "missing field `grace`"),
        (
            r#"{"lost":{"grace":"2h","moon":1}}"#,
            "unknown field `moon`",
        ),
        (
            r#"{"windows":[{"at":"Sat 02:00","for":"4h"},{"at":"Sat 02:00","for":"4"}]}"#,
            "windows: window 2: for: found \"4\", expected a unit after the number",
        ),
        (
            r#"{"windows":[{"at":"Sat 02:00","for":"4h","zone":"Berlin"}]}"#,
            "windows: window 1: zone: found \"Berlin\", expected a time zone of this system such as Europe/Berlin or UTC",
        ),
        (r#"{"windows":[{"at":"Sat 02:00"}]}"#, "missing field `for`"),
        (
            r#"{"windows":[{"at":"Sat 02:00","for":"4h","length":1}]}"#,
            "unknown field `length`",
        ),
        (
            r#"{"windows":{"at":"Sat 02:00","for":"4h"}}"#,
            "expected a sequence",
        ),
        // Of a newer program.
        (r#"{"moon":"full"}"#, "unknown field `moon`"),
    ] {
        let error = Policy::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(says) && error.ends_with(text), "{error}");
    }
}

#[test]
fn change_says_by_whom_and_nothing_is_left_of_an_unset_policy() {
    let now = Timestamp::UNIX_EPOCH;
    let set = PolicyChange {
        max_percent: Some(20),
        ..PolicyChange::default()
    };
    let policy = Policy::default().with(&set, "ann@desk", now).unwrap();
    assert_eq!(
        (policy.max_percent, policy.by.as_str()),
        (Some(20), "ann@desk")
    );
    let again = policy
        .with(&PolicyChange::default(), "bob@desk", now)
        .unwrap();
    assert_eq!(
        (again.max_percent, again.by.as_str()),
        (Some(20), "bob@desk")
    );
    let unset = PolicyChange {
        unset: Field::ALL.to_vec(),
        ..PolicyChange::default()
    };
    assert!(policy.with(&unset, "ann@desk", now).unwrap().is_empty());
}

#[test]
fn grace_and_budget_are_set_and_unset_apart() {
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    let apply = |policy: &Policy, change: &PolicyChange| {
        policy.with(change, "ann@desk", Timestamp::UNIX_EPOCH)
    };
    let grace = PolicyChange {
        lost_grace: Some(hours(2)),
        ..PolicyChange::default()
    };
    let budget = PolicyChange {
        lost_budget: Some(3),
        ..PolicyChange::default()
    };
    let unset = |field| PolicyChange {
        unset: vec![field],
        ..PolicyChange::default()
    };
    let lost = |policy: &Policy| policy.lost.map(|lost| (lost.grace, lost.budget));
    assert_eq!(
        apply(&Policy::default(), &budget),
        Err(PolicyFault::NoGrace)
    );
    let policy = apply(&Policy::default(), &grace).unwrap();
    assert_eq!(lost(&policy), Some((hours(2), 1)));
    let policy = apply(&policy, &budget).unwrap();
    assert_eq!(lost(&policy), Some((hours(2), 3)));
    let other = PolicyChange {
        lost_grace: Some(hours(4)),
        ..PolicyChange::default()
    };
    assert_eq!(
        lost(&apply(&policy, &other).unwrap()),
        Some((hours(4), 3)),
        "the budget stays"
    );
    let one = apply(&policy, &unset(Field::LostBudget)).unwrap();
    assert_eq!(lost(&one), Some((hours(2), 1)));
    let none = apply(&policy, &unset(Field::LostGrace)).unwrap();
    assert!(none.is_empty());
    let zero = PolicyChange {
        lost_budget: Some(0),
        ..PolicyChange::default()
    };
    assert_eq!(apply(&policy, &zero), Err(PolicyFault::Budget));
}

#[test]
fn policy_with_lost_nodes_is_stored_as_people_write_it() {
    let text = r#"{"lost":{"grace":"2h","budget":1},"by":"ann@desk"}"#;
    let policy = Policy::parse(text.as_bytes()).unwrap();
    assert_eq!(serde_json::to_string(&policy).unwrap(), text);
    let short = Policy::parse(br#"{"lost":{"grace":"120 minutes"},"by":"ann@desk"}"#);
    assert_eq!(
        short,
        Ok(policy),
        "a budget of 1 is what there is without one"
    );
}

fn windows() -> Vec<WindowSpec> {
    let text = r#"[{"at":"Sat,Sun 02:00","for":"4h","zone":"Europe/Berlin","except":["2026-12-24..2027-01-02","2027-05-01"],"random-delay":"30m"},{"at":"22:00","for":"90m","zone":"UTC"}]"#;
    serde_json::from_str(text).unwrap()
}

#[test]
fn windows_are_set_and_unset_as_a_whole_and_stored_as_in_the_configuration() {
    let apply = |policy: &Policy, change: &PolicyChange| {
        policy.with(change, "ann@desk", Timestamp::UNIX_EPOCH)
    };
    let set = |windows: Vec<WindowSpec>| PolicyChange {
        windows: Some(windows),
        ..PolicyChange::default()
    };
    let policy = apply(&Policy::default(), &set(windows())).unwrap();
    assert_eq!(policy.windows, windows());
    let text = serde_json::to_string(&policy).unwrap();
    assert!(
        text.starts_with(r#"{"windows":[{"at":"Sat,Sun 02:00","for":"4h","zone":"Europe/Berlin","except":["2026-12-24..2027-01-02","2027-05-01"],"random-delay":"30m"},{"at":"22:00","for":"90m","zone":"UTC"}],"by":"ann@desk""#),
        "{text}"
    );
    assert_eq!(Policy::parse(text.as_bytes()), Ok(policy.clone()));
    assert_eq!(windows_in(text.as_bytes()), Some(windows()));
    assert_eq!(windows_in(b"{"), None);
    // Another field leaves them; another list replaces them.
    let percent = PolicyChange {
        max_percent: Some(20),
        ..PolicyChange::default()
    };
    assert_eq!(apply(&policy, &percent).unwrap().windows, windows());
    let one = apply(&policy, &set(windows()[1..].to_vec())).unwrap();
    assert_eq!(one.windows, windows()[1..]);
    let unset = PolicyChange {
        unset: vec![Field::Windows],
        ..PolicyChange::default()
    };
    assert!(apply(&policy, &unset).unwrap().is_empty());
    let mut wrong = windows();
    wrong[1].zone = Some("Berlin".into());
    let fault = apply(&policy, &set(wrong)).unwrap_err().to_string();
    assert!(
        fault.starts_with("windows: window 2: zone: found \"Berlin\""),
        "{fault}"
    );
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(
        max_percent in prop::option::of(1u32..=100),
        soak in prop::option::of(1u64..=365 * 86_400),
        lost in prop::option::of((1u64..=365 * 86_400, 1u32..)),
    ) {
        let change = PolicyChange {
            max_percent,
            soak: soak.map(Duration::from_secs),
            lost_grace: lost.map(|(grace, _)| Duration::from_secs(grace)),
            lost_budget: lost.map(|(_, budget)| budget),
            ..PolicyChange::default()
        };
        let policy = Policy::default().with(&change, "ann@desk", Timestamp::UNIX_EPOCH).unwrap();
        let text = serde_json::to_string(&policy).unwrap();
        prop_assert_eq!(Policy::parse(text.as_bytes()), Ok(policy));
    }
}

#[test]
fn change_is_told_by_the_flags_that_make_it() {
    let set = PolicyChange {
        max_percent: Some(20),
        soak: Some(Duration::from_secs(1800)),
        wave_soak: Some(Duration::from_secs(3600)),
        after: Some(vec![
            Group::new("canary").unwrap(),
            Group::new("lab").unwrap(),
        ]),
        lost_grace: Some(Duration::from_secs(7200)),
        lost_budget: Some(2),
        windows: Some(windows()),
        ..PolicyChange::default()
    };
    assert_eq!(
        set.to_string(),
        "max 20%, soak 30m, wave-soak 1h, after canary lab, lost-grace 2h, lost-budget 2, window Sat,Sun 02:00 for 4h in \
         Europe/Berlin, except 2026-12-24..2027-01-02 2027-05-01, random delay 30m, window 22:00 for 90m in UTC"
    );
    let unset = PolicyChange {
        unset: vec![Field::Soak, Field::LostGrace],
        ..PolicyChange::default()
    };
    assert_eq!(unset.to_string(), "soak, lost-grace");
}

use super::*;

#[test]
fn a_hook_as_a_unit_has_its_variables_and_an_end() {
    let variables = [("POINTSMAN_REASON".to_owned(), "a b=c".to_owned())];
    let unit = unit_name(For::Agent, "10-drain it.sh");
    assert!(unit.starts_with("pointsman-hook-10_drain_it_sh-"), "{unit}");
    assert_ne!(unit, unit_name(For::Agent, "10-drain it.sh"));
    let command = as_unit(
        &[Path::new("/etc/x y")],
        "u.service",
        Duration::from_secs(300),
        &variables,
    );
    let args: Vec<_> = command
        .as_std()
        .get_args()
        .filter_map(|a| a.to_str())
        .collect();
    assert!(
        args.contains(&"--setenv=POINTSMAN_REASON=a b=c"),
        "{args:?}"
    );
    assert!(args.contains(&"--property=RuntimeMaxSec=360"), "{args:?}");
    let (hook, before) = args.split_last().unwrap();
    assert_eq!((*hook, before.last()), ("/etc/x y", Some(&"hook")));
    // Files of tests are no machine's own: there the hooks are children.
    let root = tempfile::tempdir().unwrap();
    assert!(!Hooks::new(&Root::new(root.path()), Duration::ZERO).as_units);
}

//! The commands of the pages in docs/, run in the order of each page.

mod parts;
mod roles;
mod stage;

use std::fs;

use pointsman_testbed::{fakes::PATIENCE, pages, process::run, scratch};

use crate::agents::bin;
use parts::{Part, parts, prints};
use stage::Stage;

/// Runs the commands that a page has for a test, on agents and an etcd: how many ran, and how many outputs were compared.
async fn on_a_stage(page: &str, test: &str) -> (usize, usize) {
    let mut stage = Stage::new(test).await;
    let (mut commands_run, mut compared) = (0, 0);
    let mut faults = Vec::new();
    for part in parts(page, test) {
        match part {
            Part::Happens(line, what) => {
                println!("line {line}: {what}");
                stage.does(&what).await;
            }
            Part::Commands {
                line,
                commands,
                prints: said,
            } => {
                let printed = match stage.runs(&commands).await {
                    Ok(printed) => printed,
                    Err(error) => {
                        faults.push(format!("line {line}: {error}"));
                        continue;
                    }
                };
                println!("line {line}: {commands:#?}\n{printed}");
                commands_run += commands.len();
                if let Some(said) = said {
                    compared += 1;
                    if !prints(&said, &printed) {
                        faults.push(format!(
                            "line {line}: {} prints\n{printed}\nand not\n{}",
                            commands.join("; "),
                            said.join("\n")
                        ));
                    }
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));
    (commands_run, compared)
}

#[tokio::test]
async fn commands_of_the_page_do_and_print_what_it_says() {
    let page = include_str!("../../../docs/how-to/rollout.md");
    let test = "commands_of_the_page_do_and_print_what_it_says";
    let (run, compared) = on_a_stage(page, test).await;
    assert!(run > 35 && compared > 15, "{run}, {compared}");
}

#[tokio::test]
async fn everyday_commands_of_the_pages_work() {
    let test = "everyday_commands_of_the_pages_work";
    let (run, compared) = on_a_stage(include_str!("../../../docs/how-to/everyday.md"), test).await;
    assert!(run > 30 && compared >= 5, "{run}, {compared}");
    let (run, _) = on_a_stage(include_str!("../../../docs/explanation/trials.md"), test).await;
    assert_eq!(run, 3);
}

/// On a machine that is only files.
#[tokio::test]
async fn cloud_config_commands_of_the_page_work() {
    let page = include_str!("../../../docs/how-to/cloud-config.md");
    let folder = scratch::dir("cloud-config-page");
    let here = folder.path();
    fs::create_dir_all(here.join("root/etc")).unwrap();
    fs::write(here.join("node.yaml"), "#cloud-config\nhostname: n1\n").unwrap();
    let bin = bin();
    let path = format!("{}:/usr/bin:/bin", bin.parent().unwrap().display());
    let root = here.join("root").display().to_string();
    let env = [("PATH", path.as_str()), ("POINTSMAN_ROOT", &root)];
    let commands = pages::commands(page, "cloud_config_commands_of_the_page_work");
    assert_eq!(commands.len(), 1);
    for command in commands[0].1.lines() {
        let script = format!("cd {}\n{command}", here.display());
        let said = run("/bin/sh", ["-c", &script], &env, PATIENCE).await;
        // A plan with changes exits so.
        let expected = if command.contains(" plan ") { 10 } else { 0 };
        assert_eq!(said.code, Some(expected), "{command}: {said:?}");
        let hostname = fs::read_to_string(here.join("root/etc/hostname")).ok();
        let applied = command.contains(" apply ");
        assert_eq!(hostname.is_some(), applied, "{command}: {said:?}");
    }
}

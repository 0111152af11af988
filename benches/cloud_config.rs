//! `make bench`: what validating, planning and applying a cloud-config of many files costs, as ratios to reading it and
//! to writing the same files plainly, one after the other in one run.

use std::{
    fs::{self, File},
    hint::black_box,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use cloud_config::{
    Addresses, Mode, Unknown,
    apply::Machine,
    plan::{self, Planned, Step},
};
use host::node::Root;
use nix::{
    sys::resource::{UsageWho, getrusage},
    unistd::syncfs,
};

/// What is measured is the median of so many rounds.
const ROUNDS: usize = 15;

fn main() {
    // First, as the system only tells the most that any child took so far.
    memory();
    println!();
    let mut before: Option<[Duration; 4]> = None;
    for files in [1000, 10_000] {
        let times = measure(files, if files > 1000 { 3 } else { ROUNDS });
        if let Some(before) = before {
            let growth = before
                .iter()
                .zip(&times)
                .map(|(few, many)| ratio(*many, *few));
            let shown: Vec<String> = growth.map(|growth| format!("{growth:.1}")).collect();
            println!(
                "ten times as many files take {} times as long (validate, plan, apply, apply again; linear is 10)",
                shown.join(", ")
            );
        }
        before = Some(times);
    }
}

/// Files of 1 KiB of text in lines.
fn document(files: usize) -> String {
    let content = format!("      {}\n", "0123456789abcde".repeat(4)).repeat(17);
    let mut text = "#cloud-config\nwrite_files:\n".to_owned();
    for n in 0..files {
        let folder = n / 100;
        text += &format!("  - path: /srv/{folder}/file-{n}\n    content: |\n      {n}\n{content}");
    }
    text
}

fn steps(text: &str) -> Vec<Step> {
    let addresses = Addresses::default();
    let reading = cloud_config::read(text, &addresses, Unknown::Error, Mode::Own);
    assert!(reading.is_sound() && reading.diagnostics.is_empty());
    let machine = plan::Machine {
        addresses: &addresses,
        hostname: "x",
        text: &|_| None,
    };
    plan::plan(
        vec![Planned::Document(Box::new(reading.document))],
        &machine,
    )
    .expect("a plan")
}

fn measure(files: usize, rounds: usize) -> [Duration; 4] {
    let text = document(files);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let all = steps(&text);
    let mut times: [Vec<Duration>; 7] = Default::default();
    for _ in 0..rounds {
        let [parse, validate, planned, plain, plain_synced, apply, again] = &mut times;
        timed(parse, || {
            let events = serde_yaml::Parser::new_from_str(&text);
            for event in events {
                black_box(event.expect("sound"));
            }
        });
        timed(validate, || {
            black_box(cloud_config::read(
                &text,
                &Addresses::default(),
                Unknown::Error,
                Mode::Own,
            ));
        });
        // On the disk, where a sync costs something.
        let dir = folder();
        timed(planned, || {
            let mut machine = Machine::open(&Root::new(dir.path())).expect("a folder");
            let steps = steps(&text);
            let outline = runtime.block_on(machine.outline(&steps)).expect("a plan");
            assert!(outline.is_due());
        });
        let other = folder();
        timed(plain_synced, || {
            timed(plain, || write(other.path(), &all));
            syncfs(File::open(other.path()).expect("a folder")).expect("a sync");
        });
        timed(apply, || {
            let mut machine = Machine::open(&Root::new(dir.path())).expect("a folder");
            runtime
                .block_on(machine.apply(&all, "bench"))
                .expect("an apply");
        });
        timed(again, || {
            let mut machine = Machine::open(&Root::new(dir.path())).expect("a folder");
            let outline = runtime
                .block_on(machine.apply(&all, "bench"))
                .expect("an apply");
            assert!(!outline.is_due());
        });
    }
    let [parse, validate, planned, plain, plain_synced, apply, again] =
        times.map(|mut times| median(&mut times));
    println!(
        "{files} files of 1 KiB, {} KiB of document:",
        text.len() >> 10
    );
    let of_parse = ratio(validate, parse);
    println!(
        "  validate     median {}  = {of_parse:.1} plain parses of {} ({}; aim: under 5)",
        ms(validate),
        ms(parse),
        verdict(of_parse < 5.0)
    );
    println!(
        "  plan         median {}  = {:.1} plain parses, reading included",
        ms(planned),
        ratio(planned, parse)
    );
    let of_writes = ratio(apply, plain_synced);
    println!(
        "  apply        median {}  = {of_writes:.1} times the same files written plainly and synced once, {} ({}; aim: under 2); {} without the sync",
        ms(apply),
        ms(plain_synced),
        verdict(of_writes < 2.0),
        ms(plain)
    );
    println!("  apply again  median {}", ms(again));
    [validate, planned, apply, again]
}

/// The same files, as anybody would write them.
fn write(root: &Path, steps: &[Step]) {
    let mut last = None;
    for step in steps {
        let Step::File(file) = step else { continue };
        let plan::NewContent::Bytes(bytes) = &file.content else {
            continue;
        };
        let path = root.join(file.path.trim_start_matches('/'));
        let folder = path.parent().expect("a folder").to_owned();
        if last.as_ref() != Some(&folder) {
            fs::create_dir_all(&folder).expect("a folder");
            last = Some(folder);
        }
        fs::write(path, bytes).expect("a file");
    }
}

/// The most memory that the program itself takes: the one that users have, as the one built along with the bench is three
/// times as large.
fn memory() {
    let own = std::env::current_exe().expect("a bench knows its file");
    let built = own.ancestors().nth(3).expect("BUILT/PROFILE/deps/bench");
    let program = built.join("release/pointsman");
    assert!(
        program.exists(),
        "{} is not built; `make bench` builds it",
        program.display()
    );
    for files in [1, 1000, 10_000] {
        let dir = folder();
        let source = dir.path().join("document.yaml");
        let text = document(files);
        fs::write(&source, &text).expect("a file");
        for (command, code) in [("validate", 0), ("plan", 10), ("apply", 0)] {
            let mut call = Command::new(&program);
            call.args(["cloud-config", command])
                .arg(&source)
                .stdout(Stdio::null());
            if command != "validate" {
                call.arg("--root").arg(dir.path());
            }
            let status = call.status().expect("the program runs");
            assert_eq!(status.code(), Some(code));
            let most = getrusage(UsageWho::RUSAGE_CHILDREN)
                .expect("a number")
                .max_rss()
                << 10;
            let most = usize::try_from(most).unwrap_or_default();
            let aim = 3 * text.len() + (10 << 20);
            println!(
                "memory of {command:<8} {files:>5} files: {:.1} MiB so far ({}; aim: under three times the document and 10 MiB, {:.1} MiB)",
                mib(most),
                verdict(most < aim),
                mib(aim)
            );
        }
    }
}

fn folder() -> tempfile::TempDir {
    tempfile::Builder::new()
        .prefix("cloud-config")
        .tempdir_in("target")
        .expect("a folder")
}

fn timed(times: &mut Vec<Duration>, act: impl FnOnce()) {
    let began = Instant::now();
    act();
    times.push(began.elapsed());
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64()
}

#[expect(clippy::cast_precision_loss, reason = "it is shown with one digit")]
fn mib(bytes: usize) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

fn verdict(good: bool) -> &'static str {
    if good { "ok" } else { "MISSED" }
}

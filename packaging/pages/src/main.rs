//! Writes what is made from the command line's own description: a manual page for each command, and completions for
//! bash, zsh and fish; and from the tables of the configuration's page: pointsman.yaml(5) and an example. A program of its own, so that the one that runs on nodes does not carry it.

mod configuration;

use std::{fs, io, path::Path, process::ExitCode};

use clap_complete::{Shell, generate_to};

fn main() -> ExitCode {
    let Some(root) = std::env::args_os().nth(1) else {
        eprintln!("usage: pointsman-pages ROOT: writes to ROOT/usr/share");
        return ExitCode::from(2);
    };
    match write(Path::new(&root)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!(
                "pointsman-pages: cannot write below {}: {error}",
                root.display()
            );
            ExitCode::FAILURE
        }
    }
}

fn write(root: &Path) -> io::Result<()> {
    let share = root.join("usr/share");
    let pages = share.join("man/man1");
    fs::create_dir_all(&pages)?;
    clap_mangen::generate_to(pointsman::cli::command(), &pages)?;
    let pages = share.join("man/man5");
    fs::create_dir_all(&pages)?;
    let manual = configuration::manual(pointsman::cli::command().get_version().unwrap_or_default());
    fs::write(pages.join("pointsman.yaml.5"), manual)?;
    let examples = share.join("doc/pointsman/examples");
    fs::create_dir_all(&examples)?;
    fs::write(examples.join("pointsman.yaml"), configuration::example())?;

    // Each shell looks for the file in a folder and under a name of its own.
    for (shell, folder, name) in [
        (Shell::Bash, "bash-completion/completions", "pointsman"),
        (Shell::Zsh, "zsh/vendor-completions", "_pointsman"),
        (Shell::Fish, "fish/vendor_completions.d", "pointsman.fish"),
    ] {
        let folder = share.join(folder);
        fs::create_dir_all(&folder)?;
        let written = generate_to(shell, &mut pointsman::cli::command(), "pointsman", &folder)?;
        fs::rename(written, folder.join(name))?;
    }
    Ok(())
}

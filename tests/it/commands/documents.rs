//! What the pages in docs/ must name.

#[test]
fn the_documents_name_every_command_flag_and_setting() {
    use clap::CommandFactory as _;
    let commands = include_str!("../../../docs/commands.md");
    let configuration = include_str!("../../../docs/configuration.md");
    for command in pointsman::cli::Cli::command().get_subcommands() {
        assert!(
            commands.contains(&format!("`{}", command.get_name())),
            "{}",
            command.get_name()
        );
        for flag in command
            .get_arguments()
            .filter(|a| !a.is_global_set())
            .filter_map(clap::Arg::get_long)
        {
            assert!(
                commands.contains(&format!("--{flag}")),
                "--{flag} of {}",
                command.get_name()
            );
        }
    }
    for setting in pointsman::config::SETTINGS {
        let key = setting.key.rsplit('.').next().unwrap();
        assert!(
            configuration.contains(&format!("`{key}`")),
            "{}",
            setting.key
        );
        if let Some(variable) = setting.variable {
            assert!(
                configuration.contains(&format!("`{variable}`")),
                "{variable}"
            );
        }
    }
    for flag in pointsman::cli::Cli::command()
        .get_arguments()
        .filter_map(clap::Arg::get_long)
    {
        assert!(
            configuration.contains(&format!("`--{flag}`")) || ["help", "version"].contains(&flag),
            "--{flag}"
        );
    }
}

//! The flags of `coreos-cloudinit`, and their meaning. Pure.

use std::time::Duration;

use cloud_config::sources::Source;

use crate::cli::go_flags::{self, Given, Takes, Wrong};

/// How long to wait for a source, unless all of them are files. coreos-cloudinit waited
/// five minutes.
const WAIT: Duration = Duration::from_secs(60);

/// The name under which keys are added (see `cloud_config::apply`), the default of coreos-cloudinit.
const KEY_NAME: &str = "coreos-cloudinit";

const TEXT: Takes = Takes::Text;
const BOOL: Takes = Takes::Bool;

/// The flags, and the help for each.
pub(super) const FLAGS: [(&str, Takes, &str); 21] = [
    ("from-file", TEXT, "FILE  a file with user data"),
    ("from-url", TEXT, "URL  a server that has user data"),
    (
        "from-configdrive",
        TEXT,
        "DIR  a config drive, mounted there",
    ),
    (
        "from-metadata-service",
        BOOL,
        "as -from-ec2-metadata=http://169.254.169.254/",
    ),
    ("from-ec2-metadata", TEXT, "URL  EC2's service"),
    (
        "from-gce-metadata",
        TEXT,
        "URL  Google Compute Engine's service",
    ),
    (
        "from-cloudsigma-metadata",
        BOOL,
        "not supported; use -from-file",
    ),
    (
        "from-digitalocean-metadata",
        TEXT,
        "URL  DigitalOcean's service",
    ),
    ("from-waagent", TEXT, "DIR  the folder of Azure's agent"),
    ("from-packet-metadata", TEXT, "URL  Packet's service"),
    (
        "from-proc-cmdline",
        BOOL,
        "what cloud-config-url= on the kernel's command line names",
    ),
    (
        "from-vmware-guestinfo",
        BOOL,
        "not supported; use -from-vmware-ovf-env",
    ),
    (
        "from-vmware-ovf-env",
        TEXT,
        "FILE  VMware's properties, saved there",
    ),
    ("oem", TEXT, "NAME  the flags of a platform"),
    (
        "convert-netconf",
        TEXT,
        "debian  convert the platform's network to units of networkd",
    ),
    (
        "workspace",
        TEXT,
        "DIR  accepted and not needed: files are kept under /var/lib/pointsman",
    ),
    ("ssh-key-name", TEXT, "NAME  under which keys are added"),
    (
        "ignore-failure",
        BOOL,
        "exit 0 also where the document cannot be applied",
    ),
    (
        "validate",
        BOOL,
        "report what is wrong with it, and do nothing",
    ),
    ("version", BOOL, "print the version"),
    ("debug", BOOL, "log everything"),
];

/// The platforms, and the flags that each stands for.
const PLATFORMS: [(&str, &[(&str, &str)]); 8] = [
    ("azure", &[("from-waagent", "/var/lib/waagent")]),
    ("cloudsigma", &[("from-cloudsigma-metadata", "true")]),
    (
        "digitalocean",
        &[("from-digitalocean-metadata", "http://169.254.169.254/")],
    ),
    (
        "ec2-compat",
        &[
            ("from-ec2-metadata", "http://169.254.169.254/"),
            ("from-configdrive", "/media/configdrive"),
        ],
    ),
    (
        "gce",
        &[("from-gce-metadata", "http://metadata.google.internal/")],
    ),
    (
        "packet",
        &[("from-packet-metadata", "https://metadata.packet.net/")],
    ),
    (
        "rackspace-onmetal",
        &[
            ("from-configdrive", "/media/configdrive"),
            ("convert-netconf", "debian"),
        ],
    ),
    (
        "vmware",
        &[
            ("from-vmware-guestinfo", "true"),
            ("convert-netconf", "vmware"),
        ],
    ),
];

/// The meaning of a command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    /// Print the version.
    Version,
    /// Run with these options.
    Run(Run),
}

/// The options of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) sources: Vec<Source>,
    /// How long to wait for them.
    pub(super) wait: Option<Duration>,
    /// Validate only.
    pub(super) validate: bool,
    /// Convert the platform's network from Debian's format to units.
    pub(super) netconf: bool,
    /// Exit 0 also if the document cannot be applied.
    pub(super) ignore_failure: bool,
    pub(super) debug: bool,
}

/// Reads a command line.
pub(super) fn read(args: Vec<String>) -> Result<Line, Wrong> {
    let usage = |text: String| Wrong::Usage(text);
    let known = FLAGS.map(|(name, takes, _)| (name, takes));
    let mut given = go_flags::parse(args, &known)?;
    if given.bool("version") == Some(true) {
        return Ok(Line::Version);
    }
    if let Some(word) = given.words.first() {
        return Err(usage(format!("found {word:?}, expected flags only")));
    }
    platform(&mut given)?;
    // The message also names the platform that stands for the flag.
    let of = match given.text("oem").filter(|name| !name.is_empty()) {
        Some(name) => format!(" (of -oem={name})"),
        None => String::new(),
    };
    for (name, why) in [
        (
            "from-cloudsigma-metadata",
            "CloudSigma's server context comes over a serial line, which is not read here; save its \
             cloudinit-user-data to a file and name that with -from-file",
        ),
        (
            "from-vmware-guestinfo",
            "VMware is not asked for guestinfo properties; save them with \
             `vmtoolsd --cmd 'info-get guestinfo.ovfEnv' >FILE` and name that with -from-vmware-ovf-env",
        ),
    ] {
        if given.bool(name) == Some(true) {
            return Err(usage(format!("-{name}{of} is not supported: {why}")));
        }
    }
    let netconf = match given.text("convert-netconf").unwrap_or_default() {
        "" => false,
        "debian" => true,
        known @ ("packet" | "vmware") => {
            return Err(usage(format!(
                "-convert-netconf={known} is not supported: only debian's format is read; leave the flag out, and \
                 give the network as .network units under coreos.units if DHCP is not enough"
            )));
        }
        other => {
            return Err(usage(format!(
                "-convert-netconf={other}: unknown, expected debian"
            )));
        }
    };
    // Keys are kept under one name, so that the next document can remove them.
    if let Some(name) = given.text("ssh-key-name")
        && name != KEY_NAME
    {
        return Err(usage(format!(
            "-ssh-key-name={name} is not supported: keys are kept under the name {KEY_NAME}; leave the flag out"
        )));
    }
    let sources = sources(&given)?;
    let validate = given.bool("validate") == Some(true);
    let files = |source: &Source| matches!(source, Source::File(_));
    let wait = (!validate && !sources.iter().all(files)).then_some(WAIT);
    let yes = |name: &str| given.bool(name) == Some(true);
    Ok(Line::Run(Run {
        sources,
        wait,
        validate,
        netconf,
        ignore_failure: yes("ignore-failure"),
        debug: yes("debug"),
    }))
}

/// Sets the flags that a platform stands for.
fn platform(given: &mut Given) -> Result<(), Wrong> {
    let Some(name) = given.text("oem").filter(|name| !name.is_empty()) else {
        return Ok(());
    };
    let Some((_, flags)) = PLATFORMS.iter().find(|(known, _)| *known == name) else {
        let all = PLATFORMS.map(|(name, _)| name).join(", ");
        return Err(Wrong::Usage(format!(
            "-oem={name}: unknown, expected one of {all}"
        )));
    };
    for (name, text) in *flags {
        given.set(name, (*text).to_owned());
    }
    Ok(())
}

/// Returns the sources, in the order of coreos-cloudinit.
fn sources(given: &Given) -> Result<Vec<Source>, Wrong> {
    let text = |name: &str| given.text(name).filter(|text| !text.is_empty());
    let yes = |name: &str| given.bool(name) == Some(true);
    let mut sources = Vec::new();
    sources.extend(text("from-file").map(|path| Source::File(path.into())));
    for (flag, kind) in [
        ("from-url", ""),
        ("from-configdrive", "configdrive:"),
        ("from-metadata-service", "ec2"),
        ("from-ec2-metadata", "ec2:"),
        ("from-gce-metadata", "gce:"),
        ("from-digitalocean-metadata", "digitalocean:"),
        ("from-waagent", "waagent:"),
        ("from-packet-metadata", "packet:"),
        ("from-proc-cmdline", "cmdline"),
        ("from-vmware-ovf-env", "ovf-env:"),
    ] {
        let name = match FLAGS.iter().find(|(name, ..)| *name == flag) {
            Some((_, Takes::Bool, _)) if yes(flag) => kind.to_owned(),
            Some((_, Takes::Text, _)) => match text(flag) {
                Some(text) => format!("{kind}{text}"),
                None => continue,
            },
            _ => continue,
        };
        let source = name
            .parse()
            .map_err(|error| Wrong::Usage(format!("-{flag}: {error}")))?;
        if flag == "from-url" && !matches!(source, Source::Url(_)) {
            return Err(Wrong::Usage(format!(
                "-from-url: found {name:?}, expected http:// or https://"
            )));
        }
        sources.push(source);
    }
    if sources.is_empty() {
        let all = FLAGS.iter().filter(|(name, ..)| name.starts_with("from-"));
        let all: Vec<String> = all.map(|(name, ..)| format!("-{name}")).collect();
        return Err(Wrong::Usage(format!(
            "found no source, expected at least one of {}",
            all.join(", ")
        )));
    }
    Ok(sources)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Result<Line, Wrong> {
        read(text.split_ascii_whitespace().map(str::to_owned).collect())
    }

    fn run(text: &str) -> Run {
        match line(text) {
            Ok(Line::Run(run)) => run,
            other => panic!("{text}: {other:?}"),
        }
    }

    /// The sources of a line, as people name them.
    fn named(text: &str) -> String {
        let all: Vec<String> = run(text).sources.iter().map(ToString::to_string).collect();
        all.join(" ")
    }

    #[test]
    fn every_source_is_known_with_one_dash_or_two() {
        for (text, expected) in [
            ("-from-file=/a", "/a"),
            ("--from-file /a:b", "/a:b"),
            ("-from-url=https://h/x", "https://h/x"),
            (
                "-from-configdrive=/media/configdrive",
                "configdrive:/media/configdrive",
            ),
            ("-from-metadata-service", "ec2:http://169.254.169.254/"),
            ("-from-metadata-service=false -from-file=/a", "/a"),
            (
                "-from-ec2-metadata=http://169.254.169.254/",
                "ec2:http://169.254.169.254/",
            ),
            (
                "-from-gce-metadata=http://metadata/",
                "gce:http://metadata/",
            ),
            (
                "-from-digitalocean-metadata=http://d",
                "digitalocean:http://d/",
            ),
            ("-from-packet-metadata=https://p", "packet:https://p/"),
            ("-from-waagent=/var/lib/waagent", "waagent:/var/lib/waagent"),
            ("-from-proc-cmdline", "cmdline"),
            ("-from-vmware-ovf-env=/f", "ovf-env:/f"),
            (
                "-from-proc-cmdline=1 -from-url=http://h/ --from-file=/a",
                "/a http://h/ cmdline",
            ),
            ("-oem=azure", "waagent:/var/lib/waagent"),
            (
                "-oem=ec2-compat",
                "configdrive:/media/configdrive ec2:http://169.254.169.254/",
            ),
            ("-oem=gce", "gce:http://metadata.google.internal/"),
            ("-oem=packet", "packet:https://metadata.packet.net/"),
            ("-oem=digitalocean", "digitalocean:http://169.254.169.254/"),
            ("-oem=rackspace-onmetal", "configdrive:/media/configdrive"),
        ] {
            assert_eq!(named(text), expected, "{text}");
        }
    }

    #[test]
    fn other_flags_are_read() {
        let all = run(
            "-from-file=/a -workspace=/w -ssh-key-name=coreos-cloudinit -ignore-failure -convert-netconf=debian",
        );
        assert!(all.ignore_failure && all.netconf && !all.validate && !all.debug);
        // A file is not waited for.
        assert_eq!(all.wait, None);
        assert_eq!(run("-from-proc-cmdline").wait, Some(WAIT));
        let look = run("-validate -from-url=http://h/");
        assert_eq!((look.validate, look.wait), (true, None));
        assert!(run("-oem=rackspace-onmetal").netconf);
        assert_eq!(line("-version"), Ok(Line::Version));
    }

    #[test]
    fn unsupported_flags_are_refused_by_name() {
        for (text, words) in [
            (
                "",
                "found no source, expected at least one of -from-file, -from-url",
            ),
            ("-validate", "found no source"),
            ("-from-file=", "found no source"),
            (
                "-from-cloudsigma-metadata",
                "-from-cloudsigma-metadata is not supported: CloudSigma's server context comes over a serial line, which \
                 is not read here; save its cloudinit-user-data to a file and name that with -from-file",
            ),
            (
                "-oem=cloudsigma",
                "-from-cloudsigma-metadata (of -oem=cloudsigma) is not supported",
            ),
            (
                "-from-vmware-guestinfo",
                "-from-vmware-guestinfo is not supported: VMware is not asked for guestinfo properties; save them \
                 with `vmtoolsd --cmd 'info-get guestinfo.ovfEnv' >FILE` and name that with \
                 -from-vmware-ovf-env",
            ),
            (
                "-oem=vmware",
                "-from-vmware-guestinfo (of -oem=vmware) is not supported",
            ),
            (
                "-oem=aws",
                "-oem=aws: unknown, expected one of azure, cloudsigma",
            ),
            (
                "-from-file=/a -convert-netconf=packet",
                "-convert-netconf=packet is not supported: only debian's format is read; leave the flag out, and give \
                 the network as .network units",
            ),
            (
                "-from-file=/a -convert-netconf=vmware",
                "-convert-netconf=vmware is not supported: ",
            ),
            (
                "-from-file=/a -convert-netconf=x",
                "-convert-netconf=x: unknown, expected debian",
            ),
            (
                "-from-file=/a -ssh-key-name=x",
                "-ssh-key-name=x is not supported: keys are kept under the name coreos-cloudinit; leave the flag out",
            ),
            (
                "-from-url=/a",
                "-from-url: found \"/a\", expected http:// or https://",
            ),
            (
                "-from-ec2-metadata=x",
                "-from-ec2-metadata: \"ec2:x\": found no URL",
            ),
            (
                "-from-nowhere",
                "flag provided but not defined: -from-nowhere",
            ),
            ("-from-file=/a word", "found \"word\", expected flags only"),
        ] {
            match line(text) {
                Err(Wrong::Usage(why)) => assert!(why.contains(words), "{text}: {why}"),
                other => panic!("{text}: {other:?}"),
            }
        }
        assert_eq!(line("-help"), Err(Wrong::Help));
    }
}

//! Sources as people name them.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use host::http::{Url, shown};

use crate::diagnostic::nearest;

/// Where user data comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Standard input: `-`.
    Stdin,
    /// A file.
    File(PathBuf),
    /// A document on a server: `https://…`.
    Url(Document),
    /// What `cloud-config-url=` on the kernel's command line names: `cmdline`.
    Cmdline,
    /// A drive of OpenStack, by its label, or mounted at a folder: `configdrive:DIR`.
    ConfigDrive(Option<PathBuf>),
    /// A platform's service: `ec2:URL` and so on.
    Service(Platform, Url),
    /// The folder of Azure's agent: `waagent:DIR`.
    Waagent(Option<PathBuf>),
    /// VMware's OVF environment, saved to a file: `ovf-env:FILE`.
    OvfEnv(PathBuf),
    /// The file that Vagrant leaves: `vagrant`.
    Vagrant,
    /// The file that the installer leaves: `install`.
    Install,
    /// A key of etcd: `etcd:KEY`.
    Etcd(String),
}

/// A document on a server, and the hash that it must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Where, without the fragment.
    pub url: Url,
    /// Its SHA-256, in lower-case hexadecimal.
    pub sha256: Option<String>,
}

/// Platforms with a metadata service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Platform {
    /// Amazon EC2 and compatible platforms.
    Ec2,
    /// OpenStack.
    OpenStack,
    /// Google Compute Engine.
    Gce,
    /// DigitalOcean.
    DigitalOcean,
    /// Packet, now Equinix Metal.
    Packet,
}

/// The platforms, their names, and the URLs of their services.
const PLATFORMS: [(Platform, &str, &str); 5] = [
    (Platform::Ec2, "ec2", "http://169.254.169.254/"),
    (Platform::OpenStack, "openstack", "http://169.254.169.254/"),
    (Platform::Gce, "gce", "http://metadata.google.internal/"),
    (
        Platform::DigitalOcean,
        "digitalocean",
        "http://169.254.169.254/",
    ),
    (Platform::Packet, "packet", "https://metadata.packet.net/"),
];

/// The forms of a source, for error messages and help.
pub const FORMS: &str = "a file, -, http(s)://…, cmdline, configdrive[:DIR], ec2[:URL], openstack[:URL], gce[:URL], \
                         digitalocean[:URL], packet[:URL], waagent[:DIR], ovf-env:FILE, vagrant, install or etcd:KEY";

/// Why a text names no source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?}: {fault}")]
pub struct SourceError {
    /// The text.
    pub text: String,
    /// What is wrong with it.
    pub fault: SourceFault,
}

/// What is wrong with the name of a source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceFault {
    /// It is empty.
    #[error("expected {FORMS}")]
    Empty,
    /// A known word lacks what follows its colon.
    #[error("expected {word}:{what}")]
    Incomplete {
        /// The word.
        word: String,
        /// What follows it: `DIR`, `FILE` or `KEY`.
        what: &'static str,
    },
    /// The word before the colon is unknown.
    #[error("unknown {what} {word:?}, expected {FORMS}; a file of this name is ./{text}")]
    Unknown {
        /// `scheme` or `kind of source`.
        what: &'static str,
        /// The word.
        word: String,
        /// The whole text.
        text: String,
    },
    /// The URL is not one that can be fetched.
    #[error("{0}")]
    Url(#[from] UrlFault),
}

/// What is wrong with a URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlFault {
    /// The text is not a URL.
    #[error("found no URL ({0}), expected http:// or https:// and a host")]
    NoUrl(String),
    /// Its scheme is another one.
    #[error("found {0}://, expected http:// or https://")]
    Scheme(String),
    /// Its fragment is no hash.
    #[error("found #{0}, expected #sha256= and 64 hexadecimal digits")]
    Fragment(String),
}

impl FromStr for Source {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        let wrong = |fault: SourceFault| SourceError {
            text: text.to_owned(),
            fault,
        };
        let bad_url = |fault: UrlFault| wrong(fault.into());
        let (word, rest) = match text.split_once(':') {
            Some((word, rest)) => (word, Some(rest)),
            None => (text, None),
        };
        if let Some((platform, _, known)) = PLATFORMS.iter().find(|(_, name, _)| *name == word) {
            let at = rest.filter(|rest| !rest.is_empty()).unwrap_or(known);
            return Ok(Self::Service(*platform, base(at).map_err(bad_url)?));
        }
        let needs = |what: &'static str| match rest.filter(|rest| !rest.is_empty()) {
            Some(rest) => Ok(rest.to_owned()),
            None => Err(wrong(SourceFault::Incomplete {
                word: word.to_owned(),
                what,
            })),
        };
        Ok(match (word, rest) {
            ("-", None) => Self::Stdin,
            ("http" | "https", Some(_)) => Self::Url(Document::parse(text).map_err(bad_url)?),
            ("cmdline", None) => Self::Cmdline,
            ("vagrant", None) => Self::Vagrant,
            ("install", None) => Self::Install,
            ("configdrive", None) => Self::ConfigDrive(None),
            ("configdrive", Some(_)) => Self::ConfigDrive(Some(needs("DIR")?.into())),
            ("waagent", None) => Self::Waagent(None),
            ("waagent", Some(_)) => Self::Waagent(Some(needs("DIR")?.into())),
            ("ovf-env", _) => Self::OvfEnv(needs("FILE")?.into()),
            ("etcd", _) => Self::Etcd(needs("KEY")?),
            ("", None) => return Err(wrong(SourceFault::Empty)),
            // A text like ftp://… or openstak:… is not meant as a file.
            (word, Some(rest)) if scheme(word) && !std::path::Path::new(text).exists() => {
                let what = if rest.starts_with("//") {
                    "scheme"
                } else {
                    "kind of source"
                };
                return Err(wrong(SourceFault::Unknown {
                    what,
                    word: word.to_owned(),
                    text: text.to_owned(),
                }));
            }
            _ => Self::File(text.into()),
        })
    }
}

fn scheme(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

impl Source {
    /// Tells whether it may be available without user data, with metadata only, as platforms are.
    pub(super) fn may_have_none(&self) -> bool {
        match self {
            Self::Stdin | Self::File(_) | Self::Url(_) | Self::Cmdline => false,
            Self::Vagrant | Self::Install | Self::Etcd(_) => false,
            Self::ConfigDrive(_) | Self::Service(..) | Self::Waagent(_) | Self::OvfEnv(_) => true,
        }
    }
}

/// Finds the word for a source that is similar to a file's name.
pub(super) fn meant(name: &Path) -> Option<&'static str> {
    let words = ["cmdline", "configdrive", "waagent", "vagrant", "install"];
    let words = words.into_iter().chain(PLATFORMS.map(|(_, name, _)| name));
    nearest(&name.to_str()?.to_ascii_lowercase(), words)
}

impl Document {
    /// Reads a URL that may end in `#sha256=` and a hash.
    ///
    /// # Errors
    /// When the URL or its fragment is invalid.
    pub(super) fn parse(text: &str) -> Result<Self, UrlFault> {
        let mut url = web(text)?;
        let sha256 = match url.fragment() {
            None | Some("") => None,
            Some(fragment) => {
                let hash = fragment
                    .strip_prefix("sha256=")
                    .filter(|hash| hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()));
                let Some(hash) = hash else {
                    return Err(UrlFault::Fragment(fragment.to_owned()));
                };
                Some(hash.to_ascii_lowercase())
            }
        };
        url.set_fragment(None);
        Ok(Self { url, sha256 })
    }
}

fn web(text: &str) -> Result<Url, UrlFault> {
    let parsed = text.parse::<Url>();
    let url = parsed.map_err(|error| UrlFault::NoUrl(error.to_string()))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        other => Err(UrlFault::Scheme(other.to_owned())),
    }
}

/// Parses the base URL of a service.
fn base(text: &str) -> Result<Url, UrlFault> {
    let mut url = web(text)?;
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdin => f.write_str("standard input"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Url(document) => f.write_str(&shown(&document.url)),
            Self::Cmdline => f.write_str("cmdline"),
            Self::ConfigDrive(None) => f.write_str("configdrive"),
            Self::ConfigDrive(Some(folder)) => write!(f, "configdrive:{}", folder.display()),
            Self::Service(platform, url) => {
                let name = PLATFORMS
                    .iter()
                    .find(|(known, ..)| known == platform)
                    .map_or("", |(_, name, _)| name);
                write!(f, "{name}:{}", shown(url))
            }
            Self::Waagent(None) => f.write_str("waagent"),
            Self::Waagent(Some(folder)) => write!(f, "waagent:{}", folder.display()),
            Self::OvfEnv(file) => write!(f, "ovf-env:{}", file.display()),
            Self::Vagrant => f.write_str("vagrant"),
            Self::Install => f.write_str("install"),
            Self::Etcd(key) => write!(f, "etcd:{key}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_of_source_is_read_and_shown() {
        for (text, shown) in [
            ("-", "standard input"),
            ("node.yaml", "node.yaml"),
            ("./a:b", "./a:b"),
            ("/etc/x:y", "/etc/x:y"),
            ("http://h/x", "http://h/x"),
            ("https://u:p@h:1/x?q=1", "https://u:***@h:1/x?***"),
            ("cmdline", "cmdline"),
            ("./cmdline", "./cmdline"),
            ("configdrive", "configdrive"),
            (
                "configdrive:/media/configdrive",
                "configdrive:/media/configdrive",
            ),
            ("ec2", "ec2:http://169.254.169.254/"),
            ("ec2:", "ec2:http://169.254.169.254/"),
            (
                "openstack:http://127.0.0.1:1/x",
                "openstack:http://127.0.0.1:1/x/",
            ),
            ("gce", "gce:http://metadata.google.internal/"),
            ("digitalocean", "digitalocean:http://169.254.169.254/"),
            ("packet", "packet:https://metadata.packet.net/"),
            ("waagent", "waagent"),
            ("waagent:/d", "waagent:/d"),
            ("ovf-env:/f", "ovf-env:/f"),
            ("vagrant", "vagrant"),
            ("install", "install"),
            ("etcd:/site/node", "etcd:/site/node"),
        ] {
            let source: Source = text.parse().unwrap();
            assert_eq!(source.to_string(), shown, "{text}");
        }
        let hash = "A".repeat(64);
        let Ok(Source::Url(document)) = format!("https://h/x#sha256={hash}").parse() else {
            panic!()
        };
        assert_eq!(document.url.as_str(), "https://h/x");
        assert_eq!(document.sha256, Some("a".repeat(64)));
    }

    #[test]
    fn invalid_source_names_list_the_valid_forms() {
        for (text, words) in [
            ("", "expected a file, -, http"),
            ("ftp://h/x", "unknown scheme \"ftp\", expected a file"),
            ("openstak:http://h", "unknown kind of source \"openstak\""),
            ("HTTP://h", "unknown scheme \"HTTP\""),
            ("http://", "found no URL"),
            (
                "https://h/x#sha256=12",
                "found #sha256=12, expected #sha256=",
            ),
            ("https://h/x#part", "found #part, expected #sha256="),
            ("configdrive:", "expected configdrive:DIR"),
            ("etcd:", "expected etcd:KEY"),
            ("ovf-env", "expected ovf-env:FILE"),
            ("ec2:169.254.169.254", "found no URL"),
            (
                "gce:file:///x",
                "found file://, expected http:// or https://",
            ),
        ] {
            let error = text.parse::<Source>().unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}

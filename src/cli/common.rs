//! The flags every command takes: where the machine and etcd are.

use std::path::PathBuf;

use clap::Args;

use crate::{
    config::{Config, ConfigError, Origin, Partial},
    node::Root,
};

/// Flags of every command. Except for `--config` and `--root`, each is a setting of the configuration file as
/// well; the environment is read with the configuration, so that an error can say where a value came from.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Common options")]
pub struct CommonArgs {
    /// Where etcd listens: http(s)://host[:port] or host:port, several with commas or by repeating the flag
    /// [env: POINTSMAN_ENDPOINT] [default: http://127.0.0.1:2379,http://127.0.0.1:4001]
    #[arg(long, global = true, value_name = "URL")]
    pub endpoint: Vec<String>,

    /// The group of nodes that shares one semaphore; "" is the default group [env: POINTSMAN_GROUP]
    #[arg(long, global = true, value_name = "NAME")]
    pub group: Option<String>,

    /// What all keys in etcd begin with [env: POINTSMAN_KEY_PREFIX]
    /// [default: coreos.com/updateengine/rebootlock]
    #[arg(long, global = true, value_name = "PREFIX")]
    pub key_prefix: Option<String>,

    /// Authorities (PEM) that sign etcd's certificate; without it, the system's [env: POINTSMAN_ETCD_CAFILE]
    #[arg(long, global = true, value_name = "FILE")]
    pub etcd_cafile: Option<String>,

    /// Certificate (PEM) to show to etcd; needs the key as well [env: POINTSMAN_ETCD_CERTFILE]
    #[arg(long, global = true, value_name = "FILE")]
    pub etcd_certfile: Option<String>,

    /// Key (PEM) of that certificate [env: POINTSMAN_ETCD_KEYFILE]
    #[arg(long, global = true, value_name = "FILE")]
    pub etcd_keyfile: Option<String>,

    /// User of etcd, where it has authentication switched on [env: POINTSMAN_ETCD_USERNAME]
    #[arg(long, global = true, value_name = "NAME")]
    pub etcd_username: Option<String>,

    /// File with that user's password; only its owner may have access [env: POINTSMAN_ETCD_PASSWORD_FILE]
    #[arg(long, global = true, value_name = "FILE")]
    pub etcd_password_file: Option<String>,

    /// The most a request to etcd may take, over all endpoints [env: POINTSMAN_TIMEOUT] [default: 5s]
    #[arg(long, global = true, value_name = "DURATION")]
    pub timeout: Option<String>,

    /// Configuration file instead of etc/pointsman/config.yaml under the root; it must exist
    #[arg(long, global = true, value_name = "FILE", env = "POINTSMAN_CONFIG")]
    pub config: Option<PathBuf>,

    /// Folder under which all files of the machine lie [default: /]
    #[arg(long, global = true, value_name = "DIR", env = "POINTSMAN_ROOT")]
    pub root: Option<PathBuf>,
}

impl CommonArgs {
    /// Where the machine's files lie.
    #[must_use]
    pub fn root(&self) -> Root {
        self.root.clone().map_or_else(Root::default, Root::new)
    }

    /// The configuration these flags, the environment and the file amount to.
    ///
    /// # Errors
    /// When anything in them is wrong.
    pub fn load(&self) -> Result<Config, ConfigError> {
        Config::load(
            &self.root(),
            self.config.as_deref(),
            self.flags()?,
            &|name| std::env::var_os(name),
        )
    }

    /// The layer of the flags.
    fn flags(&self) -> Result<Partial, ConfigError> {
        let endpoints = (!self.endpoint.is_empty()).then(|| self.endpoint.join(","));
        let mut layer = Partial::default();
        for (flag, key, text) in [
            ("--endpoint", "etcd.endpoints", &endpoints),
            ("--group", "group", &self.group),
            ("--key-prefix", "key-prefix", &self.key_prefix),
            ("--etcd-cafile", "etcd.cafile", &self.etcd_cafile),
            ("--etcd-certfile", "etcd.certfile", &self.etcd_certfile),
            ("--etcd-keyfile", "etcd.keyfile", &self.etcd_keyfile),
            ("--etcd-username", "etcd.username", &self.etcd_username),
            (
                "--etcd-password-file",
                "etcd.password-file",
                &self.etcd_password_file,
            ),
            ("--timeout", "etcd.timeout", &self.timeout),
        ] {
            if let Some(text) = text {
                layer.set(key, text, Origin::Flag(flag))?;
            }
        }
        Ok(layer)
    }
}

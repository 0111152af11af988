//! Where cloud-configs come from: every source against servers on loopback that speak as the real ones do, and against
//! those that do not.

mod documents;
mod etcd;
mod platforms;
mod several;
mod trouble;

use std::time::Duration;

use cloud_config::sources::{Fetched, NoSource, Options, Source, resolve};
use host::{http::Limits, node::Root};
use pointsman_testbed::{
    fakes::PATIENCE,
    process::{Output, run},
};

use crate::agents::bin;

const GOOD: &str = "#cloud-config\nhostname: n1\n";

/// Short enough for a test, long enough for a busy machine.
const QUICK: Limits = Limits {
    connect: Duration::from_secs(2),
    idle: Duration::from_millis(300),
    total: Duration::from_secs(5),
    most: 64 << 20,
    redirects: 5,
    proxies: false,
};

fn sources(texts: &[&str]) -> Vec<Source> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// Asks these sources, on a machine under `root`, with quick limits.
async fn ask(texts: &[&str], root: Root, wait: Option<Duration>) -> Result<Fetched, NoSource> {
    let options = Options {
        wait,
        limits: QUICK,
        ..Options::new(root)
    };
    resolve(&sources(texts), &options).await
}

/// Asks one source that nobody waits for.
async fn one(text: &str) -> Result<Fetched, NoSource> {
    ask(&[text], Root::default(), None).await
}

/// Why one source gives nothing.
async fn refused(text: &str) -> String {
    one(text).await.unwrap_err().to_string()
}

/// `pointsman cloud-config validate ARGS`.
async fn validate(args: &[&str]) -> Output {
    validate_with(args, &[]).await
}

async fn validate_with(args: &[&str], env: &[(&str, &str)]) -> Output {
    let args = [&["cloud-config", "validate"], args].concat();
    let env = [env, &[("no_proxy", "127.0.0.1")]].concat();
    run(bin(), args, &env, PATIENCE).await
}

//! Backups: taken, and put back as an operator does it, which makes another cluster with an older history.

use std::path::Path;
use std::time::Duration;

use super::Cluster;
use crate::process::run;

impl Cluster {
    /// Writes a backup of the whole store to `path`.
    pub async fn snapshot(&self, path: &Path) {
        let result: Result<(), etcd_client::Error> = async {
            // A read that is current has its member catch up: one that lags would hand out less than there is.
            let mut client = self.client_of(0).await;
            client.get("a backup follows", None).await?;
            let mut stream = client.snapshot().await?;
            let mut file = Vec::new();
            while let Some(part) = stream.message().await? {
                file.extend_from_slice(part.blob());
            }
            std::fs::write(path, file).map_err(|e| etcd_client::Error::Internal(e.to_string()))
        }
        .await;
        result.unwrap_or_else(|e| panic!("no backup to {}: {e}", path.display()));
    }

    /// Kills every member, puts the backup in the place of its data and starts it again at its address. The cluster
    /// then has another id, and its revision goes on from the backup's. Leases live on with their time renewed.
    pub async fn restore(&self, path: &Path) {
        let token = self.next_token();
        self.restore_with(path, &token).await;
    }

    /// As [`Self::restore`], with the members and the token of before: the cluster keeps its id.
    pub async fn restore_same(&self, path: &Path) {
        let token = self.token();
        self.restore_with(path, &token).await;
    }

    /// Kills every member and starts it again with nothing. The cluster keeps its id.
    pub async fn empty(&self) {
        for i in 0..self.len() {
            self.kill_member(i).await;
            let data = self.data_dir(i);
            std::fs::remove_dir_all(&data)
                .unwrap_or_else(|e| panic!("cannot remove {}: {e}", data.display()));
        }
        self.start_all().await;
    }

    async fn start_all(&self) {
        for i in 0..self.len() {
            self.spawn_member(i);
        }
        for i in 0..self.len() {
            self.wait_member(i).await;
        }
    }

    /// The revision the store is at.
    pub async fn revision(&self) -> i64 {
        let answer = self.client().await.get("revision", None).await;
        let answer = answer.unwrap_or_else(|e| panic!("the cluster does not answer: {e}"));
        answer
            .header()
            .map_or(0, etcd_client::ResponseHeader::revision)
    }

    /// Writes until the store is beyond this revision.
    pub async fn write_beyond(&self, revision: i64) {
        let mut client = self.client_of(0).await;
        loop {
            let put = client.put("ballast", "", None).await;
            let put = put.unwrap_or_else(|e| panic!("the cluster takes no write: {e}"));
            if put
                .header()
                .map_or(0, etcd_client::ResponseHeader::revision)
                > revision
            {
                return;
            }
        }
    }

    async fn restore_with(&self, path: &Path, token: &str) {
        for i in 0..self.len() {
            self.kill_member(i).await;
            let data = self.data_dir(i);
            std::fs::remove_dir_all(&data)
                .unwrap_or_else(|e| panic!("cannot remove {}: {e}", data.display()));
            let mut args: Vec<String> = ["snapshot", "restore"].map(String::from).into();
            args.push(path.display().to_string());
            args.push(format!("--data-dir={}", data.display()));
            args.extend(self.identity_args(i, token));
            let env = [("ETCDCTL_API", "3")];
            let out = run(
                self.options().version.etcdctl(),
                &args,
                &env,
                Duration::from_secs(30),
            )
            .await;
            assert_eq!(
                out.code,
                Some(0),
                "etcdctl snapshot restore failed: {}{}",
                out.stdout,
                out.stderr
            );
        }
        self.start_all().await;
    }

    /// Forgets every old revision, as etcd's auto-compaction does. Returns the revision compacted at.
    pub async fn compact(&self) -> i64 {
        let result: Result<i64, etcd_client::Error> = async {
            let mut client = self.client().await;
            let revision = client
                .get("compact", None)
                .await?
                .header()
                .map_or(0, etcd_client::ResponseHeader::revision);
            let physical = etcd_client::CompactionOptions::new().with_physical();
            client.compact(revision, Some(physical)).await?;
            Ok(revision)
        }
        .await;
        result.unwrap_or_else(|e| panic!("cannot compact: {e}"))
    }
}

//! Certificates for one cluster: a CA, one for the members, one for a client.

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// PEM files in the cluster's directory.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// The CA that signed all the others.
    pub ca: PathBuf,
    /// The client's certificate, common name `pointsman`.
    pub client_cert: PathBuf,
    /// The client's key.
    pub client_key: PathBuf,
    /// A server's on 127.0.0.1.
    pub server_cert: PathBuf,
    /// The key of all the servers' certificates.
    pub server_key: PathBuf,
    /// A server's on 127.0.0.1 that is good from the year 2090 on: what a certificate of today is to a clock at 1970.
    pub early_cert: PathBuf,
    /// A server's on 127.0.0.1 that ran out long ago.
    pub expired_cert: PathBuf,
    /// A server's for `elsewhere.example` only.
    pub stranger_cert: PathBuf,
    /// A server's on 127.0.0.1 that its own key signed, as an authority's is: what `openssl req -x509` makes.
    pub own_cert: PathBuf,
    /// The same, but a server's only.
    pub plain_cert: PathBuf,
    /// A server's on 127.0.0.1 that its own key signed, under the name of the CA.
    pub namesake_cert: PathBuf,
    /// The key of that one, of another kind than the CA's.
    pub namesake_key: PathBuf,
}

const CA: &str = "pointsman-testbed CA";

impl Certificates {
    /// From the next connection on, the members show a certificate that ran out long ago: etcd reads the file again for
    /// each.
    pub fn let_expire(&self) {
        self.serve(&self.expired_cert);
    }

    /// From the next connection on, the members show a certificate for `elsewhere.example` only.
    pub fn rename(&self) {
        self.serve(&self.stranger_cert);
    }

    fn serve(&self, cert: &Path) {
        std::fs::copy(cert, &self.server_cert)
            .unwrap_or_else(|e| panic!("cannot copy {}: {e}", cert.display()));
    }

    /// Makes them, with a CA of their own, and writes them to `dir`.
    pub fn write(dir: &Path) -> Self {
        let files = Self {
            ca: dir.join("ca.pem"),
            client_cert: dir.join("client.pem"),
            client_key: dir.join("client-key.pem"),
            server_cert: dir.join("server.pem"),
            server_key: dir.join("server-key.pem"),
            early_cert: dir.join("early.pem"),
            expired_cert: dir.join("expired.pem"),
            stranger_cert: dir.join("stranger.pem"),
            own_cert: dir.join("own.pem"),
            plain_cert: dir.join("plain.pem"),
            namesake_cert: dir.join("namesake.pem"),
            namesake_key: dir.join("namesake-key.pem"),
        };
        let result = files.try_write();
        result.unwrap_or_else(|e| panic!("cannot make certificates in {}: {e}", dir.display()));
        files
    }

    fn try_write(&self) -> Result<(), Box<dyn std::error::Error>> {
        let mut ca = params(CA, &[])?;
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        std::fs::write(&self.ca, ca.self_signed(&key)?.pem())?;
        let issuer = Issuer::new(ca, key);

        let client = [ExtendedKeyUsagePurpose::ClientAuth];
        // etcd's own gateway dials the member with the member's certificate: it must serve as a client's too.
        let both = [
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        for (name, hosts, usages, cert, key) in [
            (
                "etcd",
                &["127.0.0.1", "localhost"][..],
                &both[..],
                &self.server_cert,
                &self.server_key,
            ),
            (
                "pointsman",
                &[][..],
                &client[..],
                &self.client_cert,
                &self.client_key,
            ),
        ] {
            let mut leaf = params(name, hosts)?;
            leaf.use_authority_key_identifier_extension = true;
            leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            leaf.extended_key_usages = usages.to_vec();
            let pair = KeyPair::generate()?;
            std::fs::write(cert, leaf.signed_by(&pair, &issuer)?.pem())?;
            std::fs::write(key, pair.serialize_pem())?;
            if cert == &self.server_cert {
                let mut stranger = params(name, &["elsewhere.example"])?;
                stranger
                    .extended_key_usages
                    .clone_from(&leaf.extended_key_usages);
                std::fs::write(
                    &self.stranger_cert,
                    stranger.signed_by(&pair, &issuer)?.pem(),
                )?;
                let mut early = params(name, hosts)?;
                early
                    .extended_key_usages
                    .clone_from(&leaf.extended_key_usages);
                early.not_before = rcgen::date_time_ymd(2090, 1, 1);
                std::fs::write(&self.early_cert, early.signed_by(&pair, &issuer)?.pem())?;
                leaf.not_after = rcgen::date_time_ymd(2020, 1, 1);
                std::fs::write(&self.expired_cert, leaf.signed_by(&pair, &issuer)?.pem())?;
                let mut own = params(name, hosts)?;
                own.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
                std::fs::write(&self.own_cert, own.self_signed(&pair)?.pem())?;
                own.is_ca = IsCa::ExplicitNoCa;
                std::fs::write(&self.plain_cert, own.self_signed(&pair)?.pem())?;
            }
        }
        let key = KeyPair::generate_for(&rcgen::PKCS_ED25519)?;
        let namesake = params(CA, &["127.0.0.1"])?;
        std::fs::write(&self.namesake_cert, namesake.self_signed(&key)?.pem())?;
        std::fs::write(&self.namesake_key, key.serialize_pem())?;
        Ok(())
    }
}

/// Writes a client's certificate to `dir` that expires after this time, and its key; their files.
pub fn expiring_client(dir: &Path, left: Duration) -> (PathBuf, PathBuf) {
    let files = (dir.join("expiring.pem"), dir.join("expiring-key.pem"));
    let write = || -> Result<(), Box<dyn std::error::Error>> {
        let mut leaf = params("pointsman", &[])?;
        leaf.not_after = (SystemTime::now() + left).into();
        let key = KeyPair::generate()?;
        std::fs::write(&files.0, leaf.self_signed(&key)?.pem())?;
        std::fs::write(&files.1, key.serialize_pem())?;
        Ok(())
    };
    write().unwrap_or_else(|e| panic!("cannot make a certificate in {}: {e}", dir.display()));
    files
}

fn params(name: &str, hosts: &[&str]) -> Result<CertificateParams, rcgen::Error> {
    let hosts: Vec<String> = hosts.iter().map(|&h| h.to_owned()).collect();
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}

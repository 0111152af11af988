//! Endpoints by name, looked up at a DNS server: what the C library of the program does, which is another one in a static program.

use std::fs;

use pointsman_testbed::{fakes::PATIENCE, process::run, scratch};

use crate::agents::bin;

/// Answers `etcd.site.example` with 127.0.0.1, has no IPv6 address of it, and knows no other name.
const SERVER: &str = r#"
import socket, struct
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 53))
open("/run/names", "w").close()
while True:
    query, client = server.recvfrom(512)
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1:at + 1 + query[at]].decode().lower())
        at += 1 + query[at]
    question = query[12:at + 5]
    known = labels == ["etcd", "site", "example"]
    address = known and question[-4:-2] == b"\0\x01"
    answer = b"\xc0\x0c" + struct.pack(">HHIH4B", 1, 1, 60, 4, 127, 0, 0, 1) if address else b""
    flags = 0x8180 if known else 0x8183
    server.sendto(query[:2] + struct.pack(">5H", flags, 1, int(address), 0, 0) + question + answer, client)
"#;

/// In a network and a file system of its own: a resolver, an etcd, and commands.
const SCRIPT: &str = r#"
mount --make-rprivate /
mount -t tmpfs tmpfs /run
ip link set lo up
echo 'nameserver 127.0.0.1
search site.example' >/run/resolv.conf
echo 'hosts: files dns' >/run/nsswitch.conf
: >/run/hosts
for file in resolv.conf nsswitch.conf hosts; do
    mount --bind /run/$file "$(readlink -f /etc/$file)"
done
python3 "$SERVER" &
server=$!
here=http://127.0.0.1
etcd --data-dir "$DATA" --log-level error --listen-client-urls $here:2379 --advertise-client-urls $here:2379 \
    --listen-peer-urls $here:2380 --initial-advertise-peer-urls $here:2380 --initial-cluster default=$here:2380 &
etcd=$!
trap 'kill $server $etcd; wait' EXIT
until [ -e /run/names ] && ETCDCTL_API=3 etcdctl --endpoints $here:2379 endpoint health >/dev/null 2>&1; do sleep 0.1; done
"$PROGRAM" set-max 3 --new --endpoint http://etcd.site.example:2379
"$PROGRAM" status --json --endpoint http://etcd:2379
if "$PROGRAM" status --endpoint http://nowhere.site.example:2379; then exit 1; fi
"#;

#[tokio::test]
async fn endpoints_are_looked_up_at_a_dns_server() {
    let folder = scratch::dir("names");
    let server = folder.path().join("server.py");
    fs::write(&server, SERVER).unwrap();
    let data = folder.path().join("etcd");
    let env = [
        ("SERVER", server.to_str().unwrap()),
        ("DATA", data.to_str().unwrap()),
        ("PROGRAM", bin().to_str().unwrap()),
    ];
    let args = [
        "--net",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "sh",
        "-euc",
        SCRIPT,
    ];
    let said = run("unshare", args, &env, PATIENCE).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(
        said.stdout.contains("\"max\": 3") || said.stdout.contains("\"max\":3"),
        "{said:?}"
    );
    assert!(
        said.stderr.contains("http://nowhere.site.example:2379"),
        "{said:?}"
    );
}

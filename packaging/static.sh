#!/bin/sh
# packaging/static.sh FOLDER OUT: makes OUT/pointsman-VERSION-ARCH-linux-static.tar.xz of FOLDER/pointsman, a program that needs no
# library of the system, with its units, bus policy, hooks, manual pages and completions as they lie below /usr. PAGES: the program
# `pointsman-pages`, where it is built for this machine in another folder.
set -eu
cd "$(dirname "$0")/.."
from=$1
out=$2
# shellcheck source=packaging/common.sh
. packaging/common.sh

if readelf -l "$from/pointsman" | grep -q INTERP; then
    echo "packaging/static.sh: $from/pointsman is not static: it names an interpreter (readelf -l)" >&2
    exit 1
fi
name=pointsman-$version-$(uname -m)-linux-static
mkdir -p "$out"
work=$(mktemp -d "$out/static.XXXXXX")
trap 'rm -rf "$work"' EXIT
tree=$work/$name
packaging/tree.sh "$from/pointsman" "$tree"
"${PAGES:-$from/pointsman-pages}" "$tree"
gzip -9n "$tree"/usr/share/man/man?/*
install -m 644 -t "$tree" LICENSE README.md CHANGELOG.md docs/how-to/install.md
tar -c -C "$work" --sort=name --format=posix --pax-option=delete=atime,delete=ctime --owner=0 --group=0 --numeric-owner \
    --mtime="@$SOURCE_DATE_EPOCH" "$name" | xz -9 -T1 >"$out/$name.tar.xz"
echo "$out/$name.tar.xz"

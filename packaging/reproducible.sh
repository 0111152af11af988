#!/bin/sh
# packaging/reproducible.sh: makes a release (packaging/dist.sh) of this folder's committed state twice, and compares it byte for byte:
# in folders of other names, on another file system, with another home of Cargo, umask, locale, time zone, order and times of the
# files. Prints the digests; where something differs, what (with diffoscope, if it is there), and exits 1. Four release builds: some
# ten minutes. Needs git, and what `tests/setup.sh release` installs.
set -eu
cd "$(dirname "$0")/.."
source=$PWD
cargo_home=${CARGO_HOME:-$HOME/.cargo}
# The tools of `tests/setup.sh release`.
tools=$source/target/cyclonedx
base=$source/target/reproducible
rm -rf "$base"
mkdir -p "$base"
# Another file system lists a folder's files in another order.
memory=$(mktemp -d /dev/shm/reproducible.XXXXXX)
trap 'rm -rf "$memory"' EXIT

commit=$(git rev-parse HEAD)

# Puts the committed files into this folder.
checkout() {
    mkdir -p "$1/target"
    git archive --format=tar "$commit" | tar -x -C "$1"
    ln -s "$tools" "$1/target/cyclonedx"
}
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct "$commit")
export SOURCE_DATE_EPOCH

checkout "$base/first"
(
    unset CARGO_TARGET_DIR
    cd "$base/first"
    TZ=UTC packaging/dist.sh "$base/first/dist" >&2
)

checkout "$memory/the-second-one"
find "$memory/the-second-one" -type f -exec touch {} +
mkdir "$base/cargo"
for part in "$cargo_home"/*; do
    ln -s "$part" "$base/cargo/${part##*/}"
done
(
    umask 077
    cd "$memory/the-second-one"
    export CARGO_TARGET_DIR="$base/elsewhere" CARGO_HOME="$base/cargo" TZ=Asia/Tokyo LANG=C.UTF-8 LC_ALL=C.UTF-8
    packaging/dist.sh "$memory/the-second-one/dist" >&2
)

if cmp "$base/first/dist/SHA256SUMS" "$memory/the-second-one/dist/SHA256SUMS"; then
    echo "The two releases are the same, byte for byte:"
    cat "$base/first/dist/SHA256SUMS"
else
    echo "The two releases differ:" >&2
    diff "$base/first/dist/SHA256SUMS" "$memory/the-second-one/dist/SHA256SUMS" >&2 || true
    cp -r "$memory/the-second-one/dist" "$base/second"
    if command -v diffoscope >/dev/null 2>&1; then
        diffoscope "$base/first/dist" "$base/second" >&2 || true
    else
        echo "They are in $base/first/dist and $base/second. diffoscope, where it is installed, shows how they differ." >&2
    fi
    exit 1
fi

#!/bin/sh
# docs/build.sh MDBOOK OUT: makes the site of the documentation in OUT, with this mdbook.
set -eu
cd "$(dirname "$0")/.."
mdbook=$1
out=$2

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/src/packaging"
cp docs/book.toml "$work/"
# What the pages link to, where they expect it.
cp -R docs cloud-config ./*.md LICENSE "$work/src/"
cp -R packaging/ignition "$work/src/packaging/"
rm "$work/src/docs/SUMMARY.md" "$work/src/docs/build.sh" "$work/src/docs/book.toml"
sed -e 's|](|](docs/|' -e 's|](docs/\.\./|](|' docs/SUMMARY.md >"$work/src/SUMMARY.md"
rm -rf "$out"
mkdir -p "$out"
"$mdbook" build --dest-dir "$(cd "$out" && pwd)" "$work"
# mdbook warns and goes on.
[ -s "$out/index.html" ]
# Links to README.md lead there.
cp "$out/index.html" "$out/README.html"
echo "$out/index.html"

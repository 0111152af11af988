#!/bin/sh
# tests/seeded/run.sh FOLDER [NAME...]: puts each fault of tests/seeded/*.patch, or those of these names, into a copy of the tree in
# FOLDER, and runs the test that must find it. Fails where a test passes all the same, or a patch does not fit the code any more.
set -eu
cd "$(dirname "$0")/../.."
folder=$1
shift
mkdir -p "$folder/tree"
folder=$(cd "$folder" && pwd)
export CARGO_TARGET_DIR="$folder/built" RUST_BACKTRACE=0
# What the tests look for in the tree's own target.
mkdir -p "$folder/tree/target"
for tool in etcd35 update-ssh-keys before; do
    [ ! -e "target/$tool" ] || ln -sfn "$PWD/target/$tool" "$folder/tree/target/$tool"
done
# What differs only, and with the time of now: Cargo builds by the times of files.
git ls-files | while read -r file; do
    cmp -s "$file" "$folder/tree/$file" || { mkdir -p "$folder/tree/$(dirname "$file")" && cp "$file" "$folder/tree/$file"; }
done
if [ $# = 0 ]; then
    for patch in tests/seeded/*.patch; do
        set -- "$@" "$(basename -s .patch "$patch")"
    done
fi
missed=0
for name; do
    patch=$PWD/tests/seeded/$name.patch
    test=$(sed -n 's/^Test: //p' "$patch")
    kind=${test%% *} filter=${test#* }
    case $kind in
    it) set -- --test it ;;
    lib) set -- --lib ;;
    esac
    (cd "$folder/tree" && patch --quiet -p0 <"$patch") || { echo "$name: the patch does not fit"; exit 1; }
    result=found
    if ! (cd "$folder/tree" && cargo test --quiet --workspace "$@" --no-run) >"$folder/$name.log" 2>&1; then
        result='DOES NOT BUILD'
    elif (cd "$folder/tree" && cargo build --quiet --workspace --bins && cargo test --quiet --workspace "$@" -- "$filter") >"$folder/$name.log" 2>&1; then
        result=MISSED
    elif ! grep -q 'test result: FAILED' "$folder/$name.log"; then
        result='DID NOT RUN'
    fi
    (cd "$folder/tree" && patch --quiet -p0 --reverse <"$patch")
    echo "$result: $name, by $filter"
    [ "$result" = found ] || missed=$((missed + 1))
done
[ "$missed" = 0 ] || { echo "$missed not found: $folder has the output" >&2; exit 1; }

#!/bin/sh
# tests/need.sh: says which programs the build lacks on this machine, and how to install them. Installs nothing.
set -eu
lacking=""
lacks() { command -v "$1" >/dev/null 2>&1 || lacking="$lacking $2"; }
lacks cargo "cargo (https://rustup.rs)"
lacks cc gcc
lacks strip binutils
lacks protoc protobuf-compiler
# protoc reads etcd's definitions with the well-known types beside it.
[ -e /usr/include/google/protobuf/any.proto ] || [ -e /usr/local/include/google/protobuf/any.proto ] ||
    lacking="$lacking libprotobuf-dev"
[ -z "$lacking" ] && exit 0
printf 'This machine lacks:%s (the names of Debian'"'"'s packages).\n' "$lacking" >&2
printf 'To install what the build and the tests need, listed first: make setup\n' >&2
exit 1

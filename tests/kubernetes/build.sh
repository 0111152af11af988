#!/bin/sh
# tests/kubernetes/build.sh: builds kube-apiserver and kube-controller-manager 1.20.2 of Debian's source package, once, into a
# folder outside the tree, whose path it prints. Some 7 minutes on two cores, and 6 GiB of disk while it runs.
set -eu
into=${POINTSMAN_KUBERNETES:-${XDG_CACHE_HOME:-$HOME/.cache}/pointsman-tests/kubernetes-1.20.2}
if [ -x "$into/kube-apiserver" ] && [ -x "$into/kube-controller-manager" ]; then
    echo "$into"
    exit 0
fi
mkdir -p "$into"
work=$(mktemp -d "$into/build.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 143' TERM INT HUP

# With a list of sources of its own: the machine's may have no source packages.
mkdir -p "$work/lists/partial" "$work/source"
echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm main" \
    >"$work/sources.list"
apt() {
    apt-get -qq -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::State::Lists="$work/lists" -o APT::Sandbox::User=root "$@" >&2
}
apt update
(cd "$work/source" && apt --download-only source kubernetes=1.20.5+really1.20.2-1.1+deb12u1)
dpkg-source -x "$work"/source/kubernetes_*.dsc "$work/tree" >&2
# The one that is bundled reads Go's own data in a way that newer Go does not have: the programs crash.
reflect=$work/tree/vendor/github.com/modern-go/reflect2
rm -f "$reflect"/*.go "$reflect"/*.s
cp /usr/share/gocode/src/github.com/modern-go/reflect2/*.go /usr/share/gocode/src/github.com/modern-go/reflect2/*.s "$reflect/"
(cd "$work/tree" && GOCACHE="$work/cache" GO111MODULE=off make WHAT="cmd/kube-apiserver cmd/kube-controller-manager" >&2)
for program in kube-apiserver kube-controller-manager; do
    cp "$work/tree/_output/bin/$program" "$into/$program.new"
    mv "$into/$program.new" "$into/$program"
done
echo "$into"

#!/bin/sh
# Sets up a Debian machine as a node: pointsman from its package, and etcd on the machines that --members names.
#
# provision.sh --name NAME --address ADDRESS [--members "NAME=ADDRESS …"] [--package FILE] [--group GROUP] [--cloud-config FILE] [--root DIR]
#
# The cloud-config is applied now and at each boot. Without --members it has to configure etcd and the agent. With --root, only files below DIR are written: for a system that is being
# prepared and does not run.
set -eu

usage() {
    echo "provision.sh: $1" >&2
    sed -n 's/^# provision.sh/usage: provision.sh/p' "$0" >&2
    exit 2
}

name="" address="" members="" package="" group="" document="" root=""
while [ $# -gt 0 ]; do
    [ $# -gt 1 ] || usage "$1: expected a value"
    case $1 in
    --name) name=$2 ;;
    --address) address=$2 ;;
    --members) members=$2 ;;
    --package) package=$2 ;;
    --group) group=$2 ;;
    --cloud-config) document=$2 ;;
    --root) root=${2%/} ;;
    *) usage "$1: unknown flag" ;;
    esac
    shift 2
done
[ -n "$name" ] || usage "--name is missing"
[ -n "$address" ] || usage "--address is missing"
[ -n "$members$document" ] || usage "--members is missing"

peers="" endpoints="" member=no
for one in $members; do
    case $one in
    *=*) ;;
    *) usage "--members: found $one, expected NAME=ADDRESS" ;;
    esac
    peers="$peers,${one%%=*}=http://${one#*=}:2380"
    endpoints="$endpoints, http://${one#*=}:2379"
    [ "${one%%=*}" = "$name" ] && member=yes
done

if [ -z "$root" ]; then
    export DEBIAN_FRONTEND=noninteractive
    if { [ "$member" = yes ] || [ -z "$members" ]; } && ! command -v etcd >/dev/null; then
        apt-get update -qq
        apt-get install -y -qq --no-install-recommends etcd-server
        # The package has started it as a cluster of one member, whose data is of no use.
        systemctl stop etcd
        rm -rf /var/lib/etcd/default
    fi
    # The document has a unit of its own.
    if [ -z "$members" ]; then
        systemctl disable --now etcd
    fi
fi

if [ "$member" = yes ]; then
    mkdir -p "$root/etc/default"
    cat >"$root/etc/default/etcd" <<END
ETCD_NAME=$name
ETCD_DATA_DIR=/var/lib/etcd/default
ETCD_LISTEN_PEER_URLS=http://$address:2380
ETCD_INITIAL_ADVERTISE_PEER_URLS=http://$address:2380
ETCD_LISTEN_CLIENT_URLS=http://$address:2379
ETCD_ADVERTISE_CLIENT_URLS=http://$address:2379
ETCD_INITIAL_CLUSTER=${peers#,}
ETCD_INITIAL_CLUSTER_STATE=new
END
fi
if [ -n "$members" ]; then
    mkdir -p "$root/etc/pointsman"
    cat >"$root/etc/pointsman/config.yaml" <<END
strategy: etcd-lock
group: "$group"
etcd:
  endpoints: [${endpoints#, }]
END
fi
if [ -n "$document" ]; then
    # Where an installer puts it: the package's unit reads it there.
    mkdir -p "$root/var/lib/flatcar-install"
    cp "$document" "$root/var/lib/flatcar-install/user_data"
    touch "$root/etc/environment"
    sed -i '/^COREOS_PRIVATE_IPV4=/d' "$root/etc/environment"
    echo "COREOS_PRIVATE_IPV4=$address" >>"$root/etc/environment"
fi

if [ -z "$root" ]; then
    if [ "$member" = yes ]; then
        systemctl enable etcd
        # The first member waits for the others, which come up after it.
        systemctl restart --no-block etcd
    fi
    if [ -n "$package" ]; then
        apt-get install -y -qq --no-install-recommends dbus
        dpkg -i "$package"
    fi
    if [ -n "$document" ]; then
        systemctl enable pointsman-cloud-config-early
        pointsman cloud-config apply --private-ipv4 "$address" install
    fi
    systemctl enable pointsman
    systemctl restart pointsman
fi

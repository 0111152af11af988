#!/bin/sh
# packaging/tree.sh PROGRAM TREE: puts the program, and what belongs to it below /usr, into TREE.
set -eu
cd "$(dirname "$0")/.."
program=$1
tree=$2

put() { install -D -m "$1" "$2" "$tree/$3"; }
put 755 "$program" usr/bin/pointsman
put 644 systemd/pointsman.service usr/lib/systemd/system/pointsman.service
for unit in pointsman-cloud-config-early pointsman-cloud-config pointsman-serve; do
    put 644 "systemd/$unit.service" "usr/lib/systemd/system/$unit.service"
done
for unit in pointsman-sysupdate.service pointsman-sysupdate.timer; do
    put 644 "systemd/$unit" "usr/lib/systemd/system/$unit"
done
put 644 systemd/pointsman-serve.socket usr/lib/systemd/system/pointsman-serve.socket
put 644 systemd/update-engine.service.d/10-pointsman.conf usr/lib/systemd/system/update-engine.service.d/10-pointsman.conf
put 755 packaging/leave usr/lib/pointsman/leave
put 644 systemd/pointsman.tmpfiles usr/lib/tmpfiles.d/pointsman.conf
put 644 systemd/org.pointsman.Agent1.conf usr/share/dbus-1/system.d/org.pointsman.Agent1.conf
put 644 systemd/pointsman.catalog usr/lib/systemd/catalog/pointsman.catalog
for file in alerts.yaml dashboard.json; do
    put 644 "packaging/prometheus/$file" "usr/share/pointsman/prometheus/$file"
done
for hook in packaging/hooks/*; do
    case $hook in *.conf) mode=644 ;; *) mode=755 ;; esac
    put "$mode" "$hook" "usr/lib/pointsman/hooks/available/${hook##*/}"
done
for kind in may-reboot pre-reboot post-boot health health-cluster health-wanted; do
    install -d "$tree/usr/lib/pointsman/hooks/$kind.d"
done

#!/bin/sh
# tests/vm/box/system.sh ROOT: what Vagrant takes a guest to have: a network by DHCP, and vagrant, who may do all, let in by
# the key that everybody knows.
set -eu
root=$1
key=$(printf '%s\n' /usr/share/rubygems-integration/all/gems/vagrant-*/keys/vagrant.pub | tail -n 1)
chroot "$root" useradd --create-home --shell /bin/bash vagrant
install -d -m 700 "$root/home/vagrant/.ssh"
install -m 600 "$key" "$root/home/vagrant/.ssh/authorized_keys"
chroot "$root" chown -R vagrant:vagrant /home/vagrant/.ssh
echo 'vagrant ALL=(ALL) NOPASSWD: ALL' >"$root/etc/sudoers.d/vagrant"
# There is nobody to ask whose address it is.
printf 'UseDNS no\nPrintMotd no\n' >"$root/etc/ssh/sshd_config.d/box.conf"
printf '[Match]\nName=eth0\n\n[Network]\nDHCP=ipv4\n' >"$root/etc/systemd/network/80-eth0.network"
# Emulated, three of them beside each other: a leader that is slow is not gone.
mkdir -p "$root/etc/systemd/system/etcd.service.d"
printf '[Service]\nEnvironment=ETCD_HEARTBEAT_INTERVAL=1000 ETCD_ELECTION_TIMEOUT=10000\n' \
    >"$root/etc/systemd/system/etcd.service.d/slow.conf"
# Nor is a system.
mkdir -p "$root/etc/systemd/system.conf.d"
printf '[Manager]\nRuntimeWatchdogSec=5min\n' >"$root/etc/systemd/system.conf.d/zz-slow.conf"
chroot "$root" systemctl --quiet enable systemd-networkd.service ssh.service
chroot "$root" systemctl --quiet mask systemd-networkd-wait-online.service
# But what is bad is so at once.
mkdir -p "$root/etc/pointsman/config.d"
echo 'timings: { proving: 4m }' >"$root/etc/pointsman/config.d/50-box.yaml"
# Not a manager of one's own for each command over ssh: emulated, that takes half a minute.
sed -i '/pam_systemd/d' "$root/etc/pam.d/common-session"
echo box >"$root/etc/hostname"

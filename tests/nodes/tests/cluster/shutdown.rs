//! A shutdown that has begun, and does not get on.

use pointsman_nodes::container::Container;

/// logind gives those that are not ready long; before it is started.
pub(crate) fn patient(node: &Container) {
    node.write(
        "etc/systemd/logind.conf.d/10-slow.conf",
        "[Login]\nInhibitDelayMaxSec=120s\n",
    );
}

/// Somebody is not ready for a reboot that logind has begun, until /var/let-go is there.
pub(crate) async fn delays(node: &Container) {
    node.sh(
        "rm -f /var/let-go
         systemd-run -q --unit=delay systemd-inhibit --what=shutdown --mode=delay --who=slow --why='not ready' \
             sh -c 'until [ -e /var/let-go ]; do sleep 0.1; done'",
    )
    .await;
    node.until("systemd-inhibit --list | grep -q 'not ready'")
        .await;
}

/// logind has begun to shut the system down.
pub(crate) const GOING_DOWN: &str = "busctl get-property org.freedesktop.login1 /org/freedesktop/login1 \
     org.freedesktop.login1.Manager PreparingForShutdown | grep -q true";

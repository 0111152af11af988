#!/bin/sh
# An agent for the test bed's own tests: `agent --root ROOT MODE`. It says that it is ready and waits. In the mode
# `reboot` it asks logind for a reboot if update_engine has an update staged.
echo "started $*"
trap 'echo terminated; exit 0' TERM
systemd-notify --no-block --status=starting
systemd-notify --no-block --ready --status='waiting for nothing'
call() { busctl --address="$DBUS_SYSTEM_BUS_ADDRESS" call "$@"; }
if [ "$4" = reboot ]; then
    case "$(call com.coreos.update1 /com/coreos/update1 com.coreos.update1.Manager GetStatus)" in
    *NEED_REBOOT*)
        call org.freedesktop.login1 /org/freedesktop/login1 org.freedesktop.login1.Manager Reboot b false ;;
    esac
fi
sleep 1000 &
wait $!

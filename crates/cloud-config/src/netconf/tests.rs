use proptest::prelude::*;

use super::*;

/// The units' names and texts, without empty lines.
fn units(text: &str) -> Vec<(String, String)> {
    let converted = debian(text).unwrap();
    assert_eq!(converted.skipped, [], "{text}");
    converted
        .units
        .into_iter()
        .map(|(name, text)| {
            (
                name,
                text.replace("\n\n", "\n")
                    .replace('\n', " ")
                    .trim()
                    .to_owned(),
            )
        })
        .collect()
}

#[track_caller]
fn check(text: &str, expected: &[(&str, &str)]) {
    let found = units(text);
    let found: Vec<_> = found
        .iter()
        .map(|(a, b)| (a.as_str(), b.as_str()))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn addresses_names_and_routes() {
    check(
        "# from the platform\nauto lo eth0 eth1\niface lo inet loopback\n\niface eth0 inet static\n\
         \taddress 192.0.2.4\n\tnetmask 255.255.255.0\n\tbroadcast 192.0.2.255\n\tgateway 192.0.2.1\n\
         \tdns-nameservers 192.0.2.2 \\\n\t\t2001:db8::2\n\tdns-search example.net\n\
         \tpost-up route add -net 198.51.100.0 netmask 255.255.255.0 gw 192.0.2.9 || true\n\
         \tpost-up ip route add 203.0.113.0/24 via 192.0.2.9\n\
         \tpre-down route del -net 198.51.100.0 netmask 255.255.255.0 gw 192.0.2.9 || true\n\
         iface eth0 inet6 static\n address 2001:db8::4/64\n gateway 2001:db8::1\n\
         iface eth0:1 inet static\n address 192.0.2.5/24\n\
         allow-hotplug eth1\niface eth1 inet dhcp\n hwaddress ether 02:00:00:00:00:01\n mtu 9000\n",
        &[
            (
                "00-eth0.network",
                "[Match] Name=eth0 [Network] DNS=192.0.2.2 DNS=2001:db8::2 Domains=example.net Gateway=192.0.2.1 \
                 Gateway=2001:db8::1 [Address] Address=192.0.2.4/24 [Address] Address=2001:db8::4/64 \
                 [Address] Address=192.0.2.5/24 [Route] Destination=198.51.100.0/24 Gateway=192.0.2.9 \
                 [Route] Destination=203.0.113.0/24 Gateway=192.0.2.9",
            ),
            (
                "00-eth1.network",
                "[Match] Name=eth1 [Link] MACAddress=02:00:00:00:00:01 MTUBytes=9000 [Network] DHCP=ipv4",
            ),
        ],
    );
    check(
        "iface eth0 inet dhcp\niface eth0 inet6 dhcp\niface eth1 inet6 auto\n",
        &[
            ("00-eth0.network", "[Match] Name=eth0 [Network] DHCP=yes"),
            (
                "00-eth1.network",
                "[Match] Name=eth1 [Network] IPv6AcceptRA=yes",
            ),
        ],
    );
}

#[test]
fn virtual_interfaces_get_netdev_units() {
    check(
        "auto bond0\niface bond0 inet dhcp\n bond-slaves eth0 eth1\n bond-mode 4\n bond-miimon 100\n\
         iface bond0.5 inet static\n address 10.0.0.4/8\n hwaddress 02:00:00:00:00:01\n",
        &[
            (
                "00-bond0.netdev",
                "[NetDev] Name=bond0 Kind=bond [Bond] Mode=802.3ad MIIMonitorSec=100ms",
            ),
            (
                "00-bond0.network",
                "[Match] Name=bond0 [Network] DHCP=ipv4 VLAN=bond0.5",
            ),
            ("00-eth0.network", "[Match] Name=eth0 [Network] Bond=bond0"),
            ("00-eth1.network", "[Match] Name=eth1 [Network] Bond=bond0"),
            (
                "00-bond0.5.netdev",
                "[NetDev] Name=bond0.5 Kind=vlan MACAddress=02:00:00:00:00:01 [VLAN] Id=5",
            ),
            (
                "00-bond0.5.network",
                "[Match] Name=bond0.5 [Network] [Address] Address=10.0.0.4/8",
            ),
        ],
    );
    check(
        "iface vlan7 inet manual\n vlan_raw_device eth0\niface eth1 inet manual\n bond-master bond1\n",
        &[
            (
                "00-vlan7.netdev",
                "[NetDev] Name=vlan7 Kind=vlan [VLAN] Id=7",
            ),
            ("00-vlan7.network", "[Match] Name=vlan7 [Network]"),
            ("00-eth0.network", "[Match] Name=eth0 [Network] VLAN=vlan7"),
            ("00-eth1.network", "[Match] Name=eth1 [Network] Bond=bond1"),
            ("00-bond1.netdev", "[NetDev] Name=bond1 Kind=bond"),
            ("00-bond1.network", "[Match] Name=bond1 [Network]"),
        ],
    );
}

#[test]
fn unconvertible_network_options_are_reported_with_their_line() {
    for (text, words) in [
        (
            "iface eth0 inet\n",
            "line 1: found iface eth0 inet, expected iface NAME FAMILY METHOD",
        ),
        (
            "\naddress 10.0.0.1\n",
            "line 2: found \"address\", expected auto or iface before it",
        ),
        (
            "iface eth0 inet static\n",
            "line 1: found static without an address",
        ),
        (
            "iface eth0 inet static\n address 10.0.0.1\n",
            "line 1: found an address without netmask",
        ),
        (
            "iface eth0 inet static\n address 10.0.0.1/33\n",
            "line 2: address: found \"33\"",
        ),
        (
            "iface eth0 inet static\n address 10.0.0.1\n netmask 64\n",
            "line 1: netmask: found 64",
        ),
        (
            "iface eth0 inet static\n address 10.0.0.1\n netmask 255.0.255.0\n",
            "line 3: netmask: found",
        ),
        (
            "iface eth0 inet static\n address ten\n",
            "line 2: address: found \"ten\", expected an address",
        ),
        (
            "iface eth0 inet ppp\n",
            "line 1: found inet ppp, expected inet or inet6 and static",
        ),
        (
            "iface ../x inet dhcp\n",
            "line 1: found \"../x\", expected an interface's name",
        ),
        (
            "iface eth0 inet dhcp\n hwaddress ether 02\n",
            "line 2: hwaddress: found \"02\"",
        ),
        (
            "iface eth0 inet dhcp\n mtu big\n",
            "line 2: mtu: found \"big\"",
        ),
        (
            "iface lan inet manual\n vlan-raw-device eth0\n",
            "line 1: found \"lan\" on eth0, expected a name",
        ),
        (
            "iface eth0.x inet dhcp\n",
            "line 1: found \"eth0.x\" on eth0",
        ),
        (
            "iface eth0 inet manual\n bond-slaves ../x\n",
            "line 1: found \"../x\", expected an interface's name",
        ),
        (
            "iface eth0 inet manual\n bond-master\n",
            "line 2: found \"\", expected an interface's name",
        ),
        (
            "source /etc/network/interfaces.d/*\n",
            "line 1: found source, expected auto or iface",
        ),
    ] {
        let error = debian(text).unwrap_err().to_string();
        assert!(error.starts_with(words), "{text}: {error}");
    }
    let converted = debian("iface eth0 inet dhcp\n wpa-ssid x\n post-up echo up\n").unwrap();
    let said: Vec<String> = converted.skipped.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "line 2: wpa-ssid is not converted to units",
            "line 3: post-up is not converted to units"
        ]
    );
    assert_eq!(converted.units.len(), 1);
    assert_eq!(debian(""), Ok(Converted::default()));
}

proptest! {
    /// Whatever stands there is understood or refused, and every unit has a plain name of its own.
    #[test]
    fn nothing_makes_it_fail(lines in proptest::collection::vec(
        proptest::sample::select(vec![
            "auto eth0", "iface eth0 inet static", "iface eth0 inet dhcp", "iface bond0 inet manual", "iface eth0.5 inet6 auto",
            "address 10.0.0.1/8", "address 2001:db8::1", "netmask 255.0.0.0", "netmask 64", "gateway 10.0.0.2", "mtu 9000",
            "bond-slaves eth0 bond0", "bond-slaves", "bond-master bond0", "bond-mode 4", "vlan-raw-device eth0", "address",
            "post-up route add -net", "up ip route add default via ::1", "hwaddress", "\\", "iface", "dns-nameservers ::1 \\",
            "iface lo inet loopback", "iface eth0:1 inet static", "slaves a b", "slaves ../x", "bond-master ../x", "vlan-raw-device a/b", "bond-master", "iface \u{e4} inet dhcp",
        ]), 0..12))
    {
        if let Ok(converted) = debian(&lines.join("\n")) {
            let mut names: Vec<_> = converted.units.iter().map(|(name, _)| name.clone()).collect();
            for name in &names {
                prop_assert!(name.starts_with("00-") && !name.contains('/'), "{name}");
            }
            let all = names.len();
            names.sort();
            names.dedup();
            prop_assert_eq!(names.len(), all);
        }
    }
}

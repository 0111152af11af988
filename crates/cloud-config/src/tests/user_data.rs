//! User data of every kind.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};

use super::super::{Part, PartContent, UserDataError, parts};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The parts as `kind name lines-before first-line`.
fn shown(bytes: &[u8]) -> Vec<String> {
    let line = |part: Part| {
        let (kind, text) = match part.content {
            PartContent::CloudConfig(text) => ("config", text),
            PartContent::Script(bytes) => ("script", String::from_utf8_lossy(&bytes).into_owned()),
            PartContent::Skipped(why) => ("skipped", why),
        };
        let name = part.name.unwrap_or_default();
        format!(
            "{kind} {name} {} {}",
            part.lines_before,
            text.lines().next().unwrap_or_default()
        )
    };
    parts(bytes.to_vec())
        .unwrap()
        .into_iter()
        .map(line)
        .collect()
}

#[test]
fn kind_of_user_data_is_read_from_its_beginning() {
    for (bytes, expected) in [
        (
            &b"#cloud-config\nhostname: a\n"[..],
            "config  0 #cloud-config",
        ),
        (
            b"#cloud-config \t\r\nhostname: a\n",
            "config  0 #cloud-config \t",
        ),
        (b"#cloud-config", "config  0 #cloud-config"),
        (
            b"\xef\xbb\xbf#cloud-config\n",
            "config  0 \u{feff}#cloud-config",
        ),
        (b"#!/bin/bash\ntrue\n", "script  0 #!/bin/bash"),
        (b"#!/bin/sh\n\xff", "script  0 #!/bin/sh"),
        (&gzip(b"#cloud-config\n"), "config  0 #cloud-config"),
        (&gzip(&gzip(b"#!/bin/sh\n")), "script  0 #!/bin/sh"),
    ] {
        assert_eq!(shown(bytes), [expected]);
    }
    for bytes in [&b""[..], b"\n \n"] {
        assert_eq!(parts(bytes.to_vec()).unwrap(), []);
    }
}

const MIME: &str = "Content-Type: multipart/mixed; boundary=\"==B==\"\r\nMIME-Version: 1.0\r\n\r\nignored\r\n--==B==\r\n\
Content-Type: text/cloud-config; charset=\"us-ascii\"\r\nContent-Disposition: attachment; filename=\"a.yaml\"\r\n\r\n\
#cloud-config\r\nhostname: a\r\n\r\n--==B==\r\nContent-Type: text/cloud-config\r\n\r\nusers:\r\n--==B==\r\n\
Content-Type: text/x-shellscript; name=run.sh\r\nContent-Transfer-Encoding: base64\r\n\r\nIyEvYmluL3NoCnRydWUK\r\n--==B==\r\n\
Content-Type: text/plain\r\n\r\n#!/bin/sh\r\n--==B==\r\n\
Content-Type: text/cloud-config\r\n\r\na: 1\r\n--==B==--\r\n";

#[test]
fn mime_is_split_into_parts() {
    let expected = [
        "config a.yaml 8 #cloud-config",
        "config  14 users:",
        "script run.sh 0 #!/bin/sh",
        "script  23 #!/bin/sh",
        "config  27 a: 1",
    ];
    assert_eq!(shown(MIME.as_bytes()), expected);
    assert_eq!(shown(MIME.replace("\r\n", "\n").as_bytes()), expected);
    // Packed as a whole, lines are those of the text within.
    assert_eq!(shown(&gzip(MIME.as_bytes())), expected);
}

#[test]
fn packed_mime_part_is_unpacked() {
    use base64::Engine as _;
    let packed =
        base64::engine::general_purpose::STANDARD.encode(gzip(b"#cloud-config\nhostname: a\n"));
    for kind in [
        "application/gzip",
        "application/x-gzip",
        "application/octet-stream",
    ] {
        let text = format!(
            "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: {kind}\nContent-Transfer-Encoding: base64\n\n{packed}\n--b--\n"
        );
        assert_eq!(shown(text.as_bytes()), ["config  0 #cloud-config"]);
    }
}

#[test]
fn unknown_user_data_is_refused_with_a_hint() {
    for (bytes, expected) in [
        (&br#"{"ignition":{"version":"3.3.0"}}"#[..], "Ignition"),
        (br#" {"ignitionVersion":1}"#, "Ignition"),
        (b"{\"a\": 1}", "unknown kind"),
        (b"#cloud config\n", "first line, without spaces"),
        (b"# cloud-config\n", "first line, without spaces"),
        (b"#Cloud-Config\n", "first line, without spaces"),
        (b"#cloud-config: x\n", "first line and nothing else on that line"),
        (b"hostname: a\n", "put it before this line"),
        (b"variant: flatcar\n", "Butane"),
        (b"#include\nhttp://x\n", "this kind is for cloud-init"),
        (b"\x00\x01\x02", "unknown kind"),
        (b"\n#cloud-config\n", "it begins with a blank line, expected #cloud-config or #! as its first line; remove what is before line 2"),
        (b" \r\n\n#cloud-config\n", "it begins with blank lines, expected #cloud-config or #! as its first line; remove what is before line 3"),
        (b"\x1f\x8b\x00garbage", "cannot be unpacked"),
        (&gzip(b"#cloud-config\n")[..15], "cannot be unpacked"),
        (b"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain\n\nhello\n--b--\n", "part 1 of type text/plain is skipped"),
    ] {
        let error = parts(bytes.to_vec()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let error = parts(b"#cloud-config\nhostname: \xc3\xa9\xff\n".to_vec()).unwrap_err();
    assert_eq!(
        (error.diagnostic().line, error.diagnostic().column),
        (2, 12)
    );
    assert!(matches!(error, UserDataError::NotText { .. }));
}

#[test]
fn bombs_are_refused() {
    // 100 MB of nothing in 100 kB, and the same in layers.
    let bomb = gzip(&vec![b'a'; 100 << 20]);
    assert!(
        parts(bomb.clone())
            .unwrap_err()
            .to_string()
            .contains("more than 67108864 bytes")
    );
    assert!(parts(gzip(&bomb)).is_err());
    let layers = (0..6).fold(b"#cloud-config\n".to_vec(), |inner, _| gzip(&inner));
    assert!(matches!(parts(layers), Err(UserDataError::Deep)));
    let many = "--b\nContent-Type: text/cloud-config\n\na: 1\n".repeat(2000);
    let many = format!("Content-Type: multipart/mixed; boundary=b\n\n{many}--b--\n");
    assert!(
        parts(many.into_bytes())
            .unwrap_err()
            .to_string()
            .contains("more than 1000 parts")
    );
    assert!(matches!(
        parts(vec![b'\n'; (64 << 20) + 1]),
        Err(UserDataError::TooLarge)
    ));
}

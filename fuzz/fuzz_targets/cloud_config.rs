//! Whatever a node is given as user data: taking it apart, reading, printing and planning it do not panic, every diagnostic
//! has a place, and a sound document has a plan.
#![no_main]

use cloud_config::{
    self, Addresses, Mode, PartContent, Unknown,
    plan::{self, Machine, Planned},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let addresses = Addresses {
        private_ipv4: Some("10.0.0.1".into()),
        ..Addresses::default()
    };
    let Ok(parts) = cloud_config::parts(bytes.to_vec()) else {
        return;
    };
    let mut planned = Vec::new();
    for part in parts {
        let text = match part.content {
            PartContent::Script(bytes) => {
                planned.push(Planned::Script(bytes));
                continue;
            }
            PartContent::Skipped(_) => continue,
            PartContent::CloudConfig(text) => text,
        };
        for mode in [Mode::Own, Mode::Compatible] {
            let reading = cloud_config::read(&text, &addresses, Unknown::Info, mode);
            let _ = cloud_config::print(&reading.diagnostics, "x", &text, 0);
            let lines = text.split('\n').count() as u64;
            assert!(
                reading
                    .diagnostics
                    .iter()
                    .all(|f| (1..=lines).contains(&f.line) && f.column >= 1)
            );
            if reading.is_sound() {
                planned.push(Planned::Document(Box::new(reading.document)));
            }
        }
    }
    let machine = Machine {
        addresses: &addresses,
        hostname: "x",
        text: &|_| Some("GROUP=a\n".into()),
    };
    assert!(plan::plan(planned, &machine).is_ok());
});

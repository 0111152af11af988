//! Whole systems for pointsman's tests: booted containers with systemd as their first process, on a network of their own.

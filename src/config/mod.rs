//! stub
#![allow(missing_docs)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    EtcdLock,
    Reboot,
    Off,
}

//! What only whole systems show: clusters of booted containers, with etcd on the nodes themselves.

mod balancer;
mod health;
mod members;
mod network;
mod outside;
mod package;
mod pages;
mod phases;
mod rolling;
mod serve;
mod shutdown;
mod story;
mod sysext;
mod turns;
mod updaters;
mod upgrade;

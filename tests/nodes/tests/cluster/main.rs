//! What only whole systems show: clusters of booted containers, with etcd on the nodes themselves.

mod agent;
mod balancer;
mod network;
mod outside;
mod package;
mod rolling;
mod turns;

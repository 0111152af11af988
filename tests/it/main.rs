//! Tests on real parts: etcd processes, a dbus-daemon, agents as processes of their own.

mod agent;
mod agent_changes;
mod agent_last_moment;
mod agent_people;
mod agent_points;
mod agent_refusals;
mod agent_reload;
mod agent_trouble;
mod agents;
mod apply;
mod attack;
mod cloud_config;
mod cloud_config_boot;
mod cloud_config_sources;
mod commands;
mod contention;
mod etcd_trouble;
mod footprint;
mod kills;
mod locksmith;
mod logind;
mod semaphore;
mod slots;
mod support;
mod trials;
mod units;

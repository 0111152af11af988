//! Looking at everything. Nothing is changed, and what cannot be looked at is a fact as well.

mod etcd;
mod node;
mod others;
mod services;

use host::bus;
use jiff::Timestamp;
use settings::Strategy;

use super::facts::{Clock, Facts};
use crate::cli::Context;

/// All facts.
pub(super) async fn look(context: &Context) -> Facts {
    let config = &context.config;
    let now = Timestamp::now();
    let asks_etcd = config.strategy == Strategy::EtcdLock;
    let (endpoints, fleet) = match asks_etcd {
        true => (
            Some(etcd::endpoints(context).await),
            etcd::fleet(context).await,
        ),
        false => (None, None),
    };
    let connection = bus::connect(&config.root).await;
    let (bus, update_engine, clock, mut coordinators) = match &connection {
        Ok(connection) => (
            None,
            Some(services::update_engine(context, connection).await),
            services::clock(connection).await,
            others::of_systemd(&config.root, connection).await,
        ),
        Err(error) => (
            Some(error.to_string()),
            None,
            Clock::Unknown("the system bus cannot be asked".into()),
            Vec::new(),
        ),
    };
    let bus = bus.and_then(|_| connection.err()).map(Into::into);
    coordinators.extend(others::of_files(&config.root).await);
    Facts {
        now,
        shown_now: context.time(now),
        configuration: node::configuration(context),
        certificates: node::certificates(context),
        etcd: endpoints,
        lock_server: etcd::lock_server(context).await,
        fleet,
        agent: services::agent(context).await,
        slots: node::slots(context),
        bus,
        update_engine,
        clock,
        coordinators,
        hooks: node::hooks(context),
    }
}

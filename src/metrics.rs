//! What a monitoring system reads: of a node's agent, and of the cluster. Pure; only states and times, so that no reboot sets
//! anything back.

pub mod agent;
pub mod cluster;
pub mod publish;

use std::collections::BTreeMap;

use jiff::Timestamp;
use prometheus::{Encoder as _, GaugeVec, Opts, Registry, TextEncoder};

/// A metric: docs/reference/metrics.md has the same table.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it means, with its unit.
    pub help: &'static str,
}

/// A set of metrics with their values of one moment.
struct Page {
    registry: Registry,
    gauges: BTreeMap<&'static str, GaugeVec>,
}

impl Page {
    fn new(metrics: &[Metric]) -> Self {
        let registry = Registry::new();
        let mut gauges = BTreeMap::new();
        for Metric { name, labels, help } in metrics {
            let gauge = GaugeVec::new(Opts::new(*name, *help), labels)
                .expect("the names of the table are valid");
            registry
                .register(Box::new(gauge.clone()))
                .expect("the names of the table differ");
            gauges.insert(*name, gauge);
        }
        Self { registry, gauges }
    }

    /// Sets a value; the labels in the order of the table.
    fn set(&self, name: &str, labels: &[&str], value: f64) {
        let gauge = self.gauges.get(name).expect("the table has the metric");
        gauge.with_label_values(labels).set(value);
    }

    fn is(&self, name: &str, labels: &[&str], value: bool) {
        self.set(name, labels, f64::from(u8::from(value)));
    }

    fn count(&self, name: &str, labels: &[&str], count: usize) {
        self.set(
            name,
            labels,
            f64::from(u32::try_from(count).unwrap_or(u32::MAX)),
        );
    }

    /// Seconds since 1970; nothing where the time is not known.
    fn time(&self, name: &str, labels: &[&str], at: Option<Timestamp>) {
        if let Some(at) = at {
            self.set(name, labels, at.as_duration().as_secs_f64());
        }
    }

    /// In Prometheus' text format, version 0.0.4.
    fn text(&self) -> String {
        let mut text = Vec::new();
        let encoded = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        encoded.expect("a vector takes all");
        String::from_utf8(text).expect("the encoder writes UTF-8")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_metrics_are_those_that_are_exported() {
        let page = include_str!("../docs/reference/metrics.md");
        for (heading, metrics) in [
            ("## Of a node", agent::METRICS),
            ("## Of the cluster", cluster::METRICS),
        ] {
            let part = page.split_once(heading).unwrap().1;
            let part = part.split("\n## ").next().unwrap();
            let documented: Vec<(String, String)> = part
                .lines()
                .filter(|line| line.starts_with("| `pointsman_"))
                .map(|line| {
                    let mut cells = line
                        .trim_matches('|')
                        .split('|')
                        .map(|cell| cell.trim().replace('`', ""));
                    (cells.next().unwrap(), cells.next().unwrap())
                })
                .collect();
            let exported: Vec<(String, String)> = metrics
                .iter()
                .map(|it| (it.name.to_owned(), it.labels.join(", ")))
                .collect();
            assert_eq!(documented, exported, "{heading}");
        }
    }
}

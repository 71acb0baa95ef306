//! Which listener tells what, so that a figure is told once however many listeners are asked.
//!
//! What has a label `service` is told by the listener of that service. Everything else, and what belongs to a service that has
//! no listener in this process, is told by the first: the gateway where there is one.

use std::collections::BTreeSet;

use prometheus::proto::{Metric, MetricFamily};

use crate::config::Role;

/// What a listener tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Everything of the process.
    All,
    /// What belongs to one of several listeners.
    Own {
        /// The listener.
        role: Role,
        /// All of them, the first one first.
        roles: Vec<Role>,
    },
}

impl Scope {
    /// The part of `families` that is told.
    pub fn of(&self, families: Vec<MetricFamily>) -> Vec<MetricFamily> {
        let Self::Own { role, roles } = self else { return families };
        let names: BTreeSet<&str> = roles.iter().map(|role| role.as_str()).collect();
        let first = roles.first() == Some(role);
        let mine = |metric: &Metric| match metric.get_label().iter().find(|label| label.name() == "service") {
            Some(label) if names.contains(label.value()) => label.value() == role.as_str(),
            _ => first,
        };
        let part = |mut family: MetricFamily| {
            family.mut_metric().retain(mine);
            family
        };
        families.into_iter().map(part).filter(|family| !family.get_metric().is_empty()).collect()
    }
}

#[cfg(test)]
mod tests {
    use facesocial_types::Service;

    use super::*;
    use crate::metrics::{families as f, readings::Readings};

    fn families() -> Vec<MetricFamily> {
        let mut readings = Readings::default();
        for service in ["gateway", "mtcnn", "yolo", "quality"] {
            readings.set(&f::HTTP_IN_FLIGHT, &[service], 1.0);
        }
        readings.set(&f::READY, &[], 1.0);
        readings.join(Vec::new())
    }

    fn told(role: Role, roles: &[Role]) -> Vec<String> {
        let told = Scope::Own { role, roles: roles.to_vec() }.of(families());
        let name = |family: &MetricFamily| {
            let of = |metric: &Metric| metric.get_label().first().map_or("-", |label| label.value()).to_owned();
            family.get_metric().iter().map(of).collect::<Vec<_>>()
        };
        told.iter().flat_map(name).collect()
    }

    #[test]
    fn each_figure_is_told_by_one_listener() {
        let [gateway, mtcnn] = [Role::Gateway, Role::Service(Service::Mtcnn)];
        assert_eq!(told(gateway, &[gateway, mtcnn]), ["gateway", "yolo", "quality", "-"]);
        assert_eq!(told(mtcnn, &[gateway, mtcnn]), ["mtcnn"]);
        assert_eq!(told(mtcnn, &[mtcnn]), ["gateway", "mtcnn", "yolo", "quality", "-"]);
        assert_eq!(Scope::All.of(families()), families());
    }
}

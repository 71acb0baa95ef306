//! Figures that others keep, read when they are asked for.

use std::collections::BTreeMap;

use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily};

use super::families::{Family, Kind};

/// Families in the making.
#[derive(Debug, Default)]
pub struct Readings(BTreeMap<&'static str, MetricFamily>);

impl Readings {
    /// Adds one figure; `labels` are the values of the family's labels, in their order. An empty value is no label.
    pub fn set(&mut self, family: &Family, labels: &[&str], value: f64) {
        let mut metric = labelled(family, labels);
        match family.kind {
            Kind::Counter => {
                let mut counter = Counter::default();
                counter.set_value(value);
                metric.set_counter(counter);
            }
            Kind::Gauge | Kind::Histogram => {
                let mut gauge = Gauge::default();
                gauge.set_value(value);
                metric.set_gauge(gauge);
            }
        }
        self.add(family, metric);
    }

    /// [`Self::set`] of a figure that may not be known.
    pub fn set_known(&mut self, family: &Family, labels: &[&str], value: Option<f64>) {
        if let Some(value) = value {
            self.set(family, labels, value);
        }
    }

    /// Adds observations that were counted in classes: `counts` up to each of `upper_ends`, and beyond the last.
    pub fn observed(&mut self, family: &Family, labels: &[&str], upper_ends: &[f64], counts: &[u64], sum: f64) {
        let (mut below, mut buckets) = (0, Vec::with_capacity(upper_ends.len()));
        for (end, count) in upper_ends.iter().zip(counts) {
            below += count;
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(*end);
            bucket.set_cumulative_count(below);
            buckets.push(bucket);
        }
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets);
        histogram.set_sample_count(counts.iter().sum());
        histogram.set_sample_sum(sum);
        let mut metric = labelled(family, labels);
        metric.set_histogram(histogram);
        self.add(family, metric);
    }

    fn add(&mut self, family: &Family, metric: Metric) {
        self.0.entry(family.name).or_insert_with(|| header(family)).mut_metric().push(metric);
    }

    /// These families together with `counted`, by name; what both have is one family.
    pub fn join(mut self, counted: Vec<MetricFamily>) -> Vec<MetricFamily> {
        let mut all: BTreeMap<String, MetricFamily> = BTreeMap::new();
        for mut family in counted {
            if let Some(mut read) = self.0.remove(family.name()) {
                family.mut_metric().append(read.mut_metric());
            }
            all.insert(family.name().to_owned(), family);
        }
        all.extend(self.0.into_iter().map(|(name, family)| (name.to_owned(), family)));
        all.into_values().collect()
    }
}

fn header(family: &Family) -> MetricFamily {
    let mut made = MetricFamily::default();
    made.set_name(family.name.to_owned());
    made.set_help(family.help.to_owned());
    made.set_field_type(family.kind.proto());
    made
}

fn labelled(family: &Family, values: &[&str]) -> Metric {
    debug_assert_eq!(values.len(), family.labels.len(), "{}", family.name);
    let pairs = family.labels.iter().zip(values).filter(|(_, value)| !value.is_empty());
    let pair = |(name, value): (&&str, &&str)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    };
    Metric::from_label(pairs.map(pair).collect())
}

#[cfg(test)]
mod tests {
    use prometheus::TextEncoder;

    use super::*;
    use crate::metrics::families;

    #[test]
    fn classes_become_cumulative_and_equal_names_one_family() {
        let mut counted = Readings::default();
        counted.observed(&families::STAGE_SECONDS, &["decode", ""], &[0.1, 1.0], &[1, 0, 0], 0.05);
        let mut read = Readings::default();
        read.observed(&families::STAGE_SECONDS, &["queue", "mtcnn"], &[0.1, 1.0], &[2, 3, 4], 9.5);
        read.set(&families::READY, &[], 1.0);
        let text = TextEncoder::new().encode_to_string(&read.join(counted.join(Vec::new()))).unwrap();
        assert_eq!(text.matches("# TYPE").count(), 2, "{text}");
        for line in [
            "facesocial_ready 1",
            "facesocial_stage_duration_seconds_bucket{stage=\"decode\",le=\"0.1\"} 1",
            "facesocial_stage_duration_seconds_bucket{stage=\"queue\",network=\"mtcnn\",le=\"1\"} 5",
            "facesocial_stage_duration_seconds_bucket{stage=\"queue\",network=\"mtcnn\",le=\"+Inf\"} 9",
            "facesocial_stage_duration_seconds_sum{stage=\"queue\",network=\"mtcnn\"} 9.5",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in {text}");
        }
    }
}

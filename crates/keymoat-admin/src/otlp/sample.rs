//! Metrics as OTLP, made from the very text that `/metrics` answers: no counter is counted twice.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum, metric, number_data_point,
};
use prost::Message;
use serde_json::Value;

use super::encode::{attribute, resource, scope};

/// One line of the text: the name with its suffix, the labels, the value.
struct Sample<'t> {
    name: &'t str,
    labels: Vec<(&'t str, String)>,
    value: f64,
}

/// What the text says of a family before its lines.
#[derive(Default)]
struct Family<'t> {
    kind: &'t str,
    help: &'t str,
    unit: &'t str,
    samples: Vec<Sample<'t>>,
}

/// All metrics of a text in the form of OpenMetrics, as of `now_nanos`, counted since `start_nanos`.
pub(super) fn metrics(text: &str, start_nanos: u64, now_nanos: u64) -> Vec<u8> {
    let times = Times { start: start_nanos, now: now_nanos };
    let metrics = families(text).into_iter().filter_map(|(name, family)| family.metric(name, times)).collect();
    let scope_metrics = vec![ScopeMetrics { scope: Some(scope()), metrics, ..ScopeMetrics::default() }];
    let resource_metrics =
        vec![ResourceMetrics { resource: Some(resource()), scope_metrics, ..ResourceMetrics::default() }];
    ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
}

#[derive(Clone, Copy)]
struct Times {
    start: u64,
    now: u64,
}

fn families(text: &str) -> BTreeMap<&str, Family<'_>> {
    let mut families: BTreeMap<&str, Family<'_>> = BTreeMap::new();
    let mut last = "";
    for line in text.lines() {
        if let Some(said) = line.strip_prefix("# ") {
            let mut words = said.splitn(3, ' ');
            let (Some(what), Some(name)) = (words.next(), words.next()) else { continue };
            let family = families.entry(name).or_default();
            let rest = words.next().unwrap_or_default();
            match what {
                "TYPE" => family.kind = rest,
                "HELP" => family.help = rest,
                "UNIT" => family.unit = rest,
                _ => {}
            }
            last = name;
        } else if let (Some(sample), Some(family)) = (sample(line), families.get_mut(last)) {
            family.samples.push(sample);
        }
    }
    families
}

/// `name{label="value",…} 12.5`
fn sample(line: &str) -> Option<Sample<'_>> {
    let (head, value) = line.rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let Some((name, labels)) = head.split_once('{') else {
        return Some(Sample { name: head, labels: Vec::new(), value });
    };
    let mut rest = labels.strip_suffix('}')?;
    let mut labels = Vec::new();
    while let Some((label, text)) = rest.split_once("=\"") {
        let (shown, after) = quoted(text)?;
        labels.push((label.trim_start_matches(','), shown));
        rest = after;
    }
    Some(Sample { name, labels, value })
}

/// A label's value up to its closing quote, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut shown = String::new();
    let mut letters = text.chars();
    loop {
        match letters.next()? {
            '"' => return Some((shown, letters.as_str())),
            '\\' => shown.push(match letters.next()? {
                'n' => '\n',
                other => other,
            }),
            letter => shown.push(letter),
        }
    }
}

impl Family<'_> {
    fn metric(self, name: &str, times: Times) -> Option<Metric> {
        let data = match self.kind {
            "counter" => metric::Data::Sum(Sum {
                data_points: self.samples.iter().map(|sample| number(sample, times)).collect(),
                aggregation_temporality: AggregationTemporality::Cumulative as i32,
                is_monotonic: true,
            }),
            "histogram" => metric::Data::Histogram(Histogram {
                data_points: histograms(&self.samples, times),
                aggregation_temporality: AggregationTemporality::Cumulative as i32,
            }),
            "gauge" | "info" | "unknown" => metric::Data::Gauge(Gauge {
                data_points: self.samples.iter().map(|sample| number(sample, times)).collect(),
            }),
            _ => return None,
        };
        if self.samples.is_empty() {
            return None;
        }
        // UCUM's spellings.
        let unit = match self.unit {
            "seconds" => "s",
            "bytes" => "By",
            other => other,
        };
        Some(Metric {
            name: name.to_owned(),
            description: self.help.to_owned(),
            unit: unit.to_owned(),
            data: Some(data),
            ..Metric::default()
        })
    }
}

fn number(sample: &Sample<'_>, times: Times) -> NumberDataPoint {
    NumberDataPoint {
        attributes: sample.labels.iter().map(|(name, value)| attribute(name, &Value::from(value.as_str()))).collect(),
        start_time_unix_nano: times.start,
        time_unix_nano: times.now,
        value: Some(number_data_point::Value::AsDouble(sample.value)),
        ..NumberDataPoint::default()
    }
}

/// The buckets of a text count what is below them; those of OTLP count what is in them.
fn histograms(samples: &[Sample<'_>], times: Times) -> Vec<HistogramDataPoint> {
    let mut points: BTreeMap<Vec<(&str, String)>, HistogramDataPoint> = BTreeMap::new();
    for sample in samples {
        let labels: Vec<_> = sample.labels.iter().filter(|(name, _)| *name != "le").cloned().collect();
        let point = points.entry(labels).or_insert_with_key(|labels| HistogramDataPoint {
            attributes: labels.iter().map(|(name, value)| attribute(name, &Value::from(value.as_str()))).collect(),
            start_time_unix_nano: times.start,
            time_unix_nano: times.now,
            ..HistogramDataPoint::default()
        });
        let bound =
            sample.labels.iter().find(|(name, _)| *name == "le").and_then(|(_, bound)| bound.parse::<f64>().ok());
        let count = sample.value as u64;
        match sample.name.rsplit_once('_') {
            Some((_, "sum")) => point.sum = Some(sample.value),
            Some((_, "count")) => point.count = count,
            Some((_, "bucket")) => {
                let below: u64 = point.bucket_counts.iter().sum();
                point.bucket_counts.push(count.saturating_sub(below));
                point.explicit_bounds.extend(bound.filter(|bound| bound.is_finite()));
            }
            _ => {}
        }
    }
    points.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# HELP keymoat_wait_seconds How long.\n# TYPE keymoat_wait_seconds histogram\n\
# UNIT keymoat_wait_seconds seconds\nkeymoat_wait_seconds_sum{route=\"a\"} 1.5\nkeymoat_wait_seconds_count{route=\"a\"} 3\n\
keymoat_wait_seconds_bucket{le=\"0.5\",route=\"a\"} 2\nkeymoat_wait_seconds_bucket{le=\"+Inf\",route=\"a\"} 3\n\
# HELP keymoat_refusals No.\n# TYPE keymoat_refusals counter\nkeymoat_refusals_total{code=\"a\\\"b\",route=\"x,y\"} 7\n\
# TYPE keymoat_open gauge\nkeymoat_open 2\n# EOF\n";

    fn read() -> Vec<Metric> {
        let message = ExportMetricsServiceRequest::decode(metrics(TEXT, 5, 9).as_slice()).expect("a message");
        message.resource_metrics[0].scope_metrics[0].metrics.clone()
    }

    fn one(name: &str) -> metric::Data {
        read().into_iter().find(|metric| metric.name == name).and_then(|metric| metric.data).expect("it is there")
    }

    #[test]
    fn counters_and_gauges_keep_their_labels_and_values() {
        let metric::Data::Sum(sum) = one("keymoat_refusals") else { panic!("a counter") };
        let point = &sum.data_points[0];
        assert!(sum.is_monotonic);
        assert_eq!(point.attributes, [attribute("code", &"a\"b".into()), attribute("route", &"x,y".into())]);
        assert_eq!((point.value, point.start_time_unix_nano), (Some(number_data_point::Value::AsDouble(7.0)), 5));
        let metric::Data::Gauge(gauge) = one("keymoat_open") else { panic!("a gauge") };
        assert_eq!(gauge.data_points[0].time_unix_nano, 9);
        assert_eq!(read().len(), 3);
    }

    #[test]
    fn buckets_count_what_is_in_them() {
        let metric::Data::Histogram(histogram) = one("keymoat_wait_seconds") else { panic!("a histogram") };
        let point = &histogram.data_points[0];
        assert_eq!((&point.bucket_counts[..], &point.explicit_bounds[..]), (&[2, 1][..], &[0.5][..]));
        assert_eq!((point.count, point.sum), (3, Some(1.5)));
        assert_eq!(point.attributes, [attribute("route", &"a".into())]);
    }
}

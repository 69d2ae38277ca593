//! The two text formats of a scrape, and which one the scraper asks for.

use std::collections::HashMap;

/// A text format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// `text/plain; version=0.0.4`: what every scraper reads.
    Prometheus,
    /// `OpenMetrics` 1.0.0, for those who ask.
    OpenMetrics,
}

impl Format {
    /// From the `Accept` header: `OpenMetrics` when it is named and plain text is not liked better.
    pub(super) fn accepted(accept: Option<&str>) -> Self {
        let accept = accept.unwrap_or_default();
        match (quality(accept, "application/openmetrics-text"), quality(accept, "text/plain")) {
            (Some(open), plain) if open > 0.0 && plain.is_none_or(|plain| plain <= open) => Self::OpenMetrics,
            _ => Self::Prometheus,
        }
    }

    /// `Content-Type`.
    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// Puts a scrape, written as `OpenMetrics`, into this format.
    pub(super) fn write(self, open_metrics: String) -> String {
        match self {
            Self::Prometheus => plain(&open_metrics),
            Self::OpenMetrics => open_metrics,
        }
    }
}

/// The `q` of a media type that is named as such.
fn quality(accept: &str, media_type: &str) -> Option<f32> {
    accept.split(',').find_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let named = parts.next()?.eq_ignore_ascii_case(media_type);
        let q = parts.find_map(|p| p.strip_prefix("q=")).map_or(Some(1.0), |q| q.parse().ok());
        q.filter(|_| named)
    })
}

/// The older format calls a family what its series are called, and knows no `info`.
fn plain(open_metrics: &str) -> String {
    let types: HashMap<&str, &str> = open_metrics
        .lines()
        .filter_map(|l| l.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')))
        .collect();
    let mut body = String::with_capacity(open_metrics.len());
    for line in open_metrics.lines().filter(|l| *l != "# EOF") {
        let header = line.strip_prefix("# ").and_then(|rest| {
            let mut words = rest.splitn(3, ' ');
            Some((words.next()?, words.next()?, words.next()?))
        });
        let written = match header {
            Some((keyword, family, rest)) => {
                let (suffix, kind) = match types.get(family) {
                    Some(&"counter") => ("_total", "counter"),
                    Some(&"info") => ("_info", "gauge"),
                    other => ("", other.copied().unwrap_or("untyped")),
                };
                let rest = if keyword == "TYPE" { kind } else { rest };
                format!("# {keyword} {family}{suffix} {rest}")
            }
            None => line.to_owned(),
        };
        body.push_str(&written);
        body.push('\n');
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_metrics_is_for_those_who_ask() {
        let prometheus =
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        assert_eq!(Format::accepted(Some(prometheus)), Format::OpenMetrics);
        assert_eq!(Format::accepted(Some("Application/OpenMetrics-Text")), Format::OpenMetrics);
        for other in [
            None,
            Some("*/*"),
            Some("text/html"),
            Some("text/plain"),
            Some("application/openmetrics-text;q=0"),
        ] {
            assert_eq!(Format::accepted(other), Format::Prometheus, "{other:?}");
        }
        let plain = "application/openmetrics-text;q=0.2, text/plain";
        assert_eq!(Format::accepted(Some(plain)), Format::Prometheus);
    }

    #[test]
    fn a_family_is_called_like_its_series() {
        let open = "# HELP a Some a.\n# TYPE a counter\na_total{x=\"# y\"} 1\n# HELP b B.\n# TYPE b info\n\
                    b_info{v=\"1\"} 1\n# HELP c C.\n# TYPE c gauge\nc 2\n# EOF\n";
        let wanted = "# HELP a_total Some a.\n# TYPE a_total counter\na_total{x=\"# y\"} 1\n# HELP b_info B.\n\
                      # TYPE b_info gauge\nb_info{v=\"1\"} 1\n# HELP c C.\n# TYPE c gauge\nc 2\n";
        assert_eq!(Format::Prometheus.write(open.to_owned()), wanted);
        assert_eq!(Format::OpenMetrics.write(open.to_owned()), open);
    }
}

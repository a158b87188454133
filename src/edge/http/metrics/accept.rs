//! Which of the two text formats a scraper asks for.

use actix_web::http::header::{Accept, Quality};

/// A format of a scrape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    OpenMetrics,
    PrometheusText,
}

impl Format {
    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::PrometheusText => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// The format that is wanted most. OpenMetrics has to be named: who takes anything is a person or a script, and gets what
/// every scraper can read; so does who wants neither.
pub(super) fn best(accept: &Accept) -> Format {
    let (mut open_metrics, mut plain) = (Quality::ZERO, None);
    let mut any = Quality::ZERO;
    for wanted in accept.iter() {
        let (kind, quality) = (&wanted.item, wanted.quality);
        let version = kind.get_param("version");
        match (kind.type_().as_str(), kind.subtype().as_str()) {
            ("application", "openmetrics-text") if version.is_none_or(|version| version == "1.0.0") => {
                open_metrics = open_metrics.max(quality);
            }
            ("text", "plain") if version.is_none_or(|version| version == "0.0.4") => {
                plain = plain.max(Some(quality));
            }
            ("text", "*") | ("*", "*") => any = any.max(quality),
            _ => {}
        }
    }
    if open_metrics > Quality::ZERO && open_metrics >= plain.unwrap_or(any) {
        Format::OpenMetrics
    } else {
        Format::PrometheusText
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::Header;
    use actix_web::test::TestRequest;

    #[test]
    fn what_is_wanted_most_is_given() {
        for (accept, open_metrics) in [
            ("", false),
            ("*/*", false),
            ("text/plain", false),
            ("application/openmetrics-text", true),
            ("application/openmetrics-text;q=0", false),
            ("application/openmetrics-text;q=0, */*;q=0", false),
            ("application/openmetrics-text;q=0.3,text/plain;q=0.5", false),
            ("application/openmetrics-text;q=0.3,*/*;q=0.5", false),
            ("application/openmetrics-text;q=0.5,text/plain;q=0.1,*/*", true),
            ("application/openmetrics-text; version=2.0.0", false),
            ("application/openmetrics-text; version=0.0.1", false),
            ("text/plain, application/openmetrics-text", true),
            ("nonsense, application/openmetrics-text", true),
            // Prometheus 2.42, and 3.
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                true,
            ),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                true,
            ),
        ] {
            let request = TestRequest::get().insert_header(("Accept", accept)).to_http_request();
            let format = Accept::parse(&request).map_or(Format::PrometheusText, |accept| best(&accept));
            assert_eq!(format == Format::OpenMetrics, open_metrics, "{accept}");
        }
    }
}

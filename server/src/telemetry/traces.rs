//! Traces for an OpenTelemetry collector, by OTLP over HTTP. The collector is named by the environment variables of the
//! OpenTelemetry specification; unless one is, nothing is sent. They hold what the log holds.

use std::env;

use actix_web::http::header::HeaderMap;
use anyhow::Context;
use opentelemetry::{KeyValue, global, propagation::Extractor, trace::TracerProvider};
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{SdkTracer, SdkTracerProvider},
};
use tracing::{Span, Subscriber};
use tracing_opentelemetry::{OpenTelemetryLayer, OpenTelemetrySpanExt};
use tracing_subscriber::registry::LookupSpan;

use crate::services::health::VERSION;

/// The variables that name a collector.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];
/// The variable that names this program among others.
const SERVICE_NAME: &str = "OTEL_SERVICE_NAME";
/// What the program is called unless that variable says otherwise.
const NAME: &str = "facesocial";

/// The way to the collector. Sends what is left when dropped.
#[derive(Debug)]
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// The collector that the environment names; `None` if it names none.
    ///
    /// # Errors
    /// An address that is none, or that needs TLS: the collector is one of this machine or network.
    pub fn of_environment() -> anyhow::Result<Option<Self>> {
        if !ENDPOINTS.iter().any(|name| env::var_os(name).is_some_and(|value| !value.is_empty())) {
            return Ok(None);
        }
        let exporter = SpanExporter::builder().with_http().build();
        let exporter = exporter.with_context(|| format!("cannot send traces to what {} names", ENDPOINTS[0]))?;
        let mut resource = Resource::builder().with_attribute(KeyValue::new("service.version", VERSION));
        if env::var_os(SERVICE_NAME).is_none() {
            resource = resource.with_service_name(NAME);
        }
        global::set_text_map_propagator(TraceContextPropagator::new());
        Ok(Some(Self(
            SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource.build()).build(),
        )))
    }

    /// Sends spans and events of the log.
    pub fn layer<S: Subscriber + for<'span> LookupSpan<'span>>(&self) -> OpenTelemetryLayer<S, SdkTracer> {
        tracing_opentelemetry::layer().with_tracer(self.0.tracer(NAME))
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown() {
            tracing::warn!(%error, "the last traces could not be sent");
        }
    }
}

/// Makes `span` a part of the trace that a request names with `traceparent` (W3C Trace Context), if it names one.
pub fn continue_trace(span: &Span, headers: &HeaderMap) {
    let parent = global::get_text_map_propagator(|propagator| propagator.extract(&Headers(headers)));
    // Without a collector there is no trace to go on with.
    let _ = span.set_parent(parent);
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(|name| name.as_str()).collect()
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};
    use opentelemetry::{propagation::TextMapPropagator, trace::TraceContextExt};

    use super::*;

    #[test]
    fn the_trace_of_a_request_is_read_from_its_header() {
        let mut headers = HeaderMap::new();
        let sent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        headers.insert(HeaderName::from_static("traceparent"), HeaderValue::from_static(sent));
        let parent = TraceContextPropagator::new().extract(&Headers(&headers));
        assert_eq!(parent.span().span_context().trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
    }
}

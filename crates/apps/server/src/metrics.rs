//! Metrics in the OpenMetrics text form, on a listener of their own.

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::CONTENT_TYPE;
use keyreeve_engine::{Clock, Code, Descriptor, Engine, Observer, catalogue, ops::system};
use keyreeve_http::{Counters, HttpCode, PlainCall, Problem};
use keyreeve_journal::Journal;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::machine;

/// Upper bounds of the latency histogram, in seconds.
const BOUNDS: [f64; 14] =
    [50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 1.0, 5.0];
/// The media type of the OpenMetrics text form.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOperation {
    operation: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByCode {
    operation: &'static str,
    code: &'static str,
}

/// What is counted for one operation.
#[derive(Clone)]
struct Row {
    done: Counter,
    items: Counter,
    seconds: Histogram,
}

/// Counts every operation.
pub(crate) struct Operations {
    /// Made once, so that the hot path looks up one name and locks nothing else.
    rows: HashMap<&'static str, Row>,
    ended: Family<ByCode, Counter>,
    items: Family<ByOperation, Counter>,
    seconds: Family<ByOperation, Histogram, fn() -> Histogram>,
}

impl Operations {
    pub(crate) fn new() -> Self {
        let ended = Family::<ByCode, Counter>::default();
        let items = Family::<ByOperation, Counter>::default();
        let seconds = Family::new_with_constructor((|| Histogram::new(BOUNDS)) as fn() -> Histogram);
        let row = |operation: &'static str| Row {
            done: ended.get_or_create_owned(&ByCode { operation, code: "ok" }),
            items: items.get_or_create_owned(&ByOperation { operation }),
            seconds: seconds.get_or_create_owned(&ByOperation { operation }),
        };
        let rows = catalogue::ALL.iter().map(|descriptor| (descriptor.name, row(descriptor.name))).collect();
        Self { rows, ended, items, seconds }
    }
}

impl Observer for Operations {
    fn observed(&self, operation: &'static Descriptor, code: Option<Code>, items: usize, took: Duration) {
        let Some(row) = self.rows.get(operation.name) else { return };
        match code {
            None => {
                row.done.inc();
                row.items.inc_by(items as u64);
            }
            Some(code) => {
                self.ended.get_or_create(&ByCode { operation: operation.name, code: code.name() }).inc();
            }
        }
        row.seconds.observe(took.as_secs_f64());
    }
}

/// What is looked up when somebody asks.
struct Moment {
    engine: Engine,
    journal: Arc<dyn Journal>,
    clock: Arc<dyn Clock>,
    started_seconds: f64,
    counters: Vec<(&'static str, Arc<Counters>)>,
}

impl fmt::Debug for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Moment")
    }
}

#[derive(Debug, EncodeLabelSet)]
struct ByDrill {
    drill: &'static str,
}

#[derive(Debug, EncodeLabelSet)]
struct ByListener {
    listener: &'static str,
}

impl Moment {
    fn gauge(
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        value: f64,
    ) -> fmt::Result {
        let gauge = ConstGauge::new(value);
        gauge.encode(encoder.encode_descriptor(name, help, unit, gauge.metric_type())?)
    }

    fn drills(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let standing = self.engine.drills_standing();
        let (overdue, now) = (standing.iter().filter(|drill| drill.overdue).count(), self.clock.now());
        let help = "Kinds of drills that are overdue";
        Self::gauge(encoder, "keyreeve_drills_overdue", help, None, overdue as f64)?;
        let help = "Time since the last good drill of a kind; missing where there was none";
        let (name, unit, kind) = ("keyreeve_drill_age", Some(&Unit::Seconds), ConstGauge::new(0.0).metric_type());
        let mut metric = encoder.encode_descriptor(name, help, unit, kind)?;
        for (drill, good) in standing.iter().filter_map(|drill| Some((drill.kind.name(), drill.good?))) {
            let age = now.since(good).max(0) as f64 / 1000.0;
            ConstGauge::new(age).encode(metric.encode_family(&ByDrill { drill })?)?;
        }
        Ok(())
    }

    fn listeners(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        type Read = fn(&keyreeve_http::Totals) -> u64;
        let counters: [(&str, &str, Read); 9] = [
            ("connections", "Connections accepted", |totals| totals.connections),
            ("connections_turned_away", "Connections of sources that have too many", |totals| totals.turned_away),
            ("tls_handshakes", "TLS handshakes that succeeded", |totals| totals.handshakes),
            ("tls_handshakes_failed", "TLS handshakes that failed", |totals| totals.handshakes_failed),
            ("requests", "Requests answered", |totals| totals.requests),
            ("requests_rate_limited", "Requests turned away because there were too many", |totals| totals.rate_limited),
            ("requests_refused", "Requests answered with another 4xx status", |totals| totals.refused),
            ("requests_failed", "Requests answered with a 5xx status", |totals| totals.failed),
            ("handler_panics", "Handlers that panicked", |totals| totals.panics),
        ];
        for (name, help, read) in counters {
            let name = format!("keyreeve_http_{name}");
            let zero = ConstCounter::new(0u64);
            let mut metric = encoder.encode_descriptor(&name, help, None, zero.metric_type())?;
            for (listener, counters) in &self.counters {
                let labels = ByListener { listener };
                ConstCounter::new(read(&counters.totals())).encode(metric.encode_family(&labels)?)?;
            }
        }
        let zero = ConstGauge::new(0u64);
        let help = "Connections open now";
        let mut metric = encoder.encode_descriptor("keyreeve_http_connections_open", help, None, zero.metric_type())?;
        for (listener, counters) in &self.counters {
            ConstGauge::new(counters.totals().open).encode(metric.encode_family(&ByListener { listener })?)?;
        }
        Ok(())
    }
}

impl Collector for Moment {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let usage = machine::usage();
        let open = f64::from(u8::from(self.engine.is_open()));
        let to = &mut encoder;
        Self::gauge(to, "keyreeve_open", "1 while the root of trust is open", None, open)?;
        let overdue = self.engine.overdue_destructions() as f64;
        let help = "Keys whose destruction is due and failed";
        Self::gauge(to, "keyreeve_destructions_overdue", help, None, overdue)?;
        let quarantined = self.engine.quarantined() as f64;
        let help = "Places that were found damaged and are in quarantine";
        Self::gauge(to, "keyreeve_quarantined", help, None, quarantined)?;
        let escrow = self.engine.escrow_health();
        let help = "Keys that the escrow policy names and that could not be deposited";
        Self::gauge(to, "keyreeve_escrow_keys_missing", help, None, escrow.missing as f64)?;
        let help = "1 while a campaign of escrow is overdue";
        Self::gauge(to, "keyreeve_escrow_campaign_overdue", help, None, f64::from(u8::from(escrow.campaign_overdue)))?;
        self.drills(to)?;
        let records = self.journal.size() as f64;
        Self::gauge(to, "keyreeve_audit_records", "Records in the audit log", None, records)?;
        let uptime = self.clock.elapsed().as_secs_f64();
        Self::gauge(to, "keyreeve_uptime", "Time since the start", Some(&Unit::Seconds), uptime)?;
        let resident = usage.resident as f64;
        Self::gauge(to, "process_resident_memory", "Memory in use", Some(&Unit::Bytes), resident)?;
        let start = self.started_seconds;
        Self::gauge(to, "process_start_time", "Start, since 1970", Some(&Unit::Seconds), start)?;
        let cpu = ConstCounter::new(usage.cpu_seconds);
        let help = "Processor time used";
        cpu.encode(to.encode_descriptor("process_cpu", help, Some(&Unit::Seconds), cpu.metric_type())?)?;
        self.listeners(to)
    }
}

/// Everything that can be watched.
pub(crate) struct Metrics {
    registry: Registry,
    engine: Engine,
}

impl Metrics {
    pub(crate) fn new(
        operations: &Operations,
        engine: Engine,
        journal: Arc<dyn Journal>,
        clock: Arc<dyn Clock>,
        counters: Vec<(&'static str, Arc<Counters>)>,
    ) -> Self {
        let mut registry = Registry::default();
        let help = "Operations that ended, by result: ok or the code of the refusal";
        registry.register("keyreeve_operations", help, operations.ended.clone());
        registry.register("keyreeve_operation_items", "Items of operations that were done", operations.items.clone());
        let help = "Time from the arrival of an operation until its answer may leave";
        registry.register_with_unit("keyreeve_operation", help, Unit::Seconds, operations.seconds.clone());
        let started_seconds = clock.now().0 as f64 / 1000.0 - clock.elapsed().as_secs_f64();
        registry.register_collector(Box::new(Moment {
            engine: engine.clone(),
            journal,
            clock,
            started_seconds,
            counters,
        }));
        Self { registry, engine }
    }

    /// The route.
    pub(crate) fn routes(self) -> Router {
        Router::new().route("/metrics", get(show)).with_state(Arc::new(self))
    }
}

async fn show(State(metrics): State<Arc<Metrics>>, call: PlainCall) -> Result<Response, Problem> {
    metrics.engine.call(call.arrival, system::Metrics).await?;
    let mut text = String::new();
    let failed = |_| Problem::new(HttpCode::Internal, "the metrics cannot be written");
    prometheus_client::encoding::text::encode(&mut text, &metrics.registry).map_err(failed)?;
    Ok(([(CONTENT_TYPE, OPENMETRICS)], text).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_counted_by_result() {
        let operations = Operations::new();
        let took = Duration::from_micros(300);
        operations.observed(&catalogue::KEY_ENCRYPT, None, 5, took);
        operations.observed(&catalogue::KEY_ENCRYPT, Some(Code::Denied), 1, took);
        let mut registry = Registry::default();
        registry.register("ops", "help", operations.ended.clone());
        registry.register("items", "help", operations.items.clone());
        registry.register_with_unit("op", "help", Unit::Seconds, operations.seconds.clone());
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            r#"ops_total{operation="key.encrypt",code="ok"} 1"#,
            r#"ops_total{operation="key.encrypt",code="denied"} 1"#,
            r#"items_total{operation="key.encrypt"} 5"#,
            r#"op_seconds_count{operation="key.encrypt"} 2"#,
            r#"op_seconds_bucket{le="0.0005",operation="key.encrypt"} 2"#,
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}

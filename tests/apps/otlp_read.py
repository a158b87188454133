"""Reads requests of OTLP with OpenTelemetry's own definitions, and writes what they say into DIRECTORY/read.json.

    otlp_read.py DIRECTORY      with files NUMBER.traces, NUMBER.metrics and NUMBER.logs, each the body of one request
"""

import json
import pathlib
import sys

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.metrics.v1 import metrics_pb2
from opentelemetry.proto.trace.v1 import trace_pb2


def value(any_value):
    kind = any_value.WhichOneof("value")
    return getattr(any_value, kind) if kind else None


def attributes(key_values):
    keys = [key_value.key for key_value in key_values]
    assert len(keys) == len(set(keys)), f"a key twice: {keys}"
    return {key_value.key: value(key_value.value) for key_value in key_values}


def spans(body):
    for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        resource = attributes(of_resource.resource.attributes)
        for of_scope in of_resource.scope_spans:
            for span in of_scope.spans:
                assert len(span.trace_id) == 16 and len(span.span_id) == 8, span
                assert len(span.parent_span_id) in (0, 8), span
                yield {
                    "resource": resource,
                    "scope": of_scope.scope.name,
                    "trace": span.trace_id.hex(),
                    "id": span.span_id.hex(),
                    "parent": span.parent_span_id.hex(),
                    "flags": span.flags,
                    "name": span.name,
                    "kind": trace_pb2.Span.SpanKind.Name(span.kind),
                    "began": span.start_time_unix_nano,
                    "ended": span.end_time_unix_nano,
                    "attributes": attributes(span.attributes),
                    "status": trace_pb2.Status.StatusCode.Name(span.status.code),
                    "why": span.status.message,
                }


def metrics(body):
    temporality = metrics_pb2.AggregationTemporality.Name
    for of_resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
        for of_scope in of_resource.scope_metrics:
            for metric in of_scope.metrics:
                kind = metric.WhichOneof("data")
                data = getattr(metric, kind)
                for point in data.data_points:
                    shown = {
                        "name": metric.name,
                        "kind": kind,
                        "attributes": attributes(point.attributes),
                        "from": point.start_time_unix_nano,
                        "at": point.time_unix_nano,
                    }
                    if kind == "histogram":
                        assert len(point.bucket_counts) == len(point.explicit_bounds) + 1
                        assert sum(point.bucket_counts) == point.count
                        shown |= {"count": point.count, "sum": point.sum, "buckets": list(point.bucket_counts)}
                    else:
                        shown |= {"value": getattr(point, point.WhichOneof("value"))}
                    if kind != "gauge":
                        shown["temporality"] = temporality(data.aggregation_temporality)
                    if kind == "sum":
                        assert data.is_monotonic
                    yield shown


def logs(body):
    for of_resource in ExportLogsServiceRequest.FromString(body).resource_logs:
        resource = attributes(of_resource.resource.attributes)
        for of_scope in of_resource.scope_logs:
            for record in of_scope.log_records:
                yield {
                    "resource": resource,
                    "scope": of_scope.scope.name,
                    "at": record.time_unix_nano,
                    "severity": record.severity_text,
                    "number": record.severity_number,
                    "body": value(record.body),
                    "attributes": attributes(record.attributes),
                    "trace": record.trace_id.hex(),
                    "span": record.span_id.hex(),
                }


def main():
    readers = {"traces": spans, "metrics": metrics, "logs": logs}
    read = {"spans": [], "metrics": [], "logs": []}
    directory = pathlib.Path(sys.argv[1])
    for file in sorted(directory.iterdir()):
        signal = file.suffix.removeprefix(".")
        into = read["spans" if signal == "traces" else signal]
        into.extend(readers[signal](file.read_bytes()))
    (directory / "read.json").write_text(json.dumps(read))


main()

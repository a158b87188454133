"""Reads a scrape in OpenMetrics with the strict parser of Prometheus' own client for Python, and prints how many series there are of
each type.
"""

import collections
import json
import sys
import urllib.request

from prometheus_client.openmetrics.parser import text_string_to_metric_families

request = urllib.request.Request(sys.argv[1], headers={"Accept": "application/openmetrics-text; version=1.0.0"})
with urllib.request.urlopen(request, timeout=10) as answer:
    kind = answer.headers["Content-Type"]
    assert kind.startswith("application/openmetrics-text"), kind
    text = answer.read().decode()
series = collections.Counter()
for family in text_string_to_metric_families(text):
    series[family.type] += len({tuple(sorted(sample.labels.items())) for sample in family.samples})
print(json.dumps(series), flush=True)

"""Reads envelopes, as Sentry's own SDK and Relay read them: the argument is a folder with one file for each, in the order of
their names. Prints a JSON list of their items: {"type", "what", "faults"}; `what` is an event as Relay leaves it, `faults` what Relay
found wrong with it.
"""

import json
import sys
from pathlib import Path

from sentry_relay.processing import StoreNormalizer
from sentry_sdk.envelope import Envelope

# The name of a platform that this Relay does not know is set right, and no fault.
HARMLESS = {"platform"}

told = []
for file in sorted(Path(sys.argv[1]).iterdir()):
    envelope = Envelope.deserialize(file.read_bytes())
    for item in envelope.items:
        what = json.loads(item.get_bytes())
        assert item.headers.get("length") in (None, len(item.get_bytes())), item.headers
        assert envelope.headers["event_id"].replace("-", "") == what["event_id"], envelope.headers
        # A transaction is Relay's "event" of that type.
        whole = dict(what, type="transaction") if item.type == "transaction" else what
        read = StoreNormalizer(project_id=7).normalize_event(whole)
        meta = read.pop("_meta", None) or {}
        told.append({"type": item.type, "what": read, "faults": {k: v for k, v in meta.items() if k not in HARMLESS}})
print(json.dumps(told))

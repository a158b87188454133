"""Writes event and reply bodies in every serialisation and compression, made by the real kombu.

    python tests/data/make_bodies.py > tests/data/bodies.json

Needs kombu, msgpack and PyYAML. Each row: what was serialised, the properties and headers that kombu gives the message,
the body (base64), and the envelope in which its virtual transports (Redis) would carry it (base64).
"""

import base64
import json

import msgpack  # noqa: F401  (without it kombu has no msgpack)
import yaml  # noqa: F401
from kombu.compression import compress
from kombu.serialization import dumps
from kombu.transport.virtual.base import Base64
from kombu.utils.json import dumps as envelope_dumps

HEARTBEAT = {
    "hostname": "sms@host1", "utcoffset": 0.0, "pid": 13724, "clock": 11, "freq": 2.0, "active": 1, "processed": 7,
    "loadavg": [2.76, 3.14, 1.93], "sw_ident": "py-celery", "sw_ver": "5.7.0", "sw_sys": "Linux",
    "timestamp": 1795486738.6549723, "type": "worker-heartbeat",
}
ODD = {
    "hostname": "größe@höst\U0001f600", "utcoffset": -5.5, "pid": 1, "clock": 2**40, "freq": 5, "sw_ident": None,
    "timestamp": 1795486738, "type": "worker-online",
}
# The same list twice: YAML writes an anchor and an alias.
SHARED = [1, {"deep": [2]}]
RECEIVED = {
    "uuid": "0b0c3d43-64a2-4c5f-8d5c-6f8a2f7e1a11", "name": "sms.send \"quoted\"\\\n", "args": "('é', nan)",
    "kwargs": "{}", "root_id": None, "parent_id": None, "retries": 0, "eta": "2026-11-24T02:24:54.954522+00:00",
    "expires": None, "hostname": "sms@host1", "timestamp": 1795486739.5, "type": "task-received",
    "extra": SHARED, "again": SHARED, "nothing": float("nan"), "big": 2**70,
}
SUCCEEDED = {
    "uuid": "0b0c3d43-64a2-4c5f-8d5c-6f8a2f7e1a11", "result": "x" * 500, "runtime": 1.25, "hostname": "sms@host1",
    "timestamp": 1795486740.75, "type": "task-succeeded",
}
STATS = {"sms@host1": {"pid": 22633, "total": {"sms.send": 7}, "prefetch_count": 8, "clock": "935",
                       "pool": {"implementation": "celery.concurrency.prefork:TaskPool", "max-concurrency": 2}}}

VALUES = {
    "heartbeat": HEARTBEAT,
    "odd": ODD,
    "multi": [RECEIVED, SUCCEEDED],
    "reply": STATS,
}


def plain(value):
    """Without what JSON cannot say: only `nothing` and `big`, which no reader looks at."""
    if isinstance(value, list):
        return [plain(entry) for entry in value]
    return {key: entry for key, entry in value.items() if key not in ("nothing", "big")}


def rows():
    for name, value in VALUES.items():
        for serializer in ("json", "msgpack", "yaml", "pickle"):
            subject = value
            if serializer == "msgpack" and name == "multi":
                # msgpack has no integers of more than 64 bits.
                subject = [{key: entry for key, entry in event.items() if key != "big"} for event in value]
            compressions = [None] if serializer == "pickle" else [None, "gzip", "bzip2"]
            if (name, serializer) == ("heartbeat", "json"):
                compressions.append("lzma")
            for compression in compressions:
                content_type, encoding, body = dumps(subject, serializer=serializer)
                body = body.encode() if isinstance(body, str) else body
                headers = {"ticket": "ticket-1"}
                if compression:
                    body, headers["compression"] = compress(body, compression)
                envelope = {
                    "body": Base64().encode(body),
                    "content-encoding": encoding,
                    "content-type": content_type,
                    "headers": headers,
                    "properties": {
                        "delivery_mode": 1,
                        "delivery_info": {"exchange": "celeryev", "routing_key": "x"},
                        "priority": 0,
                        "body_encoding": "base64",
                        "delivery_tag": "2b8e4b46-3f5c-45fb-8b0f-9cf3cb6d30ce",
                    },
                }
                yield {
                    "name": name,
                    "serializer": serializer,
                    "compression": compression,
                    "value": plain(value),
                    "content_type": content_type,
                    "content_encoding": encoding,
                    "headers": headers,
                    "body": base64.b64encode(body).decode(),
                    "envelope": base64.b64encode(envelope_dumps(envelope).encode()).decode(),
                }


print("[\n" + ",\n".join(json.dumps(row) for row in rows()) + "\n]")

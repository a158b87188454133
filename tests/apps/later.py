"""Sends tasks whose time is a year away, then one that is due, and waits for that: broker, result backend, how many.

Prints a JSON object: what the last one returned, and the ids of the others.
"""

import json
import sys

from celery import Celery

broker, backend, count = sys.argv[1:]
app = Celery("later", broker=broker, backend=backend)
later = {"queue": "headcount", "countdown": 365 * 86_400, "ignore_result": True}
ids = [app.send_task("headcount.ping", **later).id for _ in range(int(count))]
ok = app.send_task("headcount.ping", queue="headcount").get(timeout=60)
print(json.dumps({"ok": ok, "ids": ids}))

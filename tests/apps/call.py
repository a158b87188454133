"""Calls tasks and waits for their results: broker, result backend, a JSON list of [task, args, kwargs, options], and settings
as name=number; with quorum=1 the queue is a quorum queue. The option `fill` is the length of a text that is the only argument.

All are sent first. Prints a JSON list: {"ok": value, ...} or {"type": ..., "module": ..., "args": [...], ...}, each with the
state that the backend tells and the seconds that it took.
"""

import json
import sys
import time

from celery import Celery
from kombu import Queue

broker, backend, calls, *settings = sys.argv[1:]
app = Celery("call", broker=broker, backend=backend)
settings = {name: int(number) for name, number in (setting.split("=") for setting in settings)}
if settings.pop("quorum", 0):
    app.conf.task_queues = [Queue("headcount", queue_arguments={"x-queue-type": "quorum"})]
app.conf.update(settings)
sent = []
for name, args, kwargs, options in json.loads(calls):
    options.setdefault("queue", "headcount")
    if fill := options.pop("fill", 0):
        args = ["x" * fill]
    sent.append((time.monotonic(), app.send_task(name, args, kwargs, **options)))
told = []
for began, result in sent:
    try:
        one = {"ok": result.get(timeout=60)}
    except Exception as error:
        one = {"type": type(error).__name__, "module": type(error).__module__, "args": error.args}
    told.append({**one, "id": result.id, "state": result.state, "seconds": time.monotonic() - began})
print(json.dumps(told, default=repr))

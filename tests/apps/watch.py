"""Listens to events as Flower does, and prints what Celery's own State makes of them: broker, task ids as a JSON list.

Says "listening" when it does; ends when each of these tasks has come to its end and a heartbeat has been heard since.
"""

import json
import sys

from celery import Celery
from celery.events.receiver import EventReceiver
from celery.events.state import State

END = {"task-succeeded", "task-failed", "task-revoked", "task-rejected"}

broker, ids = sys.argv[1], set(json.loads(sys.argv[2]))
app = Celery("watch", broker=broker)
state = State()
seen = []


def heard(event):
    state.event(event)
    seen.append(event)
    if event["type"] in END:
        ids.discard(event["uuid"])
    elif event["type"] == "worker-heartbeat" and not ids:
        receiver.should_stop = True


with app.connection_for_read() as connection:
    receiver = EventReceiver(connection, handlers={"*": heard}, app=app)
    print("listening", flush=True)
    receiver.capture(limit=None, timeout=None, wakeup=False)

workers = {
    name: {field: getattr(worker, field) for field in ("alive", "active", "processed", "freq", "sw_ident", "loadavg", "pid")}
    for name, worker in state.workers.items()
}
fields = ("name", "state", "args", "kwargs", "result", "exception", "runtime", "retries", "root_id", "received", "started")
tasks = {uuid: {field: getattr(task, field) for field in fields} for uuid, task in state.tasks.items()}
kinds = [[event["type"], event.get("uuid")] for event in seen]
print(json.dumps({"workers": workers, "tasks": tasks, "events": kinds}, default=repr))

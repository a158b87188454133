"""Sends tasks, listens to their events with Celery's own receiver, and prints what they come to: for each fleet, task and
outcome how many there were, and every single runtime, wait and time in the queue, in order.

The argument is a JSON list of [queue, task, args, countdown]; it ends when every task has. Nothing here is Headcount's: events are
kept as they come, and joined by their ids at the end.
"""

import json
import sys
import threading
from collections import Counter, defaultdict

from app import app

TASKS = json.loads(sys.argv[1])
ENDS = {"task-succeeded", "task-failed"}
events, ended, kinds_seen = [], set(), Counter()
listening = threading.Event()


def on_event(event):
    if event["type"].startswith("task-"):
        events.append(event)
        kinds_seen[event["type"]] += 1
        if event["type"] in ENDS:
            ended.add(event["uuid"])
    # A task-sent comes from another process than what follows, and may come last of all.
    if len(ended) == len(TASKS) and kinds_seen["task-sent"] >= kinds_seen["task-received"]:
        receiver.should_stop = True


def send():
    listening.wait()
    with app.connection_for_write() as connection:
        for queue, task, args, countdown in TASKS:
            app.send_task(task, args=args, queue=queue, countdown=countdown, connection=connection)


class Receiver(app.events.Receiver):
    def on_consume_ready(self, *args, **kwargs):
        super().on_consume_ready(*args, **kwargs)
        listening.set()


threading.Thread(target=send, daemon=True).start()
with app.connection_for_read() as connection:
    receiver = Receiver(connection, handlers={"*": on_event})
    receiver.capture(limit=None, timeout=None, wakeup=False)

of_task = defaultdict(lambda: defaultdict(list))
for event in events:
    of_task[event["uuid"]][event["type"].removeprefix("task-")].append(event)
counts = defaultdict(lambda: {"count": 0, "runtime": [], "wait": [], "queued": []})
for kinds in of_task.values():
    for kind in kinds.values():
        kind.sort(key=lambda event: event["timestamp"])
    name = kinds["received"][0]["name"]
    # By attempts, not by time: the next one may be over before a busy worker has said that it is tried again.
    ends = kinds["retried"] + kinds["succeeded"] + kinds["failed"]
    attempts = zip(kinds["sent"], kinds["received"], kinds["started"], ends, strict=True)
    for sent, received, started, end in attempts:
        fleet = received["hostname"].split("@")[0]
        for event in (received, started, end):
            counts[fleet, name, event["type"].removeprefix("task-")]["count"] += 1
        row = counts[fleet, name, end["type"].removeprefix("task-")]
        runtime = end.get("runtime")
        row["runtime"].append(end["timestamp"] - started["timestamp"] if runtime is None else runtime)
        if received["eta"] is None:
            row["wait"].append(started["timestamp"] - received["timestamp"])
        row["queued"].append(received["timestamp"] - sent["timestamp"])
rows = []
for (fleet, task, outcome), row in sorted(counts.items()):
    # A clock does not step back between two processes of one machine, but its reading may be older than what it is compared with.
    spans = {name: sorted(span for span in row[name] if span >= 0) for name in ("runtime", "wait", "queued")}
    rows.append({"fleet": fleet, "task": task, "outcome": outcome, "count": row["count"], **spans})
print(json.dumps(rows), flush=True)

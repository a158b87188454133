"""Gives each node three tasks (one runs, one waits for a slot, one for its time) and an id that is revoked; then asks all of
them by the real `celery inspect`. Arguments: a JSON list of [node, queue, task that sleeps].

Prints a JSON object: {command: {node: answer}}.
"""

import json
import sys
import time

from app import app
from celery.bin.celery import celery
from click.testing import CliRunner

nodes = json.loads(sys.argv[1])
names = [node for node, _, _ in nodes]


def ask(*words):
    options = ["--json", "--timeout", "10", "--destination", ",".join(names)]
    result = CliRunner().invoke(celery, ["-A", "app", "inspect", *options, *words])
    assert result.exit_code == 0, result.output
    # No JSON has the infinite default of a setting; it is a number.
    return json.loads(result.stdout, parse_constant=lambda _: 1e300)


for _, queue, task in nodes:
    for name, seconds, countdown in (("runs", 600, None), ("waits", 1, None), ("later", 1, 600)):
        app.send_task(task, [seconds], queue=queue, task_id=name, countdown=countdown)
until = time.monotonic() + 60
while True:
    told = {command: ask(command) for command in ("active", "reserved", "scheduled")}
    if all(len(told[command].get(name, [])) == 1 for command in told for name in names):
        break
    assert time.monotonic() < until, told
    time.sleep(0.05)
app.control.revoke("another")
for command in ("stats", "active_queues", "registered", "report", "clock", "revoked", "ping"):
    told[command] = ask(command)
told["conf"] = ask("conf", "true")
told["query_task"] = ask("query_task", "runs", "waits", "later", "unknown")
told["safe"] = app.control.inspect(names, timeout=10).active(safe=True)
for name in names:
    app.control.revoke(["runs", "waits", "later"], terminate=True, destination=[name])
print(json.dumps(told))

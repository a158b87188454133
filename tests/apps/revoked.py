"""Revokes a task, and sends it when its worker has said that it knows: node name, queue, task."""

import sys
import uuid

from app import app

hostname, queue, task = sys.argv[1:]
name = str(uuid.uuid4())
known = app.control.broadcast(
    "revoke", arguments={"task_id": name}, destination=[hostname], reply=True, timeout=60, limit=1
)
assert known, f"{hostname} does not answer"
app.send_task(task, args=[0], queue=queue, task_id=name)

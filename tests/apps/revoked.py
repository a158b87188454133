"""Revokes a task and sends it to be run a little later, when every worker knows: queue, task."""

import sys
import uuid

from app import app

queue, task = sys.argv[1:]
name = str(uuid.uuid4())
app.control.revoke(name)
app.send_task(task, args=[0], queue=queue, countdown=2, task_id=name)

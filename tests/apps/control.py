"""Sends one control command: broker, node name, command, its arguments as JSON. Prints the replies; 1 if there is none."""

import json
import sys

from celery import Celery

broker, hostname, command, arguments = sys.argv[1:]
app = Celery("control", broker=broker)
replies = app.control.broadcast(
    command, arguments=json.loads(arguments), destination=[hostname], reply=True, timeout=10, limit=1
)
print(json.dumps(replies))
sys.exit(not replies or "error" in replies[0][hostname])

"""Gives one worker a command: the arguments are its name, the command, and the command's arguments as JSON. Prints the answer."""

import json
import sys

from app import app

hostname, method, arguments = sys.argv[1:]
# A worker on a busy machine takes its time; one that has been named and has answered ends the wait.
replies = app.control.broadcast(
    method, arguments=json.loads(arguments), destination=[hostname], reply=True, timeout=30, limit=1
)
answer = {name: said for reply in replies for name, said in reply.items()}[hostname]
if "ok" not in answer:
    sys.exit(f"{hostname} says {answer}")
print(json.dumps(answer))

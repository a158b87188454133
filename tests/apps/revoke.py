"""Waits until a node shows one task that runs and one that waits for its time, then terminates the one and revokes the other:
node, id of the one, id of the other."""

import sys
import time

from app import app

node, runs, waits = sys.argv[1:]
inspect = app.control.inspect([node], timeout=10)
until = time.monotonic() + 60
while set((inspect.query_task([runs, waits]) or {}).get(node, {})) != {runs, waits}:
    assert time.monotonic() < until, inspect.query_task([runs, waits])
    time.sleep(0.05)
replies = app.control.revoke(runs, terminate=True, signal="SIGTERM", destination=[node], reply=True, timeout=10)
assert replies == [{node: {"ok": f"terminate: {runs}"}}], replies
app.control.revoke([waits], destination=[node])

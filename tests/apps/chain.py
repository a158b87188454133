"""Chains, a callback and an errback between Headcount's tasks and a Python worker's: broker, result backend. Prints what came of them.

In the second chain nobody says where the Python task goes: Headcount's routes do.
"""

import json
import sys

from celery import Celery, chain

broker, backend = sys.argv[1:]
app = Celery("chain", broker=broker, backend=backend)
echo = app.signature("headcount.echo", args=[40], queue="headcount")
add = app.signature("add", args=[2], queue="sms")
told = {"chain": chain(echo, add).apply_async().get(timeout=60)}
told["routed"] = chain(echo, app.signature("add", args=[3])).apply_async().get(timeout=60)
# The other way: what follows a Python worker's task is Headcount's.
back = chain(app.signature("add", args=[20, 1], queue="sms"), app.signature("headcount.echo", queue="headcount"))
told["back"] = back.apply_async().get(timeout=60)
# The worker tells in its log what called it: rpc keeps no result of a task that nobody here has sent.
linked = app.signature("witness", args=["linked"], queue="sms")
app.send_task("headcount.echo", ["done"], queue="headcount", link=linked).get(timeout=60)
missed = app.signature("witness", args=["missed"], queue="sms")
failed = app.send_task("headcount.ping", ["one too many"], queue="headcount", task_id="failed", link_error=missed)
told["failed"] = type(failed.get(timeout=60, propagate=False)).__name__
print(json.dumps(told))

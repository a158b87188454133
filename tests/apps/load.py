"""Sends tasks for so many seconds, waits until all have ended, and prints how many of each name each worker has begun, by the
worker's own account (`inspect stats`, `total`), and how many were sent to fail.

One of ten `mixed` fails, `fail` always does, `sleep` and `add` never, `flaky` is tried twice.
"""

import json
import sys
import time

from app import app

seconds, workers = float(sys.argv[1]), int(sys.argv[2])
sent, failing, begun = 0, 0, 0
until = time.monotonic() + seconds
with app.connection_for_write() as connection:
    turn = 0
    while time.monotonic() < until:
        tasks = [("sms", "mixed", [n == 0]) for n in range(10)]
        tasks += [("sms", "sleep", [0.03]), ("tracker", "add", [turn, 1]), ("tracker", "add", [turn, 2])]
        if turn % 10 == 0:
            tasks += [("sms", "fail", []), ("tracker", "flaky", [])]
        for queue, task, args in tasks:
            app.send_task(task, args=args, queue=queue, connection=connection)
            sent += 1
            failing += task == "fail" or (task == "mixed" and args[0])
            begun += 2 if task == "flaky" else 1
        turn += 1
        time.sleep(0.25)

# A worker may be too busy to answer in time: only a whole answer counts.
deadline = time.monotonic() + 120
while True:
    stats = app.control.inspect(timeout=5).stats() or {}
    totals = {worker: said["total"] for worker, said in stats.items()}
    if len(totals) == workers and sum(sum(total.values()) for total in totals.values()) >= begun:
        break
    assert time.monotonic() < deadline, (totals, begun)
print(json.dumps({"totals": totals, "failing": failing, "sent": sent}), flush=True)

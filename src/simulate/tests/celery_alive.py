"""Celery's own celery.events.state over a trace: which workers it holds alive, at each moment and for each window.

Lines come on standard input: ["event", {...}] and ["ask", now, [windows], [hostnames]]. For each question one line goes
out: a string of 0 and 1 for each window.
"""
import json
import sys

from celery.events.state import State, Worker

state = State()
for line in sys.stdin:
    what, *rest = json.loads(line)
    if what == "event":
        state.event(rest[0])
    else:
        now, windows, hostnames = rest
        answers = []
        for window in windows:
            Worker.expire_window = window
            alive = (
                # The property with another clock than time.time: nowfun is its argument for that.
                Worker.alive.fget(state.workers[name], lambda: now) if name in state.workers else False
                for name in hostnames
            )
            answers.append("".join("1" if one else "0" for one in alive))
        print(" ".join(answers))

"""The Celery application of the live tests and the demo. The broker comes from the environment."""

import json
import os
import time

from celery import Celery

app = Celery("app", broker=os.environ["HEADCOUNT_TEST_BROKER"], set_as_current=True)
app.conf.update(task_send_sent_event=True, broker_connection_retry_on_startup=True)


@app.task(name="sleep")
def sleep(seconds):
    """Holds a slot, and leaves the processor alone."""
    time.sleep(seconds)
    return seconds


@app.task(name="spin")
def spin(seconds):
    """Holds a slot, and the processor too."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass
    return seconds


@app.task(name="add")
def add(a, b):
    return a + b


@app.task(name="fail")
def fail(why="as asked"):
    raise RuntimeError(why)


@app.task(name="mixed")
def mixed(fails):
    """Takes a moment, and fails where it is told to."""
    time.sleep(0.01)
    if fails:
        raise ValueError("as asked, with (words) in \"it\"")


@app.task(name="witness", bind=True)
def witness(self, *args, **kwargs):
    """Tells what reached it, in one line of the worker's log."""
    request = self.request
    keys = (
        "id root_id parent_id correlation_id reply_to origin expires eta retries timelimit delivery_info argsrepr kwargsrepr "
        "group ignore_result shadow lang"
    )
    told = {key: getattr(request, key, "absent") for key in keys.split()}
    print("WITNESS " + json.dumps({"args": args, "kwargs": kwargs, **told}, default=str))
@app.task(name="flaky", bind=True, max_retries=1)
def flaky(self):
    """Works at the second attempt."""
    if self.request.retries == 0:
        time.sleep(0.1)
        raise self.retry(countdown=0.2)

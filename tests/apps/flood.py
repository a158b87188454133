"""Sends one task many times: queue, task, how often, and its arguments as a JSON list."""

import json
import sys

from app import app

queue, task, times, args = sys.argv[1:]
with app.connection_for_write() as connection, app.amqp.Producer(connection) as producer:
    for _ in range(int(times)):
        app.send_task(task, args=json.loads(args), queue=queue, producer=producer, ignore_result=True)

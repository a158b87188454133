"""Sends tasks: the argument is a JSON list of [queue, task, args]. One interpreter start for all of them."""

import json
import sys

from app import app

with app.connection_for_write() as connection:
    for queue, task, args in json.loads(sys.argv[1]):
        app.send_task(task, args=args, queue=queue, connection=connection)

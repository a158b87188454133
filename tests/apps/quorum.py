"""Declares a quorum queue: broker, queue."""

import sys

from kombu import Connection, Queue

broker, name = sys.argv[1:]
with Connection(broker) as connection:
    Queue(name, durable=True, queue_arguments={"x-queue-type": "quorum"})(connection.channel()).declare()

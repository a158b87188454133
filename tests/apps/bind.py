"""Binds a queue to a topic exchange: broker, queue, exchange, pattern of routing keys."""

import sys

from kombu import Connection, Exchange, Queue

broker, queue, exchange, pattern = sys.argv[1:]
with Connection(broker) as connection:
    Queue(queue, Exchange(exchange, "topic"), routing_key=pattern)(connection.channel()).declare()

"""Makes an exchange for dead letters and a queue behind it, says `listening`, and reads it until each of the named queues has
had its marker, a task named `no.such`: broker, exchange, queues.

Prints a JSON object: {queue: [[reason, task, length of the body, its beginning], ...]}.
"""

import json
import socket
import sys

from kombu import Connection, Consumer, Exchange, Queue

broker, name, *queues = sys.argv[1:]
told = {queue: [] for queue in queues}


def dead(message):
    first = message.headers["x-death"][0]
    task, body = message.headers.get("task"), bytes(message.body, "utf-8") if isinstance(message.body, str) else bytes(message.body)
    told[first["queue"]].append([first["reason"], task, len(body), repr(body[:40])])
    message.ack()


with Connection(broker) as connection:
    queue = Queue(name, Exchange(name, "fanout"), durable=True)
    with Consumer(connection, [queue], on_message=dead, accept=None):
        print("listening", flush=True)
        for _ in range(60):
            if all(any(letter[1] == "no.such" for letter in letters) for letters in told.values()):
                break
            try:
                connection.drain_events(timeout=1)
            except socket.timeout:
                pass
print(json.dumps(told))

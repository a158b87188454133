"""Puts messages into a queue that are no tasks, and some into all mailboxes that are no commands, by kombu: broker, queue.

With the name of a task that is known there as a third argument, only those into the queue that Celery's worker outlives on
RabbitMQ: one without an id ends it. With a fourth argument, only that one.
"""

import sys

from kombu import Connection, Exchange

broker, name, *known = sys.argv[1:]
task, *deadly = known or ["headcount.echo"]
headers = {"lang": "py", "task": task, "id": "broken"}
with Connection(broker) as connection:
    producer = connection.Producer()

    def put(body, headers, **options):
        options = {"content_type": "application/json", "content_encoding": "utf-8", **options}
        producer.publish(body, exchange="", routing_key=name, headers=headers, **options)

    if deadly:
        put("[[], {}, {}]", {"task": task})
        sys.exit()
    put("[]", {})
    if not known:
        put("no json", {"task": 7})
        put("[[], {}, {}]", {"task": task})
    put("[[], {}", headers)
    put('{"args": []}', headers)
    put("[[], {}, {}]", {**headers, "eta": "soon"})
    put(b"\x80\x04K\x01.", headers, content_type="application/x-python-serialize", content_encoding="binary")
    put("x", headers, content_type="text/plain")
    put("[[" + "1," * 600_000 + "1], {}, {}]", headers)
    if known:
        sys.exit()
    mailboxes = Exchange("celery.pidbox", "fanout", durable=False)
    nowhere = {"exchange": "no.such.exchange", "routing_key": "nobody"}
    for body in (
        "no json",
        "[]",
        "{}",
        '{"method": 7}',
        '{"method": "ping", "destination": 7, "arguments": [], "reply_to": "x", "ticket": 1}',
        {"method": "ping", "arguments": {}, "reply_to": nowhere, "ticket": "t"},
        {"method": "ping", "arguments": {}, "reply_to": {**nowhere, "exchange": "x" * 400}, "ticket": "t"},
        {"method": "revoke", "arguments": {"task_id": {"odd": []}}, "reply_to": nowhere},
    ):
        options = {} if isinstance(body, dict) else {"content_type": "application/json", "content_encoding": "utf-8"}
        producer.publish(body, exchange=mailboxes, declare=[mailboxes], routing_key="", **options)
    if connection.transport.driver_type == "redis":
        client = connection.channel().client
        for junk in (b"", b"nonsense", b"[]", b"{}", b"\xff\xfe", b'{"headers": {"task": "t", "id": "1"}, "properties": 7}'):
            client.lpush(name, junk)
            client.publish("/0.celery.pidbox", junk)

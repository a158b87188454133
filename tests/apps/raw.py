"""Puts messages into a queue that are no tasks, by kombu: broker, queue."""

import sys

from kombu import Connection, Queue

broker, name = sys.argv[1:]
headers = {"lang": "py", "task": "headcount.echo", "id": "broken"}
with Connection(broker) as connection:
    producer = connection.Producer()

    def put(body, headers, **options):
        options = {"content_type": "application/json", "content_encoding": "utf-8", **options}
        producer.publish(body, exchange="", routing_key=name, headers=headers, **options)

    put("[]", {})
    put("no json", {"task": 7})
    put("[[], {}", headers)
    put('{"args": []}', headers)
    put("[[], {}, {}]", {**headers, "eta": "soon"})
    put("[[], {}, {}]", {"task": "headcount.echo"})
    put(b"\x80\x04K\x01.", headers, content_type="application/x-python-serialize", content_encoding="binary")
    put("x", headers, content_type="text/plain")
    put("[[" + "1," * 600_000 + "1], {}, {}]", headers)
    if connection.transport.driver_type == "redis":
        client = connection.channel().client
        for junk in (b"", b"nonsense", b"[]", b"{}", b"\xff\xfe", b'{"headers": {"task": "t", "id": "1"}, "properties": 7}'):
            client.lpush(name, junk)

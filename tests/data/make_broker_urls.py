"""Prints how the real kombu reads broker URLs, as the table that the Rust tests compare with.

    python tests/data/make_broker_urls.py > tests/data/broker_urls.json

Needs celery, redis and packaging. Nothing is connected to: what kombu would hand to its clients is taken just before.
"""

import json
import logging
import ssl
from types import SimpleNamespace

from kombu import Connection
from kombu.transport import redis as kombu_redis

logging.disable(logging.CRITICAL)

URLS = """
amqp://
amqp://localhost
amqp://localhost/
amqp://localhost//
amqp://localhost/%2f
amqp://localhost/%2F
amqp://guest:guest@127.0.0.1:5672//
amqp://user:pass@rabbit.example.com:5673/prod
amqp://user:pass@rabbit.example.com//prod
amqp://user:pass@rabbit.example.com/a%2Fb/c
amqp://user:p%40ss%2Fw%3Ard@Rabbit.Example.COM/v%20h
amqp://user@host
amqp://user:@host/
amqp://:pass@host/
amqp://us%65r:p+w@host/v+h
amqp://host:0/
amqp://host:5672
amqp://[::1]:5673/x
amqp://[2001:DB8::1]/
amqp://host/vh?heartbeat=30
amqp://host/vh?heartbeat=2.5&login_method=EXTERNAL&connect_timeout=3
amqp://host/vh?heartbeat=
amqp://host/vh#fragment
amqp://host/vh?foo=1
amqp://host/vh?virtual_host=x
amqp://host/vh?port=1
amqp://host:notaport/
amqp://host:70000/
amqps://host
amqps://host:5671/vh
amqps://u:p@host/vh?ssl_cert_reqs=CERT_NONE
pyamqp://u:p@host/vh
AMQP://host/vh
nosuch://host/vh
redis://
redis://localhost
redis://localhost/
redis://localhost//
redis://localhost:6380/3
redis://localhost:6380//3
redis://:secret@localhost:6379/0
redis://user:secret@localhost:6379/1
redis://user@localhost/1
redis://:s%2Fe%3Fc%23r@LOCALHOST:6379/0
redis://localhost/notadb
redis://localhost/0?virtual_host=2
redis://localhost/0?socket_foo=5
redis://localhost/0?connect_timeout=4
redis://localhost/0?ssl_cert_reqs=required
redis://localhost/15?ssl_ca_certs=%2Fetc%2Fca.pem&ssl_check_hostname=false
redis://[::1]:6380/2
rediss://localhost
rediss://:pw@host:6390/1
rediss://host/0?ssl_cert_reqs=CERT_REQUIRED&ssl_ca_certs=/etc/ca.pem&ssl_certfile=/etc/c.pem&ssl_keyfile=/etc/k.pem
rediss://host/0?ssl_cert_reqs=optional
rediss://host/0?ssl_cert_reqs=none
rediss://host/0?ssl_cert_reqs=sometimes
rediss://host/0?ssl_ca_certs=/etc/ca.pem
redis+socket:///run/redis.sock
redis+socket:///run/redis.sock?virtual_host=4
redis+socket://:pw@/run/redis.sock?virtual_host=/4
redis+socket://user:pw@/run/my%20redis.sock
redis+socket://
sentinel://s1
sentinel://s1:26380/2
sentinel://:pw@s1:26379/1;sentinel://s2:26380;sentinel://s3
sentinel://user:pw@s1;sentinel://s2
sentinel://s1/0?ssl_cert_reqs=none
""".split()

VERIFY = {None: None, ssl.CERT_NONE: "none", ssl.CERT_OPTIONAL: "required", ssl.CERT_REQUIRED: "required"}


def tls(options):
    """The TLS options, with redis-py's and py-amqp's own defaults: verify, unless told otherwise."""
    if not options:
        return None
    options = options if isinstance(options, dict) else {}
    return {
        "verify": VERIFY[options.get("ssl_cert_reqs", ssl.CERT_REQUIRED)],
        "check_hostname": options.get("ssl_check_hostname"),
        "ca_certs": options.get("ssl_ca_certs"),
        "certfile": options.get("ssl_certfile"),
        "keyfile": options.get("ssl_keyfile"),
    }


def amqp(connection):
    for name, default in connection.transport.default_connection_params.items():
        if not getattr(connection, name, None):
            setattr(connection, name, default)
    return {
        "kind": "amqp",
        "host": connection.hostname,
        "port": connection.port,
        "user": connection.userid,
        "password": connection.password,
        "vhost": connection.virtual_host,
        "login_method": connection.login_method,
        "heartbeat": connection.heartbeat or None,
        "connect_timeout": float(connection.connect_timeout),
        "tls": tls(connection.ssl),
    }


def redis(connection, transport, channel_class):
    channel = object.__new__(channel_class)
    channel.connection = SimpleNamespace(client=connection, default_port=transport.default_port)
    params = channel._connparams()
    reading = {
        "kind": "redis",
        "host": params.get("host"),
        "port": params.get("port"),
        "path": params.get("path"),
        "user": params.get("username"),
        "password": params.get("password"),
        "db": params["db"],
        "connect_timeout": float(connection.connect_timeout),
        "tls": tls(connection.ssl),
    }
    if channel_class is kombu_redis.SentinelChannel:
        reading["kind"] = "sentinel"
        parsed = [kombu_redis._parse_url(url) for url in connection.alt]
        reading["sentinels"] = [[url.hostname, url.port or transport.default_port] for url in parsed] or [
            [params["host"], params["port"]]
        ]
        del reading["host"], reading["port"], reading["path"]
    return reading


def read(url):
    try:
        connection = Connection(url)
        transport = connection.transport
        if transport.driver_type == "amqp":
            return {"url": url, "reading": amqp(connection)}
        return {"url": url, "reading": redis(connection, transport, transport.Channel)}
    except Exception as error:
        return {"url": url, "error": type(error).__name__}


print("[\n" + ",\n".join(json.dumps(read(url)) for url in URLS) + "\n]")

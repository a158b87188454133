"""Prints the channels and keys that the real kombu uses on Redis, as the table that the Rust tests compare with.

    python tests/data/make_wire_names.py > tests/data/wire_names.json

Needs celery, redis and packaging. Nothing is connected to.
"""

import json

from kombu.pidbox import Mailbox
from kombu.transport.redis import Channel, PrefixedRedisPubSub, PrefixedStrictRedis

SETTINGS = [
    {},
    {"global_keyprefix": "app:"},
    {"fanout_prefix": False},
    {"fanout_patterns": False},
    {"fanout_prefix": "/v{{{db}}}."},
    {"global_keyprefix": "a{b}", "fanout_prefix": "/x.", "event_exchange": "ev", "control_exchange": "ctl"},
    {"priority_steps": [0, 5], "sep": ":", "global_keyprefix": "p-"},
]
DB = 3
OID = "0d3f0b3e-oid"


def prefixed(cls, settings, *command):
    """The command's first argument as it goes to the server."""
    client = object.__new__(cls)
    client.global_keyprefix = settings.get("global_keyprefix", "")
    return client._prefix_args(command)[1]


def names(settings):
    channel = object.__new__(Channel)
    for option in ("fanout_patterns", "priority_steps", "sep"):
        if option in settings:
            setattr(channel, option, settings[option])
    # As in Channel.__init__ and Channel._get_pool.
    prefix = settings.get("fanout_prefix", True)
    if isinstance(prefix, str):
        channel.keyprefix_fanout = prefix
    elif not prefix:
        channel.keyprefix_fanout = ""
    channel.keyprefix_fanout = channel.keyprefix_fanout.format(db=DB)

    mailbox = Mailbox(settings.get("control_exchange", "celery"), type="fanout")
    mailbox.__dict__["oid"] = OID
    reply_queue = f"{OID}.{mailbox.reply_exchange.name}"
    events = settings.get("event_exchange", "celeryev")
    heartbeat = channel._get_publish_topic(events, "worker.heartbeat")
    # What PSUBSCRIBE gets for a queue bound with "#" (kombu turns it into "*").
    channel._fanout_queues = {"q": (events, "*")}
    return {
        "control_exchange": mailbox.exchange.name,
        "reply_exchange": mailbox.reply_exchange.name,
        "mailbox": mailbox.get_queue("sms@host1").name,
        "event_channel": prefixed(PrefixedStrictRedis, settings, "PUBLISH", heartbeat, "x"),
        "event_pattern": prefixed(PrefixedRedisPubSub, settings, "PSUBSCRIBE", channel._get_subscribe_topic("q")),
        "control_channel": prefixed(
            PrefixedStrictRedis, settings, "PUBLISH", channel._get_publish_topic(mailbox.exchange.name, ""), "x"
        ),
        "reply_binding_key": prefixed(
            PrefixedStrictRedis, settings, "SMEMBERS", channel.keyprefix_queue % (mailbox.reply_exchange.name,)
        ),
        "reply_binding_member": channel.sep.join([OID, "", reply_queue]),
        "reply_list": prefixed(PrefixedStrictRedis, settings, "LPUSH", channel._q_for_pri(reply_queue, 0), "x"),
        "queue_lists": [
            prefixed(PrefixedStrictRedis, settings, "LLEN", channel._q_for_pri("sms", step))
            for step in channel.priority_steps
        ],
    }


rows = [json.dumps({"settings": settings, "db": DB, "oid": OID, "names": names(settings)}) for settings in SETTINGS]
print("[\n" + ",\n".join(rows) + "\n]")

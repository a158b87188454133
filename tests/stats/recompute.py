"""An independent recomputation of a pipeline's roll-ups: reads the source by pymongo, groups in a dict, and compares both sinks.

    recompute.py MONGODB_URL DATABASE SOURCE SINK ELASTICSEARCH_URL INDEX MEASURE...

Prints one JSON document: what differs, at most 20 of it, and how much there was. What is in headcount_stats_dead_letters is left out.
"""

import datetime
import json
import sys
import urllib.error
import urllib.request

import pymongo
from bson import Decimal128

url, database, source, sink, elastic, index, *measures = sys.argv[1:]
# A date that no calendar of Python's has is no mistake of whoever wrote it.
db = pymongo.MongoClient(url, tz_aware=True, datetime_conversion="DATETIME_AUTO")[database]
wrong = []


def say(*words):
    if len(wrong) < 20:
        wrong.append(" ".join(map(str, words)))


def near(a, b, part):
    return a == b or (a is not None and b is not None and abs(a - b) <= part * max(abs(a), abs(b)))


bad = {letter["source_id"] for letter in db.headcount_stats_dead_letters.find() if "source_id" in letter}
groups, read = {}, 0
for one in db[source].find():
    if one["_id"] in bad:
        continue
    read += 1
    bucket = one["at"].replace(second=0, microsecond=0)
    group = groups.setdefault((bucket, one.get("campaign"), one.get("country")), {"n": 0, "price": [], "ms": [], "user": set()})
    group["n"] += 1
    for name in ("price", "ms"):
        if one.get(name) is not None:
            value = one[name]
            group[name].append(float(value.to_decimal()) if isinstance(value, Decimal128) else value)
    if one.get("user") is not None:
        group["user"].add(one["user"])

in_mongo = {(one["bucket"], one.get("campaign"), one.get("country")): one for one in db[sink].find()}
request = urllib.request.Request(f"{elastic}/{index}/_search?size=10000")
try:
    found = json.load(urllib.request.urlopen(request, timeout=30))["hits"]["hits"]
except urllib.error.HTTPError as error:
    # No index, or one so new that it has no shard yet.
    if error.code not in (404, 503):
        raise
    found = []
hits = {hit["_id"]: hit["_source"] for hit in found}
if len(hits) >= 10000:
    say("too many roll-ups for one page of the index")

for key, expected in groups.items():
    found = in_mongo.get(key)
    if found is None:
        say("not in the collection:", key)
        continue
    ms, price = sorted(expected["ms"]), expected["price"]
    # What each is, and how near it must be: a part of its size.
    right = {
        "n": (expected["n"], 0),
        "paid": (sum(price), 1e-9),
        "typical": (sum(price) / len(price) if price else None, 1e-9),
        "least": (ms[0] if ms else None, 0),
        "most": (ms[-1] if ms else None, 0),
        "slow": (ms[int(0.95 * (len(ms) - 1) + 1e-9)] if ms else None, 0.0101),
        "people": (len(expected["user"]), 0),
    }
    for name in measures:
        value, part = right[name]
        if not near(found.get(name), value, part):
            say(key, name, "is", found.get(name), "instead of", value)
    if set(found) != {"_id", "bucket", "campaign", "country", *measures}:
        say(key, "has the fields", sorted(found))
for key in in_mongo.keys() - groups.keys():
    say("of no document:", key)

for found in in_mongo.values():
    hit = hits.pop(found["_id"], None)
    if hit is None:
        say("not in the index:", found["_id"])
        continue
    bucket = datetime.datetime.fromisoformat(hit.pop("bucket").replace("Z", "+00:00"))
    rest = {name: value for name, value in found.items() if name not in ("_id", "bucket")}
    if bucket != found["bucket"] or hit != rest:
        say(found["_id"], "is", hit, bucket, "in the index, and", found, "in the collection")
for hit in hits:
    say("of no document, in the index:", hit)

print(json.dumps({"documents": read, "rollups": len(groups), "bad": len(bad), "wrong": wrong}))

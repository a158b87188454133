"""An independent recomputation of a pipeline's roll-ups: reads the source by pymongo, groups in a dict, and compares both sinks.

    recompute.py MONGODB_URL DATABASE SOURCE SINK ELASTICSEARCH_URL INDEX

Prints one JSON document: what differs, at most 20 of it, and how much there was. What is in headcount_stats_dead_letters is left out.
"""

import datetime
import json
import sys
import urllib.error
import urllib.request

import pymongo

url, database, source, sink, elastic, index = sys.argv[1:]
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
            group[name].append(one[name])
    if one.get("user") is not None:
        group["user"].add(one["user"])

in_mongo = {(one["bucket"], one.get("campaign"), one.get("country")): one for one in db[sink].find()}
request = urllib.request.Request(f"{elastic}/{index}/_search?size=10000")
try:
    found = json.load(urllib.request.urlopen(request, timeout=30))["hits"]["hits"]
except urllib.error.HTTPError as error:
    if error.code != 404:
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
    if found["n"] != expected["n"]:
        say(key, "n is", found["n"], "instead of", expected["n"])
    if not near(found["paid"], sum(expected["price"]), 1e-9):
        say(key, "paid is", found["paid"], "instead of", sum(expected["price"]))
    if found["people"] != len(expected["user"]):
        say(key, "people is", found["people"], "instead of", len(expected["user"]))
    ms = sorted(expected["ms"])
    quantile = ms[int(0.95 * (len(ms) - 1) + 1e-9)] if ms else None
    if not near(found["slow"], quantile, 0.0101):
        say(key, "slow is", found["slow"], "instead of", quantile)
    names = {"_id", "bucket", "campaign", "country", "n", "paid", "slow", "people"}
    if set(found) != names:
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

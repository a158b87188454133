"""An independent recomputation of a pipeline's roll-ups: reads the source by pymongo, groups in a dict, and compares both sinks.

    recompute.py MONGODB_URL DATABASE SOURCE SINK ELASTICSEARCH_URL INDEX NAME=MEASURE...

Prints one JSON document: what differs, at most 20 of it, and how much there was. What a document must be to count is judged here
as docs/stats.md says it, so that one which was put aside for nothing is found, as is one which was counted and must not be. Only
letters about the cursor field, and about a time that was too late, are believed: the documents do not tell.
"""

import datetime
import json
import math
import re
import sys
import urllib.error
import urllib.request

import pymongo
from bson import Decimal128, ObjectId

url, database, source, sink, elastic, index, *measures = sys.argv[1:]
measures = dict(measure.split("=", 1) for measure in measures)
# A date that no calendar of Python's has is no mistake of whoever wrote it.
db = pymongo.MongoClient(url, tz_aware=True, datetime_conversion="DATETIME_AUTO")[database]
wrong = []


def say(*words):
    if len(wrong) < 20:
        wrong.append(" ".join(map(str, words)))


def near(a, b, part):
    return a == b or (a is not None and b is not None and abs(a - b) <= part * max(abs(a), abs(b)))


def plain(value):
    return float(value.to_decimal()) if isinstance(value, Decimal128) else value


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_measurable(value):
    return is_number(value) and math.isfinite(value) and abs(value) <= 1e30


def is_scalar(value):
    if is_number(value):
        return math.isfinite(value)
    return isinstance(value, (bool, str, ObjectId, datetime.datetime))


def parse(measure):
    kind, field = re.fullmatch(r"([a-z0-9.]+)(?:\((.*)\))?", measure).groups()
    return kind, field


judged = {"at", "campaign", "country", *(parse(measure)[1] for measure in measures.values())}


def is_bad(one):
    at = one.get("at")
    now = datetime.datetime.now(datetime.timezone.utc)
    if not isinstance(at, datetime.datetime) or at.year < 1970 or at > now + datetime.timedelta(hours=1):
        return True
    for field in ("campaign", "country"):
        value = plain(one.get(field))
        if value is not None and not is_scalar(value) or isinstance(value, str) and len(value.encode()) > 1024:
            return True
    for kind, field in map(parse, measures.values()):
        value = plain(one.get(field)) if field else None
        if value is None:
            continue
        if kind == "distinct":
            fits = is_scalar(value)
        elif kind in ("min", "max"):
            fits = is_measurable(value) or isinstance(value, datetime.datetime)
        else:
            fits = is_measurable(value)
        if not fits:
            return True
    return False


def measured(measure, documents):
    """What it is, and how near it must be: a part of its size."""
    kind, field = parse(measure)
    if kind == "count":
        return len(documents), 0
    values = [plain(one[field]) for one in documents if one.get(field) is not None]
    if kind == "sum":
        return math.fsum(values), 1e-9
    if kind == "mean":
        return math.fsum(values) / len(values) if values else None, 1e-9
    if kind == "min":
        return min(values, default=None), 0
    if kind == "max":
        return max(values, default=None), 0
    if kind == "distinct":
        return len({(isinstance(value, bool), value) for value in values}), 0
    values.sort()
    part = float(kind[1:]) / 100
    return values[int(part * (len(values) - 1) + 1e-9)] if values else None, 0.0101


letters = {}
for letter in db.headcount_stats_dead_letters.find():
    if "source_id" in letter:
        letters[letter["source_id"]] = letter["reason"]
groups, read, bad = {}, 0, 0
for one in db[source].find():
    reason = letters.get(one["_id"])
    if is_bad(one):
        bad += 1
        if reason is None:
            say("not put aside:", one)
        continue
    if reason is not None:
        named = re.match(r"field `(.*?)`", reason)
        if named and named[1] not in judged or "in a bucket that is closed" in reason:
            bad += 1
            continue
        say("put aside for nothing:", one, reason)
    read += 1
    bucket = one["at"].replace(second=0, microsecond=0)
    groups.setdefault((bucket, one.get("campaign"), one.get("country")), []).append(one)

in_mongo, count = {}, 0
for one in db[sink].find():
    count += 1
    in_mongo[one["bucket"], one.get("campaign"), one.get("country")] = one
if count != len(in_mongo):
    say(count - len(in_mongo), "roll-ups are in the collection twice")
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
    for name, measure in measures.items():
        value, part = measured(measure, expected)
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

print(json.dumps({"documents": read, "rollups": len(groups), "bad": bad, "wrong": wrong}))

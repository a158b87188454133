"""The service as people write it: a Celery task that reads batches by pymongo, groups in a dict, and bulk-writes by elasticsearch-py.

    celery -A service worker --pool prefork -c 1      the worker
    service.py LIMIT                                  sends the task for so many documents, and waits for its end

It keeps the groups of the whole run in memory, so that it need not ask for what it has written before.
"""

import os
import sys

import pymongo
from celery import Celery
from elasticsearch import Elasticsearch, helpers

BATCH = 5_000
FIELDS = {"at": 1, "campaign": 1, "country": 1, "price": 1, "ms": 1}

app = Celery("service", broker=os.environ["BENCH_BROKER"], backend=os.environ["BENCH_BROKER"])


def actions(groups, touched):
    for key in touched:
        bucket, campaign, country = key
        n, paid, least, most = groups[key]
        at = bucket.strftime("%Y-%m-%dT%H:%M:%SZ")
        rollup = {
            "bucket": at,
            "campaign": campaign,
            "country": country,
            "n": n,
            "paid": paid,
            "typical": paid / n,
            "least": least,
            "most": most,
        }
        yield {
            "_op_type": "update",
            "_index": "clicks-1m",
            "_id": f"{at}|{campaign}|{country}",
            "doc": rollup,
            "doc_as_upsert": True,
        }


@app.task(name="rollup")
def rollup(limit):
    database = pymongo.MongoClient(os.environ["BENCH_MONGODB"]).app
    elastic = Elasticsearch(os.environ["BENCH_ELASTIC"])
    groups, at, read = {}, None, 0
    while read < limit:
        after = {} if at is None else {"_id": {"$gt": at}}
        batch = list(database.clicks.find(after, FIELDS).sort("_id", 1).limit(min(BATCH, limit - read)))
        if not batch:
            break
        touched = set()
        for one in batch:
            key = (one["at"].replace(second=0, microsecond=0), one["campaign"], one["country"])
            touched.add(key)
            price, ms = one["price"], one["ms"]
            group = groups.get(key)
            if group is None:
                groups[key] = [1, price, ms, ms]
                continue
            group[0] += 1
            group[1] += price
            if ms < group[2]:
                group[2] = ms
            if ms > group[3]:
                group[3] = ms
        helpers.bulk(elastic, actions(groups, touched))
        at = batch[-1]["_id"]
        read += len(batch)
        database.service_cursor.update_one({"_id": "clicks"}, {"$set": {"at": at}}, upsert=True)
    return {"documents": read, "rollups": len(groups)}


if __name__ == "__main__":
    print(app.send_task("rollup", [int(sys.argv[1])]).get(timeout=600))

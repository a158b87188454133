"""A control command by which a worker loses a consumer without noticing, as after a reconnect that went wrong.

The channel is told, and the worker is not: on RabbitMQ the broker has no consumer any more, on Redis nobody sends BRPOP.
What the worker says of itself (`active_queues`) stays as it was.
"""

from celery.worker.control import control_command


@control_command(args=[("queue", str)], signature="<queue>")
def lose_consumer(state, queue, **_):
    tasks = state.consumer.task_consumer
    state.consumer.call_soon(tasks.channel.basic_cancel, tasks._active_tags[queue])
    return {"ok": f"lost {queue}"}


@control_command(args=[("queue", str)], signature="<queue>")
def find_consumer(state, queue, **_):
    tasks = state.consumer.task_consumer

    def consume():
        tasks._active_tags.pop(queue, None)
        tasks.consume()

    state.consumer.call_soon(consume)
    return {"ok": f"found {queue}"}

"""An application with every kind of beat schedule, for `headcount jobs import`. Dumped as its --help says."""

from datetime import timedelta

from celery import Celery
from celery.schedules import crontab, schedule, solar

# Without the library that it needs to know when the sun sets: only how it is shown matters here.
sunset = solar.__new__(solar)
sunset.event, sunset.lat, sunset.lon = "sunset", -37.81753, 144.96715

app = Celery("beat", broker="memory://")
app.conf.timezone = "Europe/Berlin"
app.conf.beat_schedule = {
    "purge": {"task": "sms.purge", "schedule": crontab(minute=0, hour=3), "args": (30,), "options": {"queue": "sms"}},
    "quarter": {"task": "sms.poll", "schedule": crontab(minute="*/15", hour="8-17", day_of_week="mon-fri")},
    "set": {"task": "sms.sets", "schedule": crontab(minute={0, 30}, hour=[1, 2], day_of_week=(0, 6))},
    "spaces": {"task": "sms.spaces", "schedule": crontab(minute="5", hour="7, 8", month_of_year="jan,mar")},
    "delta": {
        "task": "sms.delta",
        "schedule": timedelta(minutes=10),
        "kwargs": {"dry_run": False, "names": ["a", 'b"c'], "deep": {"x": 1.5}},
        "options": {"queue": "sms", "expires": 30.0, "priority": 5},
    },
    "long": {"task": "sms.long", "schedule": timedelta(days=14, hours=1), "options": {"expires": timedelta(hours=2)}},
    "seconds": {"task": "sms.seconds", "schedule": 30.0},
    "freq": {"task": "sms.freq", "schedule": schedule(run_every=90), "relative": True},
    "countdown": {"task": "sms.later", "schedule": 60, "options": {"countdown": 10, "headers": None}},
    "both/days": {"task": "sms.both", "schedule": crontab(0, 0, day_of_week="fri", day_of_month="13")},
    "sunset": {"task": "sms.sun", "schedule": sunset},
    "often": {"task": "sms.often", "schedule": timedelta(milliseconds=500)},
    "none": {"task": "sms.none", "schedule": 60, "args": (None,)},
    "slash/name": {"task": "sms.slash", "schedule": crontab(hour="*/2", minute=0, day_of_month="1-31/2")},
}

"""Runs command lines of the real `celery` command, in one process: a JSON list of lists of arguments, after `-A app`.

Prints a JSON list of [exit code, what was said].
"""

import json
import sys

from celery.bin.celery import celery
from click.testing import CliRunner

told = []
for arguments in json.loads(sys.argv[1]):
    result = CliRunner().invoke(celery, ["-A", "app", *arguments])
    told.append([result.exit_code, result.output])
print(json.dumps(told))

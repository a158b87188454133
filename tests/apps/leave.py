"""Tells nodes to shut down, as `app.control.shutdown` does; asked for replies, so that it is seen that there are none.
Arguments: the nodes. Prints the replies.
"""

import json
import sys

from app import app

print(json.dumps(app.control.shutdown(destination=sys.argv[1:], reply=True, timeout=1)))

"""Asks a server that speaks OPA's REST API, with a client that was made for OPA.

    ask.py PORT

Prints what it was told as one JSON object.
"""

import json
import sys

from opa_client.opa import OpaClient

client = OpaClient(host="localhost", port=int(sys.argv[1]), timeout=20)
good = {"score": 3, "role": "lead"}
told = {
    "connection": client.check_connection(),
    "health": client.check_health(),
    "policies": client.get_policies_list(),
    "allowed": client.query_rule(good, "p", "allow"),
    "denied": client.query_rule({"score": 1}, "p", "allow", {"metrics": True, "pretty": True}),
    "undefined": client.query_rule(good, "p", "absent"),
    "package": client.query_rule(good, "p"),
    "data": client.get_data("limits/least"),
}
try:
    client.update_policy_from_string("package q", "q")
    told["changed"] = True
except Exception as error:  # whatever this client makes of a refusal
    told["changed"] = type(error).__name__
print(json.dumps(told))

"""The input of a decision about a model that has been worked on for long."""

import copy
import datetime
import hashlib
import json


def grown(base, count):
    """An input with `count` statements. `base` is one that is allowed; added are earlier statements of the
    same kinds by the same people, one a day for each kind, and for each fifty statements a revocation of
    one of those."""
    decision = json.loads(json.dumps(base))
    decision["evaluation"]["policy_sha256"] = digest("policy")
    statements = decision["attestations"]
    for statement in statements:
        if len(statement["envelope_sha256"]) != 64:
            statement["envelope_sha256"] = digest(statement["envelope_sha256"])
        statement["log"]["index"] += count
    kinds = copy.deepcopy(statements)
    for number in range(count - len(kinds)):
        kind = kinds[number % len(kinds)]
        if number % 50 == 49:
            decision["revocations"].append(withdrawn(decision, kinds, number))
        else:
            statements.append(earlier(kind, number, 1 + number // len(kinds)))
    for part in ("attestations", "revocations"):
        decision[part].sort(key=lambda statement: statement["envelope_sha256"])
    decision["log"]["tree_size"] = 2 * count + 100
    return decision


def earlier(kind, number, days):
    statement = copy.deepcopy(kind)
    statement["envelope_sha256"] = digest(f"earlier {number}")
    statement["log"]["index"] = number
    time = datetime.datetime.fromisoformat(statement["time"]) - datetime.timedelta(days=days)
    statement["time"] = time.strftime("%Y-%m-%dT%H:%M:%SZ")
    for attribute in statement["predicate"].get("attributes", []):
        # Each report on a trusted environment answers a challenge of its own.
        if "nonce" in attribute.get("conditions", {}):
            attribute["conditions"]["nonce"] = digest(f"nonce {number}")
    return statement


def withdrawn(decision, kinds, number):
    """By whoever signed the last statement of the base, of the newest of the earlier ones."""
    statement = earlier(kinds[-1], number, 0)
    statement["predicate_type"] = "https://sealwright.dev/predicate/revocation/v0.1"
    statement["predicate"] = {
        "target": {"envelope_sha256": decision["attestations"][-1]["envelope_sha256"]},
        "role": statement["signer"]["roles"][0],
        "reason": "superseded",
        "effective": statement["time"],
    }
    return statement


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()

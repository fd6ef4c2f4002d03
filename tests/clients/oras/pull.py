"""Pulls every referrer of a digest with oras-py: registry, digest, directory."""

import json
import sys

import oras.client

registry, digest, directory = sys.argv[1:]
client = oras.client.OrasClient(hostname=registry, insecure=True)
answer = client.do_request(f"http://{registry}/v2/team/model/referrers/{digest}")
answer.raise_for_status()
for descriptor in answer.json()["manifests"]:
    target = f"{registry}/team/model@{descriptor['digest']}"
    manifest = client.get_manifest(target)
    assert manifest["artifactType"] == descriptor["artifactType"], manifest
    assert manifest["subject"]["digest"] == digest, manifest
    files = client.pull(target=target, outdir=directory)
    print(json.dumps({"descriptor": descriptor, "files": files}))

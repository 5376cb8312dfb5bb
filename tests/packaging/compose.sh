#!/bin/sh
# The compose file is YAML of the form that compose reads: three services, each with a Dockerfile that is there and ends in its own
# program; configs are there for each. No image is built here. 77: no YAML reader.
# compose.sh SOURCE BUILD
set -eu
cd "$1/packaging"
for python in python3 /usr/bin/python3; do
  ! "$python" -c 'import yaml' 2>/dev/null || exec "$python" - <<'PYTHON'
import json, os, re, sys, yaml

doc = yaml.safe_load(open("compose.yaml"))
known = {"build", "image", "command", "volumes", "ports", "networks", "restart", "read_only", "cap_drop", "security_opt", "user",
         "depends_on", "stop_grace_period", "tmpfs", "profiles", "mem_limit", "ulimits", "environment", "healthcheck"}
assert set(doc) <= {"services", "networks", "volumes"}, set(doc)
assert sorted(doc["services"]) == ["model-dev", "server", "user"], sorted(doc["services"])
for name, s in doc["services"].items():
    assert set(s) <= known, (name, set(s) - known)
    docker = os.path.join(s["build"]["context"], s["build"]["dockerfile"])
    lines = [l for l in open(docker).read().splitlines() if l and not l.startswith("#")]
    assert all(re.match(r"(FROM|ARG|RUN|COPY|USER|WORKDIR|ENTRYPOINT|CMD|EXPOSE|ENV|VOLUME) ?|\s", l) for l in lines), docker
    assert sum(l.startswith("FROM ") for l in lines) == 2, docker
    entry = [l for l in lines if l.startswith("ENTRYPOINT ")]
    assert len(entry) == 1 and json.loads(entry[0][11:]) == ["stip-" + name], (docker, entry)
    assert s["read_only"] is True and s["cap_drop"] == ["ALL"], name
    folder = [v.split(":")[0] for v in s["volumes"] if v.endswith(":/party")]
    assert len(folder) == 1 and s["command"][0] == "serve", name
    config = os.path.join(folder[0], s["command"][2])
    text = re.sub(r"^\s*//.*$", "", open(config).read(), flags=re.M)
    role = json.loads(text)["role"]
    assert role == name.replace("-", "_"), (config, role)
PYTHON
done
exit 77

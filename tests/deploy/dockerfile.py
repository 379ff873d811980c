"""What our Dockerfile says about how its image is run."""

import json
import re

from stage import DEPLOY


def instructions():
    """The last stage: instruction → its arguments, joined where they go over lines."""
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    last = max(number for number, line in enumerate(lines) if line.startswith("FROM "))
    return dict(line.split(None, 1) for line in lines[last:])


FOUND = instructions()

USER, GROUP = (int(number) for number in FOUND["USER"].split(":"))
DIRECTORY = FOUND["WORKDIR"]
VOLUME = FOUND["VOLUME"]
ENTRYPOINT = json.loads(FOUND["ENTRYPOINT"])
COMMAND = json.loads(FOUND["CMD"])
HEALTHCHECK = json.loads(re.search(r"CMD (\[.*\])", FOUND["HEALTHCHECK"]).group(1))

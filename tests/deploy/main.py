#!/usr/bin/env python3
"""What is in deploy/, tried with real programs. Started by ./run, in namespaces of its own.

    main.py BINARY [TEST...]
"""

import asyncio
import pathlib
import sys
import time
import traceback

import balancers
import cluster
import image
import readme
import units
from container import needed

TESTS = {
    "image": image.image,
    "haproxy": balancers.haproxy,
    "nginx": balancers.nginx,
    "compose": cluster.compose,
    "by_hand": readme.by_hand,
    "systemd": units.systemd,
}


def main():
    binary = pathlib.Path(sys.argv[1]).resolve()
    chosen = sys.argv[2:] or TESTS
    failed = []
    needed("ip", "nsenter", "unshare", "setpriv", "redis-server", "haproxy", "nginx",
           "prometheus", "systemd-analyze")
    for name in chosen:
        started = time.monotonic()
        try:
            asyncio.run(TESTS[name](binary))
            outcome = "ok"
        except Exception:  # Each test on its own: what failed is told, the others go on.
            traceback.print_exc()
            failed.append(name)
            outcome = "FAILED"
        print(f"deploy: {name} ... {outcome} in {time.monotonic() - started:.0f} s", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

"""A stage: networks and containers that belong together, gone when the test is over."""

import asyncio
import contextlib
import pathlib
import tempfile
import time

from container import Container, Trouble, make_image
from network import Network

TOP = pathlib.Path(__file__).resolve().parents[2]
DEPLOY = TOP / "deploy"
BINARY = "/usr/local/bin/couplet"

# The user of the image.
USER = 65532


class Stage:
    """Everything one test starts."""

    def __init__(self, binary):
        self.binary = binary
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="stage-"))
        self.folder.chmod(0o755)
        self.networks = []
        self.containers = {}
        self._image = None

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        for container in self.containers.values():
            container.remove()
            if error is not None:
                print(f"--- {container.name}\n{container.said()[-6000:]}")
        for network in self.networks:
            network.remove()

    @property
    def image(self):
        """The root file system of our image."""
        self._image = self._image or make_image(self.folder, self.binary, DEPLOY / "image/rootfs")
        return self._image

    def network(self, subnet):
        """A network of its own."""
        network = Network(subnet)
        self.networks.append(network)
        return network

    def add(self, name, is_ours):
        """A container, of our image or with the programs of this machine."""
        container = Container(self.folder, name, self.image if is_ours else None)
        self.containers[name] = container
        if is_ours:
            container.user = (USER, USER)
            container.is_read_only = True
        return container

    def file(self, name, text, mode=0o644):
        """A file with this text."""
        path = self.folder / name
        path.write_text(text)
        path.chmod(mode)
        return path


async def eventually(what, condition, patience=60):
    """Waits for a condition without keeping clients from answering; its value once it is true."""
    deadline = time.monotonic() + patience
    while True:
        value = await asyncio.to_thread(condition)
        if value:
            return value
        if time.monotonic() > deadline:
            raise Trouble(f"not within {patience} s: {what}")
        await asyncio.sleep(0.05)


def account(origin, jid, password, environment=None):
    """Adds an account at an origin."""
    words = [BINARY, "ctl", "account", "add", jid, "--password", password]
    code, said = origin.execute(words, environment)
    if code != 0:
        raise Trouble(f"account {jid}: {said}")


@contextlib.contextmanager
def stage(binary):
    """A stage for a test."""
    with Stage(binary) as made:
        yield made

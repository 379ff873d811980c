"""Networks between containers: a bridge each, as Docker makes them, within our own namespace."""

import ipaddress
import itertools

from container import run

# Links have short names, so they get numbers.
NUMBERS = itertools.count(1)


class Network:
    """A bridge with an address of ours at it, so that we are the machine that hosts it all."""

    def __init__(self, subnet):
        self.subnet = ipaddress.ip_network(subnet)
        self.bridge = f"br{next(NUMBERS)}"
        self.taken = set()
        self.gateway = str(self.subnet[1])
        self.taken.add(self.gateway)
        self.members = []
        run("ip", "link", "add", self.bridge, "type", "bridge")
        run("ip", "address", "add", f"{self.gateway}/{self.subnet.prefixlen}", "dev", self.bridge)
        run("ip", "link", "set", self.bridge, "up")

    def join(self, container, address=None, names=()):
        """Connects a container, and tells it and the others their names; returns its address."""
        address = address or self.free()
        self.taken.add(address)
        number = next(NUMBERS)
        ours, theirs = f"veth{number}", f"eth{number}"
        run("ip", "link", "add", ours, "type", "veth", "peer", "name", theirs)
        run("ip", "link", "set", ours, "master", self.bridge, "up")
        container.connect(theirs, f"{address}/{self.subnet.prefixlen}")
        names = [container.name, *names]
        for other, other_address, other_names in self.members:
            container.hosts.update({name: other_address for name in other_names})
            other.hosts.update({name: address for name in names})
        container.hosts.update({name: address for name in names})
        self.members.append((container, address, names))
        return address

    def free(self):
        """An address that nobody has."""
        for address in self.subnet.hosts():
            if str(address) not in self.taken:
                return str(address)
        raise AssertionError("the network is full")

    def source(self, address):
        """One more address of ours, for a client that comes from there."""
        self.taken.add(address)
        run("ip", "address", "add", f"{address}/{self.subnet.prefixlen}", "dev", self.bridge)

    def remove(self):
        """Takes the bridge down."""
        run("ip", "link", "delete", self.bridge)

"""HAProxy and nginx, the real ones with the shipped files, in front of two real edges."""

import asyncio
import signal

from balanced import BALANCER, HASTY, HURRY, SILENCE, SOURCES, Balanced, Haproxy, Nginx
from client import Client, Gone
from stage import eventually, stage

USERS = [f"user{number}" for number in range(8)]

# A header of somebody who wants to be somebody else, in both versions.
FORGED = [
    b"PROXY TCP4 192.0.2.66 10.77.0.5 4000 5222\r\n",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x42\x0a\x4d\0\x05\x0f\xa0\x14\x66",
]


async def log_in(user, host=BALANCER, **options):
    """A session through the balancer. It listens a moment after it was started."""
    port = 5223 if options.get("is_direct") else 5222
    return await Client.log_in(host, port, f"{user}@localhost", "secret", **options)


async def listening(host):
    """Waits until the balancer lets clients through to an edge."""
    async def is_through():
        try:
            client = await Client.connect(host, 5222)
            try:
                await client.open()
            finally:
                client.drop()
            return True
        except (OSError, Gone):
            return False

    async with asyncio.timeout(60):
        while not await is_through():
            await asyncio.sleep(0.05)


async def addresses_arrive(it):
    """Both ports, two clients: they talk, and their edges know where they are."""
    romeo = await log_in("user0", source=SOURCES[0])
    juliet = await log_in("user1", source=SOURCES[1], is_direct=True)
    romeo.say("user1@localhost", "through the balancer")
    await juliet.expect("through the balancer")
    juliet.say("user0@localhost", "and back")
    await romeo.expect("and back")
    logs = "".join(edge.said() for edge in it.edges)
    for client, source in ((romeo, SOURCES[0]), (juliet, SOURCES[1])):
        port = client.writer.get_extra_info("sockname")[1]
        line = f"brought by a balancer peer={source}:{port} balancer={BALANCER}:"
        assert line in logs, f"no edge knows of {source}:{port}"
    labels = f'{{version="{it.kind.version}",outcome="accepted"}}'
    name = f"couplet_edge_proxy_headers_total{labels}"
    assert sum(it.metric(edge, name) for edge in it.edges) >= 2
    romeo.close()
    juliet.close()


async def nobody_else_is_believed(it):
    """A header from somebody who is no balancer is garbage; without one he is let in."""
    address = it.address(it.edges[0])
    for header in FORGED:
        client = await Client.connect(address, 5222)
        client.writer.write(header)
        assert "<stream:error" in await client.ended(), "a forged header was believed"
        client.drop()
    assert "192.0.2.66" not in it.edges[0].said()
    direct = await log_in("user0", host=address, source=SOURCES[0])
    direct.close()


async def a_drained_edge_gets_nobody(it):
    """An edge leaves and comes back; nobody who comes meanwhile fails, nobody stays there."""
    first, second = it.edges
    clients = [await log_in(user, is_direct=True) for user in USERS[:6]]
    counts = [it.metric(edge, BOUND) for edge in it.edges]
    assert min(counts) >= 2, f"not balanced: {counts}"
    first.signal(signal.SIGTERM)
    sees = it.kind.sees_drain
    # Whether or not the balancer knows: who comes is served.
    while not await asyncio.to_thread(sees, it.balancer):
        (await log_in("user6")).close()
    await eventually("closed doors, or none left open", lambda: is_leaving(it, first))
    before = it.accepted(first)
    for _ in range(10):
        (await log_in("user7")).close()
    assert it.accepted(first) == before, "a drained edge got a new connection"
    # Whoever was there stays until the edge itself sends him away, one in a second.
    assert it.metric(first, BOUND) > 0
    code = await asyncio.to_thread(first.wait)
    assert code == 0, f"the drained edge ended with {code}"
    gone = [client for client in clients if client.is_gone]
    assert len(gone) == counts[0], f"{len(gone)} of {counts[0]} were sent away"
    assert all("<stream:error" in client.received for client in gone)
    first.start()
    await eventually("the edge to be back", lambda: it.kind.sees_return(it.balancer))
    await eventually("the edge to be ready", lambda: is_up(it, first))
    # It has the fewest clients.
    async with asyncio.timeout(30):
        while it.accepted(first) == 0:
            clients.append(await log_in("user6"))
    for client in clients:
        client.drop()


BOUND = 'couplet_connections{transport="tls",state="bound"}'


def is_up(it, edge):
    """Whether an edge answers."""
    try:
        return it.accepted(edge) >= 0
    except OSError:
        return False


def is_leaving(it, edge):
    """Whether the balancer cannot send anybody to an edge any more."""
    return it.kind.wait_secs > 0 or "draining" in edge.said()


async def idle_connections_stay(it):
    """A minute is a second here: an hour of silence but for what the edge asks."""
    silent = await Client.connect(HASTY, 5222)
    quiet = await log_in("user0", host=HASTY)
    await asyncio.sleep(3600 / HURRY / 2)
    assert not quiet.is_gone, f"cut off: {quiet.received}"
    assert quiet.pings >= 3, "nobody asked for a sign of life"
    quiet.say("user0@localhost", "still here")
    await quiet.expect("still here")
    # That it is the pings: who is not asked for any, before his login, is cut off by the balancer
    # before the edge has had enough of him.
    assert silent.is_gone and "connection-timeout" not in silent.received, SILENCE
    quiet.close()


async def check(binary, kind):
    """Everything, with one balancer."""
    with stage(binary) as made:
        it = Balanced(made, kind)
        await it.start(*USERS)
        await listening(BALANCER)
        await listening(HASTY)
        for part in (
            addresses_arrive,
            nobody_else_is_believed,
            a_drained_edge_gets_nobody,
            idle_connections_stay,
        ):
            await part(it)
            print(f"  {kind.name}: {part.__name__} ... ok", flush=True)


async def haproxy(binary):
    """HAProxy in front."""
    await check(binary, Haproxy)


async def nginx(binary):
    """nginx in front."""
    await check(binary, Nginx)

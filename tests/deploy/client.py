"""A client of few words: TLS, a login, messages; it answers when it is asked for a sign of life.

It trusts any certificate: which one is shown is not what is tested here.
"""

import asyncio
import base64
import re
import ssl

PATIENCE = 30


class Gone(Exception):
    """The connection ended."""


def context():
    """TLS without asking who is there."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    return made


class Client:
    """One connection, logged in or not."""

    def __init__(self, reader, writer, domain):
        self.reader = reader
        self.writer = writer
        self.domain = domain
        self.received = ""
        self.changed = asyncio.Event()
        self.is_gone = False
        self.pings = 0
        self.reading = None

    @classmethod
    async def connect(cls, host, port, domain="localhost", source=None, is_direct=False):
        """Connects, from an address of ours if one is named."""
        tls = {"ssl": context(), "server_hostname": domain} if is_direct else {}
        local = (source, 0) if source else None
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection(host, port, local_addr=local, **tls)
        client = cls(reader, writer, domain)
        client.reading = asyncio.create_task(client._read())
        return client

    @classmethod
    async def log_in(cls, host, port, jid, password, **options):
        """A session of an account."""
        name, domain = jid.split("@")
        client = await cls.connect(host, port, domain, **options)
        await client.open()
        if not options.get("is_direct"):
            await client.start_tls()
        secret = base64.b64encode(f"\0{name}\0{password}".encode()).decode()
        space = "urn:ietf:params:xml:ns:xmpp-sasl"
        client.send(f"<auth xmlns='{space}' mechanism='PLAIN'>{secret}</auth>")
        await client.expect("<success")
        await client.open()
        client.send(
            "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>"
        )
        await client.expect("</iq>")
        client.send("<presence/>")
        await client.expect("<presence")
        return client

    async def open(self):
        """Opens a stream; the features have come."""
        self.received = ""
        self.send(
            f"<stream:stream xmlns='jabber:client' to='{self.domain}' version='1.0' "
            "xmlns:stream='http://etherx.jabber.org/streams'>"
        )
        await self.expect("</stream:features>")

    async def start_tls(self):
        """Turns to TLS and opens a stream anew."""
        self.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
        await self.expect("<proceed")
        self.reading.cancel()
        async with asyncio.timeout(PATIENCE):
            await self.writer.start_tls(context(), server_hostname=self.domain)
        self.reading = asyncio.create_task(self._read())
        await self.open()

    def send(self, text):
        """Sends text as it is."""
        self.writer.write(text.encode())

    def say(self, to, body):
        """Sends a message."""
        self.send(f"<message type='chat' to='{to}'><body>{body}</body></message>")

    async def expect(self, text):
        """Waits until this has come; forgets everything up to it."""
        async with asyncio.timeout(PATIENCE):
            while text not in self.received:
                if self.is_gone:
                    raise Gone(f"closed before {text}: {self.received}")
                self.changed.clear()
                await self.changed.wait()
        before, _, self.received = self.received.partition(text)
        return before + text

    async def ended(self):
        """Waits for the end; what came last."""
        async with asyncio.timeout(PATIENCE):
            while not self.is_gone:
                self.changed.clear()
                await self.changed.wait()
        return self.received

    async def _read(self):
        try:
            while data := await self.reader.read(65536):
                self.received += data.decode()
                self._answer()
                self.changed.set()
        except OSError:
            pass
        self.is_gone = True
        self.changed.set()

    def _answer(self):
        """Gives a sign of life when asked for one."""
        for ping in re.finditer(r"<iq [^>]*>\s*<ping xmlns=.urn:xmpp:ping.", self.received):
            number = re.search(r"id=.([^'\"]+)", ping.group())
            self.send(f"<iq type='result' id='{number.group(1)}' to='{self.domain}'/>")
            self.pings += 1
            self.received = self.received.replace(ping.group(), "", 1)

    def close(self):
        """Ends the stream and the connection."""
        self.send("</stream:stream>")
        self.drop()

    def drop(self):
        """Ends the connection without a word."""
        self.reading.cancel()
        self.writer.close()

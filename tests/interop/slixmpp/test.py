#!/usr/bin/env python3
"""slixmpp against the server: STARTTLS, SCRAM, and what a chat client does in a day.

Run by ./run, which starts the server. Every wait is for a condition and has a deadline.
"""

import asyncio
import contextlib
import logging
import os
import pathlib
import sys
import traceback
import xml.etree.ElementTree as ElementTree

from slixmpp import JID, ClientXMPP
from slixmpp.exceptions import IqError, PresenceError
from slixmpp.xmlstream import ElementBase, register_stanza_plugin
from slixmpp.plugins.xep_0049.stanza import PrivateXML

DOMAIN = os.environ["XMPP_DOMAIN"]
HOST = os.environ["XMPP_HOST"]
PORT = int(os.environ["XMPP_PORT"])
TLS_PORT = int(os.environ["XMPP_TLS_PORT"])
CA = pathlib.Path(os.environ["XMPP_CA"])
PASSWORD = "interop"
PATIENCE = 15

SERVICE = f"conference.{DOMAIN}"
ROMEO = f"romeo@{DOMAIN}"
JULIET = f"juliet@{DOMAIN}"

PLUGINS = [
    "xep_0012", "xep_0030", "xep_0045", "xep_0049", "xep_0054", "xep_0077", "xep_0085", "xep_0092",
    "xep_0115", "xep_0153", "xep_0184", "xep_0199", "xep_0202", "xep_0203",
]

PRESENCES = [
    "available", "dnd", "unavailable", "subscribe", "subscribed",
]


class Notes(ElementBase):
    """Something to keep in private storage."""

    name = "notes"
    namespace = "couplet:interop:notes"
    plugin_attrib = "notes"
    interfaces = {"line"}
    sub_interfaces = {"line"}


register_stanza_plugin(PrivateXML, Notes)


class Client(ClientXMPP):
    """A client that keeps what came, so that tests can wait for it."""

    def __init__(self, jid, password=PASSWORD, is_direct=False, mechanism=None):
        mechanisms = {"feature_mechanisms": {"use_mech": mechanism}} if mechanism else {}
        super().__init__(jid, password, plugin_config=mechanisms)
        self.ca_certs = CA
        self.enable_plaintext = False
        self.enable_direct_tls = is_direct
        self.enable_starttls = not is_direct
        self.auto_reconnect = False
        self.came = {"message": [], "presence": [], "roster": []}
        self.changed = asyncio.Event()
        self.is_direct = is_direct
        for name in PLUGINS:
            self.register_plugin(name)
        # The library has an event of its own for a message that is nothing but a receipt.
        for name in ("message", "receipt_received"):
            self.add_event_handler(name, lambda stanza: self.keep("message", stanza))
        # Of who leaves a room there is no other event.
        self.add_event_handler("groupchat_presence", lambda it: self.keep("presence", it))
        self.add_event_handler("roster_update", lambda stanza: self.keep("roster", stanza))
        for kind in PRESENCES:
            self.add_event_handler(
                f"presence_{kind}", lambda stanza: self.keep("presence", stanza)
            )

    def keep(self, kind, stanza):
        self.came[kind].append(stanza)
        self.changed.set()

    async def until(self, kind, wanted):
        """The first stanza of a kind that is wanted; it is taken out."""
        async with asyncio.timeout(PATIENCE):
            while True:
                for stanza in self.came[kind]:
                    if wanted(stanza):
                        self.came[kind].remove(stanza)
                        return stanza
                self.changed.clear()
                await self.changed.wait()

    async def text(self, body):
        """The message that says this."""
        return await self.until("message", lambda stanza: stanza["body"] == body)

    async def log_in(self):
        """Connects and binds; raises PermissionError if the password is refused."""
        outcome = asyncio.get_running_loop().create_future()

        def settle(value):
            if not outcome.done():
                outcome.set_result(value)

        self.add_event_handler("session_start", lambda _: settle("bound"))
        self.add_event_handler("failed_all_auth", lambda _: settle("refused"))
        self.add_event_handler("connection_failed", lambda why: settle(f"failed: {why}"))
        self.add_event_handler("disconnected", lambda why: settle(f"disconnected: {why}"))
        self.connect(HOST, TLS_PORT if self.is_direct else PORT)
        async with asyncio.timeout(PATIENCE):
            value = await outcome
        if value == "refused":
            raise PermissionError(value)
        assert value == "bound", value

    async def appear(self):
        """Roster and presence, as clients do after login."""
        await self.get_roster(timeout=PATIENCE)
        self.send_presence()
        own = self.boundjid.full
        await self.until("presence", lambda stanza: stanza["from"].full == own)


class People:
    """The clients of one test; all are gone when it ends."""

    def __init__(self):
        self.clients = []

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        for client in self.clients:
            await client.disconnect(wait=2.0)

    async def stranger(self, jid, password=PASSWORD, is_direct=False, mechanism=None):
        """Logged in, but silent."""
        client = Client(jid, password, is_direct, mechanism)
        self.clients.append(client)
        await client.log_in()
        return client

    async def enter(self, jid, **how):
        """Logged in and available."""
        client = await self.stranger(jid, **how)
        await client.appear()
        return client


async def starttls_and_the_strongest_scram(people):
    romeo = await people.enter(ROMEO)
    assert romeo.transport.get_extra_info("ssl_object") is not None
    mechanism = romeo.plugin["feature_mechanisms"].mech.name
    assert mechanism.startswith("SCRAM-SHA-256"), mechanism


async def every_mechanism_logs_in(people):
    for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"):
        romeo = await people.stranger(ROMEO, mechanism=mechanism)
        assert romeo.plugin["feature_mechanisms"].mech.name == mechanism


async def direct_tls_logs_in(people):
    await people.enter(ROMEO, is_direct=True)


async def a_wrong_password_is_refused(people):
    try:
        await people.stranger(ROMEO, password="wrong")
    except PermissionError:
        return
    raise AssertionError("logged in")


async def messages_go_both_ways(people):
    romeo = await people.enter(ROMEO)
    juliet = await people.enter(JULIET)
    romeo.send_message(mto=juliet.boundjid.full, mbody="but soft", mtype="chat")
    heard = await juliet.text("but soft")
    assert heard["from"].full == romeo.boundjid.full
    juliet.send_message(mto=ROMEO, mbody="ay me <&> \U0001f339", mtype="chat")
    heard = await romeo.text("ay me <&> \U0001f339")
    assert heard["from"].full == juliet.boundjid.full


async def chat_states_and_receipts_pass(people):
    romeo = await people.enter(ROMEO)
    juliet = await people.enter(JULIET)
    message = romeo.make_message(mto=juliet.boundjid.full, mbody="seen?", mtype="chat")
    message["request_receipt"] = True
    message["chat_state"] = "active"
    message.send()
    heard = await juliet.text("seen?")
    assert heard["chat_state"] == "active"
    receipt = await romeo.until("message", lambda stanza: stanza["receipt"])
    assert receipt["receipt"] == message["id"]


async def offline_messages_wait(people):
    romeo = await people.enter(ROMEO)
    for number in range(3):
        romeo.send_message(mto=f"nurse@{DOMAIN}", mbody=f"later {number}", mtype="chat")
    # An answer from the same address, if only a refusal, comes after the messages are kept.
    with contextlib.suppress(IqError):
        await romeo.plugin["xep_0030"].get_info(jid=f"nurse@{DOMAIN}", timeout=PATIENCE)
    nurse = await people.enter(f"nurse@{DOMAIN}")
    heard = [
        await nurse.until("message", lambda stanza: stanza["body"].startswith("later"))
        for _ in range(3)
    ]
    assert [stanza["body"] for stanza in heard] == ["later 0", "later 1", "later 2"]
    assert all(stanza["delay"]["stamp"] is not None for stanza in heard)


async def roster_of(people, jid):
    """The roster as a client sees it that has none yet."""
    fresh = await people.stranger(jid)
    answer = await fresh.get_roster(timeout=PATIENCE)
    return answer["roster"]["items"]


async def subscriptions_and_presence(people):
    romeo = await people.enter(f"benvolio@{DOMAIN}")
    juliet = await people.enter(f"rosaline@{DOMAIN}")
    romeo.auto_authorize = juliet.auto_authorize = None
    romeo.auto_subscribe = juliet.auto_subscribe = False
    mine, other = romeo.boundjid.bare, juliet.boundjid.bare

    async def befriend(asker, answerer):
        asker.send_presence_subscription(pto=answerer.boundjid.bare)
        await answerer.until("presence", lambda stanza: stanza["type"] == "subscribe")
        answerer.send_presence(pto=asker.boundjid.bare, ptype="subscribed")
        await asker.until("presence", lambda stanza: stanza["type"] == "subscribed")

    await befriend(romeo, juliet)
    # Now Romeo sees her presence at once.
    await romeo.until("presence", lambda s: s["from"].full == juliet.boundjid.full)
    await befriend(juliet, romeo)
    assert (await roster_of(people, mine))[other]["subscription"] == "both"
    juliet.send_presence(pshow="dnd", pstatus="at the ball")
    seen = await romeo.until("presence", lambda s: s["show"] == "dnd")
    assert seen["status"] == "at the ball"
    await juliet.disconnect()
    await romeo.until(
        "presence", lambda s: s["type"] == "unavailable" and s["from"].bare == other
    )
    juliet = await people.enter(other)
    await juliet.until("presence", lambda s: s["from"].bare == mine)
    await juliet.del_roster_item(mine)
    assert mine not in await roster_of(people, other)


async def the_roster_keeps_names_and_groups(people):
    romeo = await people.enter(ROMEO)
    other = await people.enter(ROMEO)
    who = f"friar@{DOMAIN}"
    await romeo.update_roster(who, name="Friar & Co", groups=["Verona", "Cell"])
    await other.until("roster", lambda stanza: who in stanza["roster"]["items"])
    item = (await roster_of(people, ROMEO))[who]
    assert item["name"] == "Friar & Co" and sorted(item["groups"]) == ["Cell", "Verona"], item
    await romeo.del_roster_item(who)


async def disco_lists_what_the_server_has(people):
    romeo = await people.enter(ROMEO)
    info = await romeo.plugin["xep_0030"].get_info(jid=DOMAIN, timeout=PATIENCE)
    identities = {(identity[0], identity[1]) for identity in info["disco_info"]["identities"]}
    assert ("server", "im") in identities, identities
    for feature in ("vcard-temp", "jabber:iq:private", "urn:xmpp:ping", "jabber:iq:version"):
        assert feature in info["disco_info"]["features"], feature
    await romeo.plugin["xep_0030"].get_items(jid=DOMAIN, timeout=PATIENCE)


async def disco_reaches_another_client(people):
    romeo = await people.enter(ROMEO)
    juliet = await people.enter(JULIET)
    full = juliet.boundjid.full
    info = await romeo.plugin["xep_0030"].get_info(jid=full, timeout=PATIENCE)
    assert "http://jabber.org/protocol/disco#info" in info["disco_info"]["features"]


async def ping_version_time_and_uptime(people):
    romeo = await people.enter(ROMEO)
    juliet = await people.enter(JULIET)
    for jid in (DOMAIN, juliet.boundjid.full):
        assert await romeo.plugin["xep_0199"].ping(jid=jid, timeout=PATIENCE) >= 0
    version = await romeo.plugin["xep_0092"].get_version(DOMAIN, timeout=PATIENCE)
    assert version["software_version"]["name"]
    time = await romeo.plugin["xep_0202"].get_entity_time(DOMAIN, timeout=PATIENCE)
    # The library's own accessor cannot read the Z that XEP-0202 wants.
    assert time.xml.find("{urn:xmpp:time}time/{urn:xmpp:time}utc").text.endswith("Z")
    uptime = await romeo.plugin["xep_0012"].get_last_activity(DOMAIN, timeout=PATIENCE)
    assert uptime["last_activity"]["seconds"] >= 0


async def a_vcard_is_kept_and_read_by_others(people):
    romeo = await people.enter(ROMEO)
    card = romeo.plugin["xep_0054"].make_vcard()
    card["FN"] = "Romeo <Montague>"
    await romeo.plugin["xep_0054"].publish_vcard(card, timeout=PATIENCE)
    juliet = await people.enter(JULIET)
    answer = await juliet.plugin["xep_0054"].get_vcard(ROMEO, cached=False, timeout=PATIENCE)
    assert answer["vcard_temp"]["FN"] == "Romeo <Montague>"


async def private_storage_keeps_a_note(people):
    romeo = await people.enter(ROMEO)
    note = Notes()
    note["line"] = "a rose by any other name"
    await romeo.plugin["xep_0049"].store(note, timeout=PATIENCE)
    again = await people.enter(ROMEO)
    answer = await again.plugin["xep_0049"].retrieve("notes", timeout=PATIENCE)
    assert answer["private"]["notes"]["line"] == "a rose by any other name"


async def unknown_requests_and_people_get_errors(people):
    romeo = await people.enter(ROMEO)
    for jid in (DOMAIN, f"nobody@{DOMAIN}", None):
        iq = romeo.make_iq_get(ito=jid)
        iq.append(ElementTree.Element("{couplet:interop:unknown}query"))
        try:
            await iq.send(timeout=PATIENCE)
        except IqError as error:
            condition = error.iq["error"]["condition"]
            assert condition in ("service-unavailable", "feature-not-implemented"), condition
        else:
            raise AssertionError(f"{jid} answered")


async def an_account_is_registered_changed_and_removed(people):
    new = Client(f"tybalt@{DOMAIN}", "first")
    people.clients.append(new)
    registered = asyncio.get_running_loop().create_future()

    async def register(_):
        iq = new.Iq()
        iq["type"] = "set"
        iq["register"]["username"] = "tybalt"
        iq["register"]["password"] = "first"
        registered.set_result((await iq.send(timeout=PATIENCE))["type"])

    new.plugin["xep_0077"].force_registration = True
    new.add_event_handler("register", register)
    await new.log_in()
    assert await registered == "result"
    await new.plugin["xep_0077"].change_password("second", jid=DOMAIN, timeout=PATIENCE)
    again = await people.enter(f"tybalt@{DOMAIN}", password="second")
    await again.plugin["xep_0077"].cancel_registration(jid=DOMAIN, timeout=PATIENCE)
    try:
        await people.stranger(f"tybalt@{DOMAIN}", password="second")
    except PermissionError:
        return
    raise AssertionError("logged in to a removed account")


async def a_second_client_with_the_same_resource(people):
    first = await people.enter(f"{ROMEO}/balcony")
    gone = asyncio.get_running_loop().create_future()
    first.add_event_handler("disconnected", lambda _: gone.done() or gone.set_result(True))
    second = await people.enter(f"{ROMEO}/balcony")
    if second.boundjid.full == f"{ROMEO}/balcony":
        async with asyncio.timeout(PATIENCE):
            await gone
    await second.plugin["xep_0199"].ping(jid=DOMAIN, timeout=PATIENCE)


def rooms(client):
    """The library's rooms."""
    return client.plugin["xep_0045"]


async def into(client, room, nick, **how):
    """Enters: own presence, subject, occupants, history."""
    return await rooms(client).join_muc_wait(room, nick, timeout=PATIENCE, **how)


async def opened(people, name):
    """A new room that others may enter, and its owner in it."""
    room = JID(f"{name}@{SERVICE}")
    romeo = await people.enter(ROMEO)
    await into(romeo, room, "Romeo")
    form = await rooms(romeo).get_room_config(room, timeout=PATIENCE)
    form.reply()
    await rooms(romeo).set_room_config(room, form, timeout=PATIENCE)
    return room, romeo


async def a_room_is_opened_and_talked_in(people):
    room, romeo = await opened(people, "talk")
    juliet = await people.enter(JULIET)
    own, subject, others, history = await into(juliet, room, "Juliet")
    assert own["muc"]["role"] == "participant", own
    assert not subject["subject"], subject
    # The library counts one's own among them.
    nicks = {presence["from"].resource for presence in others}
    assert nicks == {"Romeo", "Juliet"}, others
    assert not history, history
    juliet.send_message(mto=room, mbody="good night", mtype="groupchat")
    for client in (romeo, juliet):
        heard = await client.text("good night")
        assert heard["from"] == JID(f"{room}/Juliet") and heard["type"] == "groupchat", heard
    juliet.send_message(mto=f"{room}/Romeo", mbody="psst", mtype="chat")
    assert (await romeo.text("psst"))["from"] == JID(f"{room}/Juliet")
    await rooms(juliet).set_self_nick(room, "Capulet", timeout=PATIENCE)
    await romeo.until("presence", lambda s: s["from"] == JID(f"{room}/Capulet"))
    rooms(juliet).leave_muc(room, "Capulet")
    await romeo.until(
        "presence",
        lambda s: s["from"] == JID(f"{room}/Capulet") and s["type"] == "unavailable",
    )


async def a_room_tells_its_history_and_subject(people):
    room, romeo = await opened(people, "history")
    rooms(romeo).set_subject(room, "Balconies")
    for number in range(3):
        romeo.send_message(mto=room, mbody=f"number {number}", mtype="groupchat")
    await romeo.text("number 2")
    juliet = await people.enter(JULIET)
    _, subject, _, history = await into(juliet, room, "Juliet", maxstanzas=2)
    assert subject["subject"] == "Balconies", subject
    assert [stanza["body"] for stanza in history] == ["number 1", "number 2"], history
    assert all(stanza["delay"]["stamp"] is not None for stanza in history)


async def rights_in_a_room_are_given_and_taken(people):
    room, romeo = await opened(people, "rights")
    juliet = await people.enter(JULIET)
    await into(juliet, room, "Juliet")
    muc = rooms(romeo)
    await muc.set_affiliation(room, "member", jid=JULIET, timeout=PATIENCE)
    members = await muc.get_affiliation_list(room, "member", timeout=PATIENCE)
    assert members == [JULIET], members
    owners = await muc.get_affiliation_list(room, "owner", timeout=PATIENCE)
    assert owners == [ROMEO], owners
    assert "Juliet" in await muc.get_roles_list(room, "participant", timeout=PATIENCE)
    try:
        await rooms(juliet).set_role(room, "Romeo", "none", timeout=PATIENCE)
    except IqError as error:
        assert error.iq["error"]["condition"] in ("forbidden", "not-allowed"), error
    else:
        raise AssertionError("a member kicks the owner")
    await muc.set_role(room, "Juliet", "none", reason="late", timeout=PATIENCE)
    gone = await juliet.until(
        "presence", lambda s: s["from"] == JID(f"{room}/Juliet") and s["type"] == "unavailable"
    )
    assert 307 in gone["muc"]["status_codes"], gone
    await muc.set_affiliation(room, "outcast", jid=JULIET, timeout=PATIENCE)
    try:
        await into(juliet, room, "Juliet")
    except PresenceError as error:
        assert error.condition == "forbidden", error
    else:
        raise AssertionError("a banned user is in")


async def rooms_are_found(people):
    room, romeo = await opened(people, "found")
    disco = romeo.plugin["xep_0030"]
    listed = await disco.get_items(jid=DOMAIN, timeout=PATIENCE)
    assert SERVICE in {item[0] for item in listed["disco_items"]["items"]}, listed
    info = await disco.get_info(jid=SERVICE, timeout=PATIENCE)
    identities = {(it[0], it[1]) for it in info["disco_info"]["identities"]}
    assert ("conference", "text") in identities, identities
    listed = await disco.get_items(jid=SERVICE, timeout=PATIENCE)
    assert room in {JID(item[0]) for item in listed["disco_items"]["items"]}, listed
    info = await disco.get_info(jid=room, timeout=PATIENCE)
    for feature in ("http://jabber.org/protocol/muc", "muc_open", "muc_unmoderated"):
        assert feature in info["disco_info"]["features"], feature
    await rooms(romeo).destroy(room, reason="over", timeout=PATIENCE)
    try:
        await disco.get_info(jid=room, timeout=PATIENCE)
    except IqError as error:
        assert error.iq["error"]["condition"] == "item-not-found", error
    else:
        raise AssertionError("the room is still there")


async def an_invitation_arrives(people):
    room, romeo = await opened(people, "invitation")
    juliet = await people.enter(JULIET)
    invited = asyncio.get_running_loop().create_future()
    juliet.add_event_handler("groupchat_invite", invited.set_result)
    rooms(romeo).invite(room, JULIET, reason="come")
    async with asyncio.timeout(PATIENCE):
        assert (await invited)["from"].bare == room.bare


TESTS = [
    starttls_and_the_strongest_scram,
    every_mechanism_logs_in,
    direct_tls_logs_in,
    a_wrong_password_is_refused,
    messages_go_both_ways,
    chat_states_and_receipts_pass,
    offline_messages_wait,
    subscriptions_and_presence,
    the_roster_keeps_names_and_groups,
    disco_lists_what_the_server_has,
    disco_reaches_another_client,
    ping_version_time_and_uptime,
    a_vcard_is_kept_and_read_by_others,
    private_storage_keeps_a_note,
    unknown_requests_and_people_get_errors,
    an_account_is_registered_changed_and_removed,
    a_second_client_with_the_same_resource,
    a_room_is_opened_and_talked_in,
    a_room_tells_its_history_and_subject,
    rights_in_a_room_are_given_and_taken,
    rooms_are_found,
    an_invitation_arrives,
]


async def main():
    # The library leaves a task behind when a connection ends; that says nothing of the server.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    wanted = sys.argv[1:]
    passed = failed = 0
    for test in TESTS:
        if wanted and test.__name__ not in wanted:
            continue
        try:
            async with asyncio.timeout(4 * PATIENCE), People() as people:
                await test(people)
            passed += 1
        except Exception:
            failed += 1
            print(f"FAILED {test.__name__}", flush=True)
            traceback.print_exc()
    print(f"slixmpp: {passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))

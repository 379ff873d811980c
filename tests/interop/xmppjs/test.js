// xmpp.js against the server: log in over STARTTLS and over direct TLS, roster, presence,
// messages, offline messages, ping, a new session after the old one. Run by ./run.
//
// Every wait is for a condition and has a deadline.

import assert from "node:assert/strict";
import { client, xml } from "@xmpp/client";

const { XMPP_DOMAIN: domain, XMPP_PORT: port, XMPP_TLS_PORT: tlsPort } = process.env;
const patience = 15_000;

/** Clients of the test that runs. */
let running = [];

/** Rejects when nothing happened for too long. */
function within(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: nothing came`)), patience);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** A logged-in client that keeps what came. */
async function enter(username, { service = `xmpp://localhost:${port}`, password = "interop" } = {}) {
  const xmpp = client({ service, domain, username, password });
  xmpp.reconnect.stop();
  xmpp.on("error", () => {});
  xmpp.came = [];
  xmpp.waiting = [];
  xmpp.on("stanza", (stanza) => {
    xmpp.came.push(stanza);
    xmpp.waiting = xmpp.waiting.filter((look) => !look());
  });
  running.push(xmpp);
  xmpp.address = await within(xmpp.start(), "login");
  return xmpp;
}

/** The first stanza that is wanted; it is taken out. */
function until(xmpp, what, wanted) {
  const arrived = new Promise((resolve) => {
    const look = () => {
      const at = xmpp.came.findIndex(wanted);
      if (at < 0) return false;
      resolve(xmpp.came.splice(at, 1)[0]);
      return true;
    };
    if (!look()) xmpp.waiting.push(look);
  });
  return within(arrived, what);
}

const text = (xmpp, body) =>
  until(xmpp, body, (stanza) => stanza.is("message") && stanza.getChildText("body") === body);

/** Roster and presence, as clients do after login; only who asks for the roster hears of it. */
async function appear(xmpp) {
  await xmpp.iqCaller.get(xml("query", "jabber:iq:roster"), undefined, patience);
  await xmpp.send(xml("presence"));
  const own = xmpp.address.toString();
  await until(xmpp, "own presence", (s) => s.is("presence") && s.attrs.from === own);
}

const say = (xmpp, to, body) =>
  xmpp.send(xml("message", { to, type: "chat" }, xml("body", {}, body)));

const tests = {
  async starttls_logs_in() {
    const romeo = await enter("romeo");
    assert.equal(romeo.address.bare().toString(), `romeo@${domain}`);
    assert.ok(romeo.isSecure());
  },

  async direct_tls_logs_in() {
    const romeo = await enter("romeo", { service: `xmpps://localhost:${tlsPort}` });
    assert.ok(romeo.isSecure());
  },

  async a_wrong_password_is_refused() {
    await assert.rejects(enter("romeo", { password: "wrong" }), { name: "SASLError" });
  },

  async messages_go_both_ways() {
    const romeo = await enter("romeo");
    const juliet = await enter("juliet");
    await appear(romeo);
    await appear(juliet);
    await say(romeo, juliet.address.toString(), "but soft <&> \u{1f339}");
    const heard = await text(juliet, "but soft <&> \u{1f339}");
    assert.equal(heard.attrs.from, romeo.address.toString());
    await say(juliet, `romeo@${domain}`, "ay me");
    assert.equal((await text(romeo, "ay me")).attrs.from, juliet.address.toString());
  },

  async offline_messages_wait() {
    const romeo = await enter("romeo");
    await say(romeo, `nurse@${domain}`, "later");
    // An answer from the same address, if only a refusal, comes after the message is kept.
    const ask = xml("query", "http://jabber.org/protocol/disco#info");
    await romeo.iqCaller.get(ask, `nurse@${domain}`, patience).catch(() => {});
    const nurse = await enter("nurse");
    await appear(nurse);
    const heard = await text(nurse, "later");
    assert.ok(heard.getChild("delay", "urn:xmpp:delay").attrs.stamp);
  },

  async the_roster_is_pushed() {
    const romeo = await enter("romeo");
    const other = await enter("romeo");
    const ask = () => xml("query", "jabber:iq:roster");
    await other.iqCaller.get(ask(), undefined, patience);
    const jid = `friar@${domain}`;
    const item = xml("item", { jid, name: "Friar" }, xml("group", {}, "Verona"));
    await romeo.iqCaller.set(xml("query", "jabber:iq:roster", item), undefined, patience);
    await until(other, "roster push", (stanza) => {
      const query = stanza.is("iq") && stanza.getChild("query", "jabber:iq:roster");
      return query && query.getChild("item")?.attrs.jid === jid;
    });
    const roster = await romeo.iqCaller.get(ask(), undefined, patience);
    const kept = roster.getChildren("item").find((child) => child.attrs.jid === jid);
    assert.equal(kept.attrs.name, "Friar");
    assert.equal(kept.getChildText("group"), "Verona");
  },

  async subscription_shows_presence() {
    const romeo = await enter("romeo");
    const juliet = await enter("juliet");
    await appear(romeo);
    await appear(juliet);
    const typed = (type) => (stanza) => stanza.is("presence") && stanza.attrs.type === type;
    await romeo.send(xml("presence", { to: `juliet@${domain}`, type: "subscribe" }));
    await until(juliet, "subscribe", typed("subscribe"));
    await juliet.send(xml("presence", { to: `romeo@${domain}`, type: "subscribed" }));
    await until(romeo, "subscribed", typed("subscribed"));
    await juliet.send(xml("presence", {}, xml("show", {}, "dnd")));
    await until(romeo, "presence", (s) => s.is("presence") && s.getChildText("show") === "dnd");
    await juliet.stop();
    await until(romeo, "unavailable", typed("unavailable"));
  },

  async ping_and_an_unknown_request() {
    const romeo = await enter("romeo");
    await romeo.iqCaller.get(xml("ping", "urn:xmpp:ping"), domain, patience);
    const unknown = romeo.iqCaller.get(xml("query", "couplet:interop:unknown"), domain, patience);
    await assert.rejects(unknown, { condition: "service-unavailable" });
  },

  async a_room_is_entered_and_talked_in() {
    const room = `den@conference.${domain}`;
    const muc = "http://jabber.org/protocol/muc";
    const romeo = await enter("romeo");
    const juliet = await enter("juliet");
    const own = (stanza) =>
      stanza.is("presence") &&
      stanza.getChild("x", `${muc}#user`)?.getChildren("status").some((it) => it.attrs.code === "110");
    const join = (nick) => xml("presence", { to: `${room}/${nick}` }, xml("x", muc));
    await romeo.send(join("Romeo"));
    await until(romeo, "own presence", own);
    const form = xml("x", { xmlns: "jabber:x:data", type: "submit" });
    await romeo.iqCaller.set(xml("query", `${muc}#owner`, form), room, patience);
    await juliet.send(join("Juliet"));
    await until(juliet, "own presence", own);
    await until(romeo, "Juliet", (s) => s.is("presence") && s.attrs.from === `${room}/Juliet`);
    const body = xml("body", {}, "good night");
    await juliet.send(xml("message", { to: room, type: "groupchat" }, body));
    for (const xmpp of [romeo, juliet]) {
      const heard = await text(xmpp, "good night");
      assert.equal(heard.attrs.from, `${room}/Juliet`);
    }
    await juliet.send(xml("presence", { to: `${room}/Juliet`, type: "unavailable" }));
    const left = await until(romeo, "leave", (s) => s.attrs.type === "unavailable");
    assert.equal(left.attrs.from, `${room}/Juliet`);
  },

  async a_closed_stream_is_answered() {
    const romeo = await enter("romeo");
    await within(romeo.stop(), "close");
    assert.equal(romeo.status, "offline");
  },
};

let passed = 0;
let failed = 0;
for (const [name, test] of Object.entries(tests)) {
  try {
    await test();
    passed += 1;
  } catch (error) {
    failed += 1;
    console.error(`FAILED ${name}`, error);
  }
  await Promise.allSettled(running.map((xmpp) => within(xmpp.stop(), "stop")));
  running = [];
}
console.log(`xmppjs: ${passed} passed, ${failed} failed`);
process.exit(failed || !passed ? 1 : 0);

//! Every namespace, one constant each, ordered by specification.

/// RFC 6120 §4.8.2: the content namespace of client streams.
pub const CLIENT: &str = "jabber:client";
/// RFC 6120 §4.8.2: the content namespace of server streams.
pub const SERVER: &str = "jabber:server";
/// RFC 6120 §4.8.1: the stream namespace.
pub const STREAM: &str = "http://etherx.jabber.org/streams";
/// RFC 6120 §4.9.2: stream error conditions.
pub const STREAM_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-streams";
/// RFC 6120 §5: STARTTLS.
pub const TLS: &str = "urn:ietf:params:xml:ns:xmpp-tls";
/// RFC 6120 §6: SASL.
pub const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
/// RFC 6120 §7: resource binding.
pub const BIND: &str = "urn:ietf:params:xml:ns:xmpp-bind";
/// RFC 6120 §8.3.2: stanza error conditions.
pub const STANZAS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";
/// RFC 3921 §3: the session establishment that RFC 6121 made optional.
pub const SESSION: &str = "urn:ietf:params:xml:ns:xmpp-session";
/// RFC 6121 §2: the roster.
pub const ROSTER: &str = "jabber:iq:roster";
/// RFC 6121 §2.6: roster versioning.
pub const ROSTER_VERSIONING: &str = "urn:xmpp:features:rosterver";
/// RFC 6121 §3.4: subscription pre-approval.
pub const PRE_APPROVAL: &str = "urn:xmpp:features:pre-approval";
/// XML 1.0: the prefix `xml`.
pub const XML: &str = "http://www.w3.org/XML/1998/namespace";
/// Namespaces in XML: the prefix `xmlns`.
pub const XMLNS: &str = "http://www.w3.org/2000/xmlns/";

/// XEP-0004: data forms.
pub const DATA_FORMS: &str = "jabber:x:data";
/// XEP-0012: last activity.
pub const LAST_ACTIVITY: &str = "jabber:iq:last";
/// XEP-0030: service discovery, information.
pub const DISCO_INFO: &str = "http://jabber.org/protocol/disco#info";
/// XEP-0030: service discovery, items.
pub const DISCO_ITEMS: &str = "http://jabber.org/protocol/disco#items";
/// XEP-0045: multi-user chat, the join and the disco feature.
pub const MUC: &str = "http://jabber.org/protocol/muc";
/// XEP-0045: what a room tells and is asked by users.
pub const MUC_USER: &str = "http://jabber.org/protocol/muc#user";
/// XEP-0045: requests of admins.
pub const MUC_ADMIN: &str = "http://jabber.org/protocol/muc#admin";
/// XEP-0045: requests of owners.
pub const MUC_OWNER: &str = "http://jabber.org/protocol/muc#owner";
/// XEP-0045 §15.5.3: the form type of a room's configuration.
pub const MUC_CONFIG: &str = "http://jabber.org/protocol/muc#roomconfig";
/// XEP-0045 §15.5.4: the form type of what discovery tells of a room.
pub const MUC_INFO: &str = "http://jabber.org/protocol/muc#roominfo";
/// XEP-0045 §15.5.2: the form type of a request for voice.
pub const MUC_REQUEST: &str = "http://jabber.org/protocol/muc#request";
/// XEP-0045 §15.5.1: the form type of a registration with a room.
pub const MUC_REGISTER: &str = "http://jabber.org/protocol/muc#register";
/// XEP-0045 §15.3: whether the ids of messages stay as they are.
pub const MUC_STABLE_ID: &str = "http://jabber.org/protocol/muc#stable_id";
/// XEP-0045 §18.1.1: what may be sent through a room, a node of service discovery.
pub const MUC_TRAFFIC: &str = "http://jabber.org/protocol/muc#traffic";
/// XEP-0049: private XML storage.
pub const PRIVATE: &str = "jabber:iq:private";
/// XEP-0050: ad-hoc commands.
pub const COMMANDS: &str = "http://jabber.org/protocol/commands";
/// XEP-0054: vcard-temp.
pub const VCARD: &str = "vcard-temp";
/// XEP-0059: result set management.
pub const RSM: &str = "http://jabber.org/protocol/rsm";
/// XEP-0077: in-band registration.
pub const REGISTER: &str = "jabber:iq:register";
/// XEP-0077 §8: the stream feature of in-band registration.
pub const REGISTER_FEATURE: &str = "http://jabber.org/features/iq-register";
/// XEP-0085: chat state notifications.
pub const CHAT_STATES: &str = "http://jabber.org/protocol/chatstates";
/// XEP-0092: software version.
pub const VERSION: &str = "jabber:iq:version";
/// XEP-0115: entity capabilities.
pub const CAPS: &str = "http://jabber.org/protocol/caps";
/// XEP-0122: data forms validation.
pub const DATA_VALIDATION: &str = "http://jabber.org/protocol/xdata-validate";
/// XEP-0153: vCard-based avatars.
pub const VCARD_UPDATE: &str = "vcard-temp:x:update";
/// XEP-0157: contact addresses, the form type.
pub const SERVER_INFO: &str = "http://jabber.org/network/serverinfo";
/// XEP-0160: offline messages, the disco feature.
pub const OFFLINE: &str = "msgoffline";
/// XEP-0184: delivery receipts.
pub const RECEIPTS: &str = "urn:xmpp:receipts";
/// XEP-0198: stream management.
pub const STREAM_MANAGEMENT: &str = "urn:xmpp:sm:3";
/// XEP-0199: ping.
pub const PING: &str = "urn:xmpp:ping";
/// XEP-0202: entity time.
pub const TIME: &str = "urn:xmpp:time";
/// XEP-0203: delayed delivery.
pub const DELAY: &str = "urn:xmpp:delay";
/// XEP-0205: application conditions against denial of service.
pub const ERRORS: &str = "urn:xmpp:errors";
/// XEP-0249: direct invitations to rooms.
pub const CONFERENCE: &str = "jabber:x:conference";
/// XEP-0280: message carbons.
pub const CARBONS: &str = "urn:xmpp:carbons:2";
/// XEP-0297: stanza forwarding.
pub const FORWARD: &str = "urn:xmpp:forward:0";
/// XEP-0313: message archive management.
pub const MAM: &str = "urn:xmpp:mam:2";
/// XEP-0317: hats.
pub const HATS: &str = "urn:xmpp:hats:0";
/// XEP-0317: the form type of the commands for hats.
pub const HATS_COMMANDS: &str = "urn:xmpp:hats:commands";
/// XEP-0313: fields, flipped pages and metadata that not every archive has.
pub const MAM_EXTENDED: &str = "urn:xmpp:mam:2#extended";
/// XEP-0333: displayed markers.
pub const CHAT_MARKERS: &str = "urn:xmpp:chat-markers:0";
/// XEP-0334: message processing hints.
pub const HINTS: &str = "urn:xmpp:hints";
/// XEP-0359: unique and stable stanza ids.
pub const STANZA_ID: &str = "urn:xmpp:sid:0";
/// XEP-0386: bind 2.
pub const BIND2: &str = "urn:xmpp:bind:0";
/// XEP-0388: extensible SASL profile.
pub const SASL2: &str = "urn:xmpp:sasl:2";
/// XEP-0410: a room answers pings to oneself.
pub const SELF_PING: &str = "http://jabber.org/protocol/muc#self-ping-optimization";
/// XEP-0421: occupant identifiers.
pub const OCCUPANT_ID: &str = "urn:xmpp:occupant-id:0";
/// XEP-0424: message retraction.
pub const RETRACT: &str = "urn:xmpp:message-retract:1";
/// XEP-0425: moderated message retraction.
pub const MODERATE: &str = "urn:xmpp:message-moderate:1";
/// XEP-0433: extended channel search.
pub const CHANNEL_SEARCH: &str = "urn:xmpp:channel-search:0:search";
/// XEP-0433: the form type of a search.
pub const CHANNEL_SEARCH_PARAMS: &str = "urn:xmpp:channel-search:0:search-params";
/// XEP-0433: why a search was refused.
pub const CHANNEL_SEARCH_ERROR: &str = "urn:xmpp:channel-search:0:error";
/// XEP-0440: SASL channel-binding type capability.
pub const CHANNEL_BINDING: &str = "urn:xmpp:sasl-cb:0";
/// XEP-0478: stream limits advertisement.
pub const STREAM_LIMITS: &str = "urn:xmpp:stream-limits:0";
/// Couplet: what a room tells its own service. No client can have such an address.
pub const ROOM_LISTING: &str = "urn:couplet:room";

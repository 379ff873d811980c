//! The settings: stored and read, as a form and from the operator's defaults (XEP-0045 §15.5.3,
//! XEP-0500 §5.1).

use bytes::Bytes;

use crate::config::Muc;
use crate::features::muc::affiliation::Role;
use crate::features::muc::configuration::{changed, form, name_of};
use crate::features::muc::settings::{Allowed, Settings};
use crate::shard::rig::Rig;

fn unusual() -> Settings {
    Settings {
        name: "Cave".to_owned(),
        description: "Dark".to_owned(),
        lang: "en".to_owned(),
        is_persistent: true,
        is_public: false,
        is_moderated: true,
        is_members_only: true,
        password: Some("p".to_owned()),
        is_non_anonymous: true,
        may_invite: false,
        may_change_subject: true,
        private_messages: Allowed::Moderators,
        occupants_max: 77,
        presence_of: vec![Role::Moderator],
        member_list_for: Vec::new(),
        is_archived: false,
        history_max: 3,
        may_request_voice: false,
        slow_mode_secs: 9,
        may_register: false,
        pubsub: "xmpp:p@x?;node=n".to_owned(),
    }
}

#[test]
fn what_is_stored_is_read_back() {
    for settings in [Settings::default(), unusual()] {
        assert_eq!(Settings::decode(&settings.encode()), Ok(settings));
    }
    // A record from before there were any fields.
    let empty = Bytes::from_static(&[1]);
    assert_eq!(Settings::decode(&empty), Ok(Settings::default()));
    assert!(Settings::decode(&Bytes::from_static(&[9])).is_err());
}

/// Whatever a room is like: who sends the form back as it is changes nothing, and who sends it to
/// another room makes that one the same.
#[test]
fn a_form_that_is_sent_back_changes_nothing() {
    let limits = Muc::default();
    for settings in [Settings::default(), unusual()] {
        let room = super::room(settings.clone());
        let form = form(&room, &limits).into_element();
        let fields: Vec<(String, Vec<String>)> = form
            .children()
            .filter_map(|field| {
                let values = field.children().filter(|child| child.name() == "value");
                let values = values.map(couplet_proto::Element::content).collect();
                Some((name_of(field.get("var")?)?.to_owned(), values))
            })
            .collect();
        let fields = || {
            fields
                .iter()
                .map(|(name, values)| (name.as_str(), values.as_slice()))
        };
        assert_eq!(changed(&settings, fields(), &limits), Ok(settings.clone()));
        assert_eq!(
            changed(&Settings::default(), fields(), &limits),
            Ok(settings)
        );
    }
}

/// §15.5.3, row by row, and XEP-0500 §5.1.
#[test]
fn the_form_has_every_field() {
    let form = form(&super::room(Settings::default()), &Muc::default());
    let form = form.into_element();
    for (var, type_) in [
        ("muc#maxhistoryfetch", "text-single"),
        ("muc#roomconfig_allowpm", "list-single"),
        ("muc#roomconfig_allowinvites", "boolean"),
        ("muc#roomconfig_changesubject", "boolean"),
        ("muc#roomconfig_enablelogging", "boolean"),
        ("muc#roomconfig_getmemberlist", "list-multi"),
        ("muc#roomconfig_lang", "text-single"),
        ("muc#roomconfig_pubsub", "text-single"),
        ("muc#roomconfig_maxusers", "list-single"),
        ("muc#roomconfig_membersonly", "boolean"),
        ("muc#roomconfig_moderatedroom", "boolean"),
        ("muc#roomconfig_passwordprotectedroom", "boolean"),
        ("muc#roomconfig_persistentroom", "boolean"),
        ("muc#roomconfig_presencebroadcast", "list-multi"),
        ("muc#roomconfig_publicroom", "boolean"),
        ("muc#roomconfig_roomadmins", "jid-multi"),
        ("muc#roomconfig_roomdesc", "text-single"),
        ("muc#roomconfig_roomname", "text-single"),
        ("muc#roomconfig_roomowners", "jid-multi"),
        ("muc#roomconfig_roomsecret", "text-private"),
        ("muc#roomconfig_whois", "list-single"),
        ("muc#roomconfig_slow_mode_duration", "text-single"),
    ] {
        let field = form.children().find(|field| field.get("var") == Some(var));
        let field = field.unwrap_or_else(|| panic!("{var}"));
        assert_eq!(field.get("type"), Some(type_), "{var}");
        assert!(
            field.get("label").is_some_and(|label| !label.is_empty()),
            "{var}"
        );
        // What is chosen is among what may be chosen.
        let options: Vec<String> = field
            .children()
            .filter(|child| child.name() == "option")
            .filter_map(|option| Some(option.find_own("value")?.content()))
            .collect();
        for value in field.children().filter(|child| child.name() == "value") {
            assert!(
                options.is_empty() || options.contains(&value.content()),
                "{var}"
            );
        }
    }
    let xml = form.to_xml();
    let validate = "<validate xmlns='http://jabber.org/protocol/xdata-validate' \
                    datatype='xs:integer'><range min='0' max='86400'/></validate>";
    assert!(xml.contains(validate), "{xml}");
}

/// Settings before, switch, secret, and the password after.
type Case<'a> = (
    &'a Settings,
    Option<&'a str>,
    Option<&'a str>,
    Result<Option<&'a str>, ()>,
);

#[test]
fn a_password_and_its_switch_belong_together() {
    let limits = Muc::default();
    let with = Settings {
        password: Some("old".to_owned()),
        ..Settings::default()
    };
    let without = Settings::default();
    let cases: [Case<'_>; 9] = [
        (&without, Some("1"), Some("new"), Ok(Some("new"))),
        (&without, Some("1"), Some(""), Err(())),
        (&without, Some("1"), None, Err(())),
        (&without, None, Some("new"), Ok(Some("new"))),
        (&without, Some("0"), Some("new"), Ok(None)),
        (&with, Some("0"), Some("old"), Ok(None)),
        (&with, Some("1"), None, Ok(Some("old"))),
        (&with, None, None, Ok(Some("old"))),
        (&with, Some("1"), Some(""), Err(())),
    ];
    for (before, switch, secret, after) in cases {
        let switch = switch.map(|it| ("passwordprotectedroom", vec![it.to_owned()]));
        let secret = secret.map(|it| ("roomsecret", vec![it.to_owned()]));
        let fields: Vec<_> = switch.into_iter().chain(secret).collect();
        let fields = fields
            .iter()
            .map(|(name, values)| (*name, values.as_slice()));
        let now = changed(before, fields, &limits)
            .map(|it| it.password)
            .map_err(|_| ());
        assert_eq!(now, after.map(|it| it.map(str::to_owned)));
    }
}

#[test]
fn an_operator_chooses_what_new_rooms_are_like() {
    let rig = Rig::with(1, &[], |config| {
        let values = |value: &str| vec![value.to_owned()];
        let all = [
            ("persistentroom".to_owned(), values("1")),
            ("whois".to_owned(), values("anyone")),
        ];
        let own = [("whois".to_owned(), values("moderators"))];
        let bad = [("whois".to_owned(), values("everybody"))];
        config.muc.history_max = 10;
        config.muc.defaults.insert(String::new(), all.into());
        config.muc.defaults.insert("rooms.x".to_owned(), own.into());
        config.muc.defaults.insert("bad.x".to_owned(), bad.into());
    });
    let shared = rig.shared();
    let other = Settings::of_service(&shared, "other.x");
    assert!(other.is_persistent && other.is_non_anonymous);
    assert_eq!(other.history_max, 10);
    let own = Settings::of_service(&shared, "rooms.x");
    assert!(own.is_persistent && !own.is_non_anonymous);
    assert_eq!(Settings::of_service(&shared, "bad.x"), other);
}

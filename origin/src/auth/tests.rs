//! Exchanges from the client's side: the vectors of the RFCs, a client of our own, every refusal.

use couplet_proto::link::frame::Channel;
use proptest::prelude::*;

use super::hash::{digest, hmac, salted};
use super::*;

const PLUS: &[&str] = &[
    "SCRAM-SHA-256-PLUS",
    "SCRAM-SHA-1-PLUS",
    "SCRAM-SHA-256",
    "SCRAM-SHA-1",
    "PLAIN",
];
const NO_PLUS: &[&str] = &["SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"];
const EXPORTER: &[u8] = &[7; 32];
const END_POINT: &[u8] = &[9; 32];
const CONTEXT: Context<'_> = Context {
    fake_salt_key: &[3; 32],
    iterations: 4096,
};

fn account(text: &str) -> Jid {
    Jid::parse(text).expect("an address")
}

fn credentials() -> Credentials {
    Credentials::derive("pencil", 4096, [1; 16], [2; 16]).expect("a password")
}

fn request(mechanism: &str, initial: &[u8], offered: &[&'static str]) -> Authenticate {
    let has_plus = offered.iter().any(|name| name.ends_with("-PLUS"));
    let bindings = vec![
        ("tls-exporter", Bytes::from_static(EXPORTER)),
        ("tls-server-end-point", Bytes::from_static(END_POINT)),
    ];
    Authenticate {
        account: account("user@localhost"),
        mechanism: mechanism.into(),
        initial: Bytes::copy_from_slice(initial),
        channel: Channel {
            is_encrypted: true,
            bindings: if has_plus { bindings } else { Vec::new() },
            peer: None,
            offered: offered.to_vec(),
        },
    }
}

/// The step as one word and its text.
fn name(step: &Step) -> &'static str {
    match step {
        Step::Challenge(_) => "challenge",
        Step::Success { .. } => "success",
        Step::Failure { condition, .. } => condition.name(),
        Step::Verify(_) => "verify",
    }
}

fn start(request: &Authenticate, known: Option<&Credentials>) -> (Option<Exchange>, Step) {
    Exchange::start(request, known, &CONTEXT, [5; NONCE_BYTES])
}

/// A client: what it sends last, and the server's signature it expects.
fn client_final<H: Hash>(
    header: &str,
    binding: &[u8],
    bare: &str,
    challenge: &str,
    password: &str,
) -> (String, String) {
    let mut fields = challenge.split(',');
    let mut field = |name| fields.next().and_then(|field| field.strip_prefix(name));
    let nonce = field("r=").expect("a nonce");
    let salt = BASE64.decode(field("s=").expect("a salt")).expect("base64");
    let rounds = field("i=").expect("rounds").parse().expect("a number");
    let salted = salted::<H>(password, &salt, rounds);
    let client_key = hmac::<H>(&salted, &[b"Client Key"]);
    let shown = BASE64.encode([header.as_bytes(), binding].concat());
    let without_proof = format!("c={shown},r={nonce}");
    let signed = format!("{bare},{challenge},{without_proof}");
    let signature = hmac::<H>(&digest::<H>(&client_key), &[signed.as_bytes()]);
    let pairs = client_key.iter().zip(&signature);
    let proof: Vec<u8> = pairs.map(|(key, signature)| key ^ signature).collect();
    let server_key = hmac::<H>(&salted, &[b"Server Key"]);
    let expected = hmac::<H>(&server_key, &[signed.as_bytes()]);
    (
        format!("{without_proof},p={}", BASE64.encode(proof)),
        format!("v={}", BASE64.encode(expected)),
    )
}

/// A whole login; what it ends with.
fn login<H: Hash>(
    mechanism: &str,
    header: &str,
    binding: &[u8],
    password: &str,
    known: Option<&Credentials>,
) -> &'static str {
    let bare = "n=user,r=abcdef";
    let first = format!("{header}{bare}");
    let offered = if header.starts_with('y') {
        NO_PLUS
    } else {
        PLUS
    };
    let (exchange, step) = start(&request(mechanism, first.as_bytes(), offered), known);
    let (Some(exchange), Step::Challenge(challenge)) = (exchange, &step) else {
        return name(&step);
    };
    let challenge = std::str::from_utf8(challenge).expect("text");
    assert!(challenge.starts_with("r=abcdef"), "{challenge}");
    let (last, expected) = client_final::<H>(header, binding, bare, challenge, password);
    let (exchange, step) = exchange.respond(last.as_bytes());
    assert!(exchange.is_none());
    if let Step::Success { data } = &step {
        assert_eq!(data.as_deref(), Some(expected.as_bytes()));
    }
    name(&step)
}

/// A vector: what the client sends and the server answers, with the server's nonce.
fn vector<H: Hash>(salt: &str, server_nonce: &str, lines: [&str; 4]) {
    let [first, challenge, last, answer] = lines;
    let salt = BASE64.decode(salt).expect("base64");
    let keys = Keys::derive::<H>("pencil", &salt, 4096);
    let mechanism = format!("SCRAM-{}", H::NAME);
    let request = request(&mechanism, first.as_bytes(), NO_PLUS);
    let started = Scram::<H>::start(&request, (keys, true), false, server_nonce);
    let (scram, sent) = started.expect("a good message");
    assert_eq!(sent, challenge.as_bytes());
    let verdict = scram.finish(last.as_bytes());
    assert_eq!(verdict.as_deref(), Ok(answer.as_bytes()));
}

#[test]
fn rfc_5802_example_passes() {
    vector::<Sha1>(
        "QSXCR+Q6sek8bf92",
        "3rfcNHYJY1ZVvWVs7j",
        [
            "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
            "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
            "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,\
             p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
            "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
        ],
    );
}

#[test]
fn rfc_7677_example_passes() {
    vector::<Sha256>(
        "W22ZaJ0SNY7soEsUEjb6gQ==",
        "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
        [
            "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
            "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        ],
    );
}

#[test]
fn right_passwords_pass_and_nothing_else_does() {
    let known = credentials();
    let exporter = "p=tls-exporter,,";
    let end_point = "p=tls-server-end-point,,";
    let passes = |mechanism: &str, header: &str, binding: &[u8], password: &str, expected: &str| {
        for known in [Some(&known), None] {
            let expected = match known {
                None if expected == "success" => "not-authorized",
                _ => expected,
            };
            let ended = if mechanism.contains("256") {
                login::<Sha256>(mechanism, header, binding, password, known)
            } else {
                login::<Sha1>(mechanism, header, binding, password, known)
            };
            assert_eq!(ended, expected, "{mechanism} {header} {password}");
        }
    };
    for base in ["SCRAM-SHA-1", "SCRAM-SHA-256"] {
        let plus = &format!("{base}-PLUS");
        passes(base, "n,,", b"", "pencil", "success");
        passes(base, "y,,", b"", "pencil", "success");
        passes(base, "n,a=user@localhost,", b"", "pencil", "success");
        passes(base, "n,a=USER@localhost,", b"", "pencil", "success");
        passes(base, "n,,", b"", "Pencil", "not-authorized");
        passes(base, "n,,", b"x", "pencil", "not-authorized");
        passes(plus, exporter, EXPORTER, "pencil", "success");
        passes(plus, end_point, END_POINT, "pencil", "success");
        passes(plus, exporter, EXPORTER, "pen", "not-authorized");
        passes(plus, exporter, END_POINT, "pencil", "not-authorized");
        passes(plus, exporter, b"", "pencil", "not-authorized");
        passes(plus, "p=tls-unique,,", EXPORTER, "pencil", "not-authorized");
    }
}

/// Initial responses of SCRAM-SHA-1, and what they lead to while PLUS is offered.
const SCRAM_FIRST: &[(&str, &str)] = &[
    ("n,,n=user,r=abc", "challenge"),
    ("n,,n=user,r=abc,x=1,y=2", "challenge"),
    ("n,,n=user@localhost,r=abc", "challenge"),
    ("n,,n=some=2Cbody=3D,r=abc", "challenge"),
    ("n,,n=nobody,r=abc", "challenge"),
    ("n,a=user@localhost,n=user,r=abc", "challenge"),
    ("y,,n=user,r=abc", "not-authorized"),
    ("n,a=other@localhost,n=user,r=abc", "invalid-authzid"),
    ("n,a=user,n=user,r=abc", "invalid-authzid"),
    ("n,a=user@localhost/x,n=user,r=abc", "invalid-authzid"),
    ("n,a=,n=user,r=abc", "malformed-request"),
    ("n,user@localhost,n=user,r=abc", "malformed-request"),
    ("p=tls-exporter,,n=user,r=abc", "malformed-request"),
    ("", "malformed-request"),
    ("n,,", "malformed-request"),
    ("x,,n=user,r=abc", "malformed-request"),
    ("n=user,r=abc", "malformed-request"),
    ("n,,r=abc", "malformed-request"),
    ("n,,n=,r=abc", "malformed-request"),
    ("n,,n=user", "malformed-request"),
    ("n,,n=user,r=", "malformed-request"),
    ("n,,n=user,r=a b", "malformed-request"),
    ("n,,n=user,r=é", "malformed-request"),
    ("n,,n=us=er,r=abc", "malformed-request"),
    ("n,,n=user=2c,r=abc", "malformed-request"),
    ("n,,n=user=3,r=abc", "malformed-request"),
    ("n,,n=user=\u{e9},r=abc", "malformed-request"),
    ("n,,m=x,n=user,r=abc", "malformed-request"),
    ("n,,n=user,r=abc,m=x", "malformed-request"),
    ("n,,n=user,r=abc,r=def", "malformed-request"),
    ("n,,n=user,r=abc,n=other", "malformed-request"),
    ("n,,n=user,r=abc,", "malformed-request"),
    ("n,,n=user,r=abc,x=", "malformed-request"),
    ("n,,n=user,r=abc,1=x", "malformed-request"),
    ("n,,n=us\0er,r=abc", "malformed-request"),
];

/// The same of SCRAM-SHA-1-PLUS.
const PLUS_FIRST: &[(&str, &str)] = &[
    ("p=tls-exporter,,n=user,r=abc", "challenge"),
    ("p=tls-unique,,n=user,r=abc", "not-authorized"),
    ("n,,n=user,r=abc", "malformed-request"),
    ("y,,n=user,r=abc", "malformed-request"),
    ("p=,,n=user,r=abc", "malformed-request"),
    ("p=a b,,n=user,r=abc", "malformed-request"),
];

/// The same of PLAIN.
const PLAIN_FIRST: &[(&str, &str)] = &[
    ("\0user\0pencil", "verify"),
    ("\0user\0", "malformed-request"),
    ("\0\0pencil", "malformed-request"),
    ("user\0pencil", "malformed-request"),
    ("\0user\0pencil\0", "malformed-request"),
    ("", "malformed-request"),
    ("other@localhost\0user\0pencil", "invalid-authzid"),
    ("user\0user\0pencil", "invalid-authzid"),
    ("\0user\0pen\u{7}cil", "not-authorized"),
];

fn check_first(mechanism: &str, initial: &str, expected: &str) {
    for known in [Some(credentials_once()), None] {
        let request = request(mechanism, initial.as_bytes(), PLUS);
        let (exchange, step) = start(&request, known);
        assert_eq!(name(&step), expected, "{mechanism} {initial}");
        assert_eq!(exchange.is_some(), expected == "challenge");
    }
}

#[test]
fn bad_first_messages_are_refused() {
    let tables = [
        ("SCRAM-SHA-1", SCRAM_FIRST),
        ("SCRAM-SHA-1-PLUS", PLUS_FIRST),
        ("PLAIN", PLAIN_FIRST),
    ];
    for (mechanism, rows) in tables {
        for (initial, expected) in rows {
            check_first(mechanism, initial, expected);
        }
    }
    let long = format!("n,,n=user,r={}", "a".repeat(257));
    check_first("SCRAM-SHA-1", &long, "malformed-request");
    let huge = format!("n,,n=user,r=a,x={}", "a".repeat(4096));
    check_first("SCRAM-SHA-1", &huge, "malformed-request");
    check_first("SCRAM-SHA-512", "n,,n=user,r=abc", "invalid-mechanism");
    check_first("PLAIN-PLUS", "\0user\0pencil", "invalid-mechanism");
    for mechanism in PLUS {
        let (_, step) = start(&request(mechanism, b"n,,n=\xff,r=abc\0\xff", PLUS), None);
        assert_eq!(name(&step), "malformed-request");
        let (_, step) = start(&request(mechanism, b"n,,n=user,r=abc", &[]), None);
        assert_eq!(name(&step), "invalid-mechanism");
    }
}

#[test]
fn bad_last_messages_are_refused() {
    const M: &str = "malformed-request";
    let known = credentials();
    let first = request("SCRAM-SHA-1", b"n,,n=user,r=abc", PLUS);
    let (_, Step::Challenge(challenge)) = start(&first, Some(&known)) else {
        panic!("no challenge");
    };
    let challenge = std::str::from_utf8(&challenge).expect("text");
    let (good, _) = client_final::<Sha1>("n,,", b"", "n=user,r=abc", challenge, "pencil");
    let nonce = challenge.split(',').next().expect("a nonce");
    let (shown, proof) = good.split_once(",p=").expect("a proof");
    let rows: &[(String, &str)] = &[
        (good.clone(), "success"),
        (good.replace("c=biws", "c=eSws"), "not-authorized"),
        (good.replace("c=biws", "c="), "not-authorized"),
        (good.replace(nonce, "r=abc"), "not-authorized"),
        (good.replace(nonce, &format!("{nonce}x")), "not-authorized"),
        (good.replace(nonce, "r="), "not-authorized"),
        // An extension changes what is signed.
        (format!("{shown},x=1,p={proof}"), "not-authorized"),
        (format!("{shown},m=1,p={proof}"), M),
        (format!("{shown},p={proof},p={proof}"), M),
        (format!("{shown},{nonce},p={proof}"), M),
        (format!("{good},x=1"), M),
        (format!("{good} "), M),
        (good.replace("c=biws,", ""), M),
        (good.replace("c=biws", "c=biw"), M),
        (good.replace(",r=", ",s="), M),
        (shown.to_owned(), M),
        (format!("{shown},p="), M),
        (format!("{shown},p=AAAA"), M),
        (
            format!("{shown},p={}", BASE64.encode([0; 20])),
            "not-authorized",
        ),
        (format!("{shown},p={}", BASE64.encode([0; 32])), M),
        (format!("{shown},x={},p={proof}", "a".repeat(5000)), M),
        (String::new(), M),
    ];
    for (last, expected) in rows {
        let (exchange, _) = start(&first, Some(&known));
        let (exchange, step) = exchange.expect("running").respond(last.as_bytes());
        assert_eq!(name(&step), *expected, "{last}");
        assert!(exchange.is_none());
    }
}

#[test]
fn a_recorded_login_cannot_be_replayed() {
    let known = credentials();
    let first = request("SCRAM-SHA-256", b"n,,n=user,r=abc", PLUS);
    let (_, Step::Challenge(challenge)) = start(&first, Some(&known)) else {
        panic!("no challenge");
    };
    let challenge = std::str::from_utf8(&challenge).expect("text");
    let (good, _) = client_final::<Sha256>("n,,", b"", "n=user,r=abc", challenge, "pencil");
    let (exchange, _) = Exchange::start(&first, Some(&known), &CONTEXT, [6; NONCE_BYTES]);
    let (_, step) = exchange.expect("running").respond(good.as_bytes());
    assert_eq!(name(&step), "not-authorized");
}

#[test]
fn a_message_for_another_account_never_succeeds() {
    let known = credentials();
    for named in ["other", "user@elsewhere", "user@localhost/x", "a b"] {
        let initial = format!("n,,n={named},r=abc");
        let request = request("SCRAM-SHA-256", initial.as_bytes(), PLUS);
        let (exchange, step) = start(&request, Some(&known));
        let Step::Challenge(challenge) = step else {
            panic!("no challenge");
        };
        let challenge = std::str::from_utf8(&challenge).expect("text");
        let bare = &initial[3..];
        let (last, _) = client_final::<Sha256>("n,,", b"", bare, challenge, "pencil");
        let (_, step) = exchange.expect("running").respond(last.as_bytes());
        assert_eq!(name(&step), "not-authorized", "{named}");
    }
}

#[test]
fn plain_compares_the_prepared_password() {
    let known = Credentials::derive("I\u{ad}X ª", 4096, [1; 16], [2; 16]).expect("a password");
    let rows = [
        ("\0user\0IX a", "success"),
        ("\0user\0I\u{ad}X ª", "success"),
        ("user@localhost\0user\0IX a", "success"),
        ("\0USER\0IX a", "success"),
        ("\0user@localhost\0IX a", "success"),
        ("\0user\0ix a", "not-authorized"),
        ("\0other\0IX a", "not-authorized"),
    ];
    for (initial, expected) in rows {
        for known in [Some(&known), None] {
            let (_, step) = start(&request("PLAIN", initial.as_bytes(), PLUS), known);
            let Step::Verify(check) = step else {
                panic!("{initial:?}: {step:?}");
            };
            let expected = if known.is_some() {
                expected
            } else {
                "not-authorized"
            };
            assert_eq!(name(&check.run()), expected, "{initial:?}");
        }
    }
    assert!(known.verify_plain("IX a") && !known.verify_plain("IXa"));
    let mut open = request("PLAIN", b"\0user\0IX a", PLUS);
    open.channel.is_encrypted = false;
    assert_eq!(name(&start(&open, Some(&known)).1), "encryption-required");
}

#[test]
fn unknown_accounts_look_like_any_other() {
    let ask = |who: &str, mechanism: &str, nonce: u8| {
        let header = match mechanism.ends_with("-PLUS") {
            true => "p=tls-exporter,,",
            false => "n,,",
        };
        let user = account(who);
        let local = user.local().expect("a local part");
        let first = format!("{header}n={local},r=abc");
        let mut request = request(mechanism, first.as_bytes(), PLUS);
        request.account = user.clone();
        let (_, step) = Exchange::start(&request, None, &CONTEXT, [nonce; NONCE_BYTES]);
        let Step::Challenge(challenge) = step else {
            panic!("no challenge");
        };
        let challenge = String::from_utf8(challenge.to_vec()).expect("text");
        let (_, rest) = challenge.split_once(",s=").expect("a salt");
        rest.to_owned()
    };
    let first = ask("nobody@localhost", "SCRAM-SHA-1", 1);
    assert!(first.ends_with(",i=4096"));
    assert_eq!(BASE64.decode(&first[..24]).expect("base64").len(), 16);
    assert_eq!(first, ask("nobody@localhost", "SCRAM-SHA-1", 2));
    assert_eq!(first, ask("nobody@localhost", "SCRAM-SHA-1-PLUS", 3));
    assert_ne!(first, ask("nobody@localhost", "SCRAM-SHA-256", 1));
    assert_ne!(first, ask("nobodi@localhost", "SCRAM-SHA-1", 1));
    assert_ne!(first, ask("nobody@elsewhere", "SCRAM-SHA-1", 1));
}

proptest! {
    #[test]
    fn no_bytes_make_an_exchange_panic(
        mechanism in 0..PLUS.len(),
        header in "([nyp]=?(tls-exporter)?,(a=[a-z=@,]{0,5})?,)?([mn]=[a-z=2C]{0,6},r=[ -~]{0,6})?",
        noise in prop::collection::vec(any::<u8>(), 0..64),
        last in "(c=[a-zA-Z+/=]{0,8},r=[!-~]{0,8})?(,[a-z]=[ -~]{0,4}){0,3}(,p=[a-zA-Z=]{0,32})?",
    ) {
        let known = credentials_once();
        for initial in [header.as_bytes(), &noise, &[header.as_bytes(), &noise].concat()] {
            for last in [last.as_bytes(), &noise] {
                let request = request(PLUS[mechanism], initial, PLUS);
                if let (Some(exchange), _) = start(&request, Some(known)) {
                    let (_, step) = exchange.respond(last);
                    prop_assert_ne!(name(&step), "success");
                }
            }
        }
    }
}

fn credentials_once() -> &'static Credentials {
    static ONCE: std::sync::OnceLock<Credentials> = std::sync::OnceLock::new();
    ONCE.get_or_init(credentials)
}

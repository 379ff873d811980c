//! Budgets, and what is held when there is nothing to hold.

use super::*;

#[test]
fn budgets_are_enforced_while_receiving() {
    let mut endless = opened(TIGHT);
    let step = b"<a/>";
    items(&mut endless, &[b"<iq>"]).expect("begins");
    for _ in 0..TIGHT.elements - 1 {
        items(&mut endless, &[step]).expect("within the budget");
    }
    let error = items(&mut endless, &[step]).expect_err("one too many");
    assert_eq!(error, guard::TOO_MANY_ELEMENTS);

    let deep = "<a>".repeat(TIGHT.depth as usize);
    let mut framer = opened(TIGHT);
    items(&mut framer, &[deep.as_bytes()]).expect("within the budget");
    assert_eq!(items(&mut framer, &[b"<a"]), Err(guard::TOO_DEEP));

    for endless in [
        "<message>",
        "<message><body>",
        "<message a='",
        "<",
        "<message><![CDATA[",
    ] {
        let mut framer = opened(TIGHT);
        items(&mut framer, &[endless.as_bytes()]).expect("begins");
        let room = TIGHT.bytes - endless.len();
        items(&mut framer, &[&vec![b'x'; room]]).expect("within the budget");
        assert_eq!(items(&mut framer, &[b"x"]), Err(guard::TOO_LARGE));
    }
    let huge = format!("<message><body>{}</body></message>", "x".repeat(1 << 20));
    assert_eq!(
        items(&mut opened(TIGHT), &[huge.as_bytes()]),
        Err(guard::TOO_LARGE)
    );
}

#[test]
fn attributes_and_namespaces_are_counted_per_element() {
    let tag = |count: u32, name: &str| {
        let all: String = (0..count).map(|n| format!(" {name}{n}='u:{n}'")).collect();
        format!("<message><x{all}/></message>")
    };
    for (name, most, error) in [
        ("a", TIGHT.attributes, guard::TOO_MANY_ATTRIBUTES),
        ("xmlns:a", TIGHT.namespaces, guard::TOO_MANY_NAMESPACES),
    ] {
        let fits = items(&mut opened(TIGHT), &[tag(most, name).as_bytes()]);
        assert!(matches!(fits.as_deref(), Ok([Item::Stanza(_)])), "{fits:?}");
        assert_eq!(
            items(&mut opened(TIGHT), &[tag(most + 1, name).as_bytes()]),
            Err(error)
        );
    }
}

#[test]
fn a_tag_with_too_many_attributes_is_refused_before_its_end() {
    for (name, most, error) in [
        ("a", TIGHT.attributes, guard::TOO_MANY_ATTRIBUTES),
        ("xmlns:a", TIGHT.namespaces, guard::TOO_MANY_NAMESPACES),
    ] {
        let fits: String = (0..most)
            .map(|n| format!("\n {name}{n} = \"'u:{n}=\""))
            .collect();
        for start in ["<message", "<message xmlns=''><x", "<x:y xml:lang='en'"] {
            // Values of the other kind do not count.
            let other = match name {
                "a" => " xmlns='u:'",
                _ => " xmlnsa='u:'",
            };
            let begun = format!("{start}{other}{fits} {name} =");
            let mut framer = opened(TIGHT);
            if start.contains("lang") && name == "a" {
                let refused = items(&mut framer, &[begun.as_bytes()]);
                assert_eq!(refused, Err(error));
                continue;
            }
            items(&mut framer, &[begun.as_bytes()]).expect("within the budget");
            assert_eq!(items(&mut framer, &[b"'"]), Err(error), "{begun}");
            let mut framer = opened(TIGHT);
            let single: Vec<&[u8]> = begun.as_bytes().chunks(1).collect();
            items(&mut framer, &single).expect("within the budget");
            assert_eq!(items(&mut framer, &[b"'"]), Err(error), "{begun}");
        }
    }
}

/// Each name is looked for among all declarations in force: were they not bounded, time would grow
/// with their number times that of the names.
#[test]
fn declarations_in_force_are_counted_across_elements() {
    let nested = |each: u32, levels: u32| {
        let open = |level| {
            let all: String = (0..each)
                .map(|n| format!(" xmlns:p{level}a{n}='u:{n}'"))
                .collect();
            format!("<x{all}>")
        };
        let open: String = (0..levels).map(open).collect();
        format!("<iq>{open}{}</iq>", "</x>".repeat(levels as usize))
    };
    let read = |xml: String| items(&mut opened(TIGHT), &[xml.as_bytes()]);
    assert!(read(nested(TIGHT.namespaces, 2)).is_ok());
    assert!(read(nested(1, TIGHT.depth - 1)).is_ok());
    assert_eq!(
        read(nested(TIGHT.namespaces, 3)),
        Err(guard::TOO_MANY_NAMESPACES)
    );
}

#[test]
fn everything_counts_before_authentication() {
    let mut framer = Framer::new(TIGHT);
    framer.count_total(true);
    items(&mut framer, &[HEADER.as_bytes(), b"<a/>"]).expect("within the budget");
    framer.restart();
    items(&mut framer, &[HEADER.as_bytes()]).expect("within the budget");
    let used = 2 * HEADER.len() + "<a/>".len();
    let spaces = vec![b' '; TIGHT.bytes - used];
    assert_eq!(items(&mut framer, &[&spaces]), Ok(vec![Item::Whitespace]));
    assert_eq!(items(&mut framer, &[b" "]), Err(guard::TOO_LARGE));

    let mut framer = opened(TIGHT);
    for _ in 0..2 * TIGHT.bytes / 16 {
        items(&mut framer, &[b"<presence/>     "]).expect("each counts for itself");
    }
}

#[test]
fn a_short_prefix_cannot_make_a_long_stanza() {
    let ns = format!("u:{}", "x".repeat(4000));
    let header = HEADER.replace("xmlns=", &format!("xmlns:p='{ns}' xmlns="));
    let mut framer = Framer::new(Budget::AFTER_AUTH);
    items(&mut framer, &[header.as_bytes()]).expect("a good header");
    let stanza = format!("<message>{}</message>", "<p:a/>".repeat(4000));
    assert_eq!(
        items(&mut framer, &[stanza.as_bytes()]),
        Err(guard::TOO_LARGE)
    );
}

#[test]
fn nothing_is_held_between_elements() {
    let mut framer = opened(TIGHT);
    items(&mut framer, &[b"<message>", b"</message> "]).expect("accepted");
    assert!(!framer.is_midway());
    assert!(size_of::<Framer>() <= 152, "{}", size_of::<Framer>());
    items(&mut framer, &[b"<"]).expect("accepted");
    assert!(framer.is_midway());
    framer.restart();
    assert!(!framer.is_midway());
}

#[test]
fn what_is_kept_is_about_as_large_as_what_is_said() {
    let filler = "x".repeat(100_000);
    let found = stanza(&format!(
        "<message odd='{filler}'><body>hi</body></message>"
    ));
    let bytes = found.payload.xml().bytes().clone();
    drop(found);
    let kept = bytes.try_into_mut().map(|bytes| bytes.capacity());
    assert!(kept.is_ok_and(|capacity| capacity < 1024));
}

#[test]
fn an_id_is_not_repeated_however_long_it_is() {
    let with = |bytes: usize| format!("<iq type='get' id='{}'><q/></iq>", "x".repeat(bytes));
    assert!(stanza(&with(1023)).id.is_some());
    assert_eq!(malformed(&with(1024)).id, None);
}

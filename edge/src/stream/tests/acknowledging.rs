//! Stream management while a stream lives (XEP-0198 §3, §4).

use super::*;

/// From the bind on, with three stanzas delivered and one sent before it is enabled.
const ENABLE: &str = "> <presence/>
     ! up 1 <presence/>
     * delivered 3
     > <enable xmlns='SM' resume='true'/>
     ! up enable 1 Some(0)
     . waiting
     v enabled x 300
     < <enabled xmlns='SM' id='x' resume='true' max='300'/>
     . ready";

fn check(script: &str) {
    play(setup(), &[SECURE, LOGIN, BIND, script]);
}

fn check_enabled(script: &str) {
    play(setup(), &[SECURE, LOGIN, BIND, ENABLE, script]);
}

/// The end of a session that the client has spoilt.
fn end(condition: &str, text: &str) -> String {
    error(condition, text).replace("! close", "! up detach Closed\n! close")
}

/// The end of a session whose client claims `h` where `sent` were sent.
fn too_high(h: &str, sent: u32) -> String {
    format!(
        "<stream:error><undefined-condition xmlns='STREAMS'/><handled-count-too-high xmlns='SM' \
         h='{h}' send-count='{sent}'/></stream:error></stream:stream>
         ! up detach Closed
         ! close undefined-condition"
    )
}

#[test]
fn it_is_enabled_as_the_client_and_the_owner_wish() {
    for (attributes, asked) in [
        ("", "None"),
        (" resume='false' max='9'", "None"),
        (" resume='0'", "None"),
        (" resume='1'", "Some(0)"),
        (" resume='true' max='600'", "Some(600)"),
    ] {
        check(&format!(
            "> <enable xmlns='SM'{attributes}/>
             ! up enable 0 {asked}
             v enabled -
             < <enabled xmlns='SM'/>
             > <r xmlns='SM'/>
             < <a xmlns='SM' h='0'/>"
        ));
    }
    let location = Some("edge.example:5222".to_owned());
    let scripts = [
        SECURE,
        LOGIN,
        BIND,
        "> <enable xmlns='SM' resume='true'/>
         ! up enable 0 Some(0)
         v enabled x 60
         < <enabled xmlns='SM' id='x' resume='true' max='60' location='edge.example:5222'/>",
    ];
    let setup = Setup {
        location,
        ..setup()
    };
    play(setup, &scripts);
}

#[test]
fn a_wish_that_makes_no_sense_is_refused_and_changes_nothing() {
    for attributes in ["resume='maybe'", "max='-1'", "max='4294967296'", "max=''"] {
        check(&format!(
            "> <enable xmlns='SM' {attributes}/>
             < <failed xmlns='SM'><bad-request xmlns='STANZAS'/></failed>
             > <presence/>
             ! up 1 <presence/>"
        ));
    }
}

#[test]
fn it_is_enabled_once_and_after_the_bind() {
    let failed = "< <failed xmlns='SM'><unexpected-request xmlns='STANZAS'/></failed>";
    for ask in [
        "<enable xmlns='SM'/>",
        "<resume xmlns='SM' previd='x' h='0'/>",
    ] {
        check_enabled(&format!(
            "> {ask}\n{failed}\n> <r xmlns='SM'/>\n< <a xmlns='SM' h='0'/>"
        ));
    }
    let enable = "> <enable xmlns='SM'/>";
    play(setup(), &[SECURE, LOGIN, enable, failed, BIND]);
    play(setup(), &[SECURE, enable, failed, LOGIN, BIND]);
    let resume = "> <resume xmlns='SM' previd='x' h='0'/>";
    play(setup(), &[SECURE, resume, failed, LOGIN, BIND]);
    for element in [
        "<r xmlns='SM'/>",
        "<a xmlns='SM' h='0'/>",
        "<foo xmlns='SM'/>",
    ] {
        let end = end("policy-violation", "not at this time");
        check(&format!("> {element}\n< {end}"));
    }
}

#[test]
fn what_has_taken_effect_without_a_gap_is_acknowledged() {
    check_enabled(
        "> <r xmlns='SM'/>
         < <a xmlns='SM' h='0'/>
         * settled 18446744073709551615
         > <message to='a@localhost'/><presence/>
         ! up 2 <message to='a@localhost'/>
         ! up 3 <presence/>
         > <r xmlns='SM'/>
         < <a xmlns='SM' h='0'/>
         * settled 2
         < <a xmlns='SM' h='1'/>
         * settled 2
         * settled 18446744073709551615
         < <a xmlns='SM' h='2'/>
         * settled 18446744073709551615
         > <presence/>
         ! up 4 <presence/>
         * settled 18446744073709551615",
    );
}

#[test]
fn what_is_refused_or_dropped_goes_up_and_counts() {
    check_enabled(
        "* settled 18446744073709551615
         > <iq type='get' id='1'/>
         ! up answer 2 <iq type='error' id='1' to='juliet@localhost/balcony'>\
         <error type='modify'><bad-request xmlns='STANZAS'/></error></iq>
         > <iq type='result'/>
         ! up 3 <iq type='result'/>
         > <iq type='error' id='1' to='a@@b'/>
         ! up 4 <iq type='result'/>
         > <r xmlns='SM'/>
         < <a xmlns='SM' h='0'/>
         * settled 18446744073709551615
         < <a xmlns='SM' h='3'/>",
    );
}

#[test]
fn a_client_is_asked_when_it_may_not_have_everything() {
    check_enabled(
        "* ask
         * delivered 5
         * ask
         < <r xmlns='SM'/>
         * ask
         * delivered 6
         * ask
         > <a xmlns='SM' h='2'/>
         < <r xmlns='SM'/>
         ! acked 5
         > <a xmlns='SM' h='3'/>
         ! acked 6
         * ask
         * delivered 8
         * ask
         < <r xmlns='SM'/>
         > <a xmlns='SM' h='4'/>
         ! acked 7
         > <a xmlns='SM' h='3'/>
         ! acked 7",
    );
}

#[test]
fn a_client_cannot_have_more_than_it_was_sent() {
    for (delivered, h, sent) in [
        (3, "1", 0),
        (3, "4294967295", 0),
        (5, "3", 2),
        (5, "2147483650", 2),
    ] {
        let end = too_high(h, sent);
        check_enabled(&format!(
            "* delivered {delivered}\n> <a xmlns='SM' h='{h}'/>\n< {end}"
        ));
    }
}

#[test]
fn what_is_no_count_ends_the_stream() {
    for h in [
        "",
        " h=''",
        " h='-1'",
        " h='+1'",
        " h='x'",
        " h='4294967296'",
        " h='1.0'",
    ] {
        let end = end("bad-format", "h is not a count");
        check_enabled(&format!("> <a xmlns='SM'{h}/>\n< {end}"));
    }
}

#[test]
fn counts_go_on_after_two_to_the_thirty_second() {
    // 2^32 - 2 stanzas each way before the last two.
    let script = "* origin-gone
         > <resume xmlns='SM' previd='x' h='4294967294'/>
         ! up resume juliet@localhost x 4294967294
         v resumed juliet@localhost/balcony 4294967296 2 4294967297 3
         < <resumed xmlns='SM' previd='x' h='4294967294'/>
         ! resumed juliet@localhost/balcony 4294967296 4294967297
         > <presence/><presence/><presence/>
         ! up 4294967297 <presence/>
         ! up 4294967298 <presence/>
         ! up 4294967299 <presence/>
         * settled 4294967297
         > <r xmlns='SM'/>
         < <a xmlns='SM' h='4294967295'/>
         * settled 4294967298
         < <a xmlns='SM' h='0'/>
         * settled 18446744073709551615
         < <a xmlns='SM' h='1'/>
         * delivered 4294967300
         * ask
         < <r xmlns='SM'/>
         > <a xmlns='SM' h='4294967295'/>
         ! acked 4294967298
         > <a xmlns='SM' h='1'/>
         ! acked 4294967300
         > <a xmlns='SM' h='4294967295'/>
         ! acked 4294967300";
    play(setup(), &[SECURE, LOGIN, script]);
    let end = too_high("2", 1);
    let script = script.rsplit_once("> <a").map(|(script, _)| script);
    let script = format!("{}> <a xmlns='SM' h='2'/>\n< {end}", script.expect("there"));
    play(setup(), &[SECURE, LOGIN, &script]);
}

#[test]
fn a_silent_client_is_asked_by_what_it_knows() {
    check_enabled(
        "* ping p
         < <r xmlns='SM'/>
         * ping p
         > <a xmlns='SM' h='0'/>
         ! acked 3
         * ping p
         < <r xmlns='SM'/>",
    );
    // What comes before `<enabled/>` may count for the client or not.
    check("> <enable xmlns='SM'/>\n! up enable 0 None\n* ping p");
}

#[test]
fn a_client_that_is_sent_away_says_first_what_it_has() {
    let end = |condition: &str| {
        format!(
            "<stream:error>{condition}</stream:error></stream:stream>
             ! up detach Lost"
        )
    };
    let shutdown = end("<system-shutdown xmlns='STREAMS'/>");
    let close = "! close system-shutdown";
    check_enabled(&format!("* shutdown\n< {shutdown}\n{close}"));
    check_enabled(
        &format!(
            "* settled 18446744073709551615
         > <presence/>
         ! up 2 <presence/>
         * delivered 5
         * shutdown
         < <r xmlns='SM'/>
         > <a xmlns='SM' h='1'/>
         ! acked 4
         * settled 18446744073709551615
         > <a xmlns='SM' h='2'/>
         < <a xmlns='SM' h='1'/>{shutdown}
         ! acked 5
         {close}"
        )
        .replace(
            "! up detach Lost\n         ! acked 5",
            "! acked 5\n         ! up detach Lost",
        ),
    );
    check_enabled(&format!(
        "* delivered 5
         * shutdown
         < <r xmlns='SM'/>
         * shutdown
         < {shutdown}
         {close}"
    ));
    let elsewhere = end("<see-other-host xmlns='STREAMS'>b.example:5222</see-other-host>");
    let hosts = ["a.example:5222", "b.example:5222"];
    let setup = Setup {
        see_other_host: hosts.map(Arc::from).into(),
        ..setup()
    };
    let script = format!("* shutdown\n< {elsewhere}\n! close see-other-host");
    play(setup, &[SECURE, LOGIN, BIND, &script]);
}

//! Resumption (XEP-0198 §5), and what becomes of a login when an origin is lost.

use super::*;

const RESUME: &str = "> <resume xmlns='SM' previd='x' h='2'/>
     ! up resume juliet@localhost x 2
     . waiting";

fn check(script: &str) {
    play(setup(), &[SECURE, LOGIN, RESUME, script]);
}

#[test]
fn a_stream_goes_on_with_the_counts_of_the_former_one() {
    check(
        "v resumed juliet@localhost/balcony 7 3 9 5
         < <resumed xmlns='SM' previd='x' h='4'/>
         ! resumed juliet@localhost/balcony 7 9
         . ready
         . bound
         > <presence/>
         ! up 8 <presence/>
         > <r xmlns='SM'/>
         < <a xmlns='SM' h='4'/>
         * settled 8
         < <a xmlns='SM' h='5'/>
         * delivered 11
         * ask
         < <r xmlns='SM'/>
         > <a xmlns='SM' h='6'/>
         ! acked 11
         > <enable xmlns='SM'/>
         < <failed xmlns='SM'><unexpected-request xmlns='STANZAS'/></failed>
         * lost
         ! up detach Lost",
    );
}

#[test]
fn a_refusal_leaves_the_stream_ready_for_a_bind() {
    for (answer, failed) in [
        (
            "not-found",
            "<failed xmlns='SM'><item-not-found xmlns='STANZAS'/></failed>",
        ),
        (
            "not-found 17",
            "<failed xmlns='SM' h='17'><item-not-found xmlns='STANZAS'/></failed>",
        ),
        (
            "not-authorized",
            "<failed xmlns='SM'><not-authorized xmlns='STANZAS'/></failed>",
        ),
    ] {
        let script = format!("v resume-refused {answer}\n< {failed}\n. ready\n{RESUME}");
        let twice = format!("{script}\nv resume-refused {answer}\n< {failed}\n{BIND}");
        check(&twice);
    }
    check(
        "v resume-refused too-high 1
         < <stream:error><undefined-condition xmlns='STREAMS'/><handled-count-too-high xmlns='SM' \
         h='2' send-count='1'/></stream:error></stream:stream>
         ! close undefined-condition",
    );
}

#[test]
fn guessing_ids_has_an_end() {
    let failed = "< <failed xmlns='SM'><item-not-found xmlns='STANZAS'/></failed>";
    let refused = format!("v resume-refused not-found\n{failed}");
    let end = error("policy-violation", "too many failed attempts");
    let last = format!("{refused}{end}");
    play(
        setup(),
        &[
            SECURE, LOGIN, RESUME, &refused, RESUME, &refused, RESUME, &last,
        ],
    );
    // What cannot be an id of ours goes no further.
    for previous in ["", &"x".repeat(257)] {
        let ask = format!("> <resume xmlns='SM' previd='{previous}' h='0'/>\n{failed}");
        play(setup(), &[SECURE, LOGIN, &ask, BIND]);
    }
    let end = format!("< {}", error("bad-format", "h is not a count"));
    for h in ["", "-1", "4294967296", "x"] {
        let ask = format!("> <resume xmlns='SM' previd='x' h='{h}'/>");
        play(setup(), &[SECURE, LOGIN, &ask, &end]);
    }
}

#[test]
fn a_session_resumed_too_late_may_be_resumed_again() {
    check("* gone\nv resumed juliet@localhost/balcony 1 0 1 0\n! up detach Lost");
    // It was asked for twice, of two owners: both have given one.
    check(
        "v bound juliet@localhost/other
         ! up detach Closed
         v resumed juliet@localhost/balcony 0 0 0 0
         < <resumed xmlns='SM' previd='x' h='0'/>
         ! resumed juliet@localhost/balcony 0 0
         v resumed juliet@localhost/balcony 0 0 0 0",
    );
}

#[test]
fn a_login_whose_origin_is_lost_may_begin_again() {
    let auth = "> <auth xmlns='SASL' mechanism='PLAIN'>AGp1bGlldABz</auth>
        ! up authenticate juliet@localhost PLAIN AGp1bGlldABz
        . waiting
        * origin-gone
        < <failure xmlns='SASL'><temporary-auth-failure/></failure>
        ! up abort juliet@localhost
        . ready";
    // However often: it is not the client's fault.
    play(
        setup(),
        &[SECURE, auth, auth, auth, auth, LOGIN, "* origin-gone", BIND],
    );
}

//! XEP-0045 §5: the tables as they are printed, and what must hold whoever asks for what.

use couplet_proto::xmpp::error::Condition;

use crate::features::muc::affiliation::{Affiliation, Privilege, Role, Standing};
use Affiliation::{Admin, Member, Outcast, Owner};
use Role::{Moderator, Participant, Visitor};

/// Nobody in particular; `Role` and `Affiliation` both have a `None`.
const UNAFFILIATED: Affiliation = Affiliation::None;
const ABSENT: Role = Role::None;

fn standing(affiliation: Affiliation, role: Role) -> Standing {
    Standing { affiliation, role }
}

/// Every standing there may be: an outcast is not in the room.
fn standings() -> Vec<Standing> {
    let of = |affiliation| {
        Role::ALL
            .into_iter()
            .map(move |role| standing(affiliation, role))
    };
    let all = Affiliation::ALL.into_iter().flat_map(of);
    all.filter(|it| it.affiliation != Outcast || it.role == ABSENT)
        .collect()
}

#[test]
fn privileges_of_affiliations() {
    // §5.2.1, the rows that depend on nothing else: outcast, none, member, admin, owner.
    let rows = [
        (Privilege::Ban, [false, false, false, true, true]),
        (Privilege::EditMembers, [false, false, false, true, true]),
        (Privilege::EditModerators, [false, false, false, true, true]),
        (Privilege::EditAdmins, [false, false, false, false, true]),
        (Privilege::EditOwners, [false, false, false, false, true]),
        (Privilege::Configure, [false, false, false, false, true]),
        (Privilege::Destroy, [false, false, false, false, true]),
    ];
    for (privilege, row) in rows {
        for (affiliation, may) in Affiliation::ALL.into_iter().zip(row) {
            assert_eq!(
                affiliation.may(privilege),
                may,
                "{affiliation:?} {privilege:?}"
            );
        }
    }
}

#[test]
fn privileges_of_roles() {
    // §5.1.1: visitor, participant, moderator, each unaffiliated, with somebody unaffiliated.
    let rows = [
        (
            "kick a participant",
            Participant,
            ABSENT,
            [false, false, true],
        ),
        ("kick a visitor", Visitor, ABSENT, [false, false, true]),
        ("grant voice", Visitor, Participant, [false, false, true]),
        ("revoke voice", Participant, Visitor, [false, false, true]),
        (
            "grant moderation",
            Participant,
            Moderator,
            [false, false, false],
        ),
        (
            "revoke moderation",
            Moderator,
            Participant,
            [false, false, false],
        ),
    ];
    for (what, from, to, row) in rows {
        for (role, may) in [Visitor, Participant, Moderator].into_iter().zip(row) {
            let change =
                standing(UNAFFILIATED, role).change(standing(UNAFFILIATED, from), to, false);
            assert_eq!(change.is_ok(), may, "{role:?}: {what}");
        }
    }
}

#[test]
fn changes_of_affiliation() {
    // §5.2.2, the chart: who at least brings about each change of another's affiliation.
    let columns = [Outcast, UNAFFILIATED, Member, Admin, Owner];
    let rows = [
        (
            Outcast,
            [None, Some(Admin), Some(Admin), Some(Owner), Some(Owner)],
        ),
        (
            UNAFFILIATED,
            [Some(Admin), None, Some(Admin), Some(Owner), Some(Owner)],
        ),
        (
            Member,
            [Some(Admin), Some(Admin), None, Some(Owner), Some(Owner)],
        ),
        (
            Admin,
            [Some(Owner), Some(Owner), Some(Owner), None, Some(Owner)],
        ),
        (
            Owner,
            [Some(Owner), Some(Owner), Some(Owner), Some(Owner), None],
        ),
    ];
    for (from, row) in rows {
        for (to, least) in columns.into_iter().zip(row) {
            let Some(least) = least else { continue };
            for actor in Affiliation::ALL {
                let may = actor.change(from, to, false).is_ok();
                assert_eq!(may, actor >= least, "{actor:?}: {from:?} to {to:?}");
            }
        }
    }
}

#[test]
fn changes_of_role() {
    // §5.1.3, the chart, for somebody unaffiliated: moderators, or admins who are moderators.
    let moderator = standing(UNAFFILIATED, Moderator);
    let admin = standing(Admin, Moderator);
    let rows = [
        (Visitor, ABSENT, true, true),
        (Visitor, Participant, true, true),
        (Visitor, Moderator, false, true),
        (Participant, ABSENT, true, true),
        (Participant, Visitor, true, true),
        (Participant, Moderator, false, true),
        (Moderator, ABSENT, false, true),
        (Moderator, Visitor, false, true),
        (Moderator, Participant, false, true),
    ];
    for (from, to, by_moderator, by_admin) in rows {
        let target = standing(UNAFFILIATED, from);
        assert_eq!(
            moderator.change(target, to, false).is_ok(),
            by_moderator,
            "{from:?} {to:?}"
        );
        assert_eq!(
            admin.change(target, to, false).is_ok(),
            by_admin,
            "{from:?} {to:?}"
        );
    }
}

/// Who, whom, to which role, and why not.
type Refused = (Standing, Standing, Role, Condition);

#[track_caller]
fn refused(roles: &[Refused]) {
    for (actor, target, wanted, condition) in roles {
        assert_eq!(
            actor.change(*target, *wanted, false),
            Err(*condition),
            "{actor:?} {target:?}"
        );
    }
}

#[test]
fn moderators_are_refused_as_the_specification_says() {
    refused(&[
        // §8.2: a member kicks an admin; a member or admin kicks an owner; oneself.
        (
            standing(Member, Moderator),
            standing(Admin, Moderator),
            ABSENT,
            Condition::NotAllowed,
        ),
        (
            standing(Member, Moderator),
            standing(Owner, Moderator),
            ABSENT,
            Condition::NotAllowed,
        ),
        (
            standing(Admin, Moderator),
            standing(Owner, Moderator),
            ABSENT,
            Condition::NotAllowed,
        ),
        (
            standing(UNAFFILIATED, Moderator),
            standing(Member, Visitor),
            ABSENT,
            Condition::NotAllowed,
        ),
        (
            standing(UNAFFILIATED, Participant),
            standing(UNAFFILIATED, Visitor),
            ABSENT,
            Condition::Forbidden,
        ),
        // §8.4: voice of who is at or above the moderator, and of admins and owners by anyone.
        (
            standing(Member, Moderator),
            standing(Member, Participant),
            Visitor,
            Condition::NotAllowed,
        ),
        (
            standing(Owner, Moderator),
            standing(Admin, Participant),
            Visitor,
            Condition::NotAllowed,
        ),
        (
            standing(Owner, Moderator),
            standing(Owner, Participant),
            Visitor,
            Condition::NotAllowed,
        ),
    ]);
}

#[test]
fn admins_are_refused_as_the_specification_says() {
    refused(&[
        // §9.6, §9.7.
        (
            standing(Member, Moderator),
            standing(UNAFFILIATED, Visitor),
            Moderator,
            Condition::Forbidden,
        ),
        (
            standing(Admin, Moderator),
            standing(Admin, Moderator),
            Participant,
            Condition::NotAllowed,
        ),
        (
            standing(Admin, Moderator),
            standing(Owner, Moderator),
            Participant,
            Condition::NotAllowed,
        ),
        (
            standing(Member, Moderator),
            standing(Member, Moderator),
            Participant,
            Condition::Forbidden,
        ),
        // §8: an admin who is not in the room is no moderator.
        (
            standing(Admin, ABSENT),
            standing(UNAFFILIATED, Visitor),
            Participant,
            Condition::Forbidden,
        ),
        (
            standing(Owner, ABSENT),
            standing(UNAFFILIATED, Visitor),
            ABSENT,
            Condition::Forbidden,
        ),
    ]);
    let admin = standing(Admin, Moderator);
    assert_eq!(admin.change(admin, ABSENT, true), Err(Condition::Conflict));
}

#[test]
fn lists_are_refused_as_the_specification_says() {
    let affiliations = [
        (Member, UNAFFILIATED, Outcast, false, Condition::Forbidden),
        // §9.1.
        (Admin, Owner, Outcast, false, Condition::NotAllowed),
        (Admin, Admin, Outcast, false, Condition::NotAllowed),
        (Admin, Admin, Outcast, true, Condition::Conflict),
        (Owner, Owner, Outcast, true, Condition::Conflict),
        // §10.5, §10.8.
        (Admin, UNAFFILIATED, Owner, false, Condition::Forbidden),
        (Admin, Member, Admin, false, Condition::Forbidden),
        (Admin, Owner, Member, false, Condition::Forbidden),
        (Admin, Admin, UNAFFILIATED, false, Condition::Forbidden),
    ];
    for (actor, known, wanted, is_self, condition) in affiliations {
        let change = actor.change(known, wanted, is_self);
        assert_eq!(change, Err(condition), "{actor:?}: {known:?} to {wanted:?}");
    }
}

#[test]
fn nobody_rises_above_what_it_is() {
    for actor in standings() {
        for wanted in Affiliation::ALL {
            if wanted > actor.affiliation {
                assert!(
                    actor
                        .affiliation
                        .change(actor.affiliation, wanted, true)
                        .is_err()
                );
            }
        }
        // An admin may take the role that comes with its affiliation; nobody else gets more.
        for wanted in Role::ALL {
            if wanted > actor.role && actor.affiliation < Admin && actor.role != ABSENT {
                assert!(
                    actor.change(actor, wanted, true).is_err(),
                    "{actor:?} {wanted:?}"
                );
            }
        }
        // Nor does anyone raise somebody else above itself.
        for known in Affiliation::ALL {
            for wanted in Affiliation::ALL {
                if known > actor.affiliation || wanted > actor.affiliation {
                    assert!(actor.affiliation.change(known, wanted, false).is_err());
                }
            }
        }
    }
}

#[test]
fn nobody_changes_anything_without_a_privilege() {
    for actor in standings() {
        let has_privilege = actor.role == Moderator || actor.affiliation >= Admin;
        for target in standings() {
            for is_self in [false, true] {
                for wanted in Role::ALL {
                    let change = actor.change(target, wanted, is_self);
                    if !has_privilege {
                        assert_eq!(change, Err(Condition::Forbidden));
                    }
                    // Whoever stands above is untouchable but for what raises it.
                    if target.affiliation > actor.affiliation && wanted < target.role {
                        assert!(change.is_err(), "{actor:?} {target:?} {wanted:?}");
                    }
                }
                for wanted in Affiliation::ALL {
                    let change = actor
                        .affiliation
                        .change(target.affiliation, wanted, is_self);
                    if actor.affiliation < Admin {
                        assert_eq!(change, Err(Condition::Forbidden));
                    }
                }
            }
        }
    }
}

#[test]
fn owners_always_can() {
    let owner = standing(Owner, Moderator);
    for target in standings() {
        for wanted in Affiliation::ALL {
            assert_eq!(Owner.change(target.affiliation, wanted, false), Ok(()));
        }
        // Who is not there has no role to change.
        let roles = Role::ALL.into_iter().filter(|_| target.role != ABSENT);
        for wanted in roles {
            // What goes with an affiliation goes with the affiliation only.
            let is_kept = target.affiliation >= Admin && wanted < target.role && wanted != ABSENT;
            let change = owner.change(target, wanted, false);
            assert_eq!(change.is_ok(), !is_kept, "{target:?} {wanted:?}");
        }
    }
}

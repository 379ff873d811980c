//! XEP-0077: In-Band Registration, what a user does after login: change the password, leave.
//!
//! Making an account happens before there is a session: see `shard::login`.

use std::sync::Arc;

use couplet_proto::link::frame::Password;
use couplet_proto::xmpp::error::{Condition, StanzaError};
use couplet_proto::xmpp::ns;
use couplet_proto::{Element, Jid};

use crate::hooks::{Answer, Ask, Asked, Ctx, Feature, Iq, Reply, Spec, Target, get, set};
use crate::route::lifecycle;
use crate::store::CREDENTIALS;

/// Whether a new password is being prepared: it takes milliseconds of CPU that logins need too.
pub type PerAccount = bool;
/// Nothing is remembered.
pub type PerSession = ();

pub(super) static FEATURE: Feature = Feature {
    name: "register",
    spec: Spec::new("XEP-0077", "In-Band Registration", "2.4")
        .note("new accounts only where the operator allows them"),
    disco: &[ns::REGISTER],
    iq: &[
        (get(Target::Host, ns::REGISTER, "query"), read),
        (set(Target::Host, ns::REGISTER, "query"), write),
        (get(Target::Account, ns::REGISTER, "query"), read),
        (set(Target::Account, ns::REGISTER, "query"), write),
    ],
    ..Feature::EMPTY
};

/// §3.1: who asks here is registered already.
fn read(ctx: &mut Ctx<'_>, iq: &Iq<'_>) -> Result<Reply, StanzaError> {
    admit(ctx, iq)?;
    let username = ctx.account.jid.local().unwrap_or_default();
    let query = Element::new("query", ns::REGISTER)
        .child(Element::new("registered", ns::REGISTER))
        .text_child("username", username)
        .child(Element::new("password", ns::REGISTER))
        .text_child("instructions", "Choose a new password.");
    Ok(Reply::Payload(query))
}

fn write(ctx: &mut Ctx<'_>, iq: &Iq<'_>) -> Result<Reply, StanzaError> {
    admit(ctx, iq)?;
    let query = iq.element();
    if query.find_own("remove").is_some() {
        // §3.2: it must stand alone.
        return match query.children().count() {
            1 => remove(ctx, iq),
            _ => Err(Condition::BadRequest.into()),
        };
    }
    let (Some(username), Some(password)) = (query.find_own("username"), query.find_own("password"))
    else {
        return Err(Condition::BadRequest.into());
    };
    let domain = ctx.account.jid.domain();
    let named = Jid::from_parts(Some(username.content().trim()), domain, None);
    if named.as_ref() != Ok(&ctx.account.jid) {
        // §3.1.1: a second account is not for who has one.
        let text = "this is not your username";
        return Err(StanzaError::from(Condition::NotAcceptable).with_text(text));
    }
    if std::mem::replace(&mut ctx.account.slots.register, true) {
        let text = "the password is being changed already";
        return Err(StanzaError::from(Condition::ResourceConstraint).with_text(text));
    }
    let password = Password(password.content().into());
    Ok(ctx.ask(Ask::Derive(password), Some(iq.stanza), changed))
}

/// §3.3: the keys of the new password are there. The sessions stay.
fn changed(ctx: &mut Ctx<'_>, answer: Answer, _: &Asked) -> Result<Reply, StanzaError> {
    ctx.account.slots.register = false;
    let Answer::Derived(Some(credentials)) = answer else {
        let text = "the password is empty or has characters that are not allowed";
        return Err(StanzaError::from(Condition::NotAcceptable).with_text(text));
    };
    if !ctx.account.exists() {
        // Removed meanwhile: it must not come back.
        return Err(Condition::ServiceUnavailable.into());
    }
    ctx.put(CREDENTIALS, "", credentials.encode());
    ctx.account.credentials = Some(credentials);
    tracing::info!(account = %ctx.account.jid, "password changed in-band");
    Ok(Reply::Empty)
}

/// §3.2: the account goes. The answer leaves before its stream is closed.
fn remove(ctx: &mut Ctx<'_>, iq: &Iq<'_>) -> Result<Reply, StanzaError> {
    let session = ctx.account.session_of(iq.from());
    let answer = Arc::new(iq.stanza.result(None));
    tracing::info!(account = %ctx.account.jid, "account removed in-band");
    lifecycle::remove_account(ctx, session.map(|session| (session, answer)));
    Ok(Reply::Later)
}

/// Accounts of other domains are not this sender's to change.
fn admit(ctx: &Ctx<'_>, iq: &Iq<'_>) -> Result<(), StanzaError> {
    let to = iq.stanza.to.as_ref();
    match to.is_none_or(|to| to.domain() == ctx.account.jid.domain()) {
        true => Ok(()),
        false => Err(Condition::RegistrationRequired.into()),
    }
}

#[cfg(test)]
mod tests {
    use crate::shard::rig::{PASSWORD, Rig};

    fn set(content: &str) -> String {
        let query = format!("<query xmlns='jabber:iq:register'>{content}</query>");
        format!("<iq type='set' id='g' to='x'>{query}</iq>")
    }

    #[test]
    fn a_password_is_changed_by_its_owner() {
        let mut rig = Rig::new(1, &["romeo@x"]);
        let mut romeo = rig.online("romeo@x/r");
        let get = "<iq type='get' id='g'><query xmlns='jabber:iq:register'/></iq>";
        let form = rig.ask(&mut romeo, get);
        assert!(
            form.contains("<registered/><username>romeo</username>"),
            "{form}"
        );
        let change = |name: &str, password: &str| {
            set(&format!(
                "<username>{name}</username><password>{password}</password>"
            ))
        };
        let refused = [
            (set("<password>new</password>"), "bad-request"),
            (set("<remove/><username>romeo</username>"), "bad-request"),
            (change("juliet", "new"), "not-acceptable"),
            (change("romeo", ""), "not-acceptable"),
        ];
        for (request, condition) in refused {
            let answer = rig.ask(&mut romeo, &request);
            assert!(
                answer.contains(&format!("<{condition} ")),
                "{request}: {answer}"
            );
        }
        assert!(rig.try_login("romeo@x/s").is_ok());
        assert!(
            rig.ask(&mut romeo, &change("Romeo", "new"))
                .contains("'result'")
        );
        assert!(rig.try_login("romeo@x/s").is_err());
        assert!(
            rig.ask(&mut romeo, &change("romeo", PASSWORD))
                .contains("'result'")
        );
        assert!(rig.try_login("romeo@x/s").is_ok());
    }
}

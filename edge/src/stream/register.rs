//! XEP-0077 before authentication: a stranger asks for an account (§3.1, §3.1.1).
//!
//! The form is ours to hand out; the account is the origin's to make.

use std::sync::Arc;

use couplet_proto::link::frame::{Password, Register, ToOrigin};
use couplet_proto::xmpp::error::{Condition, StanzaError};
use couplet_proto::xmpp::form::{Form, Submitted};
use couplet_proto::xmpp::ns;
use couplet_proto::{Element, Jid, Kind, Stanza, Type};

use super::event::Action;
use super::negotiation::{Negotiation, Step};
use super::{Next, Outcome, Reply};

const INSTRUCTIONS: &str = "Choose a username and password for use with this service.";

/// Whether a stanza before authentication is about registering with this host.
pub(super) fn is_for_us(negotiation: &Negotiation, stanza: &Stanza) -> bool {
    let is_to_host = stanza.to.is_none() || stanza.to == negotiation.domain;
    stanza.kind == Kind::Iq
        && stanza.is_request()
        && is_to_host
        && stanza.payload.children().len() == 1
        && stanza.payload.find("query", ns::REGISTER).is_some()
}

/// Answers the request, or sends it to the slot of the account asked for.
pub(super) fn request(
    negotiation: &mut Negotiation,
    stanza: &Stanza,
    reply: &mut Reply<'_>,
) -> Outcome {
    let result = match stanza.type_ {
        _ if !reply.setup.registration_open => Err(Condition::ServiceUnavailable.into()),
        Type::Get => {
            reply.stanza(&stanza.result(Some(&form())));
            Ok(())
        }
        _ => submit(negotiation, stanza, reply),
    };
    if let Err(error) = result {
        reply.stanza(&stanza.error(&error));
        reply.actions.push(Action::Answered(error.condition));
    }
    Ok(Next::Stay)
}

fn submit(
    negotiation: &mut Negotiation,
    stanza: &Stanza,
    reply: &mut Reply<'_>,
) -> Result<(), StanzaError> {
    let query = stanza.payload.find("query", ns::REGISTER);
    let query = query.ok_or(Condition::BadRequest)?.element();
    if query.find_own("remove").is_some() {
        // §3.2: there is no account to remove where nobody is logged in.
        return Err(Condition::UnexpectedRequest.into());
    }
    let domain = negotiation.domain.as_ref();
    let domain = domain.ok_or(Condition::InternalServerError)?;
    let (username, password) = fields(&query);
    if username.is_empty() || password.is_empty() {
        let error = StanzaError::from(Condition::NotAcceptable);
        return Err(error.with_text("both username and password are needed"));
    }
    let account = Jid::from_parts(Some(&username), domain.as_str(), None).map_err(|_| {
        StanzaError::from(Condition::NotAcceptable).with_text("this cannot be a username")
    })?;
    let mut request = Stanza::new(stanza.kind, stanza.type_);
    request.id.clone_from(&stanza.id);
    request.to.clone_from(&stanza.to);
    let register = Register {
        account: account.clone(),
        password: Password(password.into()),
        peer: Some(negotiation.peer),
        request: Arc::new(request),
    };
    reply.up(
        &account,
        ToOrigin::Register(reply.connection, Box::new(register)),
    );
    negotiation.step = Step::Registering;
    Ok(())
}

/// Username and password, from the form where one is submitted, else from the legacy fields.
fn fields(query: &Element) -> (String, String) {
    let submitted = Submitted::in_child_of(query);
    let field = |name: &str| match &submitted {
        Some(form) => form.value(name).unwrap_or_default().to_owned(),
        None => query
            .find_own(name)
            .map(Element::content)
            .unwrap_or_default(),
    };
    (field("username"), field("password"))
}

/// §3.1 and §4: the legacy fields, and the same as a form.
fn form() -> Element {
    let form = Form::to_fill_in(ns::REGISTER, "Registration", INSTRUCTIONS)
        .required("username", "text-single", "Username")
        .required("password", "text-private", "Password");
    Element::new("query", ns::REGISTER)
        .text_child("instructions", INSTRUCTIONS)
        .child(Element::new("username", ns::REGISTER))
        .child(Element::new("password", ns::REGISTER))
        .child(form.into_element())
}

//! Wanted: what a query asks for (§4): a form, and a page.

use couplet_proto::xmpp::error::{Condition, StanzaError};
use couplet_proto::xmpp::form::{Form, Submitted};
use couplet_proto::xmpp::rsm::{Place, Wanted};
use couplet_proto::xmpp::{ns, time};
use couplet_proto::{Element, Jid};

use super::read_id;
use crate::store::{LogId, Span};

/// Messages in one page.
const PAGE_MAX: usize = 100;

/// Messages that may be asked for by their ids at once; more get `policy-violation`.
const IDS_MAX: usize = PAGE_MAX;

/// The fields of a query (§4.1).
const FIELDS: &[&str] = &["with", "start", "end", "before-id", "after-id", "ids"];

/// What a query asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Query {
    /// By which the client knows the results.
    pub(super) id: Option<String>,
    /// Where the results are, and from which end they are taken.
    pub(super) span: Span,
    /// These alone.
    pub(super) ids: Option<Vec<LogId>>,
    /// What it names as known: without one of them there is no answer.
    pub(super) known: Vec<LogId>,
    /// From whom.
    pub(super) with: Option<Jid>,
    /// At most so many.
    pub(super) max: usize,
    /// §4.3.4: the last comes first.
    pub(super) is_flipped: bool,
    /// How often the archive was looked through without a result; from ourselves.
    pub(super) scans: u32,
}

// === impl Query ===

impl Query {
    /// Reads a query.
    pub(super) fn read(query: &Element) -> Result<Self, StanzaError> {
        // §6.1.3: for the nodes of other archives.
        if query.get("node").is_some() {
            return Err(Condition::ItemNotFound.into());
        }
        let wanted = Wanted::read(query).map_err(|_| Condition::BadRequest)?;
        let mut read = Self {
            id: query.get("queryid").map(str::to_owned),
            span: Span::ALL,
            ids: None,
            known: Vec::new(),
            with: None,
            max: wanted.max.unwrap_or(PAGE_MAX).min(PAGE_MAX),
            is_flipped: query.find("flip-page", ns::MAM).is_some(),
            scans: query
                .get("scan")
                .and_then(|scan| scan.parse().ok())
                .unwrap_or(0),
        };
        if query.find("x", ns::DATA_FORMS).is_some() {
            let form = Submitted::in_child_of(query).ok_or(Condition::BadRequest)?;
            read.filter(&form)?;
        }
        match &wanted.place {
            Place::First => {}
            Place::Last => read.span.is_backwards = true,
            Place::After(id) => read.begin_after(id)?,
            Place::Before(id) => {
                read.end_before(id)?;
                read.span.is_backwards = true;
            }
            // XEP-0059 §2.6: nobody counts an archive.
            Place::Index(_) => return Err(Condition::FeatureNotImplemented.into()),
        }
        Ok(read)
    }

    /// §4.1: the fields of the form.
    fn filter(&mut self, form: &Submitted) -> Result<(), StanzaError> {
        if form.value("FORM_TYPE") != Some(ns::MAM) {
            return Err(Condition::BadRequest.into());
        }
        let is_known = |name: &str| name == "FORM_TYPE" || FIELDS.contains(&name);
        if !form.names().all(is_known) {
            return Err(Condition::FeatureNotImplemented.into());
        }
        if let Some(with) = form.value("with") {
            self.with = Some(Jid::parse(with).map_err(|_| Condition::JidMalformed)?);
        }
        if let Some(start) = form.value("start") {
            let start = time::parse(start).ok_or(Condition::BadRequest)?;
            let before = start.checked_sub(1).map(|millis| LogId {
                millis,
                count: u32::MAX,
            });
            self.span.after = self.span.after.max(before);
        }
        if let Some(end) = form.value("end") {
            let end = time::parse(end).ok_or(Condition::BadRequest)?;
            let millis = end.saturating_add(1);
            self.narrow(LogId { millis, count: 0 });
        }
        if let Some(id) = form.value("after-id") {
            self.begin_after(id)?;
        }
        if let Some(id) = form.value("before-id") {
            self.end_before(id)?;
        }
        if let Some(ids) = form.values("ids") {
            if ids.len() > IDS_MAX {
                return Err(Condition::PolicyViolation.into());
            }
            let ids = ids.iter().map(|id| known(id));
            let mut ids: Vec<LogId> = ids.collect::<Result<_, _>>()?;
            ids.sort_unstable();
            ids.dedup();
            self.known.extend(&ids);
            self.ids = Some(ids);
        }
        Ok(())
    }

    fn begin_after(&mut self, id: &str) -> Result<(), StanzaError> {
        let id = known(id)?;
        self.known.push(id);
        self.span.after = self.span.after.max(Some(id));
        Ok(())
    }

    fn end_before(&mut self, id: &str) -> Result<(), StanzaError> {
        let id = known(id)?;
        self.known.push(id);
        self.narrow(id);
        Ok(())
    }

    fn narrow(&mut self, before: LogId) {
        let former = self.span.before;
        self.span.before = Some(former.map_or(before, |former| former.min(before)));
    }
}

/// What is no id of ours is not in the archive either.
fn known(id: &str) -> Result<LogId, StanzaError> {
    read_id(id).ok_or_else(|| Condition::ItemNotFound.into())
}

/// §4.1.5: the form of a query.
pub(super) fn form() -> Element {
    let form = Form::of_fields(ns::MAM)
        .typed_field("with", "jid-single", [])
        .typed_field("start", "text-single", [])
        .typed_field("end", "text-single", [])
        .typed_field("before-id", "text-single", [])
        .typed_field("after-id", "text-single", []);
    // XEP-0122: any values will do.
    let open = Element::new("open", ns::DATA_VALIDATION);
    let validate = Element::new("validate", ns::DATA_VALIDATION)
        .attr("datatype", "xs:string")
        .child(open);
    let ids = Element::new("field", ns::DATA_FORMS)
        .attr("var", "ids")
        .attr("type", "list-multi")
        .child(validate);
    Element::new("query", ns::MAM).child(form.into_element().child(ids))
}

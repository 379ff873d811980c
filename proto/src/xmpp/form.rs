//! XEP-0004: data forms, as far as a server writes and reads them.

use super::element::Element;
use super::ns;

/// A form under construction.
#[derive(Debug, Clone)]
pub struct Form(Element);

/// A field of a form under construction. Its parts come in the order of the specification.
#[derive(Debug, Clone)]
pub struct Field(Element);

/// The fields of a submitted form.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Submitted(Vec<(String, Vec<String>)>);

// === impl Form ===

impl Form {
    /// A form of type `result` for the registered `FORM_TYPE` (XEP-0068).
    pub fn result(form_type: &str) -> Self {
        Self::of_type("result").typed_field("FORM_TYPE", "hidden", [form_type])
    }

    /// A form to fill in, for the registered `FORM_TYPE`.
    pub fn to_fill_in(form_type: &str, title: &str, instructions: &str) -> Self {
        let form = Self::of_type("form");
        let element = form
            .0
            .text_child("title", title)
            .text_child("instructions", instructions);
        Self(element).typed_field("FORM_TYPE", "hidden", [form_type])
    }

    /// A form to fill in that speaks for itself, for the registered `FORM_TYPE`.
    pub fn of_fields(form_type: &str) -> Self {
        Self::of_type("form").typed_field("FORM_TYPE", "hidden", [form_type])
    }

    /// With a field that has these values and no type.
    #[must_use]
    pub fn field<'a>(self, var: &str, values: impl IntoIterator<Item = &'a str>) -> Self {
        let field = Element::new("field", ns::DATA_FORMS).attr("var", var);
        Self(self.0.child(with_values(field, values)))
    }

    /// With a field of this type.
    #[must_use]
    pub fn typed_field<'a>(
        self,
        var: &str,
        type_: &str,
        values: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let field = Element::new("field", ns::DATA_FORMS)
            .attr("var", var)
            .attr("type", type_);
        Self(self.0.child(with_values(field, values)))
    }

    /// With a field that must be filled in.
    #[must_use]
    pub fn required(self, var: &str, type_: &str, label: &str) -> Self {
        let field = Element::new("field", ns::DATA_FORMS)
            .attr("var", var)
            .attr("type", type_)
            .attr("label", label)
            .child(Element::new("required", ns::DATA_FORMS));
        Self(self.0.child(field))
    }

    /// With this field.
    #[must_use]
    pub fn with(self, field: Field) -> Self {
        Self(self.0.child(field.0))
    }

    /// The form as an element.
    pub fn into_element(self) -> Element {
        self.0
    }

    fn of_type(type_: &str) -> Self {
        Self(Element::new("x", ns::DATA_FORMS).attr("type", type_))
    }
}

// === impl Field ===

impl Field {
    /// A field for people.
    pub fn new(var: &str, type_: &str, label: &str) -> Self {
        let field = Element::new("field", ns::DATA_FORMS)
            .attr("var", var)
            .attr("type", type_);
        Self(field.attr("label", label))
    }

    /// With a longer explanation.
    #[must_use]
    pub fn described(self, text: &str) -> Self {
        Self(self.0.text_child("desc", text))
    }

    /// It must be filled in.
    #[must_use]
    pub fn required(self) -> Self {
        Self(self.0.child(Element::new("required", ns::DATA_FORMS)))
    }

    /// XEP-0122 §3.3: only whole numbers in this range.
    #[must_use]
    pub fn within(self, least: u64, most: u64) -> Self {
        let range = Element::new("range", ns::DATA_VALIDATION)
            .attr("min", least.to_string())
            .attr("max", most.to_string());
        let validate = Element::new("validate", ns::DATA_VALIDATION).attr("datatype", "xs:integer");
        Self(self.0.child(validate.child(range)))
    }

    /// With these values.
    #[must_use]
    pub fn values<'a>(self, values: impl IntoIterator<Item = &'a str>) -> Self {
        Self(with_values(self.0, values))
    }

    /// With something to choose.
    #[must_use]
    pub fn option(self, label: &str, value: &str) -> Self {
        let option = Element::new("option", ns::DATA_FORMS).attr("label", label);
        Self(self.0.child(option.text_child("value", value)))
    }
}

// === impl Submitted ===

impl Submitted {
    /// The submitted form among the children of `parent`.
    pub fn in_child_of(parent: &Element) -> Option<Self> {
        let form = parent.find("x", ns::DATA_FORMS)?;
        if form.get("type") != Some("submit") {
            return None;
        }
        let fields = form.children().filter(|child| child.name() == "field");
        let fields = fields.filter_map(|field| {
            let values = field.children().filter(|child| child.name() == "value");
            Some((
                field.get("var")?.to_owned(),
                values.map(Element::content).collect(),
            ))
        });
        Some(Self(fields.collect()))
    }

    /// Every field with its values, in order.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &[String])> {
        let fields = self.0.iter();
        fields.map(|(var, values)| (var.as_str(), values.as_slice()))
    }

    /// The names of its fields.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// The values of a field.
    pub fn values(&self, var: &str) -> Option<&[String]> {
        let found = self.0.iter().find(|(known, _)| known == var);
        found.map(|(_, values)| values.as_slice())
    }

    /// The first value of a field.
    pub fn value(&self, var: &str) -> Option<&str> {
        self.values(var)?.first().map(String::as_str)
    }
}

fn with_values<'a>(field: Element, values: impl IntoIterator<Item = &'a str>) -> Element {
    values
        .into_iter()
        .fold(field, |field, value| field.text_child("value", value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_submitted_form_is_read() {
        let form = Element::new("x", ns::DATA_FORMS)
            .attr("type", "submit")
            .child(
                Element::new("field", ns::DATA_FORMS)
                    .attr("var", "username")
                    .text_child("value", "juliet"),
            );
        let query = Element::new("query", ns::REGISTER).child(form);
        let submitted = Submitted::in_child_of(&query).expect("submitted");
        assert_eq!(submitted.value("username"), Some("juliet"));
        assert_eq!(submitted.value("password"), None);
    }
}

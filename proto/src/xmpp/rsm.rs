//! XEP-0059: result set management: which part of a list is wanted, and which part was given.

use std::ops::Range;

use super::element::Element;
use super::ns;

/// Which part of a list somebody wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// At most so many; `None` leaves it to whoever answers.
    pub max: Option<usize>,
    /// Where it is.
    pub place: Place,
}

/// Where the wanted part of a list is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Place {
    /// At the beginning.
    #[default]
    First,
    /// Behind the item with this id.
    After(String),
    /// Right before the item with this id.
    Before(String),
    /// At the end.
    Last,
    /// From the item with this number on, counted from 0.
    Index(usize),
}

/// The part of a list that was given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Given {
    /// The ids of its first and last items; `None` when it is empty.
    pub ends: Option<(String, String)>,
    /// The number of the first item, counted from 0, where that is known.
    pub index: Option<usize>,
    /// How many items the whole list has, where that is known.
    pub count: Option<usize>,
}

/// What was asked makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no part of a list can be wanted like this")]
pub struct Malformed;

// === impl Wanted ===

impl Wanted {
    /// What a request with this child, if it has one, wants.
    ///
    /// # Errors
    /// When a number is none, or when it is to lie at two places: §2 does not say what that means.
    pub fn read(request: &Element) -> Result<Self, Malformed> {
        let Some(set) = request.find("set", ns::RSM) else {
            return Ok(Self::default());
        };
        let number = |name| match set.find_own(name) {
            None => Ok(None),
            Some(number) => number.content().trim().parse().map(Some),
        };
        let max = number("max").map_err(|_| Malformed)?;
        let index = number("index").map_err(|_| Malformed)?;
        let id = |name| set.find_own(name).map(Element::content);
        let place = match (id("after"), id("before"), index) {
            (None, None, None) => Place::First,
            (Some(after), None, None) if after.is_empty() => Place::First,
            (Some(after), None, None) => Place::After(after),
            (None, Some(before), None) if before.is_empty() => Place::Last,
            (None, Some(before), None) => Place::Before(before),
            (None, None, Some(index)) => Place::Index(index),
            _ => return Err(Malformed),
        };
        Ok(Self { max, place })
    }

    /// Which items of a list are wanted, whose ids are in order; at most `max`. An item that is not
    /// there any more stands where it would be.
    pub fn choose(&self, ids: &[impl AsRef<str>], max: usize) -> Range<usize> {
        let max = self.max.map_or(max, |wanted| wanted.min(max));
        let forwards = |start: usize| start..start.saturating_add(max).min(ids.len());
        let backwards = |end: usize| end.saturating_sub(max)..end;
        match &self.place {
            Place::First => forwards(0),
            Place::After(after) => {
                forwards(ids.partition_point(|id| id.as_ref() <= after.as_str()))
            }
            Place::Before(before) => {
                backwards(ids.partition_point(|id| id.as_ref() < before.as_str()))
            }
            Place::Last => backwards(ids.len()),
            Place::Index(index) => forwards((*index).min(ids.len())),
        }
    }
}

// === impl Given ===

impl Given {
    /// A part of a list with these ids.
    pub fn of(ids: &[impl AsRef<str>], part: &Range<usize>) -> Self {
        let given = ids.get(part.clone()).unwrap_or_default();
        let ends = given.first().zip(given.last());
        Self {
            ends: ends.map(|(first, last)| (first.as_ref().to_owned(), last.as_ref().to_owned())),
            index: ends.map(|_| part.start),
            count: Some(ids.len()),
        }
    }

    /// As the answer says it (§2.2).
    pub fn to_element(&self) -> Element {
        let mut set = Element::new("set", ns::RSM);
        if let Some((first, last)) = &self.ends {
            let index = self.index.map(|index| index.to_string());
            let first = Element::new("first", ns::RSM)
                .attr_opt("index", index)
                .text(first.as_str());
            set = set.child(first).text_child("last", last.as_str());
        }
        match self.count {
            Some(count) => set.text_child("count", count.to_string()),
            None => set,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(set: &str) -> Result<Wanted, Malformed> {
        let query = format!(
            "<query xmlns='q'><set xmlns='{}'>{set}</set></query>",
            ns::RSM
        );
        Wanted::read(&Element::parse(&query, ns::CLIENT).expect("well-formed"))
    }

    fn ids() -> Vec<String> {
        ["a", "c", "e", "g"].map(str::to_owned).to_vec()
    }

    #[test]
    fn a_request_is_read() {
        let none = Element::new("query", "q");
        assert_eq!(Wanted::read(&none), Ok(Wanted::default()));
        let cases = [
            ("", None, Place::First),
            ("<max>10</max>", Some(10), Place::First),
            (
                "<max> 0 </max><after>a</after>",
                Some(0),
                Place::After("a".into()),
            ),
            ("<after/>", None, Place::First),
            ("<before/>", None, Place::Last),
            ("<before>a</before>", None, Place::Before("a".into())),
            ("<max>1</max><index>371</index>", Some(1), Place::Index(371)),
        ];
        for (set, max, place) in cases {
            assert_eq!(read(set), Ok(Wanted { max, place }), "{set}");
        }
        for set in [
            "<max>many</max>",
            "<max>-1</max>",
            "<max/>",
            "<index>x</index>",
            "<after>a</after><before>b</before>",
            "<after>a</after><index>1</index>",
        ] {
            assert_eq!(read(set), Err(Malformed), "{set}");
        }
    }

    /// §2.2 to §2.7.
    #[test]
    fn a_part_of_a_list_is_chosen() {
        let cases = [
            (Place::First, 0..2),
            (Place::After("a".into()), 1..3),
            // What was deleted has its place in the order.
            (Place::After("b".into()), 1..3),
            (Place::After("g".into()), 4..4),
            (Place::Before("e".into()), 0..2),
            (Place::Before("g".into()), 1..3),
            (Place::Before("a".into()), 0..0),
            (Place::Last, 2..4),
            (Place::Index(3), 3..4),
            (Place::Index(9), 4..4),
        ];
        for (place, expected) in cases {
            let max = Some(2);
            let wanted = Wanted { max, place };
            assert_eq!(wanted.choose(&ids(), 100), expected, "{wanted:?}");
        }
        // Whoever answers has a bound too.
        assert_eq!(Wanted::default().choose(&ids(), 3), 0..3);
    }

    /// §2.2, §2.6.
    #[test]
    fn an_answer_says_what_part_it_is() {
        let given = Given::of(&ids(), &(1..3)).to_element().to_xml();
        let part = "<first index='1'>c</first><last>e</last><count>4</count></set>";
        assert!(given.ends_with(part), "{given}");
        let empty = Given::of(&ids(), &(4..4)).to_element().to_xml();
        assert!(empty.ends_with("><count>4</count></set>"), "{empty}");
    }
}

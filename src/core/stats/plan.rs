//! What a roll-up measures, worked out once: which fields are read, and what is kept of each, however many measures share it.

use compact_str::{CompactString, ToCompactString};
use thiserror::Error;
use xxhash_rust::xxh3::xxh3_64;

use super::group::MAX_FIELDS;
use super::measure::{Field, Measure, Quantile};

/// The most measures of one roll-up. Each may keep a sketch for every open group.
pub const MAX_MEASURES: usize = 100;
/// The longest name of a measure, in bytes.
pub const MAX_NAME: usize = 100;

/// What a roll-up is grouped by, and what it measures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    group_by: Vec<Field>,
    fields: Vec<(Field, Needs)>,
    outputs: Vec<(CompactString, Output)>,
    fingerprint: u64,
}

/// What is kept of one field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Its numbers' sum, for `sum` and `mean`.
    pub sum: bool,
    /// The least and the greatest, for `min` and `max`.
    pub extremes: bool,
    /// A sketch of its numbers, for quantiles.
    pub sketch: bool,
    /// Its different values, for `distinct`.
    pub distinct: bool,
}

/// Where a measure comes from: the place of a field, and what of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Output {
    Count,
    Sum(usize),
    Min(usize),
    Max(usize),
    Mean(usize),
    Distinct(usize),
    Quantile(usize, Quantile),
}

/// Why names and measures make no roll-up.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PlanError {
    /// A document with nothing measured would say nothing.
    #[error("a roll-up needs at least one measure")]
    NoMeasure,
    /// More than [`MAX_MEASURES`].
    #[error("{0} measures are more than a roll-up may have ({MAX_MEASURES})")]
    ManyMeasures(usize),
    /// More than [`MAX_FIELDS`].
    #[error("{0} fields are more than a roll-up may be grouped by ({MAX_FIELDS})")]
    ManyFields(usize),
    /// The same field twice, or a field within another.
    #[error("grouped by `{0}` and by `{1}`, of which one is the other or a part of it")]
    Overlap(Field, Field),
    /// A name that a document's field cannot have, or that is taken.
    #[error("`{name}` cannot be the name of a measure: {why}")]
    Name {
        /// The name.
        name: CompactString,
        /// Why not.
        why: &'static str,
    },
}

impl Plan {
    /// Works out what is to be kept.
    ///
    /// # Errors
    /// All that is wrong: the names contradict each other, or there are too many.
    pub fn new<'m>(
        group_by: &[Field],
        measures: impl IntoIterator<Item = (&'m str, &'m Measure)>,
    ) -> Result<Self, Vec<PlanError>> {
        let mut wrong = Vec::new();
        if group_by.len() > MAX_FIELDS {
            wrong.push(PlanError::ManyFields(group_by.len()));
        }
        for (place, field) in group_by.iter().enumerate() {
            if let Some(other) = group_by.iter().take(place).find(|other| overlap(field, other)) {
                wrong.push(PlanError::Overlap(other.clone(), field.clone()));
            }
        }
        let mut plan = Self {
            group_by: group_by.to_vec(),
            fields: Vec::new(),
            outputs: Vec::new(),
            fingerprint: 0,
        };
        for (name, measure) in measures {
            if let Some(why) = plan.wrong_name(name) {
                let name = name.chars().take(MAX_NAME).collect();
                wrong.push(PlanError::Name { name, why });
            }
            let output = plan.output(measure);
            plan.outputs.push((name.to_compact_string(), output));
        }
        match plan.outputs.len() {
            0 => wrong.push(PlanError::NoMeasure),
            count if count > MAX_MEASURES => wrong.push(PlanError::ManyMeasures(count)),
            _ => {}
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        plan.fingerprint = plan.take_fingerprint();
        Ok(plan)
    }

    /// The fields that it is grouped by.
    pub fn group_by(&self) -> &[Field] {
        &self.group_by
    }

    /// The fields that are measured, and what is kept of each; the values of a document and partial results come in this order.
    pub fn fields(&self) -> &[(Field, Needs)] {
        &self.fields
    }

    /// The names of the measures, in the order of the configuration.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.outputs.iter().map(|(name, _)| name.as_str())
    }

    /// The same for plans whose states can be merged: those that group by the same fields and keep the same of the same.
    pub const fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// How many values a roll-up has: those that are grouped by, and the measures.
    pub fn values(&self) -> usize {
        self.group_by().len() + self.outputs().len()
    }

    pub(super) fn outputs(&self) -> &[(CompactString, Output)] {
        &self.outputs
    }

    fn wrong_name(&self, name: &str) -> Option<&'static str> {
        if name.is_empty() {
            Some("it is empty")
        } else if name.len() > MAX_NAME {
            Some("it is longer than 100 bytes")
        } else if name.contains('.') || name.starts_with('$') || name.contains(char::is_control) {
            Some("the name of a field holds no dot and no control character, and begins with no `$`")
        } else if matches!(name, "_id" | "bucket") {
            Some("that field is the roll-up's own")
        } else if self.group_by.iter().any(|field| field.path().next() == Some(name)) {
            Some("it is grouped by a field of that name")
        } else if self.outputs.iter().any(|(other, _)| other == name) {
            Some("another has it")
        } else {
            None
        }
    }

    fn output(&mut self, measure: &Measure) -> Output {
        let Some(field) = measure.field() else {
            return Output::Count;
        };
        let at = match self.fields.iter().position(|(known, _)| known == field) {
            Some(at) => at,
            None => {
                self.fields.push((field.clone(), Needs::default()));
                self.fields.len() - 1
            }
        };
        let needs = &mut self.fields[at].1;
        match measure {
            Measure::Count => Output::Count,
            Measure::Sum(_) => {
                needs.sum = true;
                Output::Sum(at)
            }
            Measure::Mean(_) => {
                needs.sum = true;
                Output::Mean(at)
            }
            Measure::Min(_) => {
                needs.extremes = true;
                Output::Min(at)
            }
            Measure::Max(_) => {
                needs.extremes = true;
                Output::Max(at)
            }
            Measure::Distinct(_) => {
                needs.distinct = true;
                Output::Distinct(at)
            }
            Measure::Quantile(_, quantile) => {
                needs.sketch = true;
                Output::Quantile(at, *quantile)
            }
        }
    }

    fn take_fingerprint(&self) -> u64 {
        let mut text = String::new();
        for field in &self.group_by {
            text.push_str(field.as_str());
            text.push('\0');
        }
        for (field, needs) in &self.fields {
            text.push('\0');
            text.push_str(field.as_str());
            let kept = [needs.sum, needs.extremes, needs.sketch, needs.distinct];
            text.extend(kept.map(|kept| if kept { '1' } else { '0' }));
        }
        xxh3_64(text.as_bytes())
    }
}

/// Whether one is the other, or lies within it: a document cannot hold both.
fn overlap(a: &Field, b: &Field) -> bool {
    a.path().zip(b.path()).all(|(a, b)| a == b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(group_by: &[&str], measures: &[(&str, &str)]) -> Result<Plan, String> {
        let group_by: Vec<Field> = group_by.iter().map(|field| field.parse().unwrap()).collect();
        let measures: Vec<(&str, Measure)> = measures
            .iter()
            .map(|(name, text)| (*name, text.parse().unwrap()))
            .collect();
        Plan::new(&group_by, measures.iter().map(|(name, measure)| (*name, measure)))
            .map_err(|wrong| wrong[0].to_string())
    }

    #[test]
    fn measures_of_one_field_share_what_is_kept() {
        let measures = [
            ("n", "count"),
            ("a", "sum(x)"),
            ("b", "mean(x)"),
            ("c", "p50(y)"),
            ("d", "p99(y)"),
            ("e", "distinct(x)"),
        ];
        let plan = plan(&["g", "h.i"], &measures).unwrap();
        let fields: Vec<_> = plan
            .fields()
            .iter()
            .map(|(field, needs)| (field.as_str(), *needs))
            .collect();
        let x = Needs {
            sum: true,
            distinct: true,
            ..Needs::default()
        };
        let y = Needs {
            sketch: true,
            ..Needs::default()
        };
        assert_eq!(fields, [("x", x), ("y", y)]);
        assert!(plan.names().eq(["n", "a", "b", "c", "d", "e"]));
    }

    #[test]
    fn states_fit_where_the_same_is_kept() {
        let print = |group_by: &[&str], measures: &[(&str, &str)]| plan(group_by, measures).unwrap().fingerprint();
        let one = print(&["g"], &[("a", "sum(x)"), ("b", "p50(x)")]);
        assert_eq!(one, print(&["g"], &[("other", "p99(x)"), ("b", "mean(x)")]));
        assert_ne!(one, print(&["g"], &[("a", "sum(x)")]));
        assert_ne!(one, print(&["h"], &[("a", "sum(x)"), ("b", "p50(x)")]));
        assert_ne!(one, print(&["g"], &[("a", "sum(x)"), ("b", "p50(y)")]));
        assert_ne!(print(&["a", "b"], &[("n", "count")]), print(&["a"], &[("n", "count")]));
    }

    #[test]
    fn names_that_contradict_each_other_are_refused() {
        let error = |group_by: &[&str], name: &str| plan(group_by, &[("n", "count"), (name, "sum(x)")]).unwrap_err();
        for (name, says) in [
            ("", "it is empty"),
            ("_id", "the roll-up's own"),
            ("bucket", "the roll-up's own"),
            ("g", "grouped by a field of that name"),
            ("h", "grouped by a field of that name"),
            ("n", "another has it"),
            ("$a", "begins with no `$`"),
            ("a.b", "holds no dot"),
        ] {
            let error = error(&["g", "h.i"], name);
            assert!(error.contains(says), "{name}: {error}");
        }
        assert!(error(&["a.b", "a"], "x").contains("grouped by `a.b` and by `a`"));
        assert!(error(&["a", "a"], "x").contains("grouped by `a` and by `a`"));
        assert!(plan(&["a.b", "a.c", "ab"], &[("n", "count")]).is_ok());
        assert_eq!(plan(&[], &[]).unwrap_err(), "a roll-up needs at least one measure");
        let many: Vec<String> = (0..=MAX_FIELDS).map(|n| format!("f{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(plan(&many, &[("n", "count")]).unwrap_err().contains("17 fields"));
        assert!(error(&[], &"x".repeat(MAX_NAME + 1)).contains("longer than 100 bytes"));
    }
}

//! The state of one group in one bucket: everything that its measures need, folded from documents, or from what a database
//! has worked out of some of them, and merged in any order.
//!
//! A field that is missing or null is not measured; the document counts. A field of a wrong kind, NaN or infinite makes a bad
//! document, and nothing of it is counted.

use super::distinct::{Distinct, hash};
use super::encode::{Damaged, Reader, Writer};
use super::measure::Field;
use super::plan::{Needs, Output, Plan};
use super::sketch::{Bin, Sketch};
use super::sum::Sum;
use super::value::{Bad, HUGE, Number, Value, Why};
use crate::time::Wall;

/// The version of the bytes of a state. Another one is refused, not guessed at.
const VERSION: u8 = 1;

/// The state of one group in one bucket.
#[derive(Clone, Debug)]
pub struct Rollup {
    documents: u64,
    fields: Box<[State]>,
}

/// What is kept of one field.
#[derive(Clone, Debug, Default)]
struct State {
    /// How many numbers there were.
    numbers: u64,
    sum: Sum,
    least: Option<Extreme>,
    greatest: Option<Extreme>,
    sketch: Sketch,
    distinct: Distinct,
}

/// What can be the least or the greatest. Dates are greater than numbers, as in MongoDB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Extreme {
    Number(Number),
    Date(Wall),
}

/// What a database has worked out of one field of some documents of one group.
#[derive(Clone, Debug, Default)]
pub struct Part<'a> {
    /// How many of the documents had a number there. (A database's own sum ignores what is none; it has to be told to count
    /// it, and to leave bad documents out.)
    pub numbers: u64,
    /// Their sum; zero or null where there are none.
    pub sum: Value<'a>,
    /// The least number or date; null where there is none.
    pub min: Value<'a>,
    /// The greatest number or date; null where there is none.
    pub max: Value<'a>,
    /// How many of the numbers fell into which bin, in any order.
    pub bins: &'a [(Bin, u64)],
    /// The different values, each once or more often.
    pub distinct: &'a [Value<'a>],
}

impl Rollup {
    /// Of no documents.
    pub fn new(plan: &Plan) -> Self {
        Self {
            documents: 0,
            fields: plan.fields().iter().map(|_| State::default()).collect(),
        }
    }

    /// How many documents were folded.
    pub const fn documents(&self) -> u64 {
        self.documents
    }

    /// About the bytes that it takes in memory, beside itself.
    pub fn heap(&self) -> usize {
        self.fields.iter().map(|state| size_of::<State>() + state.heap()).sum()
    }

    /// Folds a document: the values of the plan's fields, in their order. One that is missing is null.
    ///
    /// # Errors
    /// One of them cannot be measured; the state is as it was.
    pub fn fold(&mut self, plan: &Plan, values: &[Value<'_>]) -> Result<(), Bad> {
        let value = |place| values.get(place).unwrap_or(&Value::Null);
        for (place, (field, needs)) in plan.fields().iter().enumerate() {
            check(*needs, value(place)).map_err(|why| bad(field, why))?;
        }
        for (place, ((_, needs), state)) in plan.fields().iter().zip(&mut self.fields).enumerate() {
            state.fold(*needs, value(place));
        }
        self.documents = self.documents.saturating_add(1);
        Ok(())
    }

    /// Folds what a database has worked out of so many documents: a part for each of the plan's fields, in their order.
    ///
    /// # Errors
    /// A part contradicts itself or the number of documents; the state is as it was.
    pub fn absorb(&mut self, plan: &Plan, documents: u64, parts: &[Part<'_>]) -> Result<(), Bad> {
        let missing = Part::default();
        let part = |place| parts.get(place).unwrap_or(&missing);
        let mut fresh = Vec::with_capacity(self.fields.len());
        for (place, (field, needs)) in plan.fields().iter().enumerate() {
            fresh.push(State::of(*needs, documents, part(place)).map_err(|why| bad(field, why))?);
        }
        self.merge(&Rollup {
            documents,
            fields: fresh.into(),
        });
        Ok(())
    }

    /// Adds all that another of the same plan has folded.
    pub fn merge(&mut self, other: &Rollup) {
        self.documents = self.documents.saturating_add(other.documents);
        for (mine, theirs) in self.fields.iter_mut().zip(&other.fields) {
            mine.merge(theirs);
        }
    }

    /// The measures, by name, in the order of the plan. A mean, an extreme or a quantile of nothing is null; a sum is zero.
    pub fn finish<'p>(&self, plan: &'p Plan) -> impl Iterator<Item = (&'p str, Value<'static>)> {
        let outputs = plan.outputs().iter();
        outputs.map(|(name, output)| (name.as_str(), self.value(*output)))
    }

    fn value(&self, output: Output) -> Value<'static> {
        let count = |count: u64| Value::Int(i64::try_from(count).unwrap_or(i64::MAX));
        let state = |place: usize| self.fields.get(place);
        match output {
            Output::Count => Some(count(self.documents)),
            Output::Sum(place) => state(place).map(|state| state.sum.value()),
            Output::Mean(place) => state(place)
                .filter(|state| state.numbers > 0)
                .map(|state| Value::Float(state.sum.as_f64() / state.numbers as f64)),
            Output::Min(place) => state(place).and_then(|state| state.least).map(Value::from),
            Output::Max(place) => state(place).and_then(|state| state.greatest).map(Value::from),
            Output::Distinct(place) => state(place).map(|state| count(state.distinct.count())),
            Output::Quantile(place, quantile) => state(place)
                .and_then(|state| state.sketch.quantile(quantile))
                .map(Value::Float),
        }
        .unwrap_or(Value::Null)
    }

    /// Its bytes, for a store: readable with a plan that keeps the same.
    pub fn to_bytes(&self, plan: &Plan) -> Vec<u8> {
        let mut to = Writer::default();
        to.byte(VERSION);
        to.slice(&plan.fingerprint().to_le_bytes());
        to.unsigned(self.documents);
        for ((_, needs), state) in plan.fields().iter().zip(&self.fields) {
            state.write(*needs, &mut to);
        }
        to.finish()
    }

    /// From the bytes of a store.
    ///
    /// # Errors
    /// They are damaged, of another version, or of a plan that keeps something else.
    pub fn from_bytes(plan: &Plan, bytes: &[u8]) -> Result<Self, Damaged> {
        let mut from = Reader::new(bytes);
        if from.byte()? != VERSION {
            return Err(from.damaged("another version"));
        }
        if from.array()? != plan.fingerprint().to_le_bytes() {
            return Err(from.damaged("the state of another plan"));
        }
        let documents = from.unsigned()?;
        let mut fields = Vec::with_capacity(plan.fields().len());
        for (_, needs) in plan.fields() {
            fields.push(State::read(*needs, &mut from)?);
        }
        from.end()?;
        Ok(Self {
            documents,
            fields: fields.into(),
        })
    }
}

impl Extreme {
    fn of(value: &Value<'_>) -> Result<Self, Why> {
        match value {
            Value::Date(at) => Ok(Extreme::Date(*at)),
            Value::Int(_) | Value::Float(_) => value.number().map(Extreme::Number),
            _ => Err(Why::Kind {
                expected: "a number or a date",
                found: value.kind(),
            }),
        }
    }
}

impl From<Extreme> for Value<'static> {
    fn from(extreme: Extreme) -> Self {
        match extreme {
            Extreme::Number(number) => number.into(),
            Extreme::Date(at) => Value::Date(at),
        }
    }
}

/// Whether a value can be measured in all the ways that are asked for.
fn check(needs: Needs, value: &Value<'_>) -> Result<(), Why> {
    if *value == Value::Null {
        return Ok(());
    }
    if needs.sum || needs.sketch {
        value.number()?;
    }
    if needs.extremes {
        Extreme::of(value)?;
    }
    if needs.distinct {
        hash(value)?;
    }
    Ok(())
}

fn bad(field: &Field, why: Why) -> Bad {
    Bad {
        field: field.as_str().into(),
        why,
    }
}

impl State {
    /// Folds a value that was checked.
    fn fold(&mut self, needs: Needs, value: &Value<'_>) {
        if *value == Value::Null {
            return;
        }
        if let Ok(number) = value.number() {
            self.numbers = self.numbers.saturating_add(1);
            if needs.sum {
                self.sum.add(number);
            }
            if needs.sketch {
                self.sketch.add(number.as_f64());
            }
        }
        if needs.extremes
            && let Ok(extreme) = Extreme::of(value)
        {
            self.stretch(Some(extreme), Some(extreme));
        }
        if needs.distinct
            && let Ok(hash) = hash(value)
        {
            self.distinct.add_hash(hash);
        }
    }

    fn heap(&self) -> usize {
        self.sum.heap() + self.sketch.heap() + self.distinct.heap()
    }

    fn stretch(&mut self, least: Option<Extreme>, greatest: Option<Extreme>) {
        self.least = match (self.least, least) {
            (Some(mine), Some(theirs)) => Some(mine.min(theirs)),
            (mine, theirs) => mine.or(theirs),
        };
        self.greatest = self.greatest.max(greatest);
    }

    fn merge(&mut self, other: &State) {
        self.numbers = self.numbers.saturating_add(other.numbers);
        self.sum.merge(&other.sum);
        self.stretch(other.least, other.greatest);
        self.sketch.merge(&other.sketch);
        self.distinct.merge(&other.distinct);
    }

    /// From what a database has worked out.
    fn of(needs: Needs, documents: u64, part: &Part<'_>) -> Result<Self, Why> {
        let mut state = State {
            numbers: part.numbers,
            ..State::default()
        };
        if part.numbers > documents {
            return Err(Why::Contradiction("more numbers than documents"));
        }
        if needs.sum {
            state.sum = part_sum(part)?;
        }
        if needs.extremes {
            let extreme = |value: &Value<'_>| match value {
                Value::Null => Ok(None),
                value => Extreme::of(value).map(Some),
            };
            state.stretch(extreme(&part.min)?, extreme(&part.max)?);
            let (least, greatest) = (state.least, state.greatest);
            if least.is_some() != greatest.is_some() || least > greatest {
                return Err(Why::Contradiction("a minimum without its maximum, or above it"));
            }
        }
        if needs.sketch {
            part.bins
                .iter()
                .for_each(|(bin, count)| state.sketch.add_bin(*bin, *count));
            if state.sketch.count() != part.numbers {
                return Err(Why::Contradiction("more or fewer numbers in bins than in all"));
            }
        }
        if needs.distinct {
            for value in part.distinct.iter().filter(|value| **value != Value::Null) {
                state.distinct.add(value)?;
            }
        }
        Ok(state)
    }

    fn write(&self, needs: Needs, to: &mut Writer) {
        to.unsigned(self.numbers);
        if needs.sum {
            self.sum.write(to);
        }
        if needs.extremes {
            for extreme in [self.least, self.greatest] {
                match extreme {
                    None => to.byte(0),
                    Some(Extreme::Number(Number::Int(whole))) => {
                        to.byte(1);
                        to.signed(i128::from(whole));
                    }
                    Some(Extreme::Number(Number::Float(float))) => {
                        to.byte(2);
                        to.float(float);
                    }
                    Some(Extreme::Date(at)) => {
                        to.byte(3);
                        to.signed(i128::from(at.as_micros()));
                    }
                }
            }
        }
        if needs.sketch {
            self.sketch.write(to);
        }
        if needs.distinct {
            self.distinct.write(to);
        }
    }

    fn read(needs: Needs, from: &mut Reader<'_>) -> Result<Self, Damaged> {
        let mut state = State {
            numbers: from.unsigned()?,
            ..State::default()
        };
        if needs.sum {
            state.sum = Sum::read(from)?;
        }
        if needs.extremes {
            state.least = read_extreme(from)?;
            state.greatest = read_extreme(from)?;
        }
        if needs.sketch {
            state.sketch = Sketch::read(from)?;
        }
        if needs.distinct {
            state.distinct = Distinct::read(from)?;
        }
        Ok(state)
    }
}

/// A sum that a database has made: of floats it may be beyond what one number may be.
fn part_sum(part: &Part<'_>) -> Result<Sum, Why> {
    let mut sum = Sum::default();
    match part.sum {
        Value::Null if part.numbers == 0 => {}
        Value::Float(float) if float.is_finite() && float.abs() <= HUGE * part.numbers as f64 => {
            sum.add(Number::Float(float + 0.0));
        }
        Value::Float(float) => {
            return Err(Number::float(float)
                .err()
                .unwrap_or(Why::Contradiction("a sum of nothing that is something")));
        }
        Value::Int(0) => {}
        Value::Int(whole) if part.numbers > 0 => sum.add(Number::Int(whole)),
        Value::Int(_) => return Err(Why::Contradiction("a sum of nothing that is something")),
        ref other => {
            return Err(Why::Kind {
                expected: "a number",
                found: other.kind(),
            });
        }
    }
    Ok(sum)
}

fn read_extreme(from: &mut Reader<'_>) -> Result<Option<Extreme>, Damaged> {
    let kind = from.byte()?;
    let small = |from: &mut Reader<'_>| {
        let number = from.signed()?;
        i64::try_from(number).map_err(|_| from.damaged("a number that does not fit"))
    };
    Ok(match kind {
        0 => None,
        1 => Some(Extreme::Number(Number::Int(small(from)?))),
        2 => {
            let float = Number::float(from.float()?);
            Some(Extreme::Number(float.map_err(|_| from.damaged("an extreme"))?))
        }
        3 => Some(Extreme::Date(Wall::from_micros(small(from)?))),
        _ => return Err(from.damaged("an extreme of no kind")),
    })
}

#[cfg(test)]
mod tests;

use super::*;
use crate::stats::measure::{Field, Measure};
use proptest::prelude::*;

fn plan(measures: &[(&str, &str)]) -> Plan {
    let fields: [Field; 1] = ["g".parse().unwrap()];
    let measures: Vec<(&str, Measure)> = measures
        .iter()
        .map(|(name, text)| (*name, text.parse().unwrap()))
        .collect();
    Plan::new(&fields, measures.iter().map(|(name, measure)| (*name, measure))).unwrap()
}

fn all() -> Plan {
    plan(&[
        ("n", "count"),
        ("sum", "sum(x)"),
        ("mean", "mean(x)"),
        ("min", "min(x)"),
        ("max", "max(x)"),
        ("p50", "p50(x)"),
        ("p99", "p99(x)"),
        ("people", "distinct(y)"),
        ("first", "min(t)"),
        ("last", "max(t)"),
    ])
}

fn fold(plan: &Plan, documents: &[[Value<'static>; 3]]) -> Rollup {
    let mut rollup = Rollup::new(plan);
    for document in documents {
        rollup.fold(plan, document).unwrap();
    }
    rollup
}

fn results(plan: &Plan, rollup: &Rollup) -> Vec<(String, Value<'static>)> {
    rollup
        .finish(plan)
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn named(plan: &Plan, rollup: &Rollup, name: &str) -> Value<'static> {
    rollup.finish(plan).find(|(other, _)| *other == name).unwrap().1
}

fn date(secs: i64) -> Value<'static> {
    Value::Date(Wall::from_micros(secs * 1_000_000))
}

#[test]
fn what_is_missing_is_not_measured_and_the_document_counts() {
    let plan = all();
    let rollup = fold(
        &plan,
        &[
            [Value::Int(2), Value::text("a"), date(5)],
            [Value::Null, Value::Null, Value::Null],
            [Value::Float(4.0), Value::text("a"), date(3)],
        ],
    );
    let mut short = rollup.clone();
    short.fold(&plan, &[]).unwrap();
    assert_eq!(named(&plan, &short, "n"), Value::Int(4));
    let about = |value: Value<'_>, expected: f64| {
        let Value::Float(value) = value else {
            panic!("{value:?}");
        };
        assert!((value - expected).abs() <= 0.01 * expected, "{value}");
    };
    about(named(&plan, &rollup, "p50"), 2.0);
    about(named(&plan, &rollup, "p99"), 2.0);
    let exact: Vec<_> = results(&plan, &rollup)
        .into_iter()
        .filter(|(name, _)| !name.starts_with('p'))
        .collect();
    let expected = [
        ("n", Value::Int(3)),
        ("sum", Value::Float(6.0)),
        ("mean", Value::Float(3.0)),
        ("min", Value::Int(2)),
        ("max", Value::Float(4.0)),
        ("first", date(3)),
        ("last", date(5)),
    ];
    assert_eq!(exact, expected.map(|(name, value)| (name.to_owned(), value)));
    assert_eq!(named(&plan, &rollup, "people"), Value::Int(1));
}

#[test]
fn nothing_measured_is_null_and_sums_to_zero() {
    let plan = all();
    let values: Vec<_> = results(&plan, &Rollup::new(&plan))
        .into_iter()
        .map(|(_, value)| value)
        .collect();
    let (zero, null) = (Value::Int(0), Value::Null);
    let expected = [&zero, &zero, &null, &null, &null, &null, &null, &zero, &null, &null];
    assert!(values.iter().eq(expected));
}

#[test]
fn nothing_of_a_bad_document_is_counted() {
    let plan = all();
    let mut rollup = fold(&plan, &[[Value::Int(1), Value::Int(1), date(1)]]);
    let before = results(&plan, &rollup);
    let cases: [([Value<'static>; 3], &str); 8] = [
        (
            [Value::text("7"), Value::Null, Value::Null],
            "field `x`: expected a number, found a text",
        ),
        (
            [Value::Bool(true), Value::Null, Value::Null],
            "field `x`: expected a number, found a truth value",
        ),
        (
            [date(1), Value::Null, Value::Null],
            "field `x`: expected a number, found a date",
        ),
        (
            [Value::Float(f64::NAN), Value::Null, Value::Null],
            "field `x`: not a number (NaN)",
        ),
        (
            [Value::Float(f64::INFINITY), Value::Null, Value::Null],
            "field `x`: infinite",
        ),
        (
            [Value::Float(1e31), Value::Null, Value::Null],
            "field `x`: a number beyond 1e30",
        ),
        // The others of the same document are fine, and come before it.
        (
            [Value::Int(5), Value::Other("a document"), Value::Null],
            "field `y`: expected a scalar, found a document",
        ),
        (
            [Value::Int(5), Value::Int(5), Value::text("now")],
            "field `t`: expected a number or a date, found a text",
        ),
    ];
    for (document, says) in cases {
        assert_eq!(rollup.fold(&plan, &document).unwrap_err().to_string(), says);
        assert_eq!(results(&plan, &rollup), before);
        assert_eq!(rollup.documents(), 1);
    }
}

#[test]
fn what_a_database_worked_out_is_checked() {
    let plan = plan(&[("s", "sum(x)"), ("a", "min(x)"), ("q", "p50(x)"), ("d", "distinct(x)")]);
    let bins = [(Bin::of(2.0), 1), (Bin::of(3.0), 1)];
    let values = [Value::Int(2), Value::Int(3)];
    let good = Part {
        numbers: 2,
        sum: Value::Int(5),
        min: Value::Int(2),
        max: Value::Int(3),
        bins: &bins,
        distinct: &values,
    };
    let mut rollup = Rollup::new(&plan);
    rollup.absorb(&plan, 3, std::slice::from_ref(&good)).unwrap();
    let expected = {
        let mut rollup = Rollup::new(&plan);
        [Value::Int(2), Value::Int(3), Value::Null]
            .into_iter()
            .for_each(|x| rollup.fold(&plan, &[x]).unwrap());
        rollup
    };
    assert_eq!(results(&plan, &rollup), results(&plan, &expected));
    assert_eq!(rollup.to_bytes(&plan), expected.to_bytes(&plan));

    let mut refuse = |documents, part: Part<'_>, says: &str| {
        let error = rollup.absorb(&plan, documents, &[part]).unwrap_err().to_string();
        assert!(error.starts_with("field `x`: ") && error.contains(says), "{error}");
        assert_eq!(results(&plan, &rollup), results(&plan, &expected));
    };
    refuse(1, good.clone(), "more numbers than documents");
    refuse(
        3,
        Part {
            bins: &bins[..1],
            ..good.clone()
        },
        "more or fewer numbers in bins",
    );
    refuse(
        3,
        Part {
            min: Value::Null,
            ..good.clone()
        },
        "a minimum without its maximum",
    );
    refuse(
        3,
        Part {
            min: Value::Int(9),
            ..good.clone()
        },
        "or above it",
    );
    refuse(
        3,
        Part {
            min: Value::text("a"),
            ..good.clone()
        },
        "expected a number or a date",
    );
    refuse(
        3,
        Part {
            sum: Value::Float(f64::NAN),
            ..good.clone()
        },
        "not a number",
    );
    refuse(
        3,
        Part {
            sum: Value::Float(3e30),
            ..good.clone()
        },
        "beyond 1e30",
    );
    refuse(
        3,
        Part {
            sum: Value::Null,
            ..good.clone()
        },
        "expected a number, found null",
    );
    refuse(
        3,
        Part {
            sum: Value::Int(1),
            ..Part::default()
        },
        "a sum of nothing",
    );
    refuse(
        3,
        Part {
            sum: Value::Float(1.0),
            ..Part::default()
        },
        "a sum of nothing",
    );
    let list = [Value::Other("a list")];
    refuse(
        3,
        Part {
            distinct: &list,
            ..good
        },
        "expected a scalar",
    );
    rollup.absorb(&plan, 1, &[]).unwrap();
    assert_eq!(rollup.documents(), 4);
}

#[test]
fn bytes_of_another_plan_or_version_are_refused() {
    let plan = all();
    let rollup = fold(&plan, &[[Value::Int(1), Value::Int(1), date(1)]]);
    let bytes = rollup.to_bytes(&plan);
    let error = |plan: &Plan, bytes: &[u8]| Rollup::from_bytes(plan, bytes).unwrap_err().what;
    assert_eq!(
        error(&self::plan(&[("n", "count")]), &bytes),
        "the state of another plan"
    );
    let mut other = bytes.clone();
    other[0] = 2;
    assert_eq!(error(&plan, &other), "another version");
    assert_eq!(error(&plan, &[&*bytes, &[0]].concat()), "more than a state");
    for end in 0..bytes.len() {
        assert!(Rollup::from_bytes(&plan, &bytes[..end]).is_err(), "cut at {end}");
    }
    assert!(bytes.len() < 80, "{}", bytes.len());
}

fn number() -> impl Strategy<Value = Value<'static>> {
    let measurable = |float: &f64| float.is_finite() && float.abs() <= HUGE;
    prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::Int),
        (-20_i64..20).prop_map(Value::Int),
        (-20_i32..20).prop_map(|n| Value::Float(f64::from(n) / 4.0)),
        any::<f64>()
            .prop_filter("measurable", measurable)
            .prop_map(Value::Float),
    ]
}

fn document() -> impl Strategy<Value = [Value<'static>; 3]> {
    let person = prop_oneof![
        Just(Value::Null),
        (0_i64..1_500).prop_map(Value::Int),
        "[a-c]{1,2}".prop_map(|text| Value::Text(text.into()))
    ];
    let time = prop_oneof![
        any::<i64>().prop_map(|micros| Value::Date(Wall::from_micros(micros))),
        number()
    ];
    (number(), person, time).prop_map(|(x, y, t)| [x, y, t])
}

fn documents() -> impl Strategy<Value = Vec<[Value<'static>; 3]>> {
    prop::collection::vec(document(), 0..40)
}

proptest! {
    #![proptest_config(crate::property::cases(200))]

    #[test]
    fn merging_is_folding_in_any_order(a in documents(), b in documents(), c in documents()) {
        let plan = all();
        let together = fold(&plan, &[a.clone(), b.clone(), c.clone()].concat());
        let (a, b, c) = (fold(&plan, &a), fold(&plan, &b), fold(&plan, &c));
        let merge = |first: &Rollup, second: &Rollup| {
            let mut merged = first.clone();
            merged.merge(second);
            merged
        };
        let left = merge(&merge(&a, &b), &c);
        let right = merge(&a, &merge(&b, &c));
        let back = merge(&c, &merge(&b, &a));
        for other in [left, right, back] {
            prop_assert_eq!(results(&plan, &other), results(&plan, &together));
            let again = Rollup::from_bytes(&plan, &other.to_bytes(&plan)).unwrap();
            prop_assert_eq!(results(&plan, &again), results(&plan, &together));
        }
    }

    #[test]
    fn any_bytes_are_a_state_or_damaged(at in any::<prop::sample::Index>(), byte in any::<u8>(), tail in prop::collection::vec(any::<u8>(), 0..60), documents in documents()) {
        let plan = all();
        let mut bytes = fold(&plan, &documents).to_bytes(&plan);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(rollup) = Rollup::from_bytes(&plan, &bytes) {
            results(&plan, &rollup);
        }
        bytes.truncate(at.max(9));
        bytes.extend(tail);
        if let Ok(mut rollup) = Rollup::from_bytes(&plan, &bytes) {
            rollup.merge(&rollup.clone());
            results(&plan, &rollup);
        }
    }
}

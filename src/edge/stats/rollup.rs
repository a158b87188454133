//! A roll-up as it is written to a sink, and what a sink says to it.

use async_trait::async_trait;
use headcount_actors::ports::stats::StatsError;
use headcount_core::stats::value::Value;
use headcount_core::time::Wall;

/// One roll-up: all that has been counted of one bucket and one group.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rollup {
    /// Made from bucket and group alone.
    pub(crate) id: String,
    /// The start of the bucket.
    pub(crate) bucket: Wall,
    /// The group's fields, then the measures; names with dots lead into documents within.
    pub(crate) fields: Vec<(String, Value<'static>)>,
    /// Grows with what has been counted, and never without.
    pub(crate) version: i64,
}

/// Who writes: of two with the same name, whoever has the smaller token is late and must not write any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fence {
    /// What is being written: from which source, and a share of which pipeline's roll-ups.
    pub(crate) name: String,
    /// From the lease.
    pub(crate) token: i64,
    /// The pipeline's generation: a roll-up of a later one is not its own.
    pub(crate) newest: i64,
}

/// What is wrong where roll-ups come from two pipelines that do not know each other.
pub(crate) const NOT_OURS: &str = "what is there was written by a pipeline that was made later, and that keeps its state elsewhere: \
    let one of the two end, or give it other sinks";

/// What a sink says to one roll-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It has it, or a newer one.
    Taken,
    /// It will never take it, and why.
    Refused(String),
    /// It may take it later, and why not now.
    Later(String),
}

/// A sink that refuses all that it is given is itself what is wrong, and gets all of it when it has been mended.
pub(crate) fn unless_all_refused(verdicts: Vec<Verdict>) -> Vec<Verdict> {
    let is_sink = verdicts.len() > 1 && verdicts.iter().all(|verdict| matches!(verdict, Verdict::Refused(_)));
    if !is_sink {
        return verdicts;
    }
    let later = |verdict| match verdict {
        Verdict::Refused(why) => Verdict::Later(why),
        other => other,
    };
    verdicts.into_iter().map(later).collect()
}

/// Where roll-ups go.
#[async_trait]
pub(crate) trait Sink: Send + Sync {
    /// Its address, for people.
    fn address(&self) -> String;

    /// Whether it answers, in words for a person; changes nothing there.
    async fn look(&self) -> Result<String, StatsError>;

    /// Writes roll-ups; one verdict for each, in their order. An error is about none of them in particular.
    async fn write(&self, rollups: &[Rollup], fence: &Fence) -> Result<Vec<Verdict>, StatsError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_refuses_everything_is_to_be_mended() {
        let (refused, later) = (|| Verdict::Refused("x".to_owned()), || Verdict::Later("x".to_owned()));
        assert_eq!(unless_all_refused(vec![refused(), refused()]), [later(), later()]);
        assert_eq!(
            unless_all_refused(vec![refused(), Verdict::Taken]),
            [refused(), Verdict::Taken]
        );
        // Of one alone nobody can tell.
        assert_eq!(unless_all_refused(vec![refused()]), [refused()]);
        assert_eq!(unless_all_refused(Vec::new()), []);
    }
}

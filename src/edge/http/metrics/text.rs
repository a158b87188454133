//! The older text format.

use std::collections::BTreeSet;

/// OpenMetrics as the older text format, which differs here in three things: a counter's help and type bear the name
/// of its series, `_total` included, a type that is left open has another name, and there is no end mark.
pub(super) fn to_prometheus(open_metrics: &str) -> String {
    let counter = |line: &str| {
        line.strip_prefix("# TYPE ")
            .and_then(|rest| rest.strip_suffix(" counter"))
            .map(str::to_owned)
    };
    let counters: BTreeSet<String> = open_metrics.lines().filter_map(counter).collect();
    let mut text = String::with_capacity(open_metrics.len() + 256);
    for line in open_metrics.lines().filter(|line| *line != "# EOF") {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some(what @ ("HELP" | "TYPE")), Some(name), Some(rest)) if counters.contains(name) => {
                text.push_str(&format!("# {what} {name}_total {rest}"));
            }
            (Some("#"), Some("TYPE"), Some(name), Some("unknown")) => {
                text.push_str(&format!("# TYPE {name} untyped"));
            }
            _ => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

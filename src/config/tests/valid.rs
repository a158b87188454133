//! What right configurations mean.

use headcount_core::detect::Expected;
use headcount_core::span::Span;
use secrecy::ExposeSecret;

use super::super::{Detect, Origin, Surroundings, read};
use super::{BROKER, read_with, settings, variables};

#[test]
fn one_broker_is_enough() {
    let settings = settings(BROKER);
    assert_eq!(settings.server.listen.to_string(), "127.0.0.1:8787");
    assert!(settings.server.token.is_none());
    assert_eq!(settings.store.url, "sqlite:headcount.db");
    assert_eq!(settings.detect, Detect::default());
    assert!(settings.brokers[0].discover, "no fleet names it");
    assert_eq!(settings.notifiers[0].name(), "stdout");
}

/// The `[otlp]` that these lines make, to a collector on this machine.
pub(super) fn otlp(lines: &str) -> headcount_edge::otlp::Config {
    let text = format!("{BROKER}[otlp]\nendpoint = \"http://127.0.0.1:4318\"\n{lines}");
    settings(&text).otlp.unwrap()
}

#[test]
fn otlp_needs_nothing_but_an_endpoint_and_hides_its_headers() {
    use headcount_edge::otlp::Temporality;
    use std::time::Duration;
    use tracing::level_filters::LevelFilter;
    let usual = otlp("");
    assert_eq!(
        (usual.logs, usual.metrics_every, usual.metrics_temporality),
        (LevelFilter::INFO, Some(Duration::from_secs(60)), Temporality::Delta)
    );
    assert_eq!(
        (usual.traces_sample_rate, usual.service_name.as_str()),
        (1.0, "headcount")
    );
    let other = otlp(
        "headers = { \"api-key\" = \"verysecret\" }\nmetrics_every = \"0s\"\nmetrics_temporality = \"cumulative\"\n\
         logs = \"off\"\ntraces_sample_rate = 0.25\n\
         resource = { \"deployment.environment.name\" = \"production\" }",
    );
    assert_eq!(
        (other.logs, other.metrics_every, other.traces_sample_rate),
        (LevelFilter::OFF, None, 0.25)
    );
    assert_eq!(other.metrics_temporality, Temporality::Cumulative);
    assert_eq!(other.headers["api-key"].expose_secret(), "verysecret");
    assert!(!format!("{other:?}").contains("verysecret"));
}

/// The node that these lines make, on the only broker.
pub(super) fn node(lines: &str) -> super::super::Node {
    settings(&format!("{BROKER}[[node]]\n{lines}")).nodes.remove(0)
}

#[test]
fn a_node_needs_nothing_but_a_broker() {
    use super::super::ResultBackend;
    assert!(settings(BROKER).nodes.is_empty(), "without the table there is none");
    let usual = node("");
    assert_eq!(
        (
            usual.broker.as_str(),
            usual.queue.as_str(),
            usual.name.as_str(),
            usual.concurrency
        ),
        ("main", "headcount", "headcount", 4)
    );
    assert_eq!(usual.results, ResultBackend::Auto);
    let other =
        node("queue = \"q\"\nresult_backend = \"redis://:secret@h/1\"\nvisibility_timeout = \"1m\"\nmax_priority = 9");
    assert_eq!(other.results, ResultBackend::Redis("redis://:secret@h/1".into()));
    assert_eq!((other.visibility_timeout.as_secs(), other.max_priority), (60, Some(9)));
    assert!(!format!("{other:?}").contains("secret"));
}

#[test]
fn a_fleet_takes_what_it_does_not_say_from_around_it() {
    let text = format!(
        "{BROKER}[detect]\nprobe_every = \"2s\"\n\
         [[fleet]]\nname = \"sms\"\nexpected = 4\n[fleet.detect]\ndown_after = \"30s\"\n\
         [[fleet]]\nname = \"tracker\"\nbroker = \"main\"\nnames = [\"t@a\", \"t@b\"]\nminimum = 0\n\
         [[broker]]\nname = \"second\"\nurl = \"amqp://\"\n"
    );
    let text = text.replacen("name = \"sms\"", "name = \"sms\"\nbroker = \"main\"", 1);
    let settings = settings(&text);
    let [sms, tracker] = settings.fleets.as_slice() else {
        panic!()
    };
    assert_eq!(
        (sms.hostnames[0].as_str(), sms.minimum, &sms.expected),
        ("sms@*", None, &Expected::Count(4))
    );
    assert_eq!(
        (sms.detect.probe_every, sms.detect.down_after),
        (Span::from_secs(2), Span::from_secs(30))
    );
    assert_eq!(tracker.detect.down_after, Span::from_secs(10));
    assert!(tracker.hostnames.iter().any(|glob| glob.matches("t@b")) && !tracker.hostnames[0].matches("t@bc"));
    assert_eq!(tracker.expected, Expected::Names(vec!["t@a".into(), "t@b".into()]));
    let discover: Vec<bool> = settings.brokers.iter().map(|broker| broker.discover).collect();
    assert_eq!(
        discover,
        [false, true],
        "each broker without a fleet of its own is searched for fleets"
    );
}

#[test]
fn the_environment_overrides_plain_tables() {
    let surroundings = variables(&[
        ("HEADCOUNT__SERVER__LISTEN", "127.0.0.1:9999"),
        ("HEADCOUNT__SERVER__TOKEN", "env:TOKEN"),
        ("HEADCOUNT__STORE__URL", "sqlite:/var/lib/headcount/db"),
        ("HEADCOUNT__DETECT__DOWN_AFTER", "20s"),
        ("HEADCOUNT__LOG__LEVEL", "headcount_edge=debug"),
        ("HEADCOUNT__LOG__FORMAT", "text"),
        ("TOKEN", "12345678"),
        ("HEADCOUNT_URL", "not an override"),
    ]);
    let text = format!("{BROKER}[server]\nlisten = \"127.0.0.1:1\"\n");
    let settings = read_with(&text, &surroundings).unwrap();
    assert_eq!(settings.server.listen.port(), 9999);
    assert_eq!(
        settings.server.token.unwrap().expose_secret(),
        "12345678",
        "a number is still a token"
    );
    assert_eq!(settings.store.url, "sqlite:/var/lib/headcount/db");
    assert_eq!(settings.detect.down_after, Span::from_secs(20));
    assert_eq!(settings.log.level.to_string(), "info,headcount_edge=debug");
    assert_eq!(settings.log.format, crate::telemetry::logs::Format::Text);
}

#[test]
fn secrets_come_from_variables_and_files_and_are_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), "from-a-file\n").unwrap();
    let config = folder.path().join("headcount.toml");
    let surroundings = Surroundings::new(
        [("BROKER".to_owned(), "amqp://me:hunter2@h//".to_owned())],
        Some(&config),
    );
    let text = "[server]\ntoken = \"file:token\"\n[[broker]]\nname = \"main\"\nurl = \"env:BROKER\"\n";
    let settings = read_with(text, &surroundings).unwrap();
    assert_eq!(settings.server.token.as_ref().unwrap().expose_secret(), "from-a-file");
    let shown = format!("{settings:?}");
    assert!(!shown.contains("from-a-file") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn brokers_of_the_command_line_get_names() {
    let urls = ["redis://a", "redis://b/1", "amqp://c//", "env:D", "http://e:5555"].map(str::to_owned);
    let origin = Origin {
        config: None,
        brokers: urls.to_vec(),
    };
    let surroundings = variables(&[
        ("D", "sentinel://d:1/0?master_name=m"),
        ("HEADCOUNT__SERVER__LISTEN", "[::1]:1"),
    ]);
    let settings = read::read("", &origin, &surroundings).unwrap_or_else(|problems| panic!("{problems}"));
    let names: Vec<&str> = settings
        .brokers
        .iter()
        .map(|broker| broker.config.name.as_str())
        .collect();
    assert_eq!(names, ["redis", "redis-2", "rabbitmq", "redis-3", "flower"]);
    assert!(settings.brokers.iter().all(|broker| broker.discover));
    assert_eq!(settings.server.listen.to_string(), "[::1]:1");

    let both = Origin {
        config: None,
        brokers: vec!["redis://x".to_owned()],
    };
    let text = "[[broker]]\nname = \"redis\"\nurl = \"redis://y\"\n";
    let settings = read::read(text, &both, &variables(&[])).unwrap();
    assert_eq!(settings.brokers[1].config.name, "redis-2");
}

#[test]
fn who_reaches_nothing_needs_no_secret_and_only_what_is_judged_by() {
    let text = "[server]\ntoken = \"env:TOKEN\"\nlisten = \"0.0.0.0:1\"\n[store]\nurl = \"env:STORE\"\n\
                [[broker]]\nname = \"main\"\nurl = \"file:/not/there\"\n\
                [[fleet]]\nname = \"sms\"\nbroker = \"main\"\nhostnames = [\"sms@*\"]\nminimum = 2\n\
                [[notify]]\nkind = \"slack\"\nwebhook_url = \"env:HOOK\"\n[detect]\ndown_after = \"30s\"\n";
    assert!(read_with(text, &variables(&[])).is_err());
    let offline = variables(&[("HEADCOUNT__SERVER__LISTEN", "nonsense")]).offline();
    let settings = read_with(text, &offline).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(settings.fleets[0].minimum, Some(2));
    assert_eq!(settings.fleets[0].detect.down_after.duration().as_secs(), 30);

    // What is judged by has to be there, and right.
    for (right, wrong) in [
        ("\"30s\"", "\"env:NOT_SET\""),
        ("\"30s\"", "\"soon\""),
        ("sms@*", "env:NOT_SET"),
    ] {
        let problems = read_with(&text.replace(right, wrong), &offline)
            .unwrap_err()
            .to_string();
        assert!(
            problems.contains("fleet[0]") || problems.contains("detect"),
            "{problems}"
        );
    }
}

#[test]
fn a_job_without_a_queue_goes_where_the_routes_of_its_broker_lead() {
    let routes = "[[broker.routes]]\ntask = \"sms.*\"\nqueue = \"sms\"\npriority = 4\n\
                  [[broker.routes]]\ntask = \"feed.read\"\nexchange = \"feeds\"\nrouting_key = \"feed.tasks\"\n";
    let job = |lines: &str| {
        let text = format!("{BROKER}{routes}[[job]]\nname = \"a\"\nevery = \"1m\"\n{lines}");
        let job = settings(&text).jobs.remove(0);
        let (broker, to) = job.to.unwrap();
        assert_eq!(broker, "main");
        (to.to_string(), job.priority)
    };
    for (lines, to, priority) in [
        ("task = \"sms.purge\"", "sms", Some(4)),
        ("task = \"sms.purge\"\nqueue = \"now\"\npriority = 1", "now", Some(1)),
        ("task = \"feed.read\"", "feeds/feed.tasks", None),
        ("task = \"feed.read\"\nqueue = \"now\"", "now", None),
        ("task = \"other\"", "celery", None),
    ] {
        assert_eq!(job(lines), (to.to_owned(), priority), "{lines}");
    }
}

#[test]
fn all_secrets_are_gathered_by_their_names_and_where_they_stand() {
    let settings = settings(
        r#"
        [[broker]]
        name = "main"
        url = "amqp://bob:hunter2@127.0.0.1:5672//"
        [otlp]
        endpoint = "https://otlp.nr-data.net"
        headers = { "api-key" = "licence-1", "X-Scope-OrgID" = "tenant-1" }
        "#,
    );
    let found: Vec<&str> = settings.secrets.iter().map(ExposeSecret::expose_secret).collect();
    assert_eq!(found, ["hunter2", "tenant-1", "licence-1"]);
}

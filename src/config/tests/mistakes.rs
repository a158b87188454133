//! What is wrong is found at once, at its place, and without telling a secret.

use super::super::{Origin, read};
use super::{BROKER, problems, problems_with, read_with, variables};

/// The one problem of a text that has a sound broker before it (which takes three lines).
fn one(text: &str) -> String {
    let found = problems(&format!("{BROKER}{text}"));
    assert_eq!(found.len(), 1, "{found:#?}");
    found[0]
        .strip_prefix("/etc/headcount.toml:")
        .unwrap_or(&found[0])
        .to_owned()
}

#[test]
fn each_mistake_has_its_place_its_key_and_what_was_expected() {
    let fleet = "[[fleet]]\nname = \"sms\"\n";
    for (text, expected) in [
        (
            "[server]\nlisten = 8787",
            "5:10: server.listen: expected a string, found 8787",
        ),
        (
            "[server]\nlisten = \"8787\"",
            "5:10: server.listen: expected an IP address and a port, such as \"127.0.0.1:8787\" or \"[::]:8787\", found \"8787\"",
        ),
        (
            "[server]\nlisten = \"0.0.0.0:80\"",
            "5:10: server.listen: 0.0.0.0:80 can be reached from other machines: set `token`, or listen on 127.0.0.1",
        ),
        ("[otlp]\nlogs = \"info\"", "4:1: otlp.endpoint: this key is required"),
        (
            "[otlp]\nendpoint = \"http://collector:4318\"\nheaders = { \"api-key\" = \"x\" }",
            "5:12: otlp.endpoint: must begin with https:// where there are headers, which are secrets (http:// is for this machine only)",
        ),
        (
            "[otlp]\nendpoint = \"http://127.0.0.1:1\"\nheaders = { \"api key\" = \"x\" }",
            "6:25: otlp.headers.api key: it is no name of an HTTP header",
        ),
        (
            "[otlp]\nendpoint = \"http://127.0.0.1:1\"\nlogs = \"3\"",
            "6:8: otlp.logs: expected \"off\", \"error\", \"warn\", \"info\", \"debug\" or \"trace\", found \"3\"",
        ),
        (
            "[otlp]\nendpoint = \"http://127.0.0.1:1\"\ntraces_sample_rate = 1.5",
            "6:22: otlp.traces_sample_rate: expected 0.0 (no traces) to 1.0 (all of them), found 1.5",
        ),
        (
            "[otlp]\nendpoint = \"http://127.0.0.1:1\"\nmetrics_every = \"10ms\"",
            "6:17: otlp.metrics_every: expected at least 1s, or 0s for no metrics, found 10ms",
        ),
        (
            "[server]\nlistn = \"x\"",
            "5:1: server.listn: unknown key; did you mean `listen`?",
        ),
        (
            "[server]\ncolour = 1",
            "5:1: server.colour: unknown key; expected one of `listen`, `token`, `public_url`",
        ),
        (
            "[server]\ntoken = \"short\"",
            "5:9: server.token: a token has at least 8 characters",
        ),
        (
            "[server]\ntoken = \"with a space\"",
            "5:9: server.token: a token is made of printable ASCII characters without spaces, as HTTP wants it",
        ),
        (
            "[server]\npublic_url = \"headcount\"",
            "5:14: server.public_url: expected an address such as \"https://headcount.example.org\", found \"headcount\"",
        ),
        (
            "[log]\nlevel = \"info,headcount_actors=loud\"",
            "5:9: log.level: the directive `headcount_actors=loud` is wrong: `loud` is no level; expected error, warn, info, debug, trace or off",
        ),
        (
            "[log]\nformat = \"xml\"",
            "5:10: log.format: expected \"auto\" or \"text\" or \"json\" or \"journald\", found \"xml\"",
        ),
        (
            "[[server]]\nlisten = \"127.0.0.1:1\"",
            "4:1: server: expected a table, [server], found an array",
        ),
        (
            "[detect]\nprobe_every = 5",
            "5:15: detect.probe_every: expected a duration such as \"500ms\", \"10s\", \"5m\", \"2h\" or \"1d\", found 5",
        ),
        (
            "[detect]\nprobe_every = \"5\"",
            "5:15: detect.probe_every: the unit is missing: expected a duration such as `5s`, `5m` or `5h`",
        ),
        (
            "[detect]\nprobe_every = \"0s\"",
            "5:15: detect.probe_every: expected a duration from 500ms to 1h, found \"0s\"",
        ),
        (
            "[detect]\ndown_after = \"8s\"",
            "5:14: detect.down_after: down_after (8s) must be at least twice probe_every (5s): one unanswered probe means nothing",
        ),
        (
            "[detect]\nprobe_every = \"6s\"",
            "5:15: detect.probe_every: down_after (10s) must be at least twice probe_every (6s): one unanswered probe means nothing",
        ),
        (
            "[detect]\ndown_after = \"2d\"",
            "5:14: detect.down_after: forget_after (1d) must not be shorter than down_after (2d)",
        ),
        (
            "[[fleet]]\nbroker = \"main\"",
            "4:1: fleet[0].name: this key is required",
        ),
        (
            "[[fleet]]\nname = \"sms\"\nbroker = \"mian\"",
            "6:10: fleet[0].broker: there is no [[broker]] named \"mian\"; did you mean \"main\"?",
        ),
        (
            "[metrics]\nmax_series = 0",
            "5:14: metrics.max_series: expected 1 to 100000, found 0",
        ),
        (
            "[metrics]\nlabels = { job = \"a\" }",
            "5:18: metrics.labels.job: series of Headcount's have a label of that name already",
        ),
        (
            "[metrics]\nlabels = { \"my-env\" = \"a\" }",
            "5:23: metrics.labels.my-env: a label's name is made of letters, digits and `_`, does not begin with a digit, nor with `__`",
        ),
        (
            "[fleet]\nname = \"sms\"",
            "4:2: fleet: expected [[fleet]], in double brackets, found a table",
        ),
        (
            "[[fleet]]\nname = \"\"\nhostnames = [\"sms@*\"]",
            "5:8: fleet[0].name: expected 1 to 64 printable characters without `/`, found \"\"",
        ),
        (
            &format!("{fleet}hostnames = [\"sms@*\", \"sms\"]"),
            "6:23: fleet[0].hostnames[1]: can never match: a worker's name holds an `@`, such as `sms@host1`; expected a pattern such as `sms@*`",
        ),
        (
            &format!("{fleet}hostnames = []"),
            "6:13: fleet[0].hostnames: an empty list matches no worker; leave the key out for workers named like the fleet",
        ),
        (
            &format!("{fleet}hostnames = \"sms@*\""),
            "6:13: fleet[0].hostnames: expected an array, found \"sms@*\"",
        ),
        (
            &format!("{fleet}queues = [\"\"]"),
            "6:11: fleet[0].queues[0]: expected the name of a queue, 1 to 255 bytes, found 0",
        ),
        (
            &format!("{fleet}queues = [\"q\", \"{}\"]", "é".repeat(128)),
            "6:16: fleet[0].queues[1]: expected the name of a queue, 1 to 255 bytes, found 256",
        ),
        (
            "[[broker]]\nname = \"b\"\nurl = \"redis://h\"\nevent_exchange = \"\"",
            "7:18: broker[1].event_exchange: expected 1 to 255 bytes, found 0",
        ),
        (
            &format!(
                "[[broker]]\nname = \"b\"\nurl = \"amqp://h\"\ncontrol_exchange = \"{}\"",
                "x".repeat(200)
            ),
            "7:20: broker[1].control_exchange: expected 1 to 199 bytes, found 200",
        ),
        (
            &format!(
                "[[broker]]\nname = \"b\"\nurl = \"amqp://h\"\nevent_queue_prefix = \"{}\"",
                "x".repeat(213)
            ),
            "7:22: broker[1].event_queue_prefix: expected 1 to 212 bytes, found 213",
        ),
        (
            &format!("[[broker]]\nname = \"b\"\nurl = \"amqp://h/{}\"", "v".repeat(256)),
            "6:7: broker[1].url: expected a virtual host of at most 255 bytes, found 256",
        ),
        (
            &format!("{fleet}expected = \"all\""),
            "6:12: fleet[0].expected: expected a number of workers from 1, or \"auto\", found \"all\"",
        ),
        (
            &format!("{fleet}expected = 0"),
            "6:12: fleet[0].expected: expected a number of workers from 1, or \"auto\", found 0",
        ),
        (
            &format!("{fleet}minimum = -1"),
            "6:11: fleet[0].minimum: expected a whole number from 0 to 4294967295, found -1",
        ),
        (
            &format!("{fleet}minimum = 5\nexpected = 4"),
            "6:11: fleet[0].minimum: the minimum (5) is more than the workers that are expected (4): the fleet would always be down",
        ),
        (
            &format!("{fleet}names = [\"sms@a\"]\nexpected = 1"),
            "7:12: fleet[0].expected: either `expected` or `names`: the names already say how many",
        ),
        (
            &format!("{fleet}names = [\"sms@a\", \"sms@a\"]"),
            "6:19: fleet[0].names[1]: \"sms@a\" is there twice",
        ),
        (
            &format!("{fleet}names = [\"x@a\"]\nhostnames = [\"sms@*\"]"),
            "6:10: fleet[0].names[0]: \"x@a\" matches none of `hostnames`, so it would never be seen",
        ),
        (
            &format!("{fleet}[fleet.detect]\nprobe_evry = \"1s\""),
            "7:1: fleet[0].detect.probe_evry: unknown key; did you mean `probe_every`?",
        ),
        (
            &format!("{fleet}[fleet.detect]\ndown_after = \"5s\""),
            "7:14: fleet[0].detect.down_after: down_after (5s) must be at least twice probe_every (5s): one unanswered probe means nothing",
        ),
        (
            &format!("{fleet}{fleet}hostnames = [\"x@*\"]"),
            "7:8: fleet[1].name: there is another fleet named \"sms\"",
        ),
        (
            &format!("{fleet}[[fleet]]\nname = \"b\"\nhostnames = [\"sms@*\"]"),
            "8:14: fleet[1].hostnames[0]: the workers \"sms@*\" already belong to the fleet \"sms\"",
        ),
        (
            "[[broker]]\nname = \"main\"\nurl = \"redis://other\"\n",
            "5:8: broker[1].name: there is another broker named \"main\"",
        ),
        (
            "[[broker]]\nname = \"b\"\nurl = \"redis://me:hunter2@127.0.0.1:6379/0\"",
            "6:7: broker[1].url: the broker \"main\" is at redis://127.0.0.1:6379/0 already; each of its workers would be watched and told of twice",
        ),
        (
            &format!("{fleet}names = [\"sms@h1\", \"sms@*\"]"),
            "6:20: fleet[0].names[1]: \"sms@*\" is a pattern, and no worker bears it as its name, so it would be missed for ever; patterns go into `hostnames`, with `expected` saying how many workers there should be",
        ),
        (
            &format!("{fleet}names = [\"sms@h[12]\"]"),
            "6:10: fleet[0].names[0]: \"sms@h[12]\" is a pattern, and no worker bears it as its name, so it would be missed for ever; patterns go into `hostnames`, with `expected` saying how many workers there should be",
        ),
        (
            &format!("{fleet}[[fleet]]\nname = \"b\"\nnames = [\"x@h\", \"sms@h\"]"),
            "8:17: fleet[1].names[1]: \"sms@h\" already belongs to the fleet \"sms\", by its \"sms@*\", and would be missed here for ever; a worker belongs to the first that matches it, so put this fleet before \"sms\"",
        ),
        (
            &format!("{fleet}hostnames = [\"*@*\"]\n[[fleet]]\nname = \"b\"\nexpected = 2"),
            "8:8: fleet[1].name: the workers \"b@*\" already belong to the fleet \"sms\", by its \"*@*\"; a worker belongs to the first that matches it, so put this fleet before \"sms\"",
        ),
        (
            "[[broker]]\nname = \"b\"\nurl = \"http://h\"",
            "6:7: broker[1].url: a broker URL begins with amqp://, amqps://, redis://, rediss://, redis+socket:// or sentinel://, and the address of a Flower with http:// or https://; where this is a Flower, add kind = \"flower\"",
        ),
        (
            "[[broker]]\nname = \"b\"\nurl = \"redis://h\"\npriority_steps = [0, -1]",
            "7:22: broker[1].priority_steps[1]: expected a whole number from 0 to 255, found -1",
        ),
        (
            "[[broker]]\nname = \"b\"\nkind = \"flower\"\nurl = \"redis://h\"",
            "7:7: broker[1].url: the address of a Flower begins with http:// or https://",
        ),
        (
            "[[broker]]\nname = \"b\"\nkind = \"flowers\"\nurl = \"http://h\"",
            "6:8: broker[1].kind: expected \"flower\", found \"flowers\"",
        ),
        (
            "[[broker]]\nname = \"b\"\nkind = 5\nurl = \"http://h\"",
            "6:8: broker[1].kind: expected \"flower\", found an integer",
        ),
        (
            "[[broker]]\nname = \"b\"\nkind = \"flower\"\nurl = \"http://h\"\nevent_exchange = \"x\"",
            "8:1: broker[1].event_exchange: unknown key; expected one of `kind`, `name`, `url`",
        ),
        (
            "[[broker]]\nname = \"b\"\nkind = \"flower\"",
            "4:1: broker[1].url: this key is required",
        ),
        (
            "[[broker]]\nname = \"b\"\nurl = \"redis://h\"\nevent_exchnge = \"x\"",
            "7:1: broker[1].event_exchnge: unknown key; did you mean `event_exchange`?",
        ),
        (
            "[[notify]]\nname = \"x\"",
            "4:1: notify[0].kind: this key is required: \"slack\" or \"stdout\"",
        ),
        (
            "[[notify]]\nkind = \"pigeon\"",
            "5:8: notify[0].kind: expected \"slack\" or \"stdout\", found \"pigeon\"",
        ),
        (
            "[[notify]]\nkind = \"stdout\"\ncolour = 1",
            "6:1: notify[0].colour: unknown key; expected one of `kind`, `name`",
        ),
        (
            "[[notify]]\nkind = \"stdout\"\n[[notify]]\nkind = \"stdout\"",
            "7:8: notify[1].kind: there is another notifier named \"stdout\": give each a `name` of its own",
        ),
        (
            "[[notify]]\nkind = \"slack\"\nwebhook_url = \"env:NOPE\"",
            "6:15: notify[0].webhook_url: the environment variable NOPE is not set",
        ),
        (
            "[[notify]]\nkind = \"slack\"\ntoken = \"xoxb-1\"\nchanel = \"#ops\"",
            "7:1: notify[0].chanel: unknown key; did you mean `channel`?",
        ),
        (
            "[detect]\ndown_after = \"8s\"\n[[fleet]]\nname = \"a\"\n[[fleet]]\nname = \"b\"\n[fleet.detect]\nforget_after = \"2d\"",
            "5:14: detect.down_after: down_after (8s) must be at least twice probe_every (5s): one unanswered probe means nothing",
        ),
        (
            "[detect]\ndown_after = \"20s\"\n[[fleet]]\nname = \"a\"\n[fleet.detect]\nprobe_every = \"11s\"",
            "9:15: fleet[0].detect.probe_every: down_after (20s) must be at least twice probe_every (11s): one unanswered probe means nothing",
        ),
        (
            "[sentry]\ndsn = \"https://o1.ingest.sentry.io/7\"",
            "5:7: sentry.dsn: expected a DSN such as \"https://KEY@o1.ingest.sentry.io/7\": there is no key before the @",
        ),
        (
            "[sentry]\nenvironment = \"staging\"",
            "4:1: sentry.dsn: this key is required: the project's DSN, from its settings in Sentry",
        ),
        (
            "[sentry]\ndsn = \"\"\ntraces_sample_rate = 1.5",
            "6:22: sentry.traces_sample_rate: expected a number from 0 to 1, found \"1.5\"",
        ),
        (
            "[sentry]\ndsn = \"\"\nerror_window = \"1s\"",
            "6:16: sentry.error_window: expected a duration from 10s to 1d, found \"1s\"",
        ),
        (
            "[[fleet]]\nname = \"a\"\n[sentry]\ndsn = \"\"\ntask_failures = [\"a\", \"sms\"]",
            "8:23: sentry.task_failures[1]: there is no fleet named \"sms\"",
        ),
        (
            "[deadman]\nurl = \"x\"",
            "4:2: deadman: this version of headcount does not have it yet",
        ),
        (
            "[[rule]]\nkind = \"backlog\"",
            "4:3: rule: this version of headcount does not have it yet",
        ),
        (
            "[[node]]\nbroker = \"other\"",
            "5:10: node[0].broker: there is no broker named \"other\"",
        ),
        (
            "[[node]]\nqueue = \"\"",
            "5:9: node[0].queue: expected 1 to 191 bytes without spaces, found \"\"",
        ),
        (
            "[[node]]\nconcurrency = 0",
            "5:15: node[0].concurrency: expected 1 to 1000, found 0",
        ),
        (
            "[[node]]\nresult_backend = \"mysql://u:secret@h/d\"",
            "5:18: node[0].result_backend: expected \"auto\", \"rpc\", \"none\", or the URL of a Redis",
        ),
        (
            "[[node]]\nvisibility_timeout = \"10ms\"",
            "5:22: node[0].visibility_timeout: expected at least 1s, found 10ms",
        ),
        (
            "[[node]]\n[[node]]\nqueue = \"q\"",
            "5:1: node[1].name: there is another node named \"headcount\" on this broker",
        ),
        ("[servr]\n", "4:2: servr: unknown key; did you mean `server`?"),
        (
            "[server]\ntoken = \"env:NOPE\"",
            "5:9: server.token: the environment variable NOPE is not set",
        ),
        (
            "[server]\ntoken = \"file:/nope/nope\"",
            "5:9: server.token: cannot read the file /nope/nope: No such file or directory (os error 2)",
        ),
    ] {
        assert_eq!(one(text), expected, "in\n{text}");
    }
}

#[test]
fn a_broker_is_watched_once_unless_its_names_on_the_wire_differ() {
    let twice = |text: &str, arguments: &[&str]| {
        let origin = Origin {
            config: Some("/etc/headcount.toml".into()),
            brokers: arguments.iter().map(|one| (*one).to_owned()).collect(),
        };
        read::read(text, &origin, &variables(&[])).map_or_else(|problems| problems.to_string(), |_| String::new())
    };
    let said = "--broker: the broker \"redis\" is at redis://h:6379/0 already; each of its workers would be watched and told of twice";
    assert_eq!(twice("", &["redis://h", "redis://h:6379/0"]), said);
    assert!(twice(BROKER, &["redis://127.0.0.1/0"]).contains("\"main\" is at"));
    assert!(twice("", &["http://h:5555", "http://h:5555/"]).contains("\"flower\" is at http://h:5555 already"));
    assert_eq!(twice("", &["redis://h/0", "redis://h/1"]), "");
    let prefixed = "[[broker]]\nname = \"b\"\nurl = \"redis://127.0.0.1\"\nglobal_keyprefix = \"b:\"\n";
    assert_eq!(twice(&format!("{BROKER}{prefixed}"), &[]), "");
}

#[test]
fn a_mongodb_store_is_not_there_yet() {
    let found = one("[store]\nurl = \"mongodb://h/d\"");
    assert!(
        found.starts_with("5:7: store.url: ") && found.contains("not supported by this version"),
        "{found}"
    );
}

#[test]
fn all_mistakes_are_reported_in_the_order_of_the_file() {
    let found = problems(
        "[server]\nlisten = 1\ntokn = \"x\"\n[detect]\ndown_after = \"soon\"\nprobe_every = 3\n\
         [[broker]]\nname = \"main\"\n[[fleet]]\nname = \"sms\"\nbroker = \"other\"\nminimum = \"two\"\nqueues = [1, \"q\", 2]\n\
         [job]\n",
    );
    let keys: Vec<&str> = found.iter().filter_map(|line| line.split(": ").nth(1)).collect();
    assert_eq!(
        keys,
        [
            "server.listen",
            "server.tokn",
            "detect.down_after",
            "detect.probe_every",
            "broker[0].url",
            "fleet[0].broker",
            "fleet[0].minimum",
            "fleet[0].queues[0]",
            "fleet[0].queues[2]",
            "job",
        ],
        "{found:#?}"
    );
}

#[test]
fn a_line_is_quoted_with_a_mark_under_the_mistake() {
    let text = format!("{BROKER}[server]\nlistn = \"127.0.0.1:1\"\n");
    let shown = read_with(&text, &variables(&[])).unwrap_err().to_string();
    assert_eq!(
        shown,
        "/etc/headcount.toml:5:1: server.listn: unknown key; did you mean `listen`?\n  |\n5 | listn = \"…\"\n  | ^^^^^"
    );
}

#[test]
fn no_secret_is_ever_told() {
    for text in [
        "[server]\ntoken = \"hunter2\"",
        "[server]\ntokne = \"hunter2\"",
        "[server]\ntoken = [\"hunter2\"]",
        "[server]\ntoken = \"hunter2",
        "[server]\ntoken = hunter2",
        "[server]\ntoken = \"hunter2\" x",
        "[server]\ntoken = \"\"\"\nhunter2\nhunter2\n\"\"\"\nlistn = 1",
        "broker = [{ name = \"b\", url = \"ftp://me:hunter2@h\" }]",
        "[[broker]]\nname = \"b\"\nurl = \"redis://:hunter2@h:port\"",
        "[[broker]]\nname = \"b\"\nurl = \"redis://h\"\npassword = \"hunter2\"",
        "[[broker]]\nname = \"b\"\nurl = \"env:SECRET\"",
        "[[broker]]\nname = 5\nurl = \"amqp://me:hunter2@h//\"",
        "[store]\nurl = \"mongodb://me:hunter2@h\"",
        "[detect]\nprobe_every = \"env:SECRET\"",
        "[server]\nlisten = \"env:SECRET\"",
        "[[fleet]]\nname = \"env:SECRET\"\nexpected = \"env:SECRET\"\nminimum = \"env:SECRET\"",
        "[[notify]]\nkind = \"slack\"\ntoken = \"xoxb-hunter2\"\nchanel = \"#ops\"",
        "[[notify]]\nkind = \"slack\"\nwebhook_url = \"hunter2\"",
        "[[notify]]\nkind = \"env:SECRET\"",
        "[sentry]\ndsn = \"\"\ntask_failures = [\"env:SECRET\"]",
        "[[fleet]]\nname = \"a\"\nbroker = \"env:SECRET\"",
        "[[broker]]\nurl = \"redis://h\"\n[[node]]\nbroker = \"env:SECRET\"",
        "[[broker]]\nurl = \"redis://h\"\n[[job]]\nname = \"a\"\ntask = \"t\"\ncron = \"0 3 * * *\"\ntimezone = \"env:SECRET\"",
        "token = \"hunter2\"",
        "token = { a = \"hunter2\" }\n[server]\nx = 1",
    ] {
        let secrets = variables(&[
            ("SECRET", "hunter2/"),
            ("HEADCOUNT__SERVER__TOKEN", "hunter2"),
            ("HEADCOUNT__X", "hunter2"),
        ]);
        let shown = read_with(text, &secrets).unwrap_err();
        assert!(!format!("{shown}\n{shown:?}").contains("hunter2"), "{text}\n→ {shown}");
    }
}

#[test]
fn mistakes_in_the_environment_and_the_arguments_name_them() {
    let surroundings = variables(&[
        ("HEADCOUNT__SERVER__LISTN", "x"),
        ("HEADCOUNT__DETECT__PROBE_EVERY", "often"),
        ("HEADCOUNT__FLEET__NAME", "x"),
        ("HEADCOUNT__SERVER__TOKEN", "env:NOPE"),
    ]);
    assert_eq!(
        problems_with(BROKER, &surroundings),
        [
            "environment variable HEADCOUNT__DETECT__PROBE_EVERY: detect.probe_every: expected a duration such as `500ms`, `10s`, `5m`, `2h` or `1d`",
            "environment variable HEADCOUNT__FLEET__NAME: the environment can only set keys of the tables server, log, store, detect, metrics, sentry, otlp",
            "environment variable HEADCOUNT__SERVER__LISTN: server.listn: unknown key; did you mean `listen`?",
            "environment variable HEADCOUNT__SERVER__TOKEN: server.token: the environment variable NOPE is not set",
        ]
    );

    let origin = Origin {
        config: None,
        brokers: ["ftp://me:hunter2@h", "http://me:1/hunter2@h", "env:NOPE"]
            .map(str::to_owned)
            .to_vec(),
    };
    let shown = read::read("", &origin, &variables(&[])).unwrap_err().to_string();
    assert!(
        shown.starts_with("--broker: a broker URL begins with") && !shown.contains("hunter2"),
        "{shown}"
    );
    assert!(shown.contains("--broker: expected Flower's address"), "{shown}");
    assert!(
        shown.contains("--broker: the environment variable NOPE is not set"),
        "{shown}"
    );
}

#[test]
fn an_empty_file_watches_nothing() {
    assert_eq!(
        problems(""),
        ["/etc/headcount.toml: broker: there is nothing to watch: expected at least one [[broker]]"]
    );
}

#[test]
fn what_is_not_toml_is_said_with_its_place() {
    let found = problems("[server]\nlisten = \nname = 1 2\n");
    assert!(found[0].starts_with("/etc/headcount.toml:2:"), "{found:#?}");
    assert!(found.len() >= 2, "every mistake of the syntax: {found:#?}");
    let twice = problems(&format!("{BROKER}[server]\n[server]\n"));
    assert!(twice[0].starts_with("/etc/headcount.toml:5:"), "{twice:#?}");
}

#[test]
fn nothing_makes_the_reader_panic() {
    for text in [
        "\u{feff}",
        "\0",
        "a.b.c.d = 1",
        "[a]\n[a.b]\n",
        "server = 1",
        "broker = 1",
        "broker = [1, [2]]",
        "fleet = [[]]",
        "[server]\nlisten = 1979-05-27",
        "[detect]\nprobe_every = inf",
        "x = 99999999999999999999",
    ] {
        let _ = read_with(text, &variables(&[]));
    }
    let deep = format!("x = {}{}", "[".repeat(2_000), "]".repeat(2_000));
    assert!(read_with(&deep, &variables(&[])).is_err());
}

#[test]
fn a_wrong_pattern_is_named_by_line_and_column() {
    let job = |line: &str| format!("{BROKER}\n[[job]]\nname = \"purge\"\ntask = \"sms.purge\"\n{line}\n");
    for (line, expected) in [
        (
            "cron = \"0 25 * * *\"",
            "/etc/headcount.toml:8:11: job[0].cron: expected 0 to 23 for the hour, found \"25\"",
        ),
        (
            "cron = '0 3 * * mo'",
            "/etc/headcount.toml:8:17: job[0].cron: expected 0 to 7 for the day of the week, or a name such as sun, found \"mo\"",
        ),
        (
            "cron = \"0 3 * *\"",
            "/etc/headcount.toml:8:16: job[0].cron: expected 5 fields (minute, hour, day of the month, month, day of the week), found 4",
        ),
        // What is written otherwise than it reads has no columns of its own.
        (
            "cron = \"0 25\\u0020* * *\"",
            "/etc/headcount.toml:8:8: job[0].cron: expected 0 to 23 for the hour, found \"25\"",
        ),
    ] {
        assert_eq!(problems(&job(line)), [expected]);
    }
    let whole = read_with(&job("cron = \"0 25 * * *\""), &variables(&[]))
        .unwrap_err()
        .to_string();
    assert!(whole.contains("8 | cron = \"0 25 * * *\"\n  |           ^^"), "{whole}");
}

#[test]
fn jobs_are_checked() {
    let job = |line: &str| format!("{BROKER}\n[[job]]\nname = \"purge\"\n{line}\n");
    for (lines, expected) in [
        ("task = \"t\"", "when it is to run is missing"),
        (
            "task = \"t\"\ncron = \"@daily\"\nevery = \"1m\"",
            "either `cron` or `every`",
        ),
        (
            "task = \"t\"\nevery = \"1m\"\ntimezone = \"UTC\"",
            "only `cron` has one",
        ),
        ("task = \"t\"\nevery = \"10ms\"", "expected at least 1s, found \"10ms\""),
        (
            "task = \"t\"\ncron = \"@daily\"\ntimezone = \"Europe/Berln\"",
            "there is no time zone \"Europe/Berln\"; did you mean \"Europe/Berlin\"?",
        ),
        (
            "task = \"t\"\nevery = \"1m\"\njitter = \"2m\"",
            "expected at most 1m, found \"2m\"",
        ),
        ("task = \"t\"\nevery = \"1m\"\noverlap = 0", "expected at least 1"),
        ("task = \"t\"\nevery = \"1m\"\npriority = 10", "expected 0 to 9"),
        (
            "task = \"t\"\nevery = \"1m\"\nmissed = \"never\"",
            "expected \"skip\" or \"once\" or \"all\"",
        ),
        ("task = \"t\"\nevery = \"1m\"\nmissed_within = \"90d\"", "at most 31d"),
        ("task = \"t\"\nevery = \"1m\"\nexpires = \"0s\"", "expected more than 0"),
        ("task = \"\"\nevery = \"1m\"", "expected the name of a task"),
        (
            "task = \"t\"\nevery = \"1m\"\nqueue = \"\"",
            "expected the name of a queue",
        ),
        (
            "task = \"t\"\nevery = \"1m\"\nbroker = \"mian\"",
            "did you mean \"main\"?",
        ),
        (
            "task = \"headcount.nothing\"\nevery = \"1m\"",
            "it has headcount.echo, headcount.ping, ",
        ),
        (
            "task = \"headcount.stats.run\"\nevery = \"1m\"",
            "headcount.stats.run is about pipelines, and there is no [[stats]]",
        ),
        (
            "task = \"headcount.ping\"\nevery = \"1m\"\npriority = 1",
            "this means nothing",
        ),
        ("every = \"1m\"", "this key is required"),
        ("task = \"t\"\nevery = \"1m\"\nargs = 3", "expected an array"),
        ("task = \"t\"\nevery = \"1m\"\nargs = [1979-05-27]", "the date"),
        (
            "task = \"t\"\nevery = \"1m\"\nargs = [1.0, nan]",
            "found NaN, which is no number",
        ),
        (
            "task = \"t\"\nevery = \"1m\"\nkwargs = { most = inf }",
            "found inf, which is no number",
        ),
        ("task = \"t\"\nevery = \"1m\"\npriority = 300", "from 0 to 255"),
        ("task = \"t\"\nevery = \"1m\"\ncorn = \"x\"", "did you mean `cron`?"),
    ] {
        let found = problems(&job(lines));
        assert!(found.len() == 1 && found[0].contains(expected), "{lines}: {found:?}");
    }
    let twice = format!(
        "{}{}",
        job("task = \"t\"\nevery = \"1m\""),
        "[[job]]\nname = \"purge\"\ntask = \"t\"\nevery = \"1m\"\n"
    );
    assert!(problems(&twice)[0].contains("there is another job named \"purge\""));
    let flower = "[[broker]]\nkind = \"flower\"\nname = \"far\"\nurl = \"http://flower\"\n[[job]]\nname = \"a\"\ntask = \"t\"\nevery = \"1m\"\n";
    assert!(problems(flower)[0].contains("is a Flower"));
    // A secret from elsewhere is not shown, wherever it stands.
    let secret = job("task = \"t\"\ncron = \"env:SECRET\"");
    let found = problems_with(&secret, &variables(&[("SECRET", "0 hunter2 * * *")]));
    assert_eq!(found, ["/etc/headcount.toml:8:8: job[0].cron: it is no cron pattern"]);
}

#[test]
fn a_route_that_leads_nowhere_is_named() {
    for (lines, expected) in [
        ("queue = \"q\"", "5:1: broker[0].routes[0].task: this key is required"),
        (
            "task = \"\"\nqueue = \"q\"",
            "6:8: broker[0].routes[0].task: an empty pattern matches nothing",
        ),
        (
            "task = \"t\"",
            "5:1: broker[0].routes[0]: expected a queue, an exchange",
        ),
        (
            "task = \"t\"\nqueue = \"\"",
            "7:9: broker[0].routes[0].queue: expected 1 to 255 bytes, found 0",
        ),
        (
            "task = \"t\"\nexchange = \"x\"",
            "7:12: broker[0].routes[0].exchange: it means nothing without a routing_key",
        ),
        (
            "task = \"t\"\nqueue = \"q\"\nrouting_key = \"k\"",
            "8:15: broker[0].routes[0].routing_key: it means nothing without an exchange",
        ),
        (
            "task = \"t\"\npriority = 10",
            "7:12: broker[0].routes[0].priority: expected 0 to 9",
        ),
        ("task = \"t\"\nqueu = \"q\"", "7:1: broker[0].routes[0].queu: "),
    ] {
        let found = problems(&format!("{BROKER}\n[[broker.routes]]\n{lines}\n"));
        assert!(found.iter().any(|one| one.contains(expected)), "{lines}: {found:?}");
    }
}

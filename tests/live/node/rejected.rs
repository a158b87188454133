//! What is rejected goes where RabbitMQ brings dead letters: from the node's queue as from a Python worker's.

use headcount_testkit::{Broker, Worker, WorkerOptions, run_script, send_tasks, start_script};
use serde_json::{Value, json};

use super::{PATIENCE, joined, start};

/// A longer one is that which holds more values than a node reads, in bytes.
const TOO_LARGE: u64 = 1 << 20;

pub(crate) fn to_the_dead_letters(broker: &Broker) {
    let Broker::RabbitMq(rabbitmq) = broker else { return };
    let queues = [("dying.node", "headcount.echo"), ("dying.worker", "add")];
    rabbitmq.dead_letters("^dying[.]", "dead");
    let url = broker.url();
    // It makes the queue, and reads for a minute: that is done by the next one, when all that is to be there is under way.
    let letters_of = [url.as_str(), "dead", queues[0].0, queues[1].0];
    let maker = start_script(&url, "dead.py", &letters_of);
    maker.wait_line("listening", PATIENCE);
    maker.sigkill();
    let headcount = start(broker, "queue = \"dying.node\"");
    let options = WorkerOptions {
        queues: vec!["dying.worker".into()],
        ..WorkerOptions::default()
    };
    let worker = Worker::start(&url, "dying@h1", options);
    joined(&headcount);
    for (queue, task) in queues {
        run_script(&url, "raw.py", &[&url, queue, task]);
    }
    // One that is not registered, which is the last of each.
    send_tasks(&url, &queues.map(|(queue, _)| (queue, "no.such", json!([]))));
    let told = run_script(&url, "dead.py", &letters_of);
    assert_eq!(worker.process().ended(), None, "{}", worker.process().last_lines());
    let letters = |(queue, known): (&str, &str)| {
        let mut letters = told[queue].as_array().unwrap().clone();
        for letter in &mut letters {
            assert_eq!(letter[0], "rejected", "{letter}");
            if letter[1] == known {
                letter[1] = "known".into();
            }
        }
        letters.sort_by_key(Value::to_string);
        letters
    };
    let (mut ours, theirs) = (letters(queues[0]), letters(queues[1]));
    let all = ours.len();
    // Two that a node alone rejects: one that is too large for it, and one of the hybrid of Celery 3's protocol and the
    // present one, which no producer sends any more.
    ours.retain(|letter| letter[2].as_u64() <= Some(TOO_LARGE) && !letter[3].as_str().unwrap().contains("args"));
    assert_eq!(all, ours.len() + 2, "{told:#}");
    assert_eq!(ours, theirs, "{told:#}");
    // One that ends a worker, and not the node.
    run_script(&url, "raw.py", &[&url, "dying.node", "headcount.echo", "deadly"]);
    headcount
        .process()
        .wait_line("the header `id` is not what it should be", PATIENCE);
    run_script(&url, "raw.py", &[&url, "dying.worker", "add", "deadly"]);
    assert!(!worker.process().wait_exit(PATIENCE).success());
    let said = [worker.process().stderr(), worker.process().stdout()].concat();
    assert!(
        said.iter()
            .any(|line| line.contains("Unrecoverable error: KeyError('id')")),
        "{}",
        worker.process().last_lines()
    );
    assert!(headcount.sigterm().success());
}

//! SIGKILL in the middle of writing: what was acknowledged is there, and nothing is there by half.
//!
//! The writer is this very test binary, started once more for the one test that writes until it is killed.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use headcount_actors::ports::{Act, IncidentQuery, Store};
use headcount_core::alert::Turn;

use crate::store::conformance::{incident, owes, told};
use crate::store::{Config, open};

/// Where the writer writes; unset in an ordinary run, in which it does nothing.
const FILE: &str = "HEADCOUNT_TEST_KILL_FILE";

/// The writer's name, as the test harness knows it: without the crate.
const WRITER: &str = "store::sqlite::kill::writer";

/// How often the writer is killed: each time at another part of the way through a write.
const KILLS: u32 = 24;

fn store_at(path: &Path) -> std::sync::Arc<dyn Store> {
    open(&Config {
        url: format!("sqlite:{}", path.display()),
    })
    .unwrap()
}

/// Writes incidents, each with two debts, and says each number once the store has acknowledged it.
#[tokio::test]
async fn writer() {
    let Some(path) = std::env::var_os(FILE) else { return };
    let store = store_at(Path::new(&path));
    let start = store
        .incidents(IncidentQuery {
            limit: usize::MAX,
            ..Default::default()
        })
        .await
        .unwrap()
        .len();
    for n in start.. {
        let mut one = incident(&format!("i{n:06}"), n as i64);
        // Each of a subject of its own, or but one of them would stay open.
        one.subject = one.id.0.clone();
        store.save_incidents(vec![one.clone()]).await.unwrap();
        let owed = [Turn::Opened, Turn::Worsened].map(|turn| owes(&one, "slack", turn, Act::Post));
        store.tell(one.id.clone(), told(false), owed.to_vec()).await.unwrap();
        // Past the test harness, which would hold it back.
        let mut out = std::io::stdout().lock();
        writeln!(out, "acknowledged {n}").unwrap();
        out.flush().unwrap();
    }
}

/// Ends the writer also where the test fails.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Lets the writer acknowledge some more, kills it `part`/[`KILLS`] of the way through the next write, and returns the
/// last number that it acknowledged.
fn write_and_kill(path: &Path, writes: usize, part: u32) -> usize {
    let mut child = Killed(
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", WRITER, "--nocapture", "--test-threads=1"])
            .env(FILE, path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut acknowledged = BufReader::new(child.0.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok)
        .filter_map(|line| line.split_once("acknowledged ")?.1.parse().ok());
    let first: usize = acknowledged.next().expect("the writer says what it has written");
    let start = Instant::now();
    let last = acknowledged.by_ref().take(writes).last().unwrap_or(first);
    // Where the kill lands decides what it can find, not whether the test is right, so a noisy machine does no harm.
    std::thread::sleep(start.elapsed() * part / (KILLS * u32::try_from(writes).unwrap()));
    // What it still acknowledges on the way counts too.
    child.0.kill().unwrap();
    let last = acknowledged.last().unwrap_or(last);
    child.0.wait().unwrap();
    last
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_and_nothing_is_half() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("headcount.db");
    for round in 0..KILLS {
        // Uneven numbers of writes, so that the kills meet the log at different fills.
        let writes = usize::try_from(2 + round * 7 % 13).unwrap();
        let last = write_and_kill(&path, writes, round);
        let store = store_at(&path);
        let incidents = store.load().await.unwrap().incidents;
        assert!(
            incidents.len() > last,
            "round {round}: {} incidents, {last} acknowledged",
            incidents.len()
        );
        let debts = store.owed("slack", usize::MAX).await.unwrap();
        let owing: Vec<_> = debts.iter().map(|debt| &debt.owed.notice.incident.id).collect();
        for (n, one) in incidents.iter().enumerate() {
            assert_eq!(one.id.0, format!("i{n:06}"));
            let mine = owing.iter().filter(|id| ***id == one.id).count();
            match one.told {
                Some(_) => assert_eq!(mine, 2, "told with all that is owed"),
                None => {
                    assert_eq!(mine, 0, "not told, and nothing owed");
                    assert!(n > last, "round {round}: {n} was acknowledged as told");
                    // The next writer goes on after it.
                    store
                        .tell(
                            one.id.clone(),
                            told(false),
                            [Turn::Opened, Turn::Worsened]
                                .map(|t| owes(one, "slack", t, Act::Post))
                                .to_vec(),
                        )
                        .await
                        .unwrap();
                }
            }
        }
    }
}

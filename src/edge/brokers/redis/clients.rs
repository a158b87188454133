//! `CLIENT LIST`: the connections that Redis sees.

use std::time::Duration;

use compact_str::CompactString;
use headcount_actors::ports::Connection;

/// The subscribers to patterns in the answer to `CLIENT LIST TYPE pubsub`, without those of ours. Every worker has two:
/// one for events of other workers, one for commands. Theirs have selected the workers' database, though subscriptions know
/// none, so whoever has another is left out. So is a line that cannot be read.
pub(super) fn subscribers(list: &str, db: u32, ours: impl Fn(u64) -> bool) -> Vec<Connection> {
    list.lines()
        .filter_map(|line| subscriber(line, db))
        .filter(|connection| !ours(connection.id))
        .collect()
}

/// What our own connection that takes replies calls itself.
pub(super) const OUR_NAME: &str = "headcount-replies";

/// How long after the last BRPOP a connection still counts as one that takes messages, in seconds: Celery's waits for
/// 1 s, or as long as `polling_interval` says, and is asked again at once as long as the worker may take more.
const TAKES_WITHIN: u64 = 3;

/// How many of the clients in the answer to `CLIENT LIST TYPE normal` take messages from lists: they wait in BRPOP, or
/// did so a moment ago. Redis names a client's last command for as long as it is connected, however long ago that was.
/// Lists of replies are taken from in the same way, so there may be fewer workers among them, but not more.
pub(super) fn takers(list: &str) -> u32 {
    u32::try_from(list.lines().filter(|line| takes(line)).count()).unwrap_or(u32::MAX)
}

fn takes(line: &str) -> bool {
    let (mut pops, mut waits, mut idle) = (false, false, None);
    for (key, value) in line.split(' ').filter_map(|field| field.split_once('=')) {
        match key {
            "cmd" => pops = value.eq_ignore_ascii_case("brpop"),
            "flags" => waits = value.contains('b'),
            "idle" => idle = value.parse::<u64>().ok(),
            "name" if value == OUR_NAME => return false,
            _ => {}
        }
    }
    pops && (waits || idle.is_some_and(|idle| idle <= TAKES_WITHIN))
}

fn subscriber(line: &str, db: u32) -> Option<Connection> {
    let (mut id, mut peer, mut age, mut patterns) = (None, None, None, 0_u32);
    for (key, value) in line.split(' ').filter_map(|field| field.split_once('=')) {
        match key {
            "id" => id = value.parse().ok(),
            "addr" => peer = Some(without_port(value)),
            "age" => age = value.parse().ok(),
            "db" if value.parse() != Ok(db) => return None,
            "psub" => patterns = value.parse().ok()?,
            _ => {}
        }
    }
    let connection = Connection {
        id: id?,
        peer: CompactString::from(peer?),
        age: Duration::from_secs(age?),
    };
    (patterns > 0).then_some(connection)
}

/// `10.0.0.7:41234`, `[::1]:41234` or `/run/redis.sock:0` without what follows the last colon.
fn without_port(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takers_wait_in_brpop_or_did_a_moment_ago() {
        let list = "id=7 addr=10.0.0.7:1 name= age=62 idle=0 flags=b db=0 cmd=brpop user=default\n\
                    id=8 addr=10.0.0.7:2 name= age=62 idle=40 flags=b cmd=brpop\n\
                    id=9 addr=10.0.0.7:3 name= age=62 idle=1 flags=N cmd=BRPOP\n\
                    id=10 addr=10.0.0.7:4 name= age=62 idle=30 flags=N cmd=brpop\n\
                    id=11 addr=10.0.0.7:5 name=headcount-replies age=62 idle=0 flags=b cmd=brpop\n\
                    id=12 addr=10.0.0.7:6 name= age=62 idle=0 flags=N cmd=llen\nnonsense\n";
        assert_eq!(takers(list), 3);
    }

    #[test]
    fn subscribers_to_patterns_are_found() {
        let list = "id=7 addr=10.0.0.7:41234 laddr=10.0.0.1:6379 fd=9 name= age=62 idle=0 flags=P db=0 sub=0 psub=1 \
                    ssub=0 multi=-1 cmd=psubscribe user=default redir=-1 resp=2\n\
                    id=8 addr=[::1]:555 name=a age=0 psub=2\n\
                    id=9 addr=/run/redis.sock:0 age=5 psub=1\n\
                    id=10 addr=10.0.0.7:41235 age=62 sub=1 psub=0\n\
                    id=11 addr=10.0.0.8:1 age=3 psub=1\n\
                    id=x addr=10.0.0.8:1 age=3 psub=1\nnonsense\n\nid=12 psub=1 age=1\n\
                    id=13 addr=10.0.0.8:1 age=3 db=1 psub=1\n";
        let found: Vec<_> = subscribers(list, 0, |id| id == 11)
            .into_iter()
            .map(|connection| (connection.id, connection.peer.to_string(), connection.age.as_secs()))
            .collect();
        let expected = [(7, "10.0.0.7", 62), (8, "::1", 0), (9, "/run/redis.sock", 5)];
        assert_eq!(found, expected.map(|(id, peer, age)| (id, peer.to_owned(), age)));
    }
}

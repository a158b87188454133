//! `CLIENT LIST`: the connections that Redis sees.

use std::time::Duration;

use compact_str::CompactString;
use headcount_actors::ports::Connection;

/// The subscribers to patterns in the answer to `CLIENT LIST TYPE pubsub`, without those of ours. Every worker has two:
/// one for events of other workers, one for commands. A line that cannot be read is left out.
pub(super) fn subscribers(list: &str, ours: impl Fn(u64) -> bool) -> Vec<Connection> {
    list.lines()
        .filter_map(subscriber)
        .filter(|connection| !ours(connection.id))
        .collect()
}

fn subscriber(line: &str) -> Option<Connection> {
    let (mut id, mut peer, mut age, mut patterns) = (None, None, None, 0_u32);
    for (key, value) in line.split(' ').filter_map(|field| field.split_once('=')) {
        match key {
            "id" => id = value.parse().ok(),
            "addr" => peer = Some(without_port(value)),
            "age" => age = value.parse().ok(),
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
    fn subscribers_to_patterns_are_found() {
        let list = "id=7 addr=10.0.0.7:41234 laddr=10.0.0.1:6379 fd=9 name= age=62 idle=0 flags=P db=0 sub=0 psub=1 \
                    ssub=0 multi=-1 cmd=psubscribe user=default redir=-1 resp=2\n\
                    id=8 addr=[::1]:555 name=a age=0 psub=2\n\
                    id=9 addr=/run/redis.sock:0 age=5 psub=1\n\
                    id=10 addr=10.0.0.7:41235 age=62 sub=1 psub=0\n\
                    id=11 addr=10.0.0.8:1 age=3 psub=1\n\
                    id=x addr=10.0.0.8:1 age=3 psub=1\nnonsense\n\nid=12 psub=1 age=1\n";
        let found: Vec<_> = subscribers(list, |id| id == 11)
            .into_iter()
            .map(|connection| (connection.id, connection.peer.to_string(), connection.age.as_secs()))
            .collect();
        let expected = [(7, "10.0.0.7", 62), (8, "::1", 0), (9, "/run/redis.sock", 5)];
        assert_eq!(found, expected.map(|(id, peer, age)| (id, peer.to_owned(), age)));
    }
}

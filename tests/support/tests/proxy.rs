//! The proxy carries, holds, lets go in order, and resets.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use headcount_testkit::{Proxy, wait_until};

const SOON: Duration = Duration::from_secs(30);
/// Long enough for what passes to have passed on loopback; a slow machine makes the test weaker, and not wrong.
const NOTHING_COMES: Duration = Duration::from_millis(300);

/// A client and a server with the proxy between them.
fn pair() -> (Proxy, TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let proxy = Proxy::start(address.port());
    let through = proxy.through(&address.to_string());
    assert_ne!(through, address.to_string());
    let client = TcpStream::connect(through).unwrap();
    let (server, _) = listener.accept().unwrap();
    for end in [&client, &server] {
        end.set_read_timeout(Some(SOON)).unwrap();
    }
    (proxy, client, server)
}

fn receive(mut end: &TcpStream, bytes: usize) -> Vec<u8> {
    let mut read = vec![0; bytes];
    end.read_exact(&mut read).unwrap();
    read
}

fn receives_nothing(end: &TcpStream) {
    end.set_read_timeout(Some(NOTHING_COMES)).unwrap();
    let kind = receive_error(end);
    assert!(matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut), "{kind:?}");
    end.set_read_timeout(Some(SOON)).unwrap();
}

fn receive_error(mut end: &TcpStream) -> ErrorKind {
    end.read(&mut [0]).expect_err("nothing is to come").kind()
}

#[test]
fn it_carries_both_ways_and_the_end_too() {
    let (_proxy, mut client, mut server) = pair();
    client.write_all(b"ping").unwrap();
    assert_eq!(receive(&server, 4), b"ping");
    server.write_all(b"pong").unwrap();
    assert_eq!(receive(&client, 4), b"pong");
    drop(server);
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}

#[test]
fn it_holds_both_ways_and_lets_go_in_order() {
    let (proxy, mut client, mut server) = pair();
    proxy.hold();
    client.write_all(b"one").unwrap();
    client.write_all(b"two").unwrap();
    server.write_all(b"back").unwrap();
    receives_nothing(&server);
    receives_nothing(&client);
    // Closed, and the other end does not learn of it.
    drop(client);
    receives_nothing(&server);
    proxy.release();
    assert_eq!(receive(&server, 6), b"onetwo");
    // It learns of it now: in Linux' words the client had not read what was held, so that its end is a reset.
    let mut rest = [0];
    assert!(matches!(server.read(&mut rest), Ok(0) | Err(_)));
}

#[test]
fn it_resets_what_is_held_too_and_takes_new_ones() {
    for held in [false, true] {
        let (proxy, mut client, server) = pair();
        if held {
            proxy.hold();
            client.write_all(b"never").unwrap();
        }
        // The proxy has the connection on its list only once it has reached the server: `pair` has seen to that.
        wait_until("the connection to be known", SOON, || {
            (proxy.reset() == 1).then_some(())
        });
        for end in [&client, &server] {
            assert_eq!(receive_error(end), ErrorKind::ConnectionReset, "held: {held}");
        }
    }
}

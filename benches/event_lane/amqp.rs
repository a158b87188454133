//! As much of AMQP 0-9-1 as a publisher needs that must cost less than the broker: a handshake, then frames in bulk.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;

pub(crate) const METHOD: u8 = 1;
pub(crate) const HEADER: u8 = 2;
pub(crate) const BODY: u8 = 3;

/// A method's class and number.
type Method = (u16, u16);

const CONNECTION_START: Method = (10, 10);
const CONNECTION_START_OK: Method = (10, 11);
const CONNECTION_TUNE: Method = (10, 30);
const CONNECTION_TUNE_OK: Method = (10, 31);
const CONNECTION_OPEN: Method = (10, 40);
const CONNECTION_OPEN_OK: Method = (10, 41);
const CHANNEL_OPEN: Method = (20, 10);
const CHANNEL_OPEN_OK: Method = (20, 11);
const CHANNEL_CLOSE: Method = (20, 40);
const CHANNEL_CLOSE_OK: Method = (20, 41);

pub(crate) fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![kind];
    frame.extend(channel.to_be_bytes());
    long_string(&mut frame, payload);
    frame.push(0xce);
    frame
}

pub(crate) fn short_string(into: &mut Vec<u8>, text: &str) {
    into.push(u8::try_from(text.len()).expect("a short string"));
    into.extend(text.as_bytes());
}

/// A long string, and a table, and a frame's payload: all of them a length and bytes.
pub(crate) fn long_string(into: &mut Vec<u8>, bytes: &[u8]) {
    into.extend(u32::try_from(bytes.len()).expect("a long string").to_be_bytes());
    into.extend(bytes);
}

/// A connection with channel 1 open.
pub(crate) struct Publisher {
    stream: TcpStream,
    answers: BufReader<TcpStream>,
}

impl Publisher {
    /// Connects as the test kit's user to its virtual host `/`.
    pub(crate) fn connect(address: &str) -> Self {
        let mut stream = TcpStream::connect(address).expect("connect to RabbitMQ");
        stream.write_all(b"AMQP\x00\x00\x09\x01").expect("greet RabbitMQ");
        let answers = BufReader::new(stream.try_clone().expect("clone a socket"));
        let mut publisher = Publisher { stream, answers };

        publisher.expect(CONNECTION_START);
        let mut start = Vec::new();
        long_string(&mut start, b"");
        short_string(&mut start, "PLAIN");
        long_string(&mut start, b"\0guest\0guest");
        short_string(&mut start, "en_US");
        publisher.say(0, CONNECTION_START_OK, &start);

        let mut tune = publisher.expect(CONNECTION_TUNE);
        // No heartbeats: nobody reads or writes while the broker holds the socket back.
        tune[6..8].fill(0);
        publisher.say(0, CONNECTION_TUNE_OK, &tune);
        publisher.say(0, CONNECTION_OPEN, b"\x01/\x00\x00");
        publisher.expect(CONNECTION_OPEN_OK);
        publisher.say(1, CHANNEL_OPEN, b"\x00");
        publisher.expect(CHANNEL_OPEN_OK);
        publisher
    }

    pub(crate) fn send(&mut self, frames: &[u8]) {
        self.stream.write_all(frames).expect("publish to RabbitMQ");
    }

    /// Returns when the broker has taken everything that was sent.
    pub(crate) fn finish(mut self) {
        self.say(1, CHANNEL_CLOSE, b"\x00\xc8\x00\x00\x00\x00\x00");
        self.expect(CHANNEL_CLOSE_OK);
    }

    fn say(&mut self, channel: u16, (class, number): Method, arguments: &[u8]) {
        let payload = [&class.to_be_bytes(), &number.to_be_bytes(), arguments].concat();
        self.send(&frame(METHOD, channel, &payload));
    }

    /// The arguments of the method that must come next.
    fn expect(&mut self, method: Method) -> Vec<u8> {
        let mut head = [0; 7];
        self.answers.read_exact(&mut head).expect("an answer of RabbitMQ");
        let length = u32::from_be_bytes([head[3], head[4], head[5], head[6]]);
        let mut payload = vec![0; length as usize + 1];
        self.answers.read_exact(&mut payload).expect("a whole frame");
        payload.pop();
        let said = (
            u16::from_be_bytes([payload[0], payload[1]]),
            u16::from_be_bytes([payload[2], payload[3]]),
        );
        assert!(
            head[0] == METHOD && said == method,
            "RabbitMQ said {said:?} instead of {method:?}: {}",
            String::from_utf8_lossy(&payload)
        );
        payload.split_off(4)
    }
}

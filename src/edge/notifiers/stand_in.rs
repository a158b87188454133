//! A small HTTP server on loopback that stands in for a channel, and keeps what it was sent.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How it answers one request.
#[derive(Clone, Debug)]
pub(super) enum Say {
    /// With this status, these further header lines and this body.
    Answer(u16, Vec<String>, Vec<u8>),
    /// Not at all. From then on the test's clock runs by itself (it must be one thread's), so no timeout is waited for.
    Nothing,
    /// By closing the connection.
    Close,
}

impl Say {
    pub(super) fn answer(status: u16, body: &str) -> Self {
        Self::Answer(status, vec![], body.into())
    }
}

/// One request as it came.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// Request line and headers.
    pub(super) head: String,
    /// The body, decoded.
    pub(super) body: serde_json::Value,
}

/// See the module. Ends with the test's runtime.
pub(super) struct StandIn {
    /// Where it listens, such as `http://127.0.0.1:4711`.
    pub(super) url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    script: Arc<Mutex<VecDeque<Say>>>,
}

impl StandIn {
    /// Starts it; what the script does not say is answered with `usual`.
    pub(super) async fn start(usual: Say) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let script = Arc::new(Mutex::new(VecDeque::new()));
        let (asked_too, script_too) = (Arc::clone(&asked), Arc::clone(&script));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(
                    stream,
                    Arc::clone(&asked_too),
                    Arc::clone(&script_too),
                    usual.clone(),
                ));
            }
        });
        Self { url, asked, script }
    }

    /// What it says to the next request that nothing has been said about yet.
    pub(super) fn next(&self, say: Say) {
        self.script.lock().unwrap().push_back(say);
    }

    /// What it has been asked since the last call.
    pub(super) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

async fn serve(mut stream: TcpStream, asked: Arc<Mutex<Vec<Asked>>>, script: Arc<Mutex<VecDeque<Say>>>, usual: Say) {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let length = head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>().unwrap())
    });
    while bytes.len() < head_end + length.unwrap_or(0) {
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let body = serde_json::from_slice(&bytes[head_end..]).unwrap_or_default();
    asked.lock().unwrap().push(Asked { head, body });
    let say = script.lock().unwrap().pop_front().unwrap_or(usual);
    match say {
        Say::Answer(status, headers, body) => {
            let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
            let length = body.len();
            let head = format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n");
            // The other side may have read enough and gone.
            let _ = stream.write_all(head.as_bytes()).await;
            let _ = stream.write_all(&body).await;
        }
        Say::Nothing => {
            tokio::time::pause();
            std::future::pending::<()>().await;
        }
        Say::Close => {}
    }
}

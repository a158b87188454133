//! A small HTTP server on loopback that says what a test wants Flower to say.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How one request is answered.
#[derive(Clone, Debug)]
pub(super) enum Say {
    /// With this status, these further header lines, and this body.
    Answer(u16, &'static str, Vec<u8>),
    /// With status 200 and a body without end.
    Endless,
    /// With status 200, and the claim that so many bytes will follow.
    Claim(u64),
    /// Not at all. From then on the test's clock runs by itself (it must be one thread's), so no timeout is waited for.
    Nothing,
    /// By closing the connection.
    Close,
}

impl Say {
    pub(super) fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self::Answer(200, "", body.into())
    }
}

/// See the module. Ends with the test's runtime.
pub(super) struct StandIn {
    /// Where it listens, such as `127.0.0.1:4711`.
    pub(super) at: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl StandIn {
    /// Starts it; `say` is given each request's path with its query.
    pub(super) async fn start(say: impl Fn(&str) -> Say + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap().to_string();
        let (asked, say) = (Arc::new(Mutex::new(Vec::new())), Arc::new(say));
        let heads = Arc::clone(&asked);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (say, heads) = (Arc::clone(&say), Arc::clone(&heads));
                tokio::spawn(async move { serve(stream, &*say, &heads).await });
            }
        });
        Self { at, asked }
    }

    /// The heads of the requests so far.
    pub(super) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn serve(mut stream: TcpStream, say: &(impl Fn(&str) -> Say + Sync), heads: &Mutex<Vec<String>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap().to_owned();
    heads.lock().unwrap().push(head);
    match say(&path) {
        Say::Answer(status, headers, body) => {
            let length = body.len();
            let head = format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n");
            // The other side may have read enough and gone.
            let _ = stream.write_all(head.as_bytes()).await;
            let _ = stream.write_all(&body).await;
        }
        Say::Endless => {
            let _ = stream.write_all(b"HTTP/1.1 200 X\r\nconnection: close\r\n\r\n").await;
            while stream.write_all(&[b' '; 1 << 16]).await.is_ok() {}
        }
        Say::Claim(length) => {
            let head = format!("HTTP/1.1 200 X\r\ncontent-length: {length}\r\n\r\n");
            let _ = stream.write_all(head.as_bytes()).await;
            std::future::pending::<()>().await;
        }
        Say::Nothing => {
            tokio::time::pause();
            std::future::pending::<()>().await;
        }
        Say::Close => {}
    }
}

//! What bulk requests are sent to: it keeps the newest of each document by its `_id`, and answers as Elasticsearch does. The
//! stand-in of the tests takes half a millisecond of processor time for a document, and would be all that is measured.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

/// By `_id`: version and document.
type Documents = HashMap<String, (i64, Box<str>)>;

/// A server on a free port of loopback, in threads of this process.
#[derive(Clone)]
pub(crate) struct Elastic {
    documents: Arc<Mutex<Documents>>,
    port: u16,
}

impl Elastic {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port on loopback");
        let port = listener.local_addr().expect("it is bound").port();
        let elastic = Elastic {
            documents: Arc::default(),
            port,
        };
        let served = elastic.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let elastic = served.clone();
                // A client that goes is no failure.
                std::thread::spawn(move || elastic.serve(stream));
            }
        });
        elastic
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn sink(&self) -> String {
        format!("elasticsearch+{}/clicks-1m", self.url())
    }

    pub(crate) fn clear(&self) {
        self.get().clear();
    }

    /// All documents, as they are there now.
    pub(crate) fn documents(&self) -> Vec<Value> {
        let read = |text: &str| serde_json::from_str(text).expect("it came as JSON");
        self.get().values().map(|(_, document)| read(document)).collect()
    }

    fn get(&self) -> MutexGuard<'_, Documents> {
        self.documents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, stream: TcpStream) -> Option<()> {
        stream.set_nodelay(true).ok()?;
        let mut from = BufReader::with_capacity(1 << 16, stream.try_clone().ok()?);
        let mut to = stream;
        loop {
            let (mut length, mut line) = (0, String::new());
            from.read_line(&mut line).ok().filter(|read| *read > 0)?;
            let is_bulk = line.contains("/_bulk");
            loop {
                line.clear();
                from.read_line(&mut line).ok()?;
                let (name, value) = line.split_once(':').unwrap_or_default();
                if name.eq_ignore_ascii_case("content-length") {
                    length = value.trim().parse().ok()?;
                }
                if line.trim().is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            from.read_exact(&mut body).ok()?;
            let answer = if is_bulk {
                self.bulk(std::str::from_utf8(&body).ok()?)?
            } else {
                "{}".to_owned()
            };
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-elastic-product: Elasticsearch\r\ncontent-length: {}\r\n\r\n",
                answer.len()
            );
            to.write_all(format!("{head}{answer}").as_bytes()).ok()?;
        }
    }

    fn bulk(&self, body: &str) -> Option<String> {
        let mut lines = body.lines();
        let mut items = Vec::new();
        while let (Some(head), Some(document)) = (lines.next(), lines.next()) {
            let head: Value = serde_json::from_str(head).ok()?;
            let (action, about) = head.as_object()?.iter().next()?;
            let id = about["_id"].as_str()?;
            // An update bears its document within.
            let document: Box<str> = match action.as_str() {
                "update" => serde_json::from_str::<Value>(document).ok()?["doc"].to_string().into(),
                _ => document.into(),
            };
            let version = about["version"].as_i64();
            let mut all = self.get();
            let known = all.get(id).map(|(version, _)| *version);
            let status = match (version, known) {
                (Some(new), Some(old)) if new < old => 409,
                _ => {
                    all.insert(id.to_owned(), (version.unwrap_or(1), document));
                    200
                }
            };
            items.push(format!(
                "{{\"{action}\":{{\"_id\":{},\"status\":{status}}}}}",
                Value::from(id)
            ));
        }
        Some(format!(
            "{{\"took\":1,\"errors\":false,\"items\":[{}]}}",
            items.join(",")
        ))
    }
}

//! A server of one function, one request a connection: it plays MLflow, or stands between it and the client.

use std::{
    future::Future,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) method: String,
    /// Path and query.
    pub(super) target: String,
    /// Names in lower case.
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Request {
    /// The call under MLflow's API, "runs/create" say.
    pub(super) fn call(&self) -> &str {
        let path = self.target.split('?').next().unwrap();
        path.strip_prefix("/api/2.0/mlflow/").unwrap_or(path)
    }
}

/// Serves on a free port until the runtime ends; `None` from the handler closes the connection without an answer.
pub(super) async fn serve<F>(handler: impl Fn(Request) -> F + Send + Sync + 'static) -> String
where
    F: Future<Output = Option<(u16, Vec<u8>)>> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let handler = Arc::new(handler);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let handler = handler.clone();
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                let Some(request) = read(&mut stream).await else { return };
                if let Some((status, body)) = handler(request).await {
                    let head = format!(
                        "HTTP/1.1 {status} -\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                        body.len()
                    );
                    let answer = [head.as_bytes(), &body].concat();
                    // A client that has given up meanwhile is no fault of the server.
                    let _ = stream.write_all(&answer).await;
                }
            });
        }
    });
    address
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, target) = (words.next()?, words.next()?);
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        match line.trim().split_once(": ") {
            Some((name, value)) => headers.push((name.to_lowercase(), value.to_owned())),
            None => break,
        }
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let mut body = vec![0; length.map_or(0, |(_, length)| length.parse().unwrap())];
    stream.read_exact(&mut body).await.ok()?;
    Some(Request { method, target, headers, body })
}

/// A server that answers as MLflow does where all is well, unless `first` answers otherwise, and what it was asked.
pub(super) async fn scripted(
    first: impl Fn(&Request) -> Option<(u16, &'static str)> + Send + Sync + 'static,
) -> (String, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = asked.clone();
    let address = serve(move |request| {
        let body = String::from_utf8_lossy(&request.body).into_owned();
        let run = body.split('"').skip_while(|part| *part != "run_name" && *part != "run_id").nth(2);
        log.lock().unwrap().push(format!("{} {}", request.call(), run.unwrap_or("-")));
        let (status, text) = first(&request).map_or_else(
            || {
                let text = match request.call() {
                    "experiments/get-by-name" => r#"{"experiment":{"experiment_id":"1"}}"#.to_owned(),
                    "runs/create" => format!(r#"{{"run":{{"info":{{"run_id":"{}"}}}}}}"#, run.unwrap()),
                    _ => "{}".to_owned(),
                };
                (200, text)
            },
            |(status, text)| (status, text.to_owned()),
        );
        async move { Some((status, text.into_bytes())) }
    })
    .await;
    (address, asked)
}

pub(super) fn holds(request: &Request, text: &str) -> bool {
    String::from_utf8_lossy(&request.body).contains(text)
}

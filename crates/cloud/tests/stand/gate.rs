//! A way to S3 that holds, cuts or refuses some requests, and knows which parts of uploads passed.

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Pass,
    /// It passes, so much later.
    Late(Duration),
    /// It is taken, and never arrives.
    Hold,
    /// The connection breaks off.
    Cut,
    /// `AccessDenied`, of a request without a body.
    Refuse,
}

type Judge = dyn FnMut(&str, Option<i32>) -> Fate + Send;

pub struct Gate {
    pub endpoint: String,
    passed: Arc<Mutex<Vec<i32>>>,
}

impl Gate {
    /// `judge` is told each request's first line and, of a part of an upload, its number.
    pub async fn new(to: &str, judge: impl FnMut(&str, Option<i32>) -> Fate + Send + 'static) -> Self {
        let to = to.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let passed = Arc::new(Mutex::new(Vec::new()));
        let (seen, judge): (_, Arc<Mutex<Judge>>) = (Arc::clone(&passed), Arc::new(Mutex::new(judge)));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, to.clone(), Arc::clone(&judge), Arc::clone(&seen)));
            }
        });
        Self { endpoint, passed }
    }

    /// So many parts pass; those behind them are held.
    pub async fn of_parts(to: &str, most: usize) -> Self {
        let mut passed = 0;
        let judge = move |_: &str, part: Option<i32>| {
            passed += usize::from(part.is_some());
            if part.is_some() && passed > most { Fate::Hold } else { Fate::Pass }
        };
        Self::new(to, judge).await
    }

    /// Numbers of the parts that passed, in order.
    pub fn passed(&self) -> Vec<i32> {
        let mut passed = self.passed.lock().unwrap().clone();
        passed.sort_unstable();
        passed
    }
}

/// One connection. Its client waits for an answer before it asks again, so that a request begins a read.
async fn carry(mut client: TcpStream, to: String, judge: Arc<Mutex<Judge>>, passed: Arc<Mutex<Vec<i32>>>) -> io::Result<()> {
    let mut server = TcpStream::connect(to).await?;
    let (mut up, mut down) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let mut held = false;
    loop {
        tokio::select! {
            read = client.read(&mut up) => {
                let bytes = &up[..read?];
                if bytes.is_empty() {
                    return Ok(());
                }
                if let Some(line) = first_line(bytes) {
                    let part = part_of(&line);
                    let fate = judge.lock().unwrap()(&line, part);
                    match fate {
                        Fate::Pass => passed.lock().unwrap().extend(part),
                        Fate::Late(time) => {
                            passed.lock().unwrap().extend(part);
                            tokio::time::sleep(time).await;
                        }
                        Fate::Hold => held = true,
                        Fate::Cut => return Ok(()),
                        Fate::Refuse => {
                            let body = "<Error><Code>AccessDenied</Code><Message>no</Message></Error>";
                            let length = body.len();
                            let answer = format!("HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}");
                            return client.write_all(answer.as_bytes()).await;
                        }
                    }
                }
                if !held {
                    server.write_all(bytes).await?;
                }
            }
            read = server.read(&mut down), if !held => {
                let bytes = &down[..read?];
                client.write_all(bytes).await?;
                if bytes.is_empty() {
                    return Ok(());
                }
            }
        }
    }
}

fn first_line(bytes: &[u8]) -> Option<String> {
    let begins = ["GET /", "PUT /", "POST /", "HEAD /", "DELETE /"].iter().any(|method| bytes.starts_with(method.as_bytes()));
    let line = bytes.split(|byte| *byte == b'\r').next().filter(|_| begins)?;
    String::from_utf8(line.to_vec()).ok().filter(|line| line.ends_with(" HTTP/1.1"))
}

fn part_of(line: &str) -> Option<i32> {
    let (_, rest) = line.split_once("partNumber=").filter(|_| line.starts_with("PUT "))?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

//! Answers each event with the event, by the runtime interface alone (Lambda developer guide, "Using the Lambda runtime API
//! for custom runtimes"): a function in any language is no more than this.

use std::{
    error::Error,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
};

/// Bytes of the largest event (Lambda developer guide, "Lambda quotas").
const LARGEST: usize = 6 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    #[expect(clippy::disallowed_methods, reason = "a runtime is told where to ask by this variable")]
    let host = std::env::var("AWS_LAMBDA_RUNTIME_API")?;
    loop {
        let (request, event) = call(&host, "GET", "next", &[])?;
        call(&host, "POST", &format!("{}/response", request.ok_or("an event without a request id")?), &event)?;
    }
}

/// The request id and the body of what is answered.
fn call(host: &str, method: &str, what: &str, body: &[u8]) -> Result<(Option<String>, Vec<u8>), Box<dyn Error>> {
    let mut stream = TcpStream::connect(host)?;
    write!(stream, "{method} /2018-06-01/runtime/invocation/{what} HTTP/1.1\r\nHost: {host}\r\n")?;
    write!(stream, "Connection: close\r\nContent-Length: {}\r\n\r\n", body.len())?;
    stream.write_all(body)?;
    let mut answer = BufReader::new(stream);
    let (mut request, mut length) = (None, 0);
    let mut line = String::new();
    while answer.read_line(&mut line)? > 2 {
        if let Some((name, value)) = line.split_once(": ") {
            match name.to_ascii_lowercase().as_str() {
                "lambda-runtime-aws-request-id" => request = Some(value.trim().to_owned()),
                "content-length" => length = value.trim().parse::<usize>()?,
                _ => {}
            }
        }
        line.clear();
    }
    let mut content = vec![0; length.min(LARGEST)];
    answer.read_exact(&mut content)?;
    Ok((request, content))
}

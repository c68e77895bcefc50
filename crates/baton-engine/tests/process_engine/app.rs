//! The app that the tests run: this program with the arguments `__app ROLE …`.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

pub(crate) fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(2).collect();
    let argument = |at: usize| arguments.get(at).map_or("", String::as_str);
    match argument(0) {
        "listen" => listen(),
        "count" => return count(Path::new(argument(1))),
        "flood" => flood(argument(1).parse().expect("a number of lines")),
        "hog" => hog(),
        "connect" => connect(argument(1)),
        role => panic!("no such role: {role}"),
    }
    ExitCode::SUCCESS
}

/// Answers each connection on `$PORT` with its pid.
fn listen() {
    let port = std::env::var("PORT").expect("PORT is set");
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).expect("PORT is free");
    let mut open = Vec::new();
    for connection in listener.incoming() {
        let mut connection = connection.expect("accepted");
        writeln!(connection, "{}", std::process::id()).expect("answered");
        open.push(connection);
    }
}

/// Writes numbered lines, odd ones to stderr, until `stop` exists; then ends with 5.
fn count(stop: &Path) -> ExitCode {
    let mut number = 0_u64;
    while !stop.exists() {
        // Two writes a line: what a reader sees may end anywhere.
        if number.is_multiple_of(2) {
            print!("line ");
            println!("{number}");
        } else {
            eprint!("line ");
            eprintln!("{number}");
        }
        number += 1;
        std::thread::sleep(Duration::from_micros(300));
    }
    println!("last {number}");
    // Without its line end.
    eprint!("bye");
    ExitCode::from(5)
}

/// Writes so many lines of 100 bytes as fast as it can.
fn flood(lines: usize) {
    let stdout = std::io::stdout();
    let mut out = std::io::LineWriter::new(stdout.lock());
    for number in 0..lines {
        writeln!(out, "{number:<99}").expect("written");
    }
}

/// Takes memory until it is stopped.
fn hog() {
    println!("ready");
    let mut taken: Vec<Vec<u8>> = Vec::new();
    while !Path::new("go").exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    loop {
        taken.push(vec![taken.len() as u8 | 1; 1 << 20]);
        std::hint::black_box(&taken);
    }
}

/// Holds one connection to `address` until its standard input ends.
fn connect(address: &str) {
    let _connection = TcpStream::connect(address).expect("connected");
    println!("connected");
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

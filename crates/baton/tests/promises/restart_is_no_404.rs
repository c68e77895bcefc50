//! The daemon is stopped and started: whoever gets a connection gets an answer of the live color, also
//! in the first moment, when nothing has been read from the database yet.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::kit::machine::PATIENCE;
use crate::kit::{App, Engine, Machine};

#[derive(Default)]
struct Tally {
    over: AtomicBool,
    answered: AtomicU64,
    /// Nobody listened.
    refused: AtomicU64,
    /// Connected by the kernel, and reset before anybody had accepted it: the listener went away.
    reset: AtomicU64,
}

/// Connects again and again, one request each; the answers that are not 200.
fn hammer(address: SocketAddr, tally: &Tally) -> Vec<String> {
    let mut wrong = Vec::new();
    while !tally.over.load(Ordering::Relaxed) {
        let answer = TcpStream::connect(address).and_then(|mut stream| {
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(b"GET / HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n")?;
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes)?;
            Ok(bytes)
        });
        match answer {
            Ok(bytes) if bytes.starts_with(b"HTTP/1.1 200 ") => {
                tally.answered.fetch_add(1, Ordering::Relaxed);
            }
            Ok(bytes) => wrong.push(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                tally.refused.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
                ) =>
            {
                tally.reset.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => wrong.push(error.to_string()),
        }
    }
    wrong
}

fn ten_restarts(engine: Engine) {
    let mut machine = Machine::start();
    let app = App::new(engine, "restart");
    machine.deploy(&app, &[]);
    let tally = Arc::new(Tally::default());
    let hammers: Vec<_> = (0..4)
        .map(|_| {
            let (address, tally) = (machine.http, Arc::clone(&tally));
            std::thread::spawn(move || hammer(address, &tally))
        })
        .collect();
    for _ in 0..10 {
        let before = tally.answered.load(Ordering::Relaxed);
        machine.stop();
        machine.up();
        crate::kit::wait_for("answers again", PATIENCE, || {
            (tally.answered.load(Ordering::Relaxed) > before + 10).then_some(())
        });
    }
    tally.over.store(true, Ordering::Relaxed);
    let wrong: Vec<String> = hammers
        .into_iter()
        .flat_map(|hammer| hammer.join().unwrap())
        .collect();
    println!(
        "{engine:?}: 10 restarts, {} answered 200, {} otherwise, {} refused, {} reset",
        tally.answered.load(Ordering::Relaxed),
        wrong.len(),
        tally.refused.load(Ordering::Relaxed),
        tally.reset.load(Ordering::Relaxed)
    );
    assert!(wrong.is_empty(), "{wrong:#?}\n{}", machine.log());
    // At most the one that came between the last look at the queue and its end, a worker and restart.
    assert!(tally.reset.load(Ordering::Relaxed) <= 20);
}

#[test]
fn clients_of_a_process_are_answered_by_it_through_restarts() {
    ten_restarts(Engine::Process);
}

#[test]
fn clients_of_a_container_are_answered_by_it_through_restarts() {
    ten_restarts(Engine::Docker);
}

//! A Redis of a test's own, and the two colors of an app that write and read its streams.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use baton_deploy::redis::{
    Before, Draining, Moved, Mover, Poll, Redis, Resolve, Stream, Url, Which, by_dns,
};
use redis::{Commands, Connection, Value, cmd};
use tempfile::TempDir;

/// Longest wait for anything that a test waits for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A real `redis-server` with a folder of its own; ended with the test.
pub(crate) struct Server {
    pub(crate) dir: TempDir,
    args: Vec<String>,
    child: Option<Child>,
}

impl Server {
    pub(crate) fn start(args: &[&str]) -> Server {
        let mut server = Server {
            dir: TempDir::new().expect("a folder"),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            child: None,
        };
        server.revive();
        server
    }

    /// With an append-only file that is synced at each write: a restart loses nothing.
    pub(crate) fn durable() -> Server {
        Server::start(&["--appendonly", "yes", "--appendfsync", "always"])
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("redis.sock")
    }

    pub(crate) fn url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Starts it (again) and waits until it answers.
    pub(crate) fn revive(&mut self) {
        let log = std::fs::File::create(self.dir.path().join("log")).expect("a log");
        let child = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--unixsocket"])
            .arg(self.socket())
            .arg("--dir")
            .arg(self.dir.path())
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(log)
            .spawn()
            .expect("redis-server is installed");
        self.child = Some(child);
        let begun = Instant::now();
        while self.answer().is_err() {
            assert!(begun.elapsed() < PATIENCE, "redis-server: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn answer(&self) -> redis::RedisResult<()> {
        let mut connection = redis::Client::open(self.url())?.get_connection()?;
        match cmd("PING").query::<Value>(&mut connection) {
            // It is there and wants a password.
            Err(error) if error.code() == Some("NOAUTH") => Ok(()),
            other => other.map(|_| ()),
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// `STOP`: it hangs, and its connections stay. `CONT`: it goes on.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.as_ref().expect("it runs").id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.expect("kill").success());
    }

    /// As `kill -9`.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = std::fs::remove_file(self.socket());
    }

    pub(crate) fn connection(&self) -> Connection {
        let client = redis::Client::open(self.url()).expect("a URL");
        client.get_connection().expect("a connection")
    }

    /// Baton's own way there.
    pub(crate) fn baton(&self) -> Arc<Redis> {
        let url = Url::parse(&self.url()).expect("a URL");
        Arc::new(Redis::new(url, by_dns()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The host `redis` is at this address, as the engine would say.
pub(crate) fn at(address: SocketAddr) -> Resolve {
    Arc::new(move |host, _| {
        Box::pin(async move {
            match host.as_str() {
                "redis" => Ok(address),
                _ => Err(format!("no service {host}")),
            }
        })
    })
}

/// A TCP port that is free now.
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

pub(crate) fn stream(key: &str, group: &str) -> Stream {
    Stream {
        key: key.to_owned(),
        group: group.to_owned(),
        noack: false,
    }
}

/// One stream of each color through one deploy. Every message carries its number.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) redis: Arc<Redis>,
    pub(crate) connection: Connection,
    pub(crate) old: Stream,
    pub(crate) new: Stream,
    pub(crate) before: Before,
    /// Numbers given so far.
    written: u64,
    /// Messages that were taken away by hand, or that the deploy must leave alone.
    pub(crate) excused: BTreeSet<u64>,
    /// How often each color handled which message.
    pub(crate) by_old: BTreeMap<u64, u64>,
    pub(crate) by_new: BTreeMap<u64, u64>,
    pub(crate) moved: Moved,
    pub(crate) acknowledged: u64,
}

impl Case {
    /// Both groups exist, from the beginning of their streams.
    pub(crate) fn new(server: &Server, name: &'static str) -> Case {
        let mut case = Case::without_old_group(server, name);
        let old = case.old.clone();
        case.group(&old, "0");
        case
    }

    pub(crate) fn without_old_group(server: &Server, name: &'static str) -> Case {
        let part = name.replace(' ', "-");
        let mut case = Case {
            name,
            redis: server.baton(),
            connection: server.connection(),
            old: stream(&format!("{part}-blue"), "api-blue"),
            new: stream(&format!("{part}-green"), "api-green"),
            before: Before::default(),
            written: 0,
            excused: BTreeSet::new(),
            by_old: BTreeMap::new(),
            by_new: BTreeMap::new(),
            moved: Moved::default(),
            acknowledged: 0,
        };
        let new = case.new.clone();
        case.group(&new, "0");
        case
    }

    pub(crate) fn group(&mut self, stream: &Stream, id: &str) {
        let _: Value = cmd("XGROUP")
            .arg(&["CREATE", &stream.key, &stream.group, id, "MKSTREAM"])
            .query(&mut self.connection)
            .expect("XGROUP CREATE");
    }

    /// The deploy begins.
    pub(crate) async fn begin(&mut self) {
        let streams = [self.old.clone()];
        self.before = Before::take(&self.redis, &streams, std::time::Duration::ZERO)
            .await
            .expect("a look");
    }

    /// The old color's producers write so many; returns the ids.
    pub(crate) fn write(&mut self, count: u64) -> Vec<String> {
        let mut ids = Vec::new();
        for _ in 0..count {
            let id = cmd("XADD")
                .arg(&[&self.old.key, "*", "number", &self.written.to_string()])
                // Neither text nor empty may trouble anybody.
                .arg(b"\xff\x00\r\n")
                .arg("")
                .query(&mut self.connection)
                .expect("XADD");
            ids.push(id);
            self.written += 1;
        }
        ids
    }

    /// A consumer of the old color takes so many and has not handled them yet.
    pub(crate) fn take(&mut self, consumer: &str, count: u64) -> Vec<(String, u64)> {
        let (old, noack) = (self.old.clone(), self.old.noack);
        read(&mut self.connection, &old, consumer, count, noack)
    }

    /// A consumer of the old color takes so many, handles and acknowledges them.
    pub(crate) fn handle(&mut self, consumer: &str, count: u64) {
        let taken = self.take(consumer, count);
        self.acknowledge(&taken);
    }

    pub(crate) fn acknowledge(&mut self, taken: &[(String, u64)]) {
        for (id, number) in taken {
            let (key, group) = (&self.old.key, &self.old.group);
            let _: u64 = self.connection.xack(key, group, &[id]).expect("XACK");
            *self.by_old.entry(*number).or_default() += 1;
        }
    }

    pub(crate) fn draining(&self) -> Draining {
        Draining::new(
            self.redis.clone(),
            vec![self.old.clone()],
            self.before.clone(),
        )
    }

    /// What the drain says at once: the first look that is not *settling*.
    pub(crate) async fn poll(&mut self) -> Poll {
        let mut draining = self.draining();
        for _ in 0..4 {
            let poll = draining.poll().await;
            if poll != Poll::Settling {
                return poll;
            }
        }
        panic!("{}: it does not settle", self.name)
    }

    pub(crate) async fn drains(&mut self) {
        let mut draining = self.draining();
        let waiting = draining.wait(&|text| println!("{text}"));
        let handled = tokio::time::timeout(PATIENCE, waiting).await;
        let handled = handled.unwrap_or_else(|_| panic!("{}: it does not drain", self.name));
        self.acknowledged += handled.trimmed;
    }

    /// Everything of the old color has exited.
    pub(crate) async fn carry(&mut self) {
        let mut mover = Mover::new(self.redis.clone(), self.redis.clone(), self.before.clone());
        let carried = mover.carry(&self.old, &self.new, Which::All, &mut self.moved);
        carried.await.expect("a move");
    }

    /// The new color handles all that it has; then nobody may miss a message.
    pub(crate) fn finish(&mut self) {
        let new = self.new.clone();
        loop {
            let taken = read(&mut self.connection, &new, "api-1", 1000, false);
            if taken.is_empty() {
                break;
            }
            let ids: Vec<&String> = taken.iter().map(|(id, _)| id).collect();
            let _: u64 = self
                .connection
                .xack(&new.key, &new.group, &ids)
                .expect("XACK");
            for (_, number) in taken {
                *self.by_new.entry(number).or_default() += 1;
            }
        }
        self.print();
        for number in (0..self.written).filter(|number| !self.excused.contains(number)) {
            let handled = self.by_old.contains_key(&number) || self.by_new.contains_key(&number);
            assert!(handled, "{}: message {number} was lost", self.name);
        }
    }

    /// Messages that were handled more than once.
    pub(crate) fn twice(&self) -> usize {
        let mut times = self.by_old.clone();
        for (number, count) in &self.by_new {
            *times.entry(*number).or_default() += count;
        }
        times.values().filter(|count| **count > 1).count()
    }

    /// A row of the table that all cases together print.
    fn print(&self) {
        println!(
            "| {:<44} | written {:>6} | by old {:>6} | by new {:>6} | moved {:>5} undelivered {:>5} pending | gone {:>4} | left alone {:>4} | twice {:>3} |",
            self.name,
            self.written,
            self.by_old.len(),
            self.by_new.len(),
            self.moved.undelivered,
            self.moved.pending,
            self.moved.gone + self.acknowledged,
            self.excused.len(),
            self.twice()
        );
    }
}

/// XREADGROUP of what is new; the ids with their messages' numbers.
pub(crate) fn read(
    connection: &mut Connection,
    stream: &Stream,
    consumer: &str,
    count: u64,
    noack: bool,
) -> Vec<(String, u64)> {
    let mut command = cmd("XREADGROUP");
    command.arg("GROUP").arg(&stream.group).arg(consumer);
    command.arg("COUNT").arg(count);
    if noack {
        command.arg("NOACK");
    }
    command.arg("STREAMS").arg(&stream.key).arg(">");
    type Entry = (String, Vec<Vec<u8>>);
    let answer: Option<Vec<(String, Vec<Entry>)>> = command.query(connection).expect("XREADGROUP");
    let entries = answer.unwrap_or_default().into_iter();
    entries
        .flat_map(|(_, entries)| entries)
        .map(|(id, fields)| {
            assert_eq!(fields[0], b"number");
            let bytes: &[u8] = b"\xff\x00\r\n";
            assert_eq!((&*fields[2], &*fields[3]), (bytes, &b""[..]), "its bytes");
            let number = String::from_utf8_lossy(&fields[1]).into_owned();
            (id, number.parse().expect("a number"))
        })
        .collect()
}

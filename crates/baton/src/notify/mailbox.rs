//! One place's queue: messages go there one after the other, each tried several times over minutes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use baton_compose::policy::Secret;
use tokio::sync::mpsc;

use super::Counts;
use super::post::{NotTaken, Poster};
use super::webhook;

/// Messages that wait for one place; more are dropped, and counted.
const ROOM: usize = 64;
/// Before each further try.
const PAUSES: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(25),
    Duration::from_secs(90),
];
/// Longest that a place may ask to be left alone.
const LONGEST: Duration = Duration::from_secs(120);
/// An empty mailbox is given up after this.
const IDLE: Duration = Duration::from_secs(300);

/// One message on its way.
#[derive(Debug)]
pub struct Letter {
    pub url: String,
    pub body: String,
    /// For the log: `failed of deploy 7 of shop`.
    pub about: String,
    /// The same over all tries.
    pub id: String,
    pub event: &'static str,
    /// Signs it.
    pub secret: Option<Secret>,
}

#[derive(Debug, Clone, Default)]
pub struct Counter(Arc<Mutex<Counts>>);

impl Counter {
    pub fn read(&self) -> Counts {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn count(&self, to: &'static str, outcome: &'static str) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry((to, outcome)).or_default() += 1;
    }
}

#[derive(Debug)]
pub struct Mailbox {
    kind: &'static str,
    letters: mpsc::Sender<Box<Letter>>,
    counter: Counter,
}

impl Mailbox {
    /// Its postman is a task of its own.
    pub fn open(kind: &'static str, poster: Poster, counter: Counter) -> Mailbox {
        let (letters, mut waiting) = mpsc::channel::<Box<Letter>>(ROOM);
        let postman = Postman {
            kind,
            poster,
            counter: counter.clone(),
        };
        tokio::spawn(async move {
            while let Ok(Some(letter)) = tokio::time::timeout(IDLE, waiting.recv()).await {
                postman.carry(letter).await;
            }
            // What came in this very moment.
            waiting.close();
            while let Some(letter) = waiting.recv().await {
                postman.carry(letter).await;
            }
        });
        Mailbox {
            kind,
            letters,
            counter,
        }
    }

    pub fn is_closed(&self) -> bool {
        self.letters.is_closed()
    }

    /// Never waits. `Err`: nobody empties it any more.
    pub fn put(&self, letter: Box<Letter>) -> Result<(), Box<Letter>> {
        match self.letters.try_send(letter) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Full(letter)) => {
                self.counter.count(self.kind, "dropped");
                tracing::warn!(
                    "{} messages wait for {}: {} is not told there",
                    ROOM,
                    self.kind,
                    letter.about
                );
                Ok(())
            }
            Err(mpsc::error::TrySendError::Closed(letter)) => Err(letter),
        }
    }
}

struct Postman {
    kind: &'static str,
    poster: Poster,
    counter: Counter,
}

impl Postman {
    async fn carry(&self, letter: Box<Letter>) {
        let mut pauses = PAUSES.into_iter();
        loop {
            let error = match self
                .poster
                .post(&letter.url, &fields(&letter), letter.body.clone())
                .await
            {
                Ok(()) => {
                    tracing::debug!("{} was told {}", self.kind, letter.about);
                    return self.counter.count(self.kind, "sent");
                }
                Err(error) => error,
            };
            let Some(pause) = pauses.next().filter(|_| error.may_pass()) else {
                return self.give_up(&letter, &error);
            };
            tracing::debug!("{} was not told {} yet: {error}", self.kind, letter.about);
            tokio::time::sleep(
                error
                    .asks_to_wait()
                    .map_or(pause, |asked| asked.clamp(pause, LONGEST)),
            )
            .await;
        }
    }

    fn give_up(&self, letter: &Letter, error: &NotTaken) {
        self.counter.count(self.kind, "failed");
        tracing::warn!(
            "{} was not told {}: {error}; is its address in `x-baton.notify` still right? (it is a secret, and not shown)",
            self.kind,
            letter.about
        );
    }
}

/// The time is that of the try, so that a receiver may refuse what is old.
fn fields(letter: &Letter) -> Vec<(&'static str, String)> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |since| since.as_secs());
    let mut fields = vec![
        ("x-baton-event", letter.event.to_owned()),
        ("x-baton-delivery", letter.id.clone()),
    ];
    if let Some(secret) = &letter.secret {
        fields.push(("x-baton-timestamp", now.to_string()));
        let signature = webhook::signature(secret, now, &letter.body);
        fields.push(("x-baton-signature", signature));
    }
    fields
}

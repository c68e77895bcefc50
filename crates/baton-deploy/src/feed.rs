//! Everything a deploy told so far, for whoever attaches, at any time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, watch};

use crate::progress::Progress;

/// Holds all progress of one deploy; each follower reads it from the beginning.
#[derive(Debug)]
pub(crate) struct Feed {
    told: Mutex<Vec<Progress>>,
    /// How many there are, and whether there will be more.
    length: watch::Sender<(usize, bool)>,
    followers: AtomicUsize,
}

impl Feed {
    pub(crate) fn new() -> Feed {
        Feed {
            told: Mutex::new(Vec::new()),
            length: watch::Sender::new((0, false)),
            followers: AtomicUsize::new(0),
        }
    }

    pub(crate) fn tell(&self, progress: Progress) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.push(progress);
        let length = told.len();
        self.length.send_modify(|now| now.0 = length);
    }

    /// Nothing more will be told.
    pub(crate) fn end(&self) {
        self.length.send_modify(|now| now.1 = true);
    }

    /// Commands that read it now.
    pub(crate) fn followers(&self) -> usize {
        self.followers.load(Ordering::SeqCst)
    }

    fn from(&self, index: usize) -> Vec<Progress> {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.get(index..).unwrap_or_default().to_vec()
    }

    /// A follower: what was told, then what comes. The future ends with the feed or when the receiver
    /// is dropped; run it beside the caller.
    pub(crate) fn follow(
        self: &Arc<Self>,
    ) -> (
        mpsc::Receiver<Progress>,
        impl Future<Output = ()> + Send + use<>,
    ) {
        let (sender, receiver) = mpsc::channel(64);
        let feed = Arc::clone(self);
        let counted = Follower::new(&feed);
        let work = async move {
            let _counted = counted;
            let mut length = feed.length.subscribe();
            let mut next = 0;
            loop {
                let (_, ended) = *length.borrow_and_update();
                for progress in feed.from(next) {
                    next += 1;
                    if sender.send(progress).await.is_err() {
                        return;
                    }
                }
                if ended {
                    return;
                }
                tokio::select! {
                    changed = length.changed() => if changed.is_err() { return },
                    () = sender.closed() => return,
                }
            }
        };
        (receiver, work)
    }
}

/// Counts one follower while it lives.
struct Follower(Arc<Feed>);

impl Follower {
    fn new(feed: &Arc<Feed>) -> Follower {
        feed.followers.fetch_add(1, Ordering::SeqCst);
        Follower(Arc::clone(feed))
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.followers.fetch_sub(1, Ordering::SeqCst);
    }
}

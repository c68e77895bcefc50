//! Everything a deploy told so far, for whoever attaches, at any time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, watch};

use crate::progress::Progress;

/// Holds all progress of one deploy; each follower reads it from the beginning.
#[derive(Debug)]
pub(crate) struct Feed {
    told: Mutex<Vec<Progress>>,
    length: watch::Sender<Length>,
    followers: AtomicUsize,
}

#[derive(Debug, Clone, Copy, Default)]
struct Length {
    told: usize,
    /// How often the last one was replaced.
    replaced: u64,
    /// There will be no more.
    ended: bool,
}

impl Feed {
    pub(crate) fn new() -> Feed {
        Feed {
            told: Mutex::new(Vec::new()),
            length: watch::Sender::default(),
            followers: AtomicUsize::new(0),
        }
    }

    pub(crate) fn tell(&self, progress: Progress) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.push(progress);
        let length = told.len();
        self.length.send_modify(|now| now.told = length);
    }

    /// The same for what only counts now: in place of the last one of its kind, where nothing else was
    /// told since. Those who follow get each as far as they keep up.
    pub(crate) fn tell_latest(&self, progress: Progress) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let same =
            |last: &Progress| std::mem::discriminant(last) == std::mem::discriminant(&progress);
        let replaces = told.last().is_some_and(same);
        if replaces {
            told.pop();
        }
        told.push(progress);
        let length = told.len();
        self.length.send_modify(|now| {
            now.told = length;
            now.replaced += u64::from(replaces);
        });
    }

    /// Nothing more will be told.
    pub(crate) fn end(&self) {
        self.length.send_modify(|now| now.ended = true);
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
        let counted = Follower::new(self);
        self.read(Some(counted))
    }

    /// The same for the daemon itself, which waits for nothing: no command is counted.
    pub(crate) fn overhear(
        self: &Arc<Self>,
    ) -> (
        mpsc::Receiver<Progress>,
        impl Future<Output = ()> + Send + use<>,
    ) {
        self.read(None)
    }

    fn read(
        self: &Arc<Self>,
        counted: Option<Follower>,
    ) -> (
        mpsc::Receiver<Progress>,
        impl Future<Output = ()> + Send + use<>,
    ) {
        let (sender, receiver) = mpsc::channel(64);
        let feed = Arc::clone(self);
        let work = async move {
            let _counted = counted;
            let mut length = feed.length.subscribe();
            let (mut next, mut replaced) = (0, 0);
            loop {
                let now = *length.borrow_and_update();
                if now.replaced != replaced && next == now.told {
                    // The last one that was sent is another one by now.
                    next = next.saturating_sub(1);
                }
                replaced = now.replaced;
                for progress in feed.from(next) {
                    next += 1;
                    if sender.send(progress).await.is_err() {
                        return;
                    }
                }
                if now.ended {
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

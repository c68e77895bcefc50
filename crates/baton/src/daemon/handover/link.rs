//! Messages and descriptors over the socket between the two processes. Blocking: the new one has no
//! runtime yet.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longest message in bytes.
const LONGEST: usize = 1024 * 1024;
/// Descriptors that go with one byte; the kernel takes 253.
const AT_ONCE: usize = 32;

/// One end.
#[derive(Debug)]
pub(super) struct Link(UnixStream);

impl Link {
    pub(super) fn new(socket: UnixStream) -> Link {
        Link(socket)
    }

    pub(super) fn into_inner(self) -> UnixStream {
        self.0
    }

    /// How long [`Link::receive`] waits; None: for ever.
    pub(super) fn patience(&self, time: Option<Duration>) -> io::Result<()> {
        self.0.set_read_timeout(time)
    }

    pub(super) fn send(&mut self, message: &impl Serialize) -> io::Result<()> {
        let bytes = serde_json::to_vec(message)?;
        let length = u32::try_from(bytes.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.0.write_all(&length.to_be_bytes())?;
        self.0.write_all(&bytes)
    }

    pub(super) fn receive<T: DeserializeOwned>(&mut self) -> io::Result<T> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length)?;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > LONGEST {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "not a message of this protocol",
            ));
        }
        let mut bytes = vec![0; length];
        self.0.read_exact(&mut bytes)?;
        Ok(serde_json::from_slice(&bytes)?)
    }

    /// In the order given, some with each byte.
    pub(super) fn send_descriptors(&mut self, all: &[BorrowedFd<'_>]) -> io::Result<()> {
        for some in all.chunks(AT_ONCE) {
            let mut space =
                vec![std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            control.push(SendAncillaryMessage::ScmRights(some));
            let sent = sendmsg(
                self.0.as_fd(),
                &[IoSlice::new(b"d")],
                &mut control,
                SendFlags::NOSIGNAL,
            )?;
            if sent != 1 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }

    /// So many, in the order in which they were sent.
    pub(super) fn receive_descriptors(&mut self, count: usize) -> io::Result<Vec<OwnedFd>> {
        let mut all = Vec::with_capacity(count);
        while all.len() < count {
            let mut space =
                vec![std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut byte = [0];
            let read = recvmsg(
                self.0.as_fd(),
                &mut [IoSliceMut::new(&mut byte)],
                &mut control,
                RecvFlags::CMSG_CLOEXEC,
            )?;
            let before = all.len();
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(some) = message {
                    all.extend(some);
                }
            }
            if read.bytes != 1 || all.len() == before {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "descriptors are missing",
                ));
            }
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, SeekFrom};

    use super::*;

    #[test]
    fn many_descriptors_keep_their_order() {
        let (here, there) = UnixStream::pair().unwrap();
        let (mut here, mut there) = (Link::new(here), Link::new(there));
        let files: Vec<std::fs::File> = (0..100u8)
            .map(|number| {
                let mut file = tempfile::tempfile().unwrap();
                file.write_all(&[number]).unwrap();
                file
            })
            .collect();
        let all: Vec<_> = files.iter().map(AsFd::as_fd).collect();
        here.send(&"first").unwrap();
        here.send_descriptors(&all).unwrap();
        here.send(&"last").unwrap();
        assert_eq!(there.receive::<String>().unwrap(), "first");
        let got = there.receive_descriptors(100).unwrap();
        for (number, descriptor) in (0..100u8).zip(got) {
            let mut file = std::fs::File::from(descriptor);
            let mut byte = [0];
            file.seek(SeekFrom::Start(0)).unwrap();
            file.read_exact(&mut byte).unwrap();
            assert_eq!(byte, [number]);
        }
        assert_eq!(there.receive::<String>().unwrap(), "last");
        drop(here);
        assert!(there.receive_descriptors(1).is_err());
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let (mut here, there) = UnixStream::pair().unwrap();
        here.write_all(b"Usage: tool\n").unwrap();
        let error = Link::new(there).receive::<String>().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}

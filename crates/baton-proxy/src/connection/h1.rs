//! HTTP/1.1 from clients: our own engine.

use std::rc::Rc;

use crate::io::{ClientStream, Peer};
use crate::worker::WorkerContext;

pub(crate) async fn serve(_worker: Rc<WorkerContext>, _peer: Peer, _stream: ClientStream) {}

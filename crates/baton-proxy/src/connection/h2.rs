//! HTTP/2 from clients: hyper's server.

use std::rc::Rc;

use crate::io::{ClientStream, Peer};
use crate::worker::WorkerContext;

pub(crate) async fn serve(
    _context: Rc<WorkerContext>,
    _peer: Peer,
    _server_name: Option<Box<str>>,
    _stream: ClientStream,
) {
}

//! `baton load`.

use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::path::PathBuf;

use clap::Args;
use futures_util::TryStreamExt;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio_util::io::ReaderStream;

use super::Global;
use crate::error::CliError;
use crate::wire::Loaded;

/// Bytes that are read at once.
const CHUNK: usize = 256 * 1024;

/// Gives an archive of `docker save` to the daemon's Docker Engine, without a registry between:
/// `docker save shop/api:42 | baton load`, or from elsewhere
/// `docker save shop/api:42 | gzip | ssh server baton load`. Prints the names of the images, which
/// `baton deploy --image` takes.
#[derive(Debug, Args)]
pub struct Load {
    /// The archive, plain or compressed [default: standard input]
    #[arg(value_name = "FILE")]
    archive: Option<PathBuf>,
}

impl Load {
    pub(super) async fn run(self, global: &Global) -> Result<(), CliError> {
        let (client, out) = (global.client(), global.out());
        let archive = match &self.archive {
            Some(path) => std::fs::File::open(path)
                .map_err(|error| CliError::Usage(format!("{}: {error}", path.display())))?,
            None if std::io::stdin().is_terminal() => {
                return Err(CliError::Usage(
                    "standard input is a terminal; name a file, or pipe one in: `docker save IMAGE | baton load`".into(),
                ));
            }
            None => std::io::stdin()
                .as_fd()
                .try_clone_to_owned()
                .map(std::fs::File::from)
                .map_err(|error| CliError::other("standard input", error))?,
        };
        let archive = tokio::fs::File::from_std(archive);
        let chunks = ReaderStream::with_capacity(archive, CHUNK).map_ok(Frame::data);
        let body = BodyExt::boxed(StreamBody::new(chunks));
        let loaded: Loaded = client
            .upload("/v1/images/load", "application/x-tar", body)
            .await?;
        for image in &loaded.images {
            out.text(image)?;
        }
        out.result(&loaded)
    }
}

//! *drain_messages*: waits until the old color has handled its messages and says that it is done
//! (Streams.md §3). What it leaves behind moves once it has ended.

use serde_json::json;

use super::{StepResult, Walk};
use crate::drain::Stage;
use crate::plan::StepName;

const STEP: StepName = StepName::DrainMessages;

pub(super) async fn run(walk: &mut Walk) -> StepResult {
    let Some(leaving) = walk.leaving(STEP)? else {
        return Ok(json!({}));
    };
    let Some(done) = walk.messages_done(&leaving).await? else {
        return Ok(json!({ "left": true }));
    };
    let figures = done.messages.figures();
    walk.drained = Some(Stage::Messages(done));
    Ok(json!(figures))
}

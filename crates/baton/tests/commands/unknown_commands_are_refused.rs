//! A word that is no command is answered with the nearest one.

use crate::kit::Stage;

#[test]
fn a_word_that_is_no_command_is_a_usage_error() {
    let said = Stage::bare().baton(&["depoly"]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("'deploy'"), "{said:?}");
}

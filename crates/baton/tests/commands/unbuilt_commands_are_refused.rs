//! What is designed and not built is known by name, and refused.

use crate::kit::Stage;

#[test]
fn each_says_that_it_is_not_supported_yet() {
    let stage = Stage::bare();
    for name in ["upgrade"] {
        let said = stage.baton(&[name, "x", "--json"]);
        assert_eq!(said.code, 2, "{said:?}");
        let message = format!("baton {name}: not supported yet");
        assert_eq!(said.result()["message"], message.as_str());
        assert!(said.err.contains(&message), "{said:?}");
    }
}

#[test]
fn a_word_that_is_no_command_is_a_usage_error() {
    let said = Stage::bare().baton(&["depoly"]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("'deploy'"), "{said:?}");
}

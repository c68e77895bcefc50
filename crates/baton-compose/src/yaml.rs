//! YAML into [`serde_json::Value`], with the types that Go's YAML gives Compose.

use serde_json::Value;

/// # Errors
/// The parser's words, with line and column.
pub(crate) fn parse(text: &str) -> Result<Value, String> {
    let options = serde_saphyr::options! {
        // `off` and `yes` are words; only true and false are booleans.
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| error.to_string())
}

/// The value at a key path such as `services.api.x-baton.hosts[0]`, and how many bytes of the path
/// were found (keys may hold dots themselves).
pub(crate) fn depth(value: &Value, path: &str) -> usize {
    let Value::Object(map) = value else {
        return 0;
    };
    map.iter()
        .filter_map(|(key, child)| {
            let rest = path.strip_prefix(key.as_str())?;
            match rest.chars().next() {
                None => Some(key.len()),
                Some('.') => Some(key.len() + 1 + depth(child, &rest[1..])),
                Some('[') => Some(path.len()),
                Some(_) => None,
            }
        })
        .max()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn words_stay_words() {
        let value =
            parse("{a: off, b: yes, c: true, d: 0755, e: 1_000, f: 80, g: 1.5, h: }").unwrap();
        assert_eq!(
            value,
            json!({"a": "off", "b": "yes", "c": true, "d": "0755", "e": "1_000", "f": 80, "g": 1.5, "h": null})
        );
    }

    #[test]
    fn anchors_and_merge_keys_are_followed() {
        let value = parse("x-base: &b {a: 1, c: 2}\nservice: {<<: *b, c: 3}").unwrap();
        assert_eq!(value["service"], json!({"a": 1, "c": 3}));
    }

    #[test]
    fn a_path_is_followed_as_far_as_it_goes() {
        let value = json!({"services": {"a.b": {"port": 1}, "a": {}}});
        assert_eq!(depth(&value, "services.a.b.port"), 17);
        assert_eq!(depth(&value, "services.a.b.none"), 13);
        assert_eq!(depth(&value, "none"), 0);
    }
}

//! The `FROM scratch` image.

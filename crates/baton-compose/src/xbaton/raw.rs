//! `x-baton` as it is typed: every key of DESIGN.md §3.1, nothing filled in. The JSON Schema and the
//! checks are made from these types; [`super::lower`] turns them into a [`crate::Policy`].

use schemars::JsonSchema;
use serde::Deserialize;

use super::leaf::{
    CloseCode, CookieName, Count, EngineName, Flag, HeaderFields, Host, Later, LeftoverName,
    OverlapName, Pairs, PathGlob, PathPrefix, Port, PositiveSpan, ProtocolName, RedisUrlText,
    RequestPath, Size, Span, Statuses, StrategyName, StreamModeName, Text, TlsChoice, VariableName,
    Warmup, WorkerMode,
};

/// How Baton takes a service live without losing a request.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "keys that are refused are known, and never read")]
pub(crate) struct XBaton {
    /// Who runs the instances: Docker (through Docker Compose), or Baton itself as child processes.
    #[schemars(extend("default" = "docker"))]
    pub(crate) engine: Option<EngineName>,
    /// Hosts that reach this service: exact, one-level wildcard, or `*` for every host. A service without traffic says `worker: true` instead.
    pub(crate) hosts: Option<Vec<Host>>,
    /// Path prefix; the longest one wins.
    #[schemars(extend("default" = "/"))]
    pub(crate) path: Option<PathPrefix>,
    /// Remove `path` from the request towards the app.
    #[schemars(extend("default" = false))]
    pub(crate) strip_path: Option<Flag>,
    /// Port that the app listens on inside its container. Default: the only `expose`d or published target port. With `engine: process` the app gets `$PORT`.
    pub(crate) port: Option<Port>,
    /// What Baton speaks towards the app: HTTP/1.1, or HTTP/2 without TLS.
    #[schemars(extend("default" = "http1"))]
    pub(crate) protocol: Option<ProtocolName>,
    /// TLS towards clients.
    #[schemars(extend("default" = "off"))]
    pub(crate) tls: Option<TlsChoice>,
    pub(crate) basic_auth: Option<Later>,
    pub(crate) allow: Option<Later>,
    /// What a client may send.
    pub(crate) limits: Option<Limits>,
    /// When a new instance is ready. Default: the service's own Compose healthcheck, else a TCP connect.
    pub(crate) health: Option<Health>,
    /// Requests sent to the new color before the switch, in order: METHOD PATH, and how often.
    pub(crate) warmup: Option<Vec<Warmup>>,
    pub(crate) migrate: Option<Later>,
    pub(crate) activate: Option<Later>,
    /// How a release goes live.
    #[schemars(extend("default" = "blue-green"))]
    pub(crate) strategy: Option<StrategyName>,
    pub(crate) canary: Option<Later>,
    pub(crate) watch: Option<Later>,
    /// How long the old color stays up after its drain: rollback without a boot. 0s: not at all.
    #[schemars(extend("default" = "2m"))]
    pub(crate) keep_warm: Option<Span>,
    /// What happens when memory is short for two copies at once: `required` refuses the deploy.
    #[schemars(extend("default" = "required"))]
    pub(crate) overlap: Option<OverlapName>,
    /// How long a request may be held while nothing can serve it.
    #[schemars(extend("default" = "30s"))]
    pub(crate) max_wait: Option<Span>,
    /// How the old color ends.
    pub(crate) drain: Option<Drain>,
    /// What happens to event streams (SSE) at a switch, by path; the first entry that fits counts. Other paths: `reconnect`, or `union` where `redis.streams` keeps the colors apart.
    pub(crate) sse: Option<Vec<Sse>>,
    /// Redis Streams that hold the app's messages: the old color ends once it has handled its own.
    pub(crate) redis: Option<Redis>,
    /// Sessions in the app's memory: clients that have one stay on their release until they have been idle.
    pub(crate) sessions: Option<Sessions>,
    pub(crate) preview: Option<Later>,
    /// Environment variables that differ between the colors where no `${BATON_COLOR}` can say it.
    pub(crate) colors: Option<Colors>,
    /// Takes no traffic. `true`: the old one is stopped before the new one starts, after the switch; `overlap`: both may run together.
    #[schemars(extend("default" = false))]
    pub(crate) worker: Option<WorkerMode>,
    pub(crate) notify: Option<Later>,
    pub(crate) hooks: Option<Later>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limits {
    /// Largest request body; 0: no limit. Over it: 413.
    #[schemars(extend("default" = 0))]
    pub(crate) body: Option<Size>,
    /// Largest request head. Over it: 431.
    #[schemars(extend("default" = "64KiB"))]
    pub(crate) header_bytes: Option<Size>,
    /// A body that moves no byte for so long is cut.
    #[schemars(extend("default" = "5m"))]
    pub(crate) idle: Option<PositiveSpan>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Health {
    /// Path of a GET request; needed for every other key but `startup_timeout`.
    pub(crate) path: Option<RequestPath>,
    /// Default: the service's own port.
    pub(crate) port: Option<Port>,
    /// Fields sent with the request.
    pub(crate) headers: Option<HeaderFields>,
    /// Statuses that count as healthy.
    #[schemars(extend("default" = "200-399"))]
    pub(crate) expect: Option<Statuses>,
    /// Time between two checks.
    #[schemars(extend("default" = "1s"))]
    pub(crate) interval: Option<PositiveSpan>,
    /// How long one check may take.
    #[schemars(extend("default" = "5s"))]
    pub(crate) timeout: Option<PositiveSpan>,
    /// Passes in a row that are asked for.
    #[schemars(extend("default" = 1))]
    pub(crate) passes: Option<Count>,
    /// How long a new instance may take to become healthy, whatever the kind of check.
    #[schemars(extend("default" = "300s"))]
    pub(crate) startup_timeout: Option<PositiveSpan>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Drain {
    /// Time that requests in flight are given after the switch before the old color is looked at again.
    #[schemars(extend("default" = "30s"))]
    pub(crate) requests: Option<Span>,
    /// How long a WebSocket may stay with the old color after the switch.
    #[schemars(extend("default" = "10s"))]
    pub(crate) websockets: Option<Span>,
    /// Code of the Close frame that ends it then.
    #[schemars(extend("default" = 1012))]
    pub(crate) websocket_code: Option<CloseCode>,
    /// A request whose bytes still move is not cut before this.
    #[schemars(extend("default" = "10m"))]
    pub(crate) connections: Option<Span>,
    /// What must succeed on each old instance before its stop signal.
    pub(crate) until: Option<Until>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Until {
    /// Path of a GET request that must answer 2xx.
    pub(crate) http: Option<RequestPath>,
    /// Command that must exit with 0 inside the instance.
    pub(crate) exec: Option<Vec<Text>>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sse {
    /// Path of the request: `*` is one segment or a part of it, `**` any number of them.
    pub(crate) path: Option<PathGlob>,
    /// `union`: the client gets the events of both colors. `cut`: the new color replaces the old one. `reconnect`: closed, and the browser comes back. `drain`: stays with the old color.
    pub(crate) mode: Option<StreamModeName>,
    /// Names of events that the app sends on connect and that a client must not see twice.
    pub(crate) drop_on_attach: Option<Vec<Text>>,
    /// A stream of the new color whose headers have not come after this counts as open.
    #[schemars(extend("default" = "2s"))]
    pub(crate) attach_grace: Option<Span>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Redis {
    /// Environment variable of the container that holds the URL.
    pub(crate) url_env: Option<VariableName>,
    /// The URL itself; its host may be a service of the compose file.
    pub(crate) url: Option<RedisUrlText>,
    /// The streams that the app reads.
    pub(crate) streams: Option<Vec<RedisStream>>,
    /// What happens to messages that the old color has not handled.
    #[schemars(extend("default" = "move"))]
    pub(crate) leftover: Option<LeftoverName>,
    /// Baton creates the groups before the color starts.
    #[schemars(extend("default" = false))]
    pub(crate) create: Option<Flag>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RedisStream {
    /// Key of the stream; `${BATON_COLOR}` in it keeps the colors apart.
    pub(crate) key: Option<Text>,
    /// Environment variable of the container that holds the key.
    pub(crate) key_env: Option<VariableName>,
    /// Consumer group that the app reads it with.
    pub(crate) group: Option<Text>,
    /// Environment variable of the container that holds the group.
    pub(crate) group_env: Option<VariableName>,
    /// The app reads with NOACK, so that Redis does not know what it works on; asks for `drain.until`.
    #[schemars(extend("default" = false))]
    pub(crate) noack: Option<Flag>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sessions {
    /// Name of the session cookie, such as JSESSIONID.
    pub(crate) cookie: Option<CookieName>,
    /// How long a client must have been idle before its release may end.
    #[schemars(extend("default" = "30m"))]
    pub(crate) keep: Option<PositiveSpan>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Colors {
    /// What only the blue color gets.
    pub(crate) blue: Option<OneColor>,
    /// What only the green color gets.
    pub(crate) green: Option<OneColor>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OneColor {
    /// Environment variables, over those of the service.
    pub(crate) environment: Option<Pairs>,
}

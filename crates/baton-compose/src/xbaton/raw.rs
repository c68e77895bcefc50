//! `x-baton` as it is typed: every key of DESIGN.md §3.1, nothing filled in. The JSON Schema and the
//! checks are made from these types; [`super::lower`] turns them into a [`crate::Policy`].

use schemars::JsonSchema;
use serde::Deserialize;

use super::leaf::{
    CloseCode, CommandLine, CookieName, Count, EngineName, Flag, GateName, HeaderFields, Hook,
    Host, LanguageName, LeftoverName, NetworkText, NewsName, OverlapName, Pairs, PathGlob,
    PathPrefix, Percent, Port, PositiveSpan, ProtocolName, RedisUrlText, RequestPath, Requests,
    SecretText, Size, Span, Statuses, StrategyName, StreamModeName, Text, TlsChoice, Users,
    VariableName, Warmup, WebhookUrl, WorkerMode,
};

/// How Baton takes a service live without losing a request.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct XBaton {
    /// Who runs the instances: Docker (through Docker Compose), or Baton itself as child processes.
    #[schemars(extend("default" = "docker"))]
    pub(crate) engine: Option<EngineName>,
    /// Hosts that reach this service: exact, one-level wildcard, or `*` for every host. A service without traffic says `worker: true` instead.
    pub(crate) hosts: Option<Vec<Host>>,
    /// Hosts that are answered with a redirect (301, 308) to the same path of the first of `hosts`: `www.` to the apex, or the other way round.
    pub(crate) redirect_hosts: Option<Vec<Host>>,
    /// File with the page that a browser gets instead of Baton's own words when the app cannot be reached (502, 503, 504). `{status}` and `{message}` in it are filled in.
    pub(crate) error_page: Option<Text>,
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
    /// Users that may come in, each with the bcrypt hash of its password (`htpasswd -nbB USER PASSWORD`, each `$` written as `$$`). Default: nobody is asked.
    pub(crate) basic_auth: Option<Users>,
    /// Addresses and networks that clients may come from; others get 403. Default: all may come.
    pub(crate) allow: Option<Vec<NetworkText>>,
    /// What a client may send.
    pub(crate) limits: Option<Limits>,
    /// When a new instance is ready. Default: the service's own Compose healthcheck, else a TCP connect.
    pub(crate) health: Option<Health>,
    /// Requests sent to the new color before the switch, in order: METHOD PATH, and how often.
    pub(crate) warmup: Option<Vec<Warmup>>,
    /// What runs once per release, in its image, before it starts. The old release still serves then: a migration must suit both.
    pub(crate) migrate: Option<Migrate>,
    /// Tells the app whether it is the active color, for scheduled jobs and consumers.
    pub(crate) activate: Option<Activate>,
    /// How a release goes live; one for the whole app. `blue-green`: all of it at once. `rolling`: instance by instance. `canary`: a share of the clients first.
    #[schemars(extend("default" = "blue-green"))]
    pub(crate) strategy: Option<StrategyName>,
    /// The steps of strategy `canary`.
    pub(crate) canary: Option<Canary>,
    /// How long the new color is compared with the time before, after the switch: worse means back. 0s: not at all.
    #[schemars(extend("default" = "30s"))]
    pub(crate) watch: Option<Span>,
    /// How long the old color stays up after its drain: rollback without a boot. 0s: not at all.
    #[schemars(extend("default" = "2m"))]
    pub(crate) keep_warm: Option<Span>,
    /// May two copies run at once; one for the whole app. `required`: refused when memory is short. `preferred`: the old one is stopped first when memory is short. `never`: it always is.
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
    /// The test server in the idle color.
    pub(crate) preview: Option<Preview>,
    /// Environment variables that differ between the colors where no `${BATON_COLOR}` can say it.
    pub(crate) colors: Option<Colors>,
    /// Takes no traffic. `true`: the old one is stopped before the new one starts, after the switch; `overlap`: both may run together.
    #[schemars(extend("default" = false))]
    pub(crate) worker: Option<WorkerMode>,
    /// Who is told what a deploy comes to; told once when several services say it.
    pub(crate) notify: Option<Vec<Notify>>,
    /// Commands on the machine of the daemon, in the folder of the compose file.
    pub(crate) hooks: Option<Hooks>,
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
pub(crate) struct Migrate {
    /// The command: a list, or a text that is split as a shell would, without running one.
    pub(crate) command: Option<CommandLine>,
    /// How long it may take.
    #[schemars(extend("default" = "5m"))]
    pub(crate) timeout: Option<PositiveSpan>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Activate {
    /// Path of a POST of `{"active":true|false}` to each instance.
    pub(crate) path: Option<RequestPath>,
    /// How long the answer to `false` may take: it says that no job runs any more.
    #[schemars(extend("default" = "60s"))]
    pub(crate) wait: Option<PositiveSpan>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Canary {
    /// Percent of the clients on the new color, rising. 100 is the switch, and is added where it is missing.
    #[schemars(extend("default" = [5, 25, 50, 100]))]
    pub(crate) steps: Option<Vec<Percent>>,
    /// How long each step takes at least.
    #[schemars(extend("default" = "2m"))]
    pub(crate) hold: Option<Span>,
    /// Requests that the new color must have answered in a step before the next one.
    #[schemars(extend("default" = 300))]
    pub(crate) min_requests: Option<Requests>,
    /// What passes a step: time and requests (`auto`), or a person (`manual`).
    #[schemars(extend("default" = "auto"))]
    pub(crate) gate: Option<GateName>,
    /// A client may choose its color with `X-Baton-Canary: always|never`.
    #[schemars(extend("default" = true))]
    pub(crate) header: Option<Flag>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Preview {
    /// Hosts that reach the test server; none of them may be a live one.
    pub(crate) hosts: Option<Vec<Host>>,
    /// Users that may come in, as in `basic_auth` of the service.
    pub(crate) basic_auth: Option<Users>,
    /// Addresses and networks that clients may come from.
    pub(crate) allow: Option<Vec<NetworkText>>,
    /// It may use what the live color uses: its database, its queues.
    #[schemars(extend("default" = false))]
    pub(crate) share: Option<Flag>,
    /// Environment variables, over those of the service. Needed unless `share` is true.
    pub(crate) environment: Option<Pairs>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hooks {
    /// Before the new color starts. One that fails stops the deploy.
    pub(crate) before_start: Option<Vec<Hook>>,
    /// Before traffic goes to it. One that fails stops the deploy.
    pub(crate) before_switch: Option<Vec<Hook>>,
    /// Once traffic goes to it. One that fails is a warning.
    pub(crate) after_switch: Option<Vec<Hook>>,
    /// Once the deploy has ended. One that fails is a warning.
    pub(crate) after_deploy: Option<Vec<Hook>>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Notify {
    /// Incoming webhook of Slack, or of what speaks its format.
    pub(crate) slack: Option<WebhookUrl>,
    /// Webhook of Discord.
    pub(crate) discord: Option<WebhookUrl>,
    /// Address that gets a POST of JSON.
    pub(crate) webhook: Option<WebhookUrl>,
    /// Signs what `webhook` gets (HMAC-SHA256).
    pub(crate) secret: Option<SecretText>,
    /// Language of the messages.
    #[schemars(extend("default" = "en"))]
    pub(crate) language: Option<LanguageName>,
    /// What is told. Default: all of it.
    pub(crate) events: Option<Vec<NewsName>>,
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
